"""What the normalizer costs: CPU µs an event, events/s a core and bytes an event, beside the floor in the same run.

`bench/normalizer.py [--corpora DIR] [--seconds N]`. The records are the corpora's everyday noise where that is at hand,
else the benchmark's own mix of attacks and everyday work. The floor is decoding alone: msgspec into the typed Struct
that normalize starts from, bodies left raw. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leadsman_common.avro import audit_event_codec
from leadsman_common.raw import RawEvent
from leadsman_normalizer.head import peek
from leadsman_normalizer.lenient import decoder
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.sources.k8s_audit import Event

REPO = Path(__file__).resolve().parents[1]
NOISE = Path("kube-apiserver", "n16-background-noise.ndjson")


def main() -> int:
    """Measure each step over the same records, in rounds, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    given = os.environ.get("LEADSMAN_CORPORA") or REPO.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=Path(given))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each step")
    args = parser.parse_args()
    name, records = _records(args.corpora)
    events = [event for raw in records if isinstance(event := normalize(raw), dict)]
    codec = audit_event_codec()
    native = decoder(Event)
    values = [raw.value for raw in records]
    steps: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "floor_decode": (native.decode, values),
        "peek": (peek, records),
        "normalize": (normalize, records),
        "encode": (codec.encode, events),
    }
    result: dict[str, Any] = {
        "records": name,
        "count": len(records),
        "writes": sum(event["verb"] in ("create", "update", "patch", "delete") for event in events),
        "with_facts": sum(event["facts"] is not None for event in events),
        "raw_bytes_an_event": round(sum(map(len, values)) / len(values)),
        "bytes_an_event": round(sum(len(codec.encode(event)) for event in events) / len(events)),
        "cpu_us": {},
    }
    for step, (function, items) in steps.items():
        result["cpu_us"][step] = round(_measure(function, items, args.seconds), 2)
    cpu = result["cpu_us"]
    result["events_s_a_core"] = round(1e6 / (cpu["normalize"] + cpu["encode"]))
    result["times_the_floor"] = round((cpu["normalize"] + cpu["encode"]) / cpu["floor_decode"], 1)
    print(json.dumps(result, indent=1))
    return 0


def _records(corpora: Path) -> tuple[str, list[RawEvent]]:
    """The records that are ours (without RequestReceived, which a policy omits), and their name."""
    told = {"format": "k8s-audit", "provider": "k8s", "cluster": "bench"}
    path = corpora / NOISE
    if path.is_file():
        lines = path.read_bytes().splitlines()
        return NOISE.name, [RawEvent(line, **told) for line in lines if b'"stage":"RequestReceived"' not in line]
    files = sorted((REPO / "tests" / "fixtures" / "records").glob("*/native.json"))
    return "fixtures", [RawEvent(file.read_bytes(), **told) for file in files] * 100


def _measure(function: Callable[[Any], Any], items: list[Any], seconds: float) -> float:
    """CPU µs a call: the median of the rounds that fit into `seconds`."""
    rounds = []
    until = time.perf_counter() + seconds
    gc.collect()
    while not rounds or time.perf_counter() < until:
        start = time.process_time()
        for item in items:
            function(item)
        rounds.append((time.process_time() - start) / len(items) * 1e6)
    return sorted(rounds)[len(rounds) // 2]


if __name__ == "__main__":
    sys.exit(main())
