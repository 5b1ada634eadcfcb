"""Stand-ins for the clouds: moto for AWS, pstest for Pub/Sub, fake-gcs-server for Cloud Storage.

All of them are in memory and on loopback. Their pid files stand in the run dir of the stack, so
`stack.stop(run_dir)` stops them with the rest.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import processes
from processes import LOOPBACK, StackError

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
_START_S = 60.0


def start_moto(run_dir: Path, *, tie_to_parent: bool = False) -> str:
    """Start the AWS stand-in, or find it running; returns its endpoint URL, http://127.0.0.1:PORT."""
    command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p"]
    port = _start(run_dir, "moto", lambda port: [*command, str(port)], _http_answers, tie_to_parent)
    return f"http://{LOOPBACK}:{port}"


def start_pstest(run_dir: Path, *, tie_to_parent: bool = False) -> tuple[str | None, str]:
    """Start the Pub/Sub stand-in, or find it running; returns (address, "") or (None, why it cannot run here).

    The address, 127.0.0.1:PORT, is what PUBSUB_EMULATOR_HOST takes. It needs Go to be built, once.
    """
    try:
        binary = build("pstest")
    except StackError as error:
        return None, str(error)
    port = _start(
        run_dir,
        "pstest",
        lambda port: [str(binary), "-address", f"{LOOPBACK}:{port}"],
        processes.port_open,
        tie_to_parent,
    )
    return f"{LOOPBACK}:{port}", ""


def start_gcs(run_dir: Path, *, tie_to_parent: bool = False) -> tuple[str | None, str]:
    """Start the stand-in for Cloud Storage, or find it running; returns (URL, "") or (None, why it cannot run here).

    The URL, http://127.0.0.1:PORT, is what STORAGE_EMULATOR_HOST takes. It needs Go to be built, once.
    """
    try:
        binary = build("gcs")
    except StackError as error:
        return None, str(error)
    port = _start(run_dir, "gcs", lambda port: [str(binary), "-port", str(port)], processes.port_open, tie_to_parent)
    return f"http://{LOOPBACK}:{port}", ""


def build(name: str, cache: Path = CACHE) -> Path:
    """Return a built stand-in; built once for its sources, whoever asks first. StackError where it cannot be."""
    module = HERE / name
    sources = b"".join((module / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    binary = cache / f"{name}-{hashlib.sha256(sources).hexdigest()[:8]}"
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        raise StackError(f"the stand-in {name} is built with Go, which is not on the path")
    with processes.locked(cache / f"{binary.name}.lock"):
        if binary.exists():
            return binary
        partial = cache / f"{binary.name}.partial-{os.getpid()}"
        build = [go, "build", "-mod=readonly", "-buildvcs=false", "-o", str(partial), "."]
        done = processes.run(build, cwd=module)
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise StackError(f"go build of the stand-in {name} failed:\n{done.stderr[-2000:]}")
        partial.replace(binary)
    return binary


def _start(
    run_dir: Path,
    name: str,
    command: Callable[[int], list[str]],
    answers: Callable[[int], bool],
    tie_to_parent: bool,
) -> int:
    run_dir = run_dir.resolve()
    with processes.locked(run_dir / "lock"):
        if found := processes.find(run_dir, name):
            return found.port

        def start_on(port: int) -> processes.Process:
            return processes.spawn(run_dir, name, command(port), port=port, tie_to_parent=tie_to_parent)

        return processes.start_ready(run_dir, start_on, answers, timeout_s=_START_S).port


def _http_answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
