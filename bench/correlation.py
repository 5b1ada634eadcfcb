"""What correlations cost in one process, without Redis: events a second, and memory, by the number of groups.

An event_count (more than 20 in 5 minutes) and a temporal_ordered pair (10 minutes), each by actor. `every` has each
event count for one of them; `everyday` has one in twenty count and the rest pass by their routing, as in everyday
noise. Prints JSON: `.venv/bin/python bench/correlation.py [--events N] [--keys 1000,100000,1000000]`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from leadsman_common.avro import audit_event_codec
from leadsman_common.events import Flag, action_of
from leadsman_common.schemas import load_avsc, records_of
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.state import MemoryState

BATCH = 500
START_MS = 1_700_000_000_000
RULES = """\
title: {name}
name: {name}
logsource: {{product: kubernetes}}
leadsman: {{alert: false}}
detection: {{it: {{objectRef.resource: {name}, verb: get}}, condition: it}}
---
"""
CORRELATIONS = """\
title: many
name: many
correlation: {type: event_count, rules: [counted], group-by: [actor.name], timespan: 5m, condition: {gt: 20}}
---
title: pair
name: pair
correlation: {type: temporal_ordered, rules: [begun, ended], group-by: [actor.name], timespan: 10m}
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of audit.events."""

    offset: int
    value: bytes
    topic: str = "audit.events"
    partition: int = 0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--keys", default="1000,100000,1000000")
    args = parser.parse_args()
    detector = made()
    result: dict[str, Any] = {"events": args.events}
    for keys in (int(k) for k in args.keys.split(",")):
        result[f"every_{keys}_keys"] = measured(detector, max(args.events, keys), keys, share=1.0)
        result[f"everyday_{keys}_keys"] = measured(detector, args.events, keys, share=0.05)
    print(json.dumps(result, indent=1))
    return 0


def made() -> Detector:
    """The detector of the two correlations alone."""
    with tempfile.TemporaryDirectory() as folder:
        rules = "".join(RULES.format(name=name) for name in ("counted", "begun", "ended"))
        (Path(folder) / "rules.yml").write_text(rules + CORRELATIONS)
        found = load([Path(folder)])
    if found.problems:
        raise SystemExit("\n".join(map(str, found.problems)))
    return Detector(found)


def measured(detector: Detector, events: int, keys: int, share: float) -> dict[str, Any]:
    """Events a second and requests an event on one core; bytes a group."""
    state, chance = MemoryState(), random.Random(7)
    make = maker()
    before, took, requests, done = _resident(), 0.0, 0, 0
    alerts: set[str] = set()
    while done < events:
        batch = [make(done + n, keys, chance, share) for n in range(min(BATCH, events - done))]
        began = time.process_time()
        plan = detector.plan(batch)
        requests += len(plan.requests)
        alerts |= {a["id"] for a in state.settle(detector.evaluate(plan))} if not plan.empty else set()
        took += time.process_time() - began
        done += len(batch)
    grown = _resident() - before
    return {
        "events_per_s": round(events / took),
        "state_requests_per_event": round(requests / events, 3),
        "alerts": len(alerts),
        "bytes_per_key": round(grown / min(keys, events * share)) if grown > 0 else 0,
    }


def maker() -> Any:
    """Make records that differ in actor, time, id and kind; encoded like those of the normalizer."""
    records = records_of(load_avsc("audit-event"))
    codec = audit_event_codec()

    def defaults(record: str, **given: Any) -> dict[str, Any]:
        fields = {f["name"]: f.get("default", "") for f in records[record]["fields"]}
        return {**msgspec.json.decode(msgspec.json.encode(fields)), **given}

    event = defaults(
        "AuditEvent",
        verb="get",
        outcome=defaults("Outcome", effective=True, authz="allow", http=200),
        cluster=defaults("Cluster", id="aws/111122223333/eu-west-1/prod"),
        flags=int(Flag.EFFECTIVE),
    )

    def make(n: int, keys: int, chance: random.Random, share: float) -> Record:
        member = chance.random() < share
        kind = chance.choice(("counted", "counted", "begun", "ended")) if member else "pods"
        actor = defaults("Actor", name=f"actor-{chance.randrange(keys)}")
        found = {
            **event,
            "action": action_of("get", kind),
            "id": f"{n:032x}",
            "time": (START_MS + n * 5) * 1000,  # 200 events a second
            "actor": actor,
            "objectRef": {**event["objectRef"], "resource": kind, "namespace": "shop", "name": "web"},
        }
        return Record(n, codec.encode(found))

    return make


def _resident() -> int:
    """Bytes of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
