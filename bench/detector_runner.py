"""What reading audit.events costs in each runner, with a handler that does nothing; and how long a record waits.

Needs a broker: `bench/detector_runner.py --bootstrap HOST:PORT [--events N] [--rates 1000,2000] [--runners ...]`.
Prints JSON: CPU µs an event and events/s at full load, and at each rate the time from append to handler.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from leadsman_detector.runner import Record, Source
from leadsman_detector.stream import make_runner


def main() -> int:
    """Run the parts; the child of each runs in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", default=os.environ.get("LEADSMAN_KAFKA_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=600)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rates", default="1000,2000")
    parser.add_argument("--seconds", type=int, default=15, help="of each rate")
    parser.add_argument("--runners", default="faust,plain")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    rates = [int(rate) for rate in args.rates.split(",") if rate]
    result: dict[str, object] = {"events": args.events, "bytes": args.bytes, "partitions": args.partitions}
    for runner in args.runners.split(","):
        figures: dict[str, object] = {}
        if args.events:
            with fresh_topic(args) as topic:
                produce(args, topic, args.events)
                figures["full_load"] = spawn(args, runner, topic, args.events)()
        for rate in rates:
            with fresh_topic(args) as topic:
                produce(args, topic, 100)  # so that its first record is no start-up time
                read = spawn(args, runner, topic, 100 + rate * args.seconds)
                time.sleep(6)
                produce(args, topic, rate * args.seconds, rate)
                figures[f"at_{rate}_per_s"] = read()
        result[runner] = figures
    print(json.dumps(result, indent=1))
    return 0


def spawn(args: argparse.Namespace, runner: str, topic: str, events: int) -> Callable[[], dict[str, float]]:
    """Start a child that reads `events` records; gives what waits for its figures."""
    command = [sys.executable, __file__, "--child", runner, "--topic", topic, "--events", str(events)]
    process = subprocess.Popen([*command, "--bootstrap", args.bootstrap], stdout=subprocess.PIPE, text=True)

    def wait() -> dict[str, float]:
        out, _ = process.communicate(timeout=300)
        return json.loads(out)

    return wait


def child(args: argparse.Namespace) -> int:
    """Read with one runner; figures from the second batch on."""
    seen = 0
    first = (0, 0.0, 0.0)
    last = (0, 0.0, 0.0)
    batches = 0
    waits: list[float] = []

    async def handler(records: list[Record]) -> bool:
        nonlocal seen, first, last, batches
        now_ms = time.time() * 1000
        seen += len(records)
        batches += 1
        last = (seen, time.perf_counter(), time.process_time())
        if not first[0]:
            first = last
        if seen > 100:
            waits.extend(now_ms - r.timestamp_ms for r in records)
        if seen >= args.events:
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    with tempfile.TemporaryDirectory() as data:
        make_runner(args.child, Source(args.bootstrap, args.topic, args.topic, data)).run(handler)
    events, wall, cpu = (b - a for a, b in zip(first, last, strict=True))
    waits.sort()
    figures = {
        "cpu_us_per_event": round(cpu / events * 1e6, 2),
        "events_per_s": round(events / wall),
        "events_per_batch": round(seen / batches, 1),
        "p50_ms": round(waits[len(waits) // 2], 1),
        "p99_ms": round(waits[int(len(waits) * 0.99)], 1),
        "max_ms": round(waits[-1], 1),
    }
    print(json.dumps(figures))
    return 0


@contextlib.contextmanager
def fresh_topic(args: argparse.Namespace) -> Iterator[str]:
    """Create a topic and delete it after; the broker stamps each record when it is appended."""
    admin = AdminClient({"bootstrap.servers": args.bootstrap})
    topic = f"bench-{secrets.token_hex(4)}"
    config = {"message.timestamp.type": "LogAppendTime"}
    for future in admin.create_topics([NewTopic(topic, args.partitions, 1, config=config)]).values():
        future.result()
    try:
        yield topic
    finally:
        for future in admin.delete_topics([topic]).values():
            future.result()


def produce(args: argparse.Namespace, topic: str, events: int, rate: int = 0) -> None:
    """Append records, half of each compressible; at `rate` a second if given."""
    producer = Producer({"bootstrap.servers": args.bootstrap, "compression.type": "lz4", "linger.ms": 5})
    rng = random.Random(7)
    began = time.perf_counter()
    for n in range(events):
        value = rng.randbytes(args.bytes // 2) + b"x" * (args.bytes // 2)
        while True:
            try:
                producer.produce(topic, value, key=str(n))
                break
            except BufferError:
                producer.poll(0.1)
        if rate:
            while time.perf_counter() - began < n / rate:
                producer.poll(0.001)
    producer.flush()


if __name__ == "__main__":
    sys.exit(main())
