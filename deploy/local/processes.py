"""Processes of the local stack: started with a pid file, recognised again later, stopped for certain.

A pid alone is no identity: the kernel gives numbers out again. A pid file therefore keeps the process's start
time beside its number, and nothing is signalled unless both agree. The file is written by the child itself before
it becomes the service (this module run as a script), so a killed parent leaves no process without a pid file.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
# below the range that Linux and macOS give to outgoing connections, so no client takes the port meanwhile
_PORTS = range(20_000, 32_000)
_SHARES = 4
_given: set[int] = set()  # by this process: whoever a port was picked for may not have bound it yet
# locks this process holds; a child keeps them until its pid file is written, even when this process is killed
_held: list[int] = []


class StackError(Exception):
    """Something the local stack needs is missing or did not start; the text is for a person."""


@dataclass(frozen=True)
class Process:
    """One service as its pid file tells it: its name, pid, start time and port."""

    name: str
    pid: int
    started: str
    port: int

    def running(self) -> bool:
        """Whether this very process still runs (not another that was given its number)."""
        return _start_time(self.pid) == self.started


def spawn(
    run_dir: Path,
    name: str,
    command: Sequence[str],
    *,
    port: int,
    env: Mapping[str, str] | None = None,
    tie_to_parent: bool = False,
) -> Process:
    """Start `command` in the background, its output in `<run_dir>/<name>.log`, its pid file beside it.

    With `tie_to_parent` the kernel kills the service when this process dies in whatever way (Linux only).
    """
    pid_file = run_dir / f"{name}.pid"
    pid_file.unlink(missing_ok=True)
    launcher = [sys.executable, "-I", __file__, str(pid_file), str(port), str(os.getpid() if tie_to_parent else 0)]
    with (run_dir / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=run_dir,
            start_new_session=True,
            pass_fds=_held,
        )
    deadline = time.monotonic() + 60
    while (found := find(run_dir, name)) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"{name} did not start:\n{log_tail(run_dir, name)}")
        time.sleep(0.01)
    child.returncode = 0  # it outlives us on purpose: no ResourceWarning; `stop` reaps it
    return found


def start_ready(
    run_dir: Path,
    start_on: Callable[[int], Process],
    answers: Callable[[int], bool],
    *,
    port: int | None = None,
    timeout_s: float,
) -> Process:
    """Start a service by `start_on` on that port, or else on a free one, and wait until it answers there.

    Raises StackError; then the service is stopped.
    """
    attempts = 1 if port else 3  # a port that was free when chosen may be taken by the time the service binds it
    for attempt in range(1, attempts + 1):
        process = start_on(port or free_port())
        try:
            wait_ready(run_dir, process, answers, timeout_s=timeout_s)
        except StackError:
            stuck = process.running()
            stop(run_dir, [process], grace_s=2)
            if attempt == attempts or stuck:
                raise
        else:
            return process
    raise AssertionError


def wait_ready(run_dir: Path, process: Process, answers: Callable[[int], bool], *, timeout_s: float) -> None:
    """Wait until it answers on its port. Raises StackError with its log's end when it leaves or the time is over."""
    deadline = time.monotonic() + timeout_s
    while process.running():  # asked first: another service may answer on a port that was taken meanwhile
        if answers(process.port):
            return
        if time.monotonic() > deadline:
            what = f"was not ready within {timeout_s:.0f} s"
            break
        time.sleep(0.02)
    else:
        what = "stopped while starting"
    raise StackError(f"{process.name} {what}:\n{log_tail(run_dir, process.name)}")


def run(command: Sequence[str], *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, its output captured; it dies with this process (Linux), so none is left behind."""
    launcher = [sys.executable, "-I", __file__, "-", "0", str(os.getpid())]
    return subprocess.run([*launcher, *command], check=False, capture_output=True, text=True, cwd=cwd)


def find(run_dir: Path, name: str) -> Process | None:
    """Read the running service of that name from its pid file, or None; a stale or torn file counts as none."""
    try:
        fields = json.loads((run_dir / f"{name}.pid").read_text(encoding="utf-8"))
        process = Process(name, int(fields["pid"]), str(fields["started"]), int(fields["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return process if process.running() else None


def find_all(run_dir: Path) -> list[Process]:
    """List every service that runs in this run dir."""
    found = (find(run_dir, path.stem) for path in sorted(run_dir.glob("*.pid")))
    return [process for process in found if process]


def stop(run_dir: Path, processes: Iterable[Process], *, grace_s: float = 20.0) -> None:
    """Stop these: SIGTERM to all, and after `grace_s` SIGKILL to what is left; raises StackError if one survives."""
    left = list(processes)
    for process in left:
        _signal(process, signal.SIGTERM)
    left = _wait_gone(left, grace_s)
    for process in left:
        _signal(process, signal.SIGKILL)
    left = _wait_gone(left, 10)
    if left:
        raise StackError(f"still running after SIGKILL: {left}")
    for path in run_dir.glob("*.pid"):
        if find(run_dir, path.stem) is None:
            path.unlink(missing_ok=True)


def log_tail(run_dir: Path, name: str, lines: int = 15) -> str:
    """Return the last lines of a service's log, for an error's text."""
    try:
        text = (run_dir / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def free_port() -> int:
    """Pick a loopback port that nobody listens on and that was not picked before."""
    for port in random.sample(_own_ports(), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in _given:
                _given.add(port)
                return port
    raise StackError("no free port found on loopback")


def _own_ports() -> range:
    """All, or this worker's share where pytest has several: between the pick and the bind they see nothing of it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    return _PORTS[int(worker) % _SHARES :: _SHARES] if worker.isdecimal() else _PORTS


def port_open(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, against other processes too; the kernel lets it go when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _held.append(handle.fileno())
        try:
            yield
        finally:
            _held.remove(handle.fileno())


_WAIT = ("-o", "DPkg::Lock::Timeout=300")  # another may install something just now


def ensure_command(command: str, packages: Mapping[str, str]) -> str:
    """Return the path of `command`, installing it as root where a package manager is there; else StackError.

    `packages` maps a package manager (apt-get, dnf, apk) to the package that holds the command.
    """
    if path := shutil.which(command):
        return path
    install = {
        "apt-get": ["apt-get", *_WAIT, "install", "-y", "--no-install-recommends"],
        "dnf": ["dnf", "install", "-y"],
        "apk": ["apk", "add", "--no-cache"],
    }
    for manager, package in packages.items():
        if os.geteuid() == 0 and shutil.which(manager):
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            if manager == "apt-get":
                subprocess.run(["apt-get", *_WAIT, "update", "-q"], check=False, capture_output=True, env=env)
            subprocess.run([*install[manager], package], check=False, capture_output=True, env=env)
            if path := shutil.which(command):
                return path
    named = ", ".join(f"{manager}: {package}" for manager, package in packages.items())
    raise StackError(f"{command} is not on the path; install it ({named})")


def _signal(process: Process, number: signal.Signals) -> None:
    if process.running():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait_gone(processes: list[Process], timeout_s: float) -> list[Process]:
    deadline = time.monotonic() + timeout_s
    while processes and time.monotonic() < deadline:
        left = [process for process in processes if process.running()]
        for process in set(processes) - set(left):
            with contextlib.suppress(ChildProcessError):  # ours to reap only if we started it
                os.waitpid(process.pid, os.WNOHANG)
        processes = left
        time.sleep(0.02)
    return processes


def _start_time(pid: int) -> str | None:
    """Tell when a process started, in a form that does not repeat after a reboot; None when it is gone or a zombie."""
    if sys.platform == "linux":
        try:
            # the command name is in parentheses and may hold anything; the fields are counted after it
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        # a JVM's first thread may be a zombie while others still hold its ports
        return None if fields[0] in "ZX" and threads <= 1 else f"{boot} {fields[19]}"
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], check=False, capture_output=True, text=True)
    state, _, started = done.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else " ".join(started.split())


def _become(pid_file: Path | None, port: int, parent: int, command: list[str]) -> None:
    """In the child: tie to the parent if asked, write the pid file if any, turn into the service."""
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            sys.exit(1)
    if pid_file:
        fields = {"pid": os.getpid(), "started": _start_time(os.getpid()), "port": port}
        partial = pid_file.with_suffix(".pid.partial")
        partial.write_text(json.dumps(fields), encoding="utf-8")
        partial.replace(pid_file)
    for descriptor in range(3, 256):  # the locks, see _held
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, False)
    os.execvp(command[0], command)  # noqa: S606 - our own command


if __name__ == "__main__":
    _become(None if sys.argv[1] == "-" else Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
