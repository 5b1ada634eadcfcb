"""How long a lost state takes to come back: a day of audit.events, and what outlives a day.

    bench/rebuild.py [--events 17280000] [--objects 100000]

By default 24 hours at 200 events/s and 100,000 objects. The events are everyday work with 1.5 % that alert, repeated
with times and ids of their own, evenly over the time that such a rate takes; a Kafka and a Redis of its own. Prints
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "deploy" / "local"))

import redis
from measure import machine, note
from own_stack import own_stack
from part_normalizer import events_of, raws
from pipeline import Pipeline, World

from leadsman_common.avro import audit_event_codec
from leadsman_common.avro_writer import varint
from leadsman_common.kafka import AckedProducer, Outgoing, commit_offsets, consumer
from leadsman_detector.config import Settings
from leadsman_detector.rebuild import Rebuild
from leadsman_detector.state import Put
from leadsman_detector.state_topic import outgoing
from leadsman_detector.stream import load_rules, make_detector, make_state, source_of, topics_of
from leadsman_normalizer.key import partition_key

RATE = 200  # events/s
DISTINCT = 20_000
PART = 20_000
DAY_MS = 86_400_000


def main() -> int:
    """Fill, lose, rebuild, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=24 * 3600 * 200)
    parser.add_argument("--objects", type=int, default=100_000)
    args = parser.parse_args()
    with own_stack() as (run_dir, stack), Pipeline(run_dir, World(stack.bootstrap, stack.redis_url)) as pipeline:
        settings = Settings(
            kafka_bootstrap=stack.bootstrap, redis_url=stack.redis_url, topic_prefix=pipeline.prefix, runner="plain"
        )
        fill(pipeline, args.events, args.objects)
        commit(settings, pipeline)
        with redis.Redis.from_url(stack.redis_url) as client:
            client.flushall()
        note("rebuilding")
        began, cpu = time.perf_counter(), time.process_time()
        done = asyncio.run(rebuild(settings))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        with redis.Redis.from_url(stack.redis_url) as client:
            keys, memory = client.dbsize(), client.info("memory")["used_memory"]
    result: dict[str, Any] = {
        "machine": machine(),
        "events": args.events,
        "objects": args.objects,
        "done": done,
        "seconds": round(seconds, 1),
        "records_per_s": round((args.events + args.objects) / seconds),
        "records_per_s_a_core": round((args.events + args.objects) / cpu),
        "redis_keys": keys,
        "redis_mb": round(memory / 2**20, 1),
    }
    print(json.dumps(result, indent=1))
    return 0 if done else 1


def fill(pipeline: Pipeline, count: int, objects: int) -> None:
    """Put the events on audit.events and the objects on the topic state."""
    note(f"{count} events, {objects} objects onto their topics")
    producer, encode = AckedProducer(pipeline.world.bootstrap), audit_event_codec().encode
    events = events_of(raws(min(count, DISTINCT)))
    records = [(partition_key(event), encode(event), varint(event["time"]), event["id"].encode()) for event in events]
    topic, began_us = pipeline.names["audit.events"], time.time_ns() // 1000 - count * 1_000_000 // RATE

    def moved(n: int) -> Outgoing:
        key, value, at, event_id = records[n % len(records)]
        value = value.replace(at, varint(began_us + n * 1_000_000 // RATE), 1)
        return Outgoing(topic, key, value.replace(event_id, f"{n:0{len(event_id)}}".encode(), 1))

    for at in range(0, count, PART):
        producer.send(moved(n) for n in range(at, min(count, at + PART)))
    member = json.dumps({"what": "is known of an object", "x": "y" * 400}).encode()
    for at in range(0, objects, PART):
        producer.send(
            outgoing(
                pipeline.names["state"],
                Put(f"versions:ns/pods/p{n}", f"c{n % 10}", n, member, 30 * DAY_MS, 64, f"versions/p{n}"),
            )
            for n in range(at, min(objects, at + PART))
        )


def commit(settings: Settings, pipeline: Pipeline) -> None:
    """Have the group handled all of it."""
    source = source_of(settings)
    client = consumer(source.bootstrap, source.group)
    ends = pipeline.ends("audit.events")
    commit_offsets(client, pipeline.names["audit.events"], {p.partition: end for p, end in ends.items()})
    client.close()


async def rebuild(settings: Settings) -> bool:
    """Do what a worker does that finds the state lost."""
    state = make_state(settings)
    try:
        return await Rebuild(
            state,
            make_detector(settings, load_rules(settings), keeping=True),
            source_of(settings),
            topics_of(settings),
            DAY_MS,
        ).run()
    finally:
        await state.close()


if __name__ == "__main__":
    sys.exit(main())
