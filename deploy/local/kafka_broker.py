"""A real single-node Kafka (KRaft, no container) for the local stack: jars from Maven, a small heap, loopback only."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from processes import (
    LOOPBACK,
    Process,
    StackError,
    ensure_command,
    free_port,
    locked,
    port_open,
    run,
    spawn,
    start_ready,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
# the largest topic (a dead letter: 2 MiB of record and its headers) and a little more
MAX_RECORD_BYTES = 2_359_296
_JVM = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:-UsePerfData",  # no files in the machine's temporary folder
    "-Djava.awt.headless=true",
)
_JAVA = {"apt-get": "openjdk-17-jre-headless", "dnf": "java-17-openjdk-headless", "apk": "openjdk17-jre-headless"}
_MAVEN = {"apt-get": "maven", "dnf": "maven", "apk": "maven"}


def start(
    run_dir: Path,
    *,
    port: int | None,
    tie_to_parent: bool,
    timeout_s: float = 120.0,
    more: Mapping[str, str] | None = None,
) -> Process:
    """Start the broker and return once it answers metadata and would create a topic; raises StackError.

    `more` goes over its settings; listeners in it are added to the plain one.
    """
    libs = ensure_jars()

    def start_on(chosen: int) -> Process:
        config = _write_config(run_dir, chosen, free_port(), more or {})
        _format(run_dir, libs, config)
        command = _java(run_dir, libs, _JVM, "kafka.Kafka", str(config))
        return spawn(run_dir, "kafka", command, port=chosen, tie_to_parent=tie_to_parent)

    return start_ready(run_dir, start_on, answers, port=port, timeout_s=timeout_s)


def ensure_jars(cache: Path = CACHE) -> Path:
    """Return the folder of jars that kafka/pom.xml names; fetched through Maven once, whoever asks first."""
    pom = HERE / "kafka" / "pom.xml"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    libs = cache / f"kafka-{kafka_version(pom)}-{digest}"
    if libs.is_dir():
        return libs
    with locked(cache / f"{libs.name}.lock"):
        if libs.is_dir():
            return libs
        for abandoned in cache.glob(f"{libs.name}.partial-*"):  # by one that was killed
            shutil.rmtree(abandoned, ignore_errors=True)
        maven = ensure_command("mvn", _MAVEN)
        partial = Path(tempfile.mkdtemp(prefix=f"{libs.name}.partial-", dir=cache))
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
        done = run([maven, "-q", "-B", "-ntp", "-f", str(pom), *goal])
        if done.returncode or not any(partial.glob("kafka-server-*.jar")):
            shutil.rmtree(partial, ignore_errors=True)
            raise StackError(f"Maven could not fetch the jars of Kafka:\n{(done.stdout + done.stderr)[-2000:]}")
        partial.rename(libs)
    return libs


def kafka_version(pom: Path) -> str:
    """Return the version of Kafka that the pom names."""
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    for dependency in ET.parse(pom).getroot().iterfind(".//m:dependency", space):  # noqa: S314 - our own file
        if dependency.findtext("m:groupId", namespaces=space) == "org.apache.kafka":
            return dependency.findtext("m:version", default="", namespaces=space)
    raise StackError(f"{pom}: no org.apache.kafka in it")


def answers(port: int) -> bool:
    """Whether the broker there answers metadata and would create a topic now."""
    if not port_open(port):
        return False
    admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0, "socket.timeout.ms": 5000})
    try:
        if not admin.list_topics(timeout=5).brokers:
            return False
        probe = NewTopic("leadsman-ready", num_partitions=1, replication_factor=1)
        for future in admin.create_topics([probe], validate_only=True, request_timeout=5).values():
            future.result(timeout=6)
    except (KafkaException, TimeoutError):
        return False
    return True


def _java(run_dir: Path, libs: Path, options: Sequence[str], main: str, *arguments: str) -> list[str]:
    scratch = run_dir / "tmp"
    scratch.mkdir(exist_ok=True)
    log_config = f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}"
    java = ensure_command("java", _JAVA)
    return [java, *options, f"-Djava.io.tmpdir={scratch}", log_config, "-cp", f"{libs}/*", main, *arguments]


def _format(run_dir: Path, libs: Path, config: Path) -> None:
    """Format the data folder once; one that was left half done is made anew."""
    data, marker = run_dir / "kafka-data", run_dir / "kafka-data" / ".formatted"
    if marker.exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    if cluster.startswith("-"):  # it would read as an option
        cluster = f"A{cluster[1:]}"
    quick = ("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
    command = _java(run_dir, libs, quick, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config))
    done = run(command)
    if done.returncode:
        raise StackError(f"Kafka's storage could not be formatted:\n{(done.stdout + done.stderr)[-2000:]}")
    marker.touch()


def _write_config(run_dir: Path, port: int, controller_port: int, more: Mapping[str, str]) -> Path:
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": run_dir / "kafka-data",
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 2,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": MAX_RECORD_BYTES,
        "replica.fetch.max.bytes": 2 * MAX_RECORD_BYTES,
        "log.cleaner.dedupe.buffer.size": 16_777_216,  # the default of 128 MiB is a quarter of the heap
        "log.index.size.max.bytes": 1_048_576,
        "log.segment.delete.delay.ms": 1000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
    }
    for key, value in more.items():
        added = key.endswith(("listeners", "listener.security.protocol.map"))
        settings[key] = f"{settings[key]},{value}" if added else value
    path = run_dir / "server.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    return path
