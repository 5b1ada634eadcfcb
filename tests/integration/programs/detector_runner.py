"""A runner with a handler that writes `partition:offset` of every record to another topic, and little else.

test_detector_runner.py starts it, kills it and stops it. How it stands goes to stdout, one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from pathlib import Path

from leadsman_common import logs
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_detector.runner import EXIT_BROKEN, Record, Source
from leadsman_detector.stream import make_runner


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("runner")
    for name in ("--bootstrap", "--topic", "--group", "--out", "--data"):
        parser.add_argument(name, required=True)
    parser.add_argument("--delay-s", type=float, default=0.0, help="of each batch, before it is written")
    parser.add_argument("--fail-at", default="", help="raise at this record, once: a file beside the data says so")
    parser.add_argument("--hang", choices=("await", "block"), help="from the first batch on")
    parser.add_argument("--stall-s", type=float, default=60)
    parser.add_argument("--commit-on-delivery", action="store_true", help="the mutation: lose records")
    args = parser.parse_args()
    logs.setup("detector")
    if args.commit_on_delivery:
        mutate()

    producer = AckedProducer(args.bootstrap, linger_ms=0)
    failed = Path(args.data) / "failed"

    async def handler(records: list[Record]) -> bool:
        if args.hang == "block":
            time.sleep(1000)  # noqa: ASYNC251 - that is the point
        await asyncio.sleep(1000 if args.hang else args.delay_s)
        names = [f"{r.partition}:{r.offset}" for r in records]
        if args.fail_at in names and not failed.exists():
            failed.touch()
            raise RuntimeError("the handler broke, as it was told")
        out = [Outgoing(args.out, None, name.encode()) for name in names]
        await asyncio.to_thread(producer.send, out)
        return True

    source = Source(
        args.bootstrap,
        args.topic,
        args.group,
        args.data,
        session_timeout_s=6,
        stall_s=args.stall_s,
        stall_exit_s=args.stall_s * 2,
    )
    runner = make_runner(args.runner, source)
    threading.Thread(target=report, args=(runner,), daemon=True).start()
    try:
        runner.run(handler)
    except Exception:  # noqa: BLE001 - as __main__ does
        logs.structlog.get_logger().exception("left")
        return EXIT_BROKEN
    return 0


def report(runner) -> None:
    while True:
        sys.stdout.write(json.dumps({"ready": runner.ready(), "waiting": runner.waiting()}) + "\n")
        sys.stdout.flush()
        time.sleep(0.2)


def mutate() -> None:
    """Make a batch count as done as soon as it is fetched: what the tests must be able to see."""
    from leadsman_detector.acks import AckQueue

    fetched = AckQueue.fetched

    def commit_on_delivery(queue, batch):
        fetched(queue, batch)
        batch.handled = True
        batch.ack()

    AckQueue.fetched = commit_on_delivery


if __name__ == "__main__":
    sys.exit(main())
