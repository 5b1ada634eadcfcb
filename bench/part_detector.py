"""What the detector costs an event at full load, in both runners, and what of that is Kafka and Faust alone.

The same topic is read by the same runner twice: with the detector's own handler, and with one that does nothing. Each
reading is a process of its own: `part_detector.py --child` is what runs in it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a child it is nobody's module
    sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy" / "local"))

from measure import note
from part_normalizer import BATCH, events_of, raws
from pipeline import Pipeline

from leadsman_common.avro import audit_event_codec
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_detector.config import Settings
from leadsman_detector.runner import Record
from leadsman_detector.stream import load_rules, make_handler, make_runner, source_of
from leadsman_normalizer.key import partition_key

RUNNERS = ("faust", "plain")
WORK = ("nothing", "detect")
GOAL_US = 10.0  # Kafka and Faust, an event


def fill(pipeline: Pipeline, count: int) -> None:
    """Put the mix on audit.events, as the normalizer would."""
    note(f"detector: {count} events onto audit.events")
    encode, producer = audit_event_codec().encode, AckedProducer(pipeline.world.bootstrap)
    records = raws(count)
    for at in range(0, count, BATCH * 10):
        events = events_of(records[at : at + BATCH * 10])
        producer.send(Outgoing(pipeline.names["audit.events"], partition_key(event), encode(event)) for event in events)


def measure(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """Figures of each runner and each kind of work, and the goal beside them."""
    fill(pipeline, count)
    result: dict[str, Any] = {"events": count}
    for runner in RUNNERS:
        figures = {}
        for work in WORK:
            note(f"detector: {runner}, {work}")
            figures[work] = _child(pipeline, runner, work, count)
        result[runner] = figures
    result["goal"] = {
        "faust.nothing.cpu_us_per_event": GOAL_US,
        "met": result["faust"]["nothing"]["cpu_us_per_event"] <= GOAL_US,
    }
    return result


def _child(pipeline: Pipeline, runner: str, work: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", runner, "--work", work, "--events", str(count)]
    command += ["--bootstrap", pipeline.world.bootstrap, "--redis", pipeline.world.redis_url]
    command += ["--prefix", pipeline.prefix]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def child(arguments: argparse.Namespace) -> int:
    """Read all events once; print figures from the first tenth to the last event."""
    with tempfile.TemporaryDirectory() as data:
        settings = Settings(
            kafka_bootstrap=arguments.bootstrap,
            redis_url=arguments.redis,
            topic_prefix=arguments.prefix,
            group=f"bench-{arguments.child}-{arguments.work}",
            state_namespace=f"bench-{arguments.child}:",
            data_dir=data,
        )
        wrapped: Callable[[list[Record]], Any] = _nothing
        if arguments.work == "detect":
            wrapped = make_handler(settings, load_rules(settings), AckedProducer(arguments.bootstrap))
        marks: list[tuple[int, float, float]] = []
        batches = 0

        async def handler(records: list[Record]) -> bool:
            nonlocal batches
            done = await wrapped(records)
            batches += 1
            seen = (marks[-1][0] if marks else 0) + len(records)
            marks.append((seen, time.perf_counter(), time.process_time()))
            if seen >= arguments.events:
                os.kill(os.getpid(), signal.SIGTERM)
            return done

        make_runner(arguments.child, source_of(settings)).run(handler)
    first = next(mark for mark in marks if mark[0] >= arguments.events / 10)
    events, wall_s, cpu_s = (b - a for a, b in zip(first, marks[-1], strict=True))
    figures = {
        "cpu_us_per_event": round(cpu_s / events * 1e6, 2),
        "events_per_s": round(events / wall_s),
        "events_per_s_a_core": round(events / cpu_s),
        "events_per_batch": round(marks[-1][0] / batches),
    }
    print(json.dumps(figures))
    return 0


async def _nothing(_records: list[Record]) -> bool:
    """Handle a batch by doing nothing."""
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=RUNNERS, required=True)
    parser.add_argument("--work", choices=WORK, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--prefix", required=True)
    sys.exit(child(parser.parse_args()))
