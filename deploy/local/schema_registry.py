"""A real schema registry on loopback: the Apicurio that docker compose's profile has, from its Maven archive.

It speaks Confluent's protocol below /apis/ccompat/v7 and keeps its schemas in a file of its run dir.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from processes import LOOPBACK, Process, StackError, ensure_command, free_port, locked, run, spawn, start_ready

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
_JAVA = {"apt-get": "openjdk-17-jre-headless", "dnf": "java-17-openjdk-headless", "apk": "openjdk17-jre-headless"}
_MAVEN = {"apt-get": "maven", "dnf": "maven", "apk": "maven"}
_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


def start(
    run_dir: Path,
    *,
    port: int | None = None,
    tie_to_parent: bool,
    timeout_s: float = 120.0,
    more: Mapping[str, str] | None = None,
) -> Process:
    """Start it and return once it answers; raises StackError. `more` are variables of its environment.

    Started again on the same run dir it has the schemas that it had.
    """
    home = ensure_archive()
    java = ensure_command("java", _JAVA)
    (run_dir / "tmp").mkdir(exist_ok=True)

    def start_on(chosen: int) -> Process:
        env = {
            "QUARKUS_HTTP_HOST": LOOPBACK,
            "QUARKUS_HTTP_PORT": str(chosen),
            "QUARKUS_HTTP_SSL_PORT": str(free_port()),
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "h2",
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{run_dir}/schemas",
            "QUARKUS_LOG_LEVEL": "WARN",
            **(more or {}),
        }
        command = [java, *_JVM, f"-Djava.io.tmpdir={run_dir / 'tmp'}", "-jar", str(home / "registry.jar")]
        return spawn(run_dir, "schema-registry", command, port=chosen, env=env, tie_to_parent=tie_to_parent)

    return start_ready(run_dir, start_on, answers, port=port, timeout_s=timeout_s)


def url(port: int) -> str:
    """Return the URL of the Confluent API there."""
    return f"http://{LOOPBACK}:{port}/apis/ccompat/v7"


def answers(port: int) -> bool:
    """Whether it lists its subjects."""
    try:
        with urllib.request.urlopen(f"{url(port)}/subjects", timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status == 200)
    except OSError:
        return False


def ensure_archive(cache: Path = REPO / ".cache") -> Path:
    """Return the folder of the archive that the Dockerfile names; fetched through Maven once, whoever asks first."""
    named = dict(
        re.findall(r"^ARG (APICURIO\w*)=(\S+)$", (REPO / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    version, digest = named["APICURIO"], named["APICURIO_SHA256"]
    home = cache / f"apicurio-{version}"
    with locked(cache / f"{home.name}.lock"):
        if home.is_dir():
            return home
        maven = ensure_command("mvn", _MAVEN)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            artifact = f"-Dartifact=io.apicurio:apicurio-registry-app:{version}:tar.gz:all"
            done = run([maven, "-q", "-B", "-ntp", "dependency:copy", artifact, f"-DoutputDirectory={scratch}"])
            archive = next(Path(scratch).glob("*.tar.gz"), None)
            if done.returncode or archive is None:
                raise StackError(f"Maven could not fetch Apicurio:\n{(done.stdout + done.stderr)[-2000:]}")
            if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
                raise StackError(f"{archive.name} is not what the Dockerfile names")
            partial = Path(scratch) / "unpacked"
            with tarfile.open(archive) as packed:
                packed.extractall(partial, filter="data")
            next(partial.glob("apicurio-registry-app-*-runner.jar")).rename(partial / "registry.jar")
            shutil.move(partial, home)
    return home
