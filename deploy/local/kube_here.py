"""A real Kubernetes API server on loopback, for tests that let it judge and write its own audit log.

The control plane (etcd, kube-apiserver, controller manager, scheduler, pretend nodes) is started and stopped by the
scripts `up.sh` and `down.sh` of the folder that KUBE_HERE_TOOLS names; it is no part of this repository. What
`up.sh` must do: take KUBE_HERE (a folder with `bin/`; it makes `pki/USER.kubeconfig` and `run/audit.log` there) and
POLICY (an audit policy file), and return once the server is ready on its fixed ports.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "KUBE_HERE_TOOLS"
START_S = 240
STOP_S = 120
# the ports are fixed, so one server at a time on a machine, whoever starts it
LOCK = Path(tempfile.gettempdir()) / "kube-here.lock"


class KubeHereError(RuntimeError):
    """The API server cannot be had; the text says why and what to do."""


@dataclass(frozen=True)
class ApiServer:
    """A running API server. `home` holds bin/, pki/, run/ and logs/; all of it is gone when the server stops."""

    home: Path

    url = "https://127.0.0.1:6443"

    @property
    def audit_log(self) -> Path:
        """The server's audit log, JSON lines; written before the request that it tells of is answered."""
        return self.home / "run" / "audit.log"

    def kubeconfig(self, user: str = "admin") -> Path:
        """A user's kubeconfig: admin, alice (cluster-admin), bob and carol (edit), mallory (view), and more."""
        path = self.home / "pki" / f"{user}.kubeconfig"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.kubeconfig")))
            raise KubeHereError(f"no user {user}; there are {known}")
        return path

    def kubectl(
        self,
        *arguments: str,
        user: str = "admin",
        send: str = "",
        env: dict[str, str] | None = None,
        check: bool = True,
        timeout_s: float = 60,
    ) -> str:
        """Run kubectl and give its standard output. Raises KubeHereError where it fails and `check` is true."""
        command = [str(self.home / "bin" / "kubectl"), "--kubeconfig", str(self.kubeconfig(user)), *arguments]
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(
            command, input=send, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise KubeHereError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def request(self, method: str, path: str, upgrade: str = "") -> int:
        """Make one request without credentials, hang up, and give its status. `upgrade`: websocket or SPDY/3.1."""
        context = ssl.create_default_context(cafile=str(self.home / "pki" / "ca.crt"))
        host, port = self.url.removeprefix("https://").split(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
        headers = {"User-Agent": "curl/8.11.0", "Accept": "*/*"}
        if upgrade:
            headers |= {"Connection": "Upgrade", "Upgrade": upgrade}
        if upgrade == "websocket":
            key = base64.b64encode(secrets.token_bytes(16)).decode()
            headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
            headers["Sec-WebSocket-Protocol"] = "v5.channel.k8s.io"
        elif upgrade:
            headers["X-Stream-Protocol-Version"] = "v4.channel.k8s.io"
        try:
            connection.request(method, path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def audit_size(self) -> int:
        """Where the audit log ends now: a place to give to `audit_lines`."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def audit_lines(self, start: int = 0) -> list[bytes]:
        """The complete lines of the audit log from this place on, each as the server wrote it."""
        with self.audit_log.open("rb") as stream:
            stream.seek(start)
            return [line for line in stream.read().split(b"\n")[:-1] if line]

    def audit_events(self, start: int = 0) -> list[dict[str, Any]]:
        """The same lines, decoded."""
        return [json.loads(line) for line in self.audit_lines(start)]


def tools() -> Path:
    """The folder that KUBE_HERE_TOOLS names. Raises KubeHereError where it is unset or holds no up.sh."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        raise KubeHereError(f"{VARIABLE} is not set: it names the folder with up.sh and down.sh of a real API server")
    folder = Path(named).expanduser()
    if not (folder / "up.sh").is_file():
        raise KubeHereError(f"{VARIABLE} names {folder}, where there is no up.sh")
    return folder


def binaries() -> Path:
    """Where the built binaries lie: bin/ of KUBE_HERE, else of ~/.cache/kube-here."""
    return Path(os.environ.get("KUBE_HERE") or Path.home() / ".cache" / "kube-here") / "bin"


@contextmanager
def running(policy: Path, *, lock_s: float = 900, extra: str = "") -> Iterator[ApiServer]:
    """A fresh API server with this audit policy, stopped at the end.

    Waits at most `lock_s` for a server that another process has running. `extra`: further options of kube-apiserver.
    Raises KubeHereError.
    """
    folder = tools()
    built = binaries()
    if not (built / "kube-apiserver").is_file():
        raise KubeHereError(f"no kube-apiserver in {built}: run build.sh of {folder} first")
    with _alone(lock_s):
        home = Path(tempfile.mkdtemp(prefix="leadsman-kube-"))
        try:
            (home / "bin").symlink_to(built)
            env = {**os.environ, "KUBE_HERE": str(home), "POLICY": str(policy.resolve()), "FRESH": "1"}
            env["AUDIT_EXTRA"] = extra
            _script(folder / "up.sh", env, START_S)
            yield ApiServer(home)
        finally:
            _script(folder / "down.sh", {**os.environ, "KUBE_HERE": str(home)}, STOP_S, check=False)
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _alone(wait_s: float) -> Iterator[None]:
    with LOCK.open("a") as held:
        end = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise KubeHereError(f"another process has held {LOCK} for {wait_s:.0f} s") from None
                time.sleep(1)
        yield


def _script(script: Path, env: dict[str, str], timeout_s: float, *, check: bool = True) -> None:
    # output to a file: what up.sh starts lives on and would keep a pipe open
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            ["bash", str(script)],
            env=env,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            output.seek(0)
            raise KubeHereError(f"{script.name} ended with {done.returncode}:\n{output.read()[-2000:]}")
