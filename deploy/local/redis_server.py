"""A real Redis for the local stack: append-only file, nothing evicted, loopback only.

LEADSMAN_LOCAL_REDIS names another server that speaks as Redis does, such as Valkey's.
"""

from __future__ import annotations

import os
from pathlib import Path

import redis
from processes import LOOPBACK, Process, ensure_command, spawn, start_ready

_PACKAGES = {"apt-get": "redis-server", "dnf": "redis", "apk": "redis"}


def start(run_dir: Path, *, port: int | None, tie_to_parent: bool, timeout_s: float = 30.0) -> Process:
    """Start Redis and return once it has loaded its data and answers PING; raises StackError."""
    command = server()
    data = run_dir / "redis-data"
    data.mkdir(exist_ok=True)

    def start_on(chosen: int) -> Process:
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
        return spawn(run_dir, "redis", [command, *arguments], port=chosen, tie_to_parent=tie_to_parent)

    return start_ready(run_dir, start_on, answers, port=port, timeout_s=timeout_s)


def server() -> str:
    """The server's command; raises StackError where there is none."""
    return ensure_command(os.environ.get("LEADSMAN_LOCAL_REDIS", "redis-server"), _PACKAGES)


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
