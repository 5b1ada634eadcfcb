"""What the ledger costs: CPU of the normalizer and the detector over full topics, with it and without, in one run.

`bench/ledger.py [--events N] [--rounds N]`. Each round has both, in turn, each over topics of its own; of each the
best round counts, so that others on the machine disturb little. `noting_us` is the noting alone, in this process: what
the two services add to each record before pages are sent. `ingest` is what an ingest service's producer takes for each
record, in batches of 500, with receipts and without. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "deploy" / "local")]

import part_normalizer  # noqa: E402 - the line above makes these visible
from measure import cpu_s, machine, note  # noqa: E402
from own_stack import own_stack  # noqa: E402
from pipeline import Pipeline, World  # noqa: E402

from leadsman_common.kafka import Outgoing  # noqa: E402
from leadsman_common.ledger import MADE, PASSED, Ledger  # noqa: E402
from leadsman_common.raw import RawEvent  # noqa: E402
from leadsman_common.receipts import Handed, IngestProducer  # noqa: E402
from leadsman_common.settings import Common  # noqa: E402

GOAL = 0.02
SERVICES = ("normalizer", "detector")


def main() -> int:
    """Measure over a stack of its own and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    records = part_normalizer.raws(arguments.events)
    found: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)
    ingest: defaultdict[bool, list[float]] = defaultdict(list)
    with own_stack() as (run_dir, running):
        world = World(running.bootstrap, running.redis_url)
        for turn in range(arguments.rounds):
            for on in (True, False) if turn % 2 else (False, True):
                note(f"round {turn + 1}, ledger {'on' if on else 'off'}")
                extra = {"LEADSMAN_LEDGER": str(on).lower()}
                with Pipeline(run_dir, world, extra=extra) as pipeline:
                    pipeline.produce_raw(records)
                    ingest[on].append(_ingest_us(pipeline, world, records, on=on))
                    for service in SERVICES:
                        found[service, on].append(_cpu_us(pipeline, service, len(records)))
    result: dict[str, Any] = {"machine": machine(), "events": len(records), "rounds": arguments.rounds}
    for service in SERVICES:
        with_it, without = min(found[service, True]), min(found[service, False])
        result[service] = {
            "on_us": round(with_it, 1),
            "off_us": round(without, 1),
            "cost": round(with_it / without - 1, 3),
            "all_on_us": [round(us, 1) for us in found[service, True]],
            "all_off_us": [round(us, 1) for us in found[service, False]],
        }
    took = {on: min(us) for on, us in ingest.items()}
    receipts_us = max(0.0, took[True] - took[False])
    result["ingest"] = {"on_us": round(took[True], 2), "off_us": round(took[False], 2)}
    noting = {"ingest": receipts_us, "normalizer": _noting_us(records), "detector": _noting_runs_us(len(records))}
    whole_us = sum(result[service]["off_us"] for service in SERVICES) + took[False]
    share = sum(noting.values()) / whole_us
    result["noting_us"] = {name: round(us, 3) for name, us in noting.items()}
    result["noting_share"] = round(share, 4)
    result["goal"] = {"of_the_stream": GOAL, "met": share <= GOAL}
    print(json.dumps(result, indent=1))
    return 0


def _cpu_us(pipeline: Pipeline, service: str, count: int) -> float:
    """CPU µs an event of a service from its start to its last commit; its start is in it, with and without alike."""
    pipeline.services.start(service)
    pid = pipeline.services.pid(service)
    pipeline.services.wait_ready(service)
    began = cpu_s(pid)
    pipeline.until(lambda: not pipeline.lag(service), f"{service} done", 600, of=[service])
    took = cpu_s(pid) - began
    pipeline.services.stop(service)
    return took / count * 1e6


def _ingest_us(pipeline: Pipeline, world: World, records: list[RawEvent], *, on: bool) -> float:
    """CPU µs a record of handing them to Kafka as every ingest service does, without what reads and splits them."""
    settings = Common(kafka_bootstrap=world.bootstrap, topic_prefix=pipeline.prefix, ledger=on)
    producer = IngestProducer("bench", settings)
    topic = pipeline.names["alerts"]  # which nobody here reads
    batches = [records[first : first + 500] for first in range(0, len(records), 500)]
    began = time.process_time()
    for batch in batches:
        made = [Outgoing(topic, raw.key(), raw.value, raw.headers()) for raw in batch]
        producer.send(Handed(made, {"bench": len(batch)}))
    return (time.process_time() - began) / len(records) * 1e6


def _noting_us(records: list[RawEvent]) -> float:
    """CPU µs a record of noting each by itself, pages made every 500, as the normalizer does."""
    ledger, best = Ledger("bench"), float("inf")
    sources = [f"{raw.provider}/{raw.account}/{raw.region}/{raw.cluster}" for raw in records[:50]]
    for _ in range(5):
        pages: list[Outgoing] = []
        began = time.process_time()
        for n in range(len(records)):
            ledger.note("raw.aws", n % 3, n // 3, MADE, sources[n % 50])
            if n % 500 == 499:
                pages += ledger.pages()
        best = min(best, time.process_time() - began)
        ledger = Ledger("bench")
    return best / len(records) * 1e6


def _noting_runs_us(count: int) -> float:
    """CPU µs a record of noting a batch at a time, pages made once in ten batches, as the detector does."""
    best = float("inf")
    for _ in range(5):
        ledger = Ledger("bench")
        began = time.process_time()
        for first in range(0, count, 500):
            ledger.note_run("audit.events", 0, first, 500, PASSED)
            if first % 5_000 == 0:
                ledger.pages()
        best = min(best, time.process_time() - began)
    return best / count * 1e6


if __name__ == "__main__":
    sys.exit(main())
