"""The local stack: a real Kafka and a real Redis on loopback, with the topics of schemas/topics.

As a command: `stack.py up|down|status [--run-dir DIR] [--kafka-port N] [--redis-port N]`.
From Python (tests, demo): load it by path, then `start(run_dir)` and `stop(run_dir)`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

import kafka_broker  # noqa: E402 - the line above makes these modules visible however this one was loaded
import processes  # noqa: E402
import redis_server  # noqa: E402
from processes import LOOPBACK, StackError  # noqa: E402

from leadsman_common import topics  # noqa: E402

DEFAULT_RUN_DIR = REPO / ".run" / "stack"
TOPICS_DIR = REPO / "schemas" / "topics"


@dataclass(frozen=True)
class Stack:
    """Where the running stack is; `reused` tells whether it ran before it was asked for."""

    bootstrap: str
    redis_url: str
    kafka_pid: int
    redis_pid: int
    reused: bool = False

    def env(self) -> dict[str, str]:
        """Return the settings that point a service at this stack."""
        return {"LEADSMAN_KAFKA_BOOTSTRAP": self.bootstrap, "LEADSMAN_REDIS_URL": self.redis_url}


def start(
    run_dir: Path = DEFAULT_RUN_DIR,
    *,
    kafka_port: int | None = None,
    redis_port: int | None = None,
    create_topics: bool = True,
    tie_to_parent: bool = False,
) -> Stack:
    """Start what does not run yet in `run_dir` and return once both answer and the topics exist.

    Data stays in the run dir, so a later start finds it again. On failure nothing that was started here is left
    running. `tie_to_parent`: both die with this process (Linux). Raises StackError.
    """
    run_dir = run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    with processes.locked(run_dir / "lock"):
        before = {process.name for process in processes.find_all(run_dir)}
        try:
            return _start(run_dir, kafka_port, redis_port, create_topics, tie_to_parent)
        except BaseException:
            new = [process for process in processes.find_all(run_dir) if process.name not in before]
            processes.stop(run_dir, new, grace_s=2)
            raise


def stop(run_dir: Path = DEFAULT_RUN_DIR, *, grace_s: float = 20.0) -> list[str]:
    """Stop everything that was started in `run_dir`, emulators too; returns the names of what ran."""
    run_dir = run_dir.resolve()
    if not run_dir.is_dir():
        return []
    with processes.locked(run_dir / "lock"):
        running = processes.find_all(run_dir)
        processes.stop(run_dir, running, grace_s=grace_s)
        (run_dir / "env").unlink(missing_ok=True)
    return [process.name for process in running]


def _start(
    run_dir: Path, kafka_port: int | None, redis_port: int | None, create_topics: bool, tie_to_parent: bool
) -> Stack:
    redis = _running(run_dir, "redis", redis_port)
    kafka = _running(run_dir, "kafka", kafka_port)
    reused = redis is not None and kafka is not None
    if redis is None:
        redis = redis_server.start(run_dir, port=redis_port, tie_to_parent=tie_to_parent)
    elif not redis_server.answers(redis.port):
        raise StackError(f"Redis runs (pid {redis.pid}) but does not answer; `stack.py down` first")
    if kafka is None:
        kafka = kafka_broker.start(run_dir, port=kafka_port, tie_to_parent=tie_to_parent)
    elif not kafka_broker.answers(kafka.port):
        raise StackError(f"Kafka runs (pid {kafka.pid}) but does not answer; `stack.py down` first")
    bootstrap = f"{LOOPBACK}:{kafka.port}"
    if create_topics:
        topics.create(bootstrap, topics.load(TOPICS_DIR).values())
    stack = Stack(bootstrap, redis_server.url(redis.port), kafka.pid, redis.pid, reused)
    partial = run_dir / "env.partial"
    partial.write_text(_env_lines(stack), encoding="utf-8")
    partial.replace(run_dir / "env")
    return stack


def _running(run_dir: Path, name: str, port: int | None) -> processes.Process | None:
    process = processes.find(run_dir, name)
    if process and port and process.port != port:
        raise StackError(f"{name} already runs on port {process.port}, not {port}; `stack.py down` first")
    return process


def _env_lines(stack: Stack) -> str:
    return "".join(f"{key}={value}\n" for key, value in stack.env().items())


def _up(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    stack = start(arguments.run_dir, kafka_port=arguments.kafka_port, redis_port=arguments.redis_port)
    state = "already running" if stack.reused else f"ready in {time.monotonic() - began:.1f} s"
    print(f"Kafka (pid {stack.kafka_pid}) and Redis (pid {stack.redis_pid}): {state}", file=sys.stderr)
    print(_env_lines(stack), end="")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stopped = stop(arguments.run_dir)
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    running = {process.name: process for process in processes.find_all(arguments.run_dir)}
    answers = {"kafka": kafka_broker.answers, "redis": redis_server.answers}
    for name, process in running.items():
        state = "running" if answers.get(name, processes.port_open)(process.port) else "running, but does not answer"
        print(f"{name}: {state}, pid {process.pid}, {LOOPBACK}:{process.port}")
    for name in answers.keys() - running.keys():
        print(f"{name}: not running")
    return 0 if answers.keys() <= running.keys() else 1


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (status: 1 when Kafka or Redis does not run)."""
    parser = argparse.ArgumentParser(description="Kafka and Redis on loopback, with Leadsman's topics")
    commands = {"up": _up, "down": _down, "status": _status}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--run-dir", type=Path, default=DEFAULT_RUN_DIR, help="pid files, logs, data (%(default)s)")
    parser.add_argument("--kafka-port", type=int, help="default: a free one")
    parser.add_argument("--redis-port", type=int, help="default: a free one")
    parsed = parser.parse_args(arguments)
    parsed.run_dir = parsed.run_dir.resolve()
    try:
        return commands[parsed.command](parsed)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stack: interrupted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
