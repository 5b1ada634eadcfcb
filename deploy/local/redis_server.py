"""A real Redis for the local stack: append-only file, nothing evicted, loopback only."""

from __future__ import annotations

import time
from pathlib import Path

import redis
from processes import LOOPBACK, Process, StackError, ensure_command, free_port, log_tail, spawn

_PACKAGES = {"apt-get": "redis-server", "dnf": "redis", "apk": "redis"}


def start(run_dir: Path, *, port: int | None, tie_to_parent: bool, timeout_s: float = 30.0) -> Process:
    """Start Redis and return once it has loaded its data and answers PING; raises StackError."""
    command = ensure_command("redis-server", _PACKAGES)
    data = run_dir / "redis-data"
    data.mkdir(exist_ok=True)
    attempts = 1 if port else 3
    for attempt in range(1, attempts + 1):
        chosen = port or free_port()
        options = {
            "bind": LOOPBACK,
            "port": chosen,
            "protected-mode": "yes",
            "daemonize": "no",
            "dir": data,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        process = spawn(run_dir, "redis", [command, *arguments], port=chosen, tie_to_parent=tie_to_parent)
        try:
            _wait_ready(run_dir, process, timeout_s)
        except StackError:
            if attempt == attempts or process.running():
                raise
        else:
            return process
    raise AssertionError


def url(port: int) -> str:
    """Return the URL of database 0 there."""
    return f"redis://{LOOPBACK}:{port}/0"


def answers(port: int) -> bool:
    """Whether Redis answers PING there (it refuses while it loads)."""
    try:
        with redis.Redis.from_url(url(port), socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _wait_ready(run_dir: Path, process: Process, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not answers(process.port):
        if not process.running():
            raise StackError(f"Redis stopped while starting:\n{log_tail(run_dir, 'redis')}")
        if time.monotonic() > deadline:
            raise StackError(f"Redis was not ready within {timeout_s:.0f} s:\n{log_tail(run_dir, 'redis')}")
        time.sleep(0.02)
