"""What `leadsman scan` does on everyday noise, beside the parsers alone in the same run: events/s on one core.

`bench/scan.py [--corpora DIR] [--records N] [--passes N]`. `typed` is msgspec into the struct that the scan itself
starts from, `untyped` msgspec into dicts, `orjson` the same where that is installed; `scan` reads the file, judges
every record by the shipped rules and keeps alerts. All of it is CPU time of one process, the best of some passes,
taken in turns, so that a busy machine slows all alike. Prints JSON.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure
import noise

from leadsman_cli.readers import Identity, read
from leadsman_cli.scan import Scanned, Scanner
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_normalizer.sources.k8s_audit import Event

GOAL = 80_000 / 430_000  # of the typed decode


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    noise.add_argument(parser)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    name, lines = noise.lines(arguments.corpora, arguments.records)
    log = b"\n".join(lines)
    rules = load([default_rules_dir()])
    scans: list[Scanned] = []

    def scan() -> None:
        scanner = Scanner(rules)
        scanner.take(read("-", io.BytesIO(log), "auto", Identity(), _nothing))
        scans.append(scanner.found)

    works: dict[str, Callable[[], object]] = {
        "typed": _each(msgspec.json.Decoder(Event).decode, lines),
        "untyped": _each(msgspec.json.Decoder().decode, lines),
        "scan": scan,
    }
    try:
        works["orjson"] = _each(importlib.import_module("orjson").loads, lines)
    except ImportError:
        measure.note("orjson is not installed: left out")
    best = dict.fromkeys(works, float("inf"))
    for _ in range(arguments.passes):
        for what, work in works.items():
            began = time.process_time()
            work()
            best[what] = min(best[what], time.process_time() - began)
    found = scans[-1]
    share = best["typed"] / best["scan"]
    result: dict[str, Any] = {
        "machine": measure.machine(),
        "records": {"name": name, "count": len(lines), "bytes_each": round(len(log) / len(lines))},
        "rules": len(rules.rules),
        "events_per_s_a_core": {what: round(len(lines) / s) for what, s in best.items()},
        "us_each": {what: round(s / len(lines) * 1e6, 2) for what, s in best.items()},
        "of_them": {"first_stage": found.dropped.total(), "built": found.built, "alerts": len(found.alerts)},
        "scan_of_typed": round(share, 3),
        "goal_of_typed": round(GOAL, 3),
        "met": share >= GOAL,
    }
    print(json.dumps(result, indent=1))
    return 0


def _each(decode: Callable[[bytes], object], lines: list[bytes]) -> Callable[[], None]:
    def work() -> None:
        for line in lines:
            decode(line)

    return work


def _nothing(_: int) -> None:
    """Progress that nobody sees."""


if __name__ == "__main__":
    sys.exit(main())
