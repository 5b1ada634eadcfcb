"""What the normalizer costs an event: its core's steps by themselves, the floor beside them, and the whole service.

The floor is what no normalizer on this stack can go below: decoding the JSON, reading Kafka, writing Kafka.
normalizer.py measures the core alone, in rounds, over other records too.
"""

from __future__ import annotations

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


def measure(pipeline: Pipeline, count: int) -> dict[str, Any]:
    """CPU µs an event of each step, and of the service at full load; the pipeline has no services running."""
    records = raws(count)
    few = records[: min(count, 20_000)]
    note(f"normalizer: the core over {len(few)} records")
    by_format = {
        "eks-audit": msgspec.json.Decoder(k8s_audit.Event).decode,
        "gke-logentry": msgspec.json.Decoder(log_entry.LogEntry).decode,
    }
    decode = cpu_us_each(lambda raw: by_format[raw.format](raw.value), few)
    untyped = cpu_us_each(lambda raw: msgspec.json.decode(raw.value), few)
    normalizing = cpu_us_each(normalize, few)
    events = events_of(few)
    encode = audit_event_codec().encode
    encoding = cpu_us_each(encode, events)
    out = [(partition_key(event), encode(event)) for event in events]
    note("normalizer: Kafka alone")
    producing = _produce_us(pipeline, out)
    note(f"normalizer: the service, {count} records")
    pipeline.produce_raw(records)
    consuming = _consume_us(pipeline, count)
    service = _service(pipeline, count)
    return {
        "events": count,
        "record_bytes": round(sum(len(raw.value) for raw in few) / len(few)),
        "event_bytes": round(sum(len(value) for _, value in out) / len(out)),
        "core_us": {"normalize": round(normalizing, 1), "encode": round(encoding, 1)},
        "floor_us": {
            "decode": round(decode, 1),
            "decode_untyped": round(untyped, 1),
            "consume": round(consuming, 1),
            "produce": round(producing, 1),
            "sum": round(decode + consuming + producing, 1),
        },
        "service": service,
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


def _consume_us(pipeline: Pipeline, count: int) -> float:
    """CPU µs of consuming a raw record, its value and headers taken."""
    client = consumer(pipeline.world.bootstrap, f"{pipeline.prefix}floor")
    client.subscribe([pipeline.names["raw.aws"], pipeline.names["raw.gcp"]])
    first = client.consume(BATCH, timeout=30)
    began, seen = time.process_time(), 0
    while seen < count - len(first):
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
