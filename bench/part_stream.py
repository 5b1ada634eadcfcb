"""The stream from raw topics to alerts with real processes: throughput at full load, latency at a steady rate.

Every topic stamps a record when it is appended, so all times are the broker's. An alert's latency counts from the
append of the last of its records on a raw topic to the append of the alert; its evidence names both.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import processes
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from measure import busy_s, cpu_s, note, percentiles_ms
from mix import counted, expected, raw_of, samples
from pipeline import Pipeline

from leadsman_common.avro import alert_codec
from leadsman_common.raw import RawEvent

TOPICS = ("raw.aws", "raw.gcp", "audit.events", "alerts")
RATES = (1_000, 2_000)
TICK_S = 0.002
WARM_UP = 2_000
GOAL_MS = 300.0


class Hop(NamedTuple):
    """When an alert's last record, its event and the alert itself were appended, Unix ms."""

    raw_ms: int
    event_ms: int
    alert_ms: int


def stamp_on_append(pipeline: Pipeline) -> None:
    """Let the broker put the time on every record."""
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, pipeline.names[t], incremental_configs=[entry]) for t in TOPICS]
    for future in pipeline.admin.incremental_alter_configs(resources).values():
        future.result(timeout=10)


def throughput(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """Events/s from the first record's append on raw.* to the last alert's, and the CPU of each service meanwhile."""
    stamp_on_append(pipeline)
    _warm_up(pipeline)
    records = list(samples(count))
    names = pipeline.service_names()
    before = {name: cpu_s(pipeline.services.pid(name)) for name in names}
    began_ms = time.time() * 1000
    note(f"stream: {count} records at once")
    pipeline.produce_raw(raw_of(sample, n) for n, sample in enumerate(records))
    pipeline.wait_through(raw=count, timeout_s=300)
    after = {name: cpu_s(pipeline.services.pid(name)) for name in names}
    hops = [hop for hop in _hops(pipeline) if hop.raw_ms >= began_ms]
    took_s = (max(hop.alert_ms for hop in hops) - min(hop.raw_ms for hop in hops)) / 1000
    return {
        "events": count,
        "alerts": len(hops),
        "alerts_known": expected(records).total(),
        "events_per_s": round(count / took_s),
        "cpu_us_per_event": {name: round((after[name] - before[name]) / count * 1e6, 1) for name in names},
    }


def latency(pipeline: Pipeline, rate: int, seconds: int) -> dict[str, Any]:
    """From append on raw.* to append on alerts at `rate` records/s, in all and by hop."""
    stamp_on_append(pipeline)
    _warm_up(pipeline)
    began_ms = time.time() * 1000
    records = list(samples(rate * seconds, seed=11))
    names = pipeline.service_names()
    before = {name: cpu_s(pipeline.services.pid(name)) for name in names}
    note(f"stream: {rate} records/s for {seconds} s")
    busy_before, ours_before = busy_s(), _ours_s(pipeline)
    took_s = _paced(pipeline, [raw_of(sample, n) for n, sample in enumerate(records)], rate)
    ours, busy = _ours_s(pipeline) - ours_before, busy_s() - busy_before
    after = {name: cpu_s(pipeline.services.pid(name)) for name in names}
    pipeline.wait_through(raw=len(records))
    hops = [hop for hop in _hops(pipeline) if hop.raw_ms >= began_ms]
    whole = percentiles_ms(hop.alert_ms - hop.raw_ms for hop in hops)
    return {
        "rate_reached": round(len(records) / took_s),
        "alerts_known": expected(records).total(),
        **whole,
        "raw_to_audit": percentiles_ms(hop.event_ms - hop.raw_ms for hop in hops),
        "audit_to_alert": percentiles_ms(hop.alert_ms - hop.event_ms for hop in hops),
        "cpu_us_per_event": {name: round((after[name] - before[name]) / len(records) * 1e6, 1) for name in names},
        "cores": {"this_run": round(ours / took_s, 2), "others": round(max(0.0, busy - ours) / took_s, 2)},
        "goal": {"p99_ms": GOAL_MS, "met": whole["p99_ms"] <= GOAL_MS},
    }


def _ours_s(pipeline: Pipeline) -> float:
    """CPU time so far of all that belongs to this run: services, Kafka, Redis, and this process."""
    pids = [pipeline.services.pid(name) for name in pipeline.service_names()]
    pids += [process.pid for process in processes.find_all(pipeline.run_dir)]
    return sum(map(cpu_s, pids)) + time.process_time()


def _warm_up(pipeline: Pipeline) -> None:
    """Start the services and send some everyday records through, so that nothing measured is a start."""
    pipeline.services.start_all(pipeline.service_names())
    records = list(samples(WARM_UP, seed=3))
    pipeline.produce_raw(raw_of(sample, n) for n, sample in enumerate(records))
    pipeline.wait_through(raw=WARM_UP)
    time.sleep(1.0)


def _paced(pipeline: Pipeline, records: list[RawEvent], rate: int) -> float:
    """Produce at a steady rate, each record at its own time; returns how long it took.

    They are collected for 20 ms, as ingest-gcp does; what is measured begins at the append.
    """
    producer = Producer({"bootstrap.servers": pipeline.world.bootstrap, "acks": "all", "linger.ms": 20})
    chance = random.Random(5)
    began = time.perf_counter()
    due = 0.0
    for raw in records:
        due += chance.expovariate(rate)
        while (ahead := began + due - time.perf_counter()) > 0:
            producer.poll(min(ahead, TICK_S))
        producer.produce(pipeline.names[f"raw.{raw.provider}"], raw.value, key=raw.key(), headers=raw.headers())
    producer.flush()
    return time.perf_counter() - began


def _hops(pipeline: Pipeline) -> Iterator[Hop]:
    """One for each alert id, its first record on the topic."""
    raw_at = {**_times(pipeline, "raw.aws"), **_times(pipeline, "raw.gcp")}
    event_at = _times(pipeline, "audit.events")
    first: dict[str, tuple[int, Any]] = {}
    for message in pipeline.read("alerts"):
        alert = alert_codec().decode(message.value() or b"")
        at = message.timestamp()[1]
        if not counted(alert):
            continue
        if alert["id"] not in first or at < first[alert["id"]][0]:
            first[alert["id"]] = at, alert["evidence"]
    for alert_ms, evidence in first.values():
        parts = []
        for item in evidence:
            source = item["source"]
            raw_ms = raw_at[source["topic"], source["partition"], source["offset"]]
            parts.append((raw_ms, event_at[item["topic"], item["partition"], item["offset"]]))
        yield Hop(*max(parts), alert_ms)


def _times(pipeline: Pipeline, base: str) -> dict[tuple[str, int, int], int]:
    return {(m.topic(), m.partition(), m.offset()): m.timestamp()[1] for m in pipeline.read(base)}
