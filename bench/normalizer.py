"""What the normalizer costs over everyday noise: CPU µs an event, events/s a core, bytes an event, beside the floor.

`bench/normalizer.py [--corpora DIR] [--count N]`. The records are the everyday noise of the corpora (a real API server,
repeated until there are N) where that is at hand, else the benchmark's own mix. It is the part `normalizer`
of run.py over other records: decoding, Kafka and the service are measured in the same run. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path

import msgspec

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "deploy" / "local")]

import measure  # noqa: E402 - the line above makes these visible
import part_normalizer  # noqa: E402
from own_stack import own_stack  # noqa: E402
from pipeline import Pipeline, World  # noqa: E402

from leadsman_common.raw import RawEvent  # noqa: E402

NOISE = Path("kube-apiserver", "n16-background-noise.ndjson")
PARTITIONS = 6


def main() -> int:
    """Measure over a stack of its own and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given = os.environ.get("LEADSMAN_CORPORA") or HERE.parents[1] / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=Path(given))
    parser.add_argument("--count", type=int, default=40_000, help="records that go through the service")
    arguments = parser.parse_args()
    name, records = _records(arguments.corpora, arguments.count)
    with own_stack() as (run_dir, running):
        world = World(running.bootstrap, running.redis_url)
        with Pipeline(run_dir, world, max_partitions=PARTITIONS) as pipeline:
            result = part_normalizer.measure(pipeline, records)
    print(json.dumps({"machine": measure.machine(), "records": name, **result}, indent=1))
    return 0


def _records(corpora: Path, count: int) -> tuple[str, list[RawEvent]]:
    """The records and their name; of the noise those that are ours (a policy omits stage RequestReceived)."""
    path = corpora / NOISE
    if not path.is_file():
        return "the benchmark's mix", part_normalizer.raws(count)
    lines = [line for line in path.read_bytes().splitlines() if b'"stage":"RequestReceived"' not in line]
    told = RawEvent(b"", "k8s-audit", cluster="bench", provider="k8s", received_ms=time.time_ns() // 1_000_000)
    return NOISE.name, [
        msgspec.structs.replace(told, value=line, source_id=f"{n:056d}")
        for n, line in enumerate(itertools.islice(itertools.cycle(lines), count))
    ]


if __name__ == "__main__":
    sys.exit(main())
