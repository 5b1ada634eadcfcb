"""`make bench`: what each hop costs, how much the stream takes, how long an alert is on its way.

Prints one JSON document on stdout when all is done, progress on stderr. It starts a Kafka and a Redis of its own on
loopback and stops them. README.md says what each number means.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "deploy" / "local")]

import measure  # noqa: E402 - the line above makes these visible
import part_detector  # noqa: E402
import part_normalizer  # noqa: E402
import part_scan  # noqa: E402
import part_stream  # noqa: E402
from own_stack import own_stack  # noqa: E402
from pipeline import Pipeline, World  # noqa: E402
from receiver import Receiver  # noqa: E402

PARTITIONS = 6  # as schemas/topics says


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    normalizer: int
    detector: int
    throughput: int
    seconds: int
    scan: int


FULL = Size(normalizer=60_000, detector=200_000, throughput=60_000, seconds=30, scan=100_000)
QUICK = Size(normalizer=4_000, detector=10_000, throughput=4_000, seconds=3, scan=5_000)


class Bench:
    """The parts of one run, over one stack; each has topics and a Redis database of its own."""

    def __init__(self, run_dir: Path, world: World, size: Size) -> None:
        self._run_dir, self._world, self._size = run_dir, world, size

    def parts(self) -> dict[str, Callable[[], Any]]:
        """Name the parts, in order."""
        size = self._size
        return {
            "normalizer": lambda: self._with(
                lambda p: part_normalizer.measure(p, part_normalizer.raws(size.normalizer))
            ),
            "detector": lambda: self._with(lambda p: part_detector.measure(p, size.detector)),
            "throughput": lambda: self._with(lambda p: part_stream.throughput(p, size.throughput)),
            "latency": lambda: {
                f"at_{rate}_per_s": self._with(lambda p, rate=rate: part_stream.latency(p, rate, size.seconds))
                for rate in part_stream.RATES
            },
            "scan": lambda: part_scan.measure(size.scan),
        }

    def _with(self, part: Callable[[Pipeline], Any]) -> Any:
        with Pipeline(self._run_dir, self._world, max_partitions=PARTITIONS) as pipeline:
            return part(pipeline)


def main() -> int:
    """Run the parts and print what they gave."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it runs; its figures say little")
    parser.add_argument("--only", default="", help="parts, comma-separated")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": measure.machine(), "quick": arguments.quick}
    with own_stack() as (run_dir, running), Receiver() as receiver:
        world = World(running.bootstrap, running.redis_url, webhook=receiver.url)
        parts = Bench(run_dir, world, QUICK if arguments.quick else FULL).parts()
        chosen = [name for name in arguments.only.split(",") if name] or list(parts)
        if unknown := set(chosen) - parts.keys():
            parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
        for name in chosen:
            result[name] = parts[name]()
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
