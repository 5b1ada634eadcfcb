"""What ingest costs: events a second a core of each path, beside bare produce of the same events in the same run.

    .venv/bin/python bench/ingest.py [--quick] [--only firehose,s3] > ingest.json

A path is a function in PATHS that takes events (bytes) and a way to produce, and returns the work of one pass: what
the service does between the cloud's bytes and Kafka's acknowledgement, without the cloud's own network. To add one:
write the function, put it into PATHS. `times` is the path's CPU time an event by bare produce's.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "deploy" / "local")]

import measure  # noqa: E402 - the line above makes these visible
import structlog  # noqa: E402
from mix import raw_of, samples  # noqa: E402
from own_stack import own_stack  # noqa: E402

from leadsman_common import topics  # noqa: E402
from leadsman_common.http_server import Head  # noqa: E402
from leadsman_common.kafka import AckedProducer, Outgoing  # noqa: E402
from leadsman_common.outbox import Outbox  # noqa: E402
from leadsman_common.patience import Patience  # noqa: E402
from leadsman_common.raw import RawEvent  # noqa: E402
from leadsman_common.stopping import on_signals  # noqa: E402
from leadsman_ingest_aws.config import Settings  # noqa: E402
from leadsman_ingest_aws.documents import documents  # noqa: E402
from leadsman_ingest_aws.envelope import Split as AwsSplit  # noqa: E402
from leadsman_ingest_aws.envelope import (  # noqa: E402
    log_event,
    split,
    split_document,
    trail_event,
)
from leadsman_ingest_aws.firehose import FirehoseEndpoint  # noqa: E402
from leadsman_ingest_aws.intake import Carried, Intake  # noqa: E402
from leadsman_ingest_aws.notifications import read  # noqa: E402

FULL, QUICK = 20_000, 2_000
ROUNDS = 3
IN_A_RECORD = 50  # log events that CloudWatch puts into one record


class World:
    """What every path produces through."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.topic = topics.name("raw.aws", prefix)
        self.producer = AckedProducer(bootstrap)
        self.outbox = Outbox(AckedProducer(bootstrap))
        self.settings = Settings(topic_prefix=prefix, kinesis_stream=("bench",))
        self.intake = Intake(self.settings, self.outbox, structlog.get_logger())
        self.patience = Patience(on_signals(), 60)

    def store(self, carried: Any) -> None:
        """As every pulling input of ingest-aws does."""
        self.intake.store("bench", carried, self.patience, self.intake.cap())


Path_ = Callable[[World, Sequence[bytes]], Callable[[], None]]


def bare_produce(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give the floor: the same records to the same topic, made beforehand."""
    records = [
        Outgoing(world.topic, raw.key(), raw.value, raw.headers())
        for raw in (
            RawEvent(value, format="eks-audit", cluster="c", source_id=str(at)) for at, value in enumerate(events)
        )
    ]

    def work() -> None:
        for at in range(0, len(records), 2000):
            world.producer.send(records[at : at + 2000])

    return work


def kinesis(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give records of a CloudWatch subscription, gzip."""
    records = [gzip.compress(document) for document in _documents(events)]
    return lambda: world.store(Carried(record, split(record), "x") for record in records)


def firehose(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give deliveries of some 40 records to the endpoint, without the socket."""
    endpoint = FirehoseEndpoint(world.settings, world.intake, lambda: ("key",))
    records = [{"data": base64.b64encode(gzip.compress(document)).decode()} for document in _documents(events)]
    bodies = [
        bytearray(json.dumps({"requestId": "r", "timestamp": 1, "records": records[at : at + 40]}).encode())
        for at in range(0, len(records), 40)
    ]
    head = Head("POST", "/firehose", "", {"X-Amz-Firehose-Access-Key": "key"}, "", None)

    def work() -> None:
        for body in bodies:
            endpoint.admit(head)
            taken = endpoint.take(head, body)
            world.outbox.send(taken.records)
            if taken.acknowledged:
                taken.acknowledged()

    return work


def s3_exports(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give a file of Firehose's: gzip members that follow each other."""
    return _file(world, b"".join(gzip.compress(document) for document in _documents(events)))


def s3_lines(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give a file of Firehose's that it unpacked: one member, documents on lines."""
    return _file(world, gzip.compress(b"\n".join(_documents(events))))


def s3_trail(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give a file of CloudTrail's."""
    return _file(world, gzip.compress(b'{"Records":[' + b",".join(_records(events)) + b"]}"))


def event_bridge(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give messages of an SQS queue, ten at a time."""
    head = b'{"detail-type":"AWS API Call via CloudTrail","source":"aws.eks","detail":'
    bodies = [head + record + b"}" for record in _records(events)]

    def carried() -> Any:
        for body in bodies:
            for found in read(body):
                yield Carried(body, AwsSplit(events=[trail_event(found.record, 1)]), "x")  # type: ignore[union-attr]

    return lambda: world.store(carried())


def log_polling(world: World, events: Sequence[bytes]) -> Callable[[], None]:
    """Give what FilterLogEvents answers, decoded."""
    texts = [event.decode() for event in events]

    def carried() -> Any:
        for at, text in enumerate(texts):
            parts = AwsSplit()
            log_event(
                parts,
                "/aws/eks/c/cluster",
                "kube-apiserver-audit-0123",
                text.encode(),
                str(at),
                account="1",
                region="r",
                received_ms=1,
                time_ms=1,
            )
            yield Carried(b"", parts, "x")

    return lambda: world.store(carried())


PATHS: dict[str, Path_] = {
    "kinesis": kinesis,
    "firehose": firehose,
    "s3-exports": s3_exports,
    "s3-lines": s3_lines,
    "s3-trail": s3_trail,
    "event-bridge": event_bridge,
    "log-polling": log_polling,
}


def _file(world: World, data: bytes) -> Callable[[], None]:
    chunks = [data[at : at + 256 * 1024] for at in range(0, len(data), 256 * 1024)]

    def carried() -> Any:
        for document in documents(chunks, max_plain_bytes=2**40):
            assert isinstance(document, bytes)  # noqa: S101
            yield Carried(document, split_document(document), "x")

    return lambda: world.store(carried())


def _documents(events: Sequence[bytes]) -> list[bytes]:
    return [
        json.dumps(
            {
                "messageType": "DATA_MESSAGE",
                "owner": "111122223333",
                "logGroup": "/aws/eks/harbour/cluster",
                "logStream": "kube-apiserver-audit-0123456789abcdef",
                "subscriptionFilters": ["leadsman"],
                "logEvents": [
                    {"id": f"{at + n:056d}", "timestamp": 1, "message": event.decode()}
                    for n, event in enumerate(events[at : at + IN_A_RECORD])
                ],
            }
        ).encode()
        for at in range(0, len(events), IN_A_RECORD)
    ]


def _records(events: Sequence[bytes]) -> list[bytes]:
    """Give the events as CloudTrail records of the same size."""
    return [
        b'{"eventID":"%d","eventName":"Call","requestParameters":%b}' % (at, event) for at, event in enumerate(events)
    ]


def _cost(work: Callable[[], None], count: int) -> tuple[float, float]:
    """Tell µs of CPU an event (all threads of this process), and events a second as they came."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - cpu) / count * 1e6, count / (time.perf_counter() - began)


def main() -> int:
    """Run the paths in turn, each round beside bare produce, and print what the best round gave."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it runs; its figures say little")
    parser.add_argument("--only", default="", help="paths, comma-separated")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.only.split(",") if name] or list(PATHS)
    count = QUICK if arguments.quick else FULL
    result: dict[str, Any] = {"machine": measure.machine(), "quick": arguments.quick, "events": count, "paths": {}}
    events = [raw_of(sample, at, 1).value for at, sample in enumerate(samples(count))]
    result["bytes_an_event"] = round(sum(map(len, events)) / count)
    with own_stack() as (_, stack):
        prefix = f"b{secrets.token_hex(3)}-"
        wanted = topics.load(HERE.parent / "schemas" / "topics")
        topics.create(stack.bootstrap, [wanted["raw.aws"], wanted["raw.aws.dlq"]], prefix)
        world = World(stack.bootstrap, prefix)
        bare = bare_produce(world, events)
        bare()  # the first pass opens connections
        for name in chosen:
            measure.note(name)
            work = PATHS[name](world, events)
            work()
            rounds = [(_cost(bare, count), _cost(work, count)) for _ in range(1 if arguments.quick else ROUNDS)]
            (bare_us, _), (path_us, came) = min(rounds, key=lambda pair: pair[1][0])
            result["paths"][name] = {
                "cpu_us_an_event": round(path_us, 1),
                "events_per_s_a_core": round(1e6 / path_us),
                "events_per_s_came": round(came),
                "bare_produce_cpu_us_an_event": round(bare_us, 1),
                "times": round(path_us / bare_us, 2),
            }
        world.outbox.close()
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
