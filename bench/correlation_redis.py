"""What correlations cost on Redis: events a second, operations and memory, and how they grow with the groups.

    bench/correlation_redis.py [--keys 1000,10000,100000,1000000] [--events 20000]

correlation.py measures one process without Redis. Here two correlations, one after the other: more than 20 events of a
group within 5 minutes, and two events of a group in their order within 10 minutes. Every group gets an event, then
`--events` more come for groups at random. Then everyday noise under the rules that come with Leadsman. A Redis of its
own; prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy" / "local"))

import processes
import redis
import redis_server
from measure import machine, note
from mix import raw_of, samples

from leadsman_common.avro import audit_event_codec
from leadsman_common.events import Flag
from leadsman_common.schemas import load_avsc
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.runner import Record
from leadsman_detector.state import settle
from leadsman_detector.state_redis import RedisState, connect
from leadsman_normalizer.normalize import normalize

BATCH = 500
STEP_US = 1_000  # between two events
START_US = 1_793_000_000_000_000
NOISE_GOAL = 0.05  # Redis calls an event
BASE = """\
title: {name}
id: 00000000-0000-4000-8000-00000000000{n}
name: {name}
status: test
level: low
logsource: {{product: kubernetes, service: audit}}
leadsman: {{alert: false}}
detection:
    it: {{verb: get, objectRef.resource: {name}}}
    condition: it
---
"""
CORRELATION = """\
title: What is measured
id: 00000000-0000-4000-8000-000000000009
name: measured
status: test
level: low
correlation:
    type: {type}
    rules: [{rules}]
    group-by: [actor.name]
    timespan: {timespan}
{condition}
"""
KINDS = {
    "event_count > 20 in 5m": ("event_count", ("secrets",), "5m", "    condition: {gt: 20}"),
    "temporal_ordered in 10m": ("temporal_ordered", ("secrets", "pods"), "10m", ""),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", default="1000,10000,100000,1000000")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--noise", type=int, default=100_000)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        server = redis_server.start(folder, port=None, tie_to_parent=True)
        try:
            url = redis_server.url(server.port)
            for name in KINDS:
                result[name] = {}
                for keys in map(int, args.keys.split(",")):
                    note(f"{name}: {keys} groups")
                    result[name][str(keys)] = grown(folder, name, keys, args.events, url)
                    note(json.dumps(result[name][str(keys)]))
            note("everyday noise")
            result["everyday noise"] = noise(args.noise, url)
        finally:
            processes.stop(folder, [server], grace_s=5)
    print(json.dumps(result, indent=1))
    return 0


def grown(folder: Path, name: str, keys: int, events: int, url: str) -> dict[str, float]:
    """Figures of one correlation with so many groups."""
    kind, resources, timespan, condition = KINDS[name]
    rules = folder / f"rules-{kind}"
    rules.mkdir(exist_ok=True)
    text = "".join(BASE.format(name=resource, n=n) for n, resource in enumerate(resources))
    text += CORRELATION.format(type=kind, rules=", ".join(resources), timespan=timespan, condition=condition)
    (rules / "measured.yml").write_text(text)
    loaded = load([rules])
    if loaded.problems:
        raise ValueError(str(loaded.problems[0]))
    rng = random.Random(7)
    with redis.Redis.from_url(url, socket_timeout=None) as client:  # to drop a million keys takes its time
        client.flushall()
        empty = client.info("memory")["used_memory"]
        run(Detector(loaded), url, made(resources[0], range(keys)))
        filled, held = client.info("memory")["used_memory"], client.dbsize()
        more = ((rng.choice(resources), rng.randrange(keys)) for _ in range(events))
        batches = [list(made_batch(part)) for part in parted(more)]
        client.config_resetstat()
        seconds, cpu = run(Detector(loaded), url, batches)
        stats = client.info("commandstats")
    calls = sum(stats.get(f"cmdstat_{how}", {}).get("calls", 0) for how in ("evalsha", "eval"))
    inside = sum(stat["calls"] for stat in stats.values()) - calls
    return {
        "events_per_s": round(events / seconds),
        "cpu_us_per_event": round(cpu / events * 1e6, 1),
        "redis_calls_per_event": round(calls / events, 4),
        "redis_commands_inside_per_event": round(inside / events, 2),
        "redis_keys": held,
        "memory_mb": round((filled - empty) / 2**20, 1),
        "memory_bytes_per_group": round((filled - empty) / keys),
    }


def noise(count: int, url: str) -> dict[str, Any]:
    """Redis calls an event of everyday noise."""
    rules = load([default_rules_dir()])
    encode = audit_event_codec().encode
    values = [encode(normalize(raw_of(sample, n))) for n, sample in enumerate(samples(min(count, 20_000), alerting=0))]
    records = [Record("t", 0, n, None, values[n % len(values)], (), 0) for n in range(count)]
    batches = [records[at : at + BATCH] for at in range(0, count, BATCH)]
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.config_resetstat()
        seconds, _ = run(Detector(rules), url, batches)
        stats = client.info("commandstats")
    calls = sum(stats.get(f"cmdstat_{how}", {}).get("calls", 0) for how in ("evalsha", "eval"))
    inside = sum(stat["calls"] for stat in stats.values()) - calls
    return {
        "events": count,
        "events_per_s": round(count / seconds),
        "redis_calls_per_event": round(calls / count, 4),
        "redis_commands_inside_per_event": round(inside / count, 3),
        "goal": {
            "redis_calls_per_event": NOISE_GOAL,
            "met": calls / count <= NOISE_GOAL,
        },
    }


def run(detector: Detector, url: str, batches: Iterator[list[Record]] | Sequence[list[Record]]) -> tuple[float, float]:
    """Evaluate batches against Redis; gives seconds and this process's CPU seconds."""

    async def all_of_them() -> tuple[float, float]:
        state = RedisState(connect(url), "bench:")
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            await settle(detector.evaluate(detector.plan(batch)), state.exchange)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        await state.close()
        return spent

    return asyncio.run(all_of_them())


def made(resource: str, groups: Sequence[int]) -> Iterator[list[Record]]:
    """An event of each group."""
    for part in parted((resource, group) for group in groups):
        yield list(made_batch(part))


def parted(some: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """What comes, in parts of a batch."""
    part: list[tuple[str, int]] = []
    for one in some:
        part.append(one)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part


_serial = 0


def made_batch(part: Sequence[tuple[str, int]]) -> Iterator[Record]:
    """Events of these (resource, group), each a little later than the one before."""
    global _serial  # noqa: PLW0603 - no two events of a run are the same
    encode = audit_event_codec().encode
    for resource, group in part:
        _serial += 1
        event = copy.copy(_EVENT)
        event |= {
            "action": f"get {resource}",
            "id": f"{_serial:024x}",
            "time": START_US + _serial * STEP_US,
            "objectRef": {**event["objectRef"], "resource": resource, "name": "n", "namespace": "shop"},
            "actor": {**event["actor"], "name": f"user-{group}"},
        }
        yield Record("t", 0, _serial, None, encode(event), (), 0)


def _blank() -> dict[str, Any]:
    found = {f["name"]: copy.deepcopy(f.get("default")) for f in load_avsc("audit-event")["fields"]}
    found["outcome"] |= {"effective": True, "http": 200}
    found["cluster"] |= {"id": "aws/111122223333/eu-west-1/prod"}
    return {**found, "flags": int(Flag.EFFECTIVE), "verb": "get"}


_EVENT: Any = _blank()


if __name__ == "__main__":
    sys.exit(main())
