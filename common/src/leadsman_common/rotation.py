"""Secrets that change in their files: put in force without the process or its pod being replaced.

Files of secrets and certificates are looked at now and then. When one changed, and the settings that it gives are
sound, the service ends as at a SIGTERM, with everything acknowledged and committed, and starts anew in the same
process. So every client takes the new secret, whatever it is, and nothing is lost or refused meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Never
from urllib.parse import parse_qs, urlsplit

from leadsman_common.stopping import told_to_leave

# files that the clouds' SDKs are told of
_SDK = ("AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS")


def secret_files(env: Mapping[str, str], settings: Any) -> list[Path]:
    """What holds secrets or certificates: LEADSMAN_*_FILE, the SDKs' files, those in options and in Redis' URL."""
    named = [value for name, value in env.items() if name.startswith("LEADSMAN_") and name.endswith("_FILE")]
    named += [env.get(name, "") for name in _SDK]
    for options in (getattr(settings, "kafka_options", {}), getattr(settings, "schema_registry_options", {})):
        named += [value for name, value in options.items() if name.endswith(".location")]
    asked = parse_qs(urlsplit(getattr(settings, "redis_url", "")).query)
    named += [value for name, values in asked.items() if name.startswith("ssl_") for value in values]
    return sorted({Path(name) for name in named if name and Path(name).is_file()})


class Rotation:
    """Looks at the files every `every_s` seconds, from `start` on. `check` raises where what they hold is of no use."""

    def __init__(
        self,
        files: Iterable[Path],
        check: Callable[[], object],
        log: Any,
        every_s: float,
        stop: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGINT),
    ) -> None:
        self._files = list(files)
        self._check = check
        self._log = log
        self._every_s = every_s
        self._stop = stop
        self._seen = self._digests()
        self._refused: dict[Path, bytes] = {}
        self.due = False

    def start(self) -> None:
        """Look from now on, on a thread of its own."""
        if self._files and self._every_s > 0:
            threading.Thread(target=self._watch, daemon=True, name="rotation").start()

    def look(self) -> bool:
        """Look once: whether a change is due, which ends the service."""
        now = self._digests()
        if now in (self._seen, self._refused):
            return False
        changed = sorted(str(path) for path in now if now[path] != self._seen.get(path))
        try:
            self._check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the secrets in force stay
            self._log.error("changed secrets are of no use: the old ones stay", files=changed, reason=str(error))
            self._refused = now
            return False
        self._log.info("secrets changed: starting anew", files=changed)
        self.due = True
        self._stop()
        return True

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every_s):
            if self.look():
                return

    def _digests(self) -> dict[Path, bytes]:
        return {path: _digest(path) for path in self._files}


def start_anew() -> Never:
    """Become the same program again, with the same arguments and environment."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - it is ourselves


def may_start_anew(rotation: Rotation) -> bool:
    """Whether the service ended for changed secrets alone, and nobody told it to leave meanwhile."""
    return rotation.due and not told_to_leave()


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:  # being replaced: the next look sees what it became
        return b""
