"""What the normalizer costs an event: its core's steps by themselves, the floor beside them, and the whole service.

The floor is what no normalizer on this stack can go below: decoding the JSON, reading Kafka, writing Kafka.
normalizer.py measures the same over other records: the everyday noise of a real API server.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec
from measure import cpu_s, cpu_us_each, note
from mix import raw_of, samples
from pipeline import Pipeline

from leadsman_common.avro import audit_event_codec
from leadsman_common.events import AuditEvent
from leadsman_common.kafka import AckedProducer, Outgoing, consumer
from leadsman_common.raw import RawEvent
from leadsman_normalizer.key import partition_key
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources import k8s_audit, log_entry

BATCH = 500
REPEATS = 3
GOAL_TIMES = 3.0  # the core, by the floor
WRITES = ("create", "update", "patch", "delete", "deletecollection")


def raws(count: int) -> list[RawEvent]:
    """Give the mix as it stands on the raw topics."""
    now_ms = time.time_ns() // 1_000_000
    return [raw_of(sample, n, now_ms) for n, sample in enumerate(samples(count))]


def events_of(records: list[RawEvent]) -> list[AuditEvent]:
    """Give the events of these records."""
    events = []
    for raw in records:
        event = normalize(raw)
        assert not isinstance(event, Dropped)  # noqa: S101 - the mix holds nothing that is not ours
        events.append(event)
    return events


def measure(pipeline: Pipeline, records: list[RawEvent]) -> dict[str, Any]:
    """CPU µs an event of each step, and of the service at full load; the pipeline has no services running."""
    few = records[:20_000]
    note(f"normalizer: the core over {len(few)} records")
    encode = audit_event_codec().encode
    by_format = {
        "k8s-audit": msgspec.json.Decoder(k8s_audit.Event).decode,
        "eks-audit": msgspec.json.Decoder(k8s_audit.Event).decode,
        "gke-logentry": msgspec.json.Decoder(log_entry.LogEntry).decode,
    }
    decode_us = cpu_us_each(lambda raw: by_format[raw.format](raw.value), few)
    untyped_us = cpu_us_each(lambda raw: msgspec.json.decode(raw.value), few)
    normalize_us = cpu_us_each(normalize, few)
    core_us = cpu_us_each(lambda raw: encode(normalize(raw)), few)  # type: ignore[arg-type]
    events = events_of(few)
    encode_us = cpu_us_each(encode, events)
    out = [(partition_key(event), encode(event)) for event in events]
    with_facts = sum(event["facts"] is not None for event in events)
    writes = sum(event["verb"] in WRITES for event in events)
    del events
    note("normalizer: Kafka alone")
    produce_us = min(_produce_us(pipeline, out) for _ in range(REPEATS))
    note(f"normalizer: the service, {len(records)} records")
    pipeline.produce_raw(records)
    consume_us = min(_consume_us(pipeline, records) for _ in range(REPEATS))
    service = _service(pipeline, len(records))
    floor_us = decode_us + consume_us + produce_us
    return {
        "events": len(records),
        "writes": round(writes / len(few), 2),
        "with_facts": round(with_facts / len(few), 2),
        "record_bytes": round(sum(len(raw.value) for raw in few) / len(few)),
        "event_bytes": round(sum(len(value) for _, value in out) / len(out)),
        "floor_us": {
            "decode": round(decode_us, 1),
            "decode_untyped": round(untyped_us, 1),
            "consume": round(consume_us, 1),
            "produce": round(produce_us, 1),
            "sum": round(floor_us, 1),
        },
        "core_us": {
            "normalize": round(normalize_us, 1),
            "encode": round(encode_us, 1),
            "both": round(core_us, 1),
            "events_per_s_a_core": round(1e6 / core_us),
        },
        "service": service,
        "times_the_floor": {
            "core": round(core_us / floor_us, 1),
            "service": round(service["cpu_us_per_event"] / floor_us, 1),
        },
        "goal": {"times_the_floor.core": GOAL_TIMES, "met": core_us <= GOAL_TIMES * floor_us},
    }


def _produce_us(pipeline: Pipeline, out: list[tuple[bytes, bytes]]) -> float:
    """CPU µs of producing an encoded event, flushed every 500 as the service does, to a topic nobody reads."""
    producer = AckedProducer(pipeline.world.bootstrap)
    topic = pipeline.names["raw.k8s.dlq"]
    producer.send([Outgoing(topic, *out[0])])
    began = time.process_time()
    for at in range(0, len(out), BATCH):
        producer.send(Outgoing(topic, key, value) for key, value in out[at : at + BATCH])
    return (time.process_time() - began) / len(out) * 1e6


def _consume_us(pipeline: Pipeline, records: list[RawEvent]) -> float:
    """CPU µs of consuming a raw record, its value and headers taken."""
    client = consumer(pipeline.world.bootstrap, f"{pipeline.prefix}floor-{secrets.token_hex(4)}")
    client.subscribe(sorted({pipeline.names[f"raw.{raw.provider}"] for raw in records}))
    first = client.consume(BATCH, timeout=30)
    began, seen = time.process_time(), 0
    while seen < len(records) - len(first):
        for message in client.consume(BATCH, timeout=1):
            message.value()
            message.headers()
            seen += 1
    took = time.process_time() - began
    client.close()
    return took / seen * 1e6


def _service(pipeline: Pipeline, count: int) -> dict[str, float]:
    """Start the service on full topics; figures from the first tenth to the last event."""
    pipeline.services.start("normalizer")
    pid = pipeline.services.pid("normalizer")
    marks = [(0, time.perf_counter(), cpu_s(pid))]

    def done() -> bool:
        events = pipeline.count("audit.events")
        if events > marks[-1][0]:
            marks.append((events, time.perf_counter(), cpu_s(pid)))
        return events >= count

    pipeline.until(done, f"{count} events", 300, of=["normalizer"])
    pipeline.services.stop("normalizer")
    first = next(mark for mark in marks if mark[0] >= count / 10)
    events, wall_s, cpu = (b - a for a, b in zip(first, marks[-1], strict=True))
    return {
        "cpu_us_per_event": round(cpu / events * 1e6, 1),
        "events_per_s": round(events / wall_s),
        "events_per_s_a_core": round(events / cpu),
    }
