"""The ways in: records put where the clouds would put them, for the ingest services to fetch.

EKS records travel as CloudWatch Logs subscription documents (gzip) through a Kinesis stream of the AWS stand-in, GKE
records as Pub/Sub messages through the Pub/Sub stand-in. Where that one cannot be built they are produced to raw.gcp.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import boto3
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.topics import name
from leadsman_ingest_gcp.envelope import split
from services import AWS_KEYS, REGION

STREAM = "eks-audit-logs"
PROJECT = "example-analytics-prod"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/leadsman"
_TOPIC = f"projects/{PROJECT}/topics/gke-audit-logs"
_SHARDS = 2


class Transport(Protocol):
    """A way in."""

    def send(self, messages: Sequence[bytes], cluster: str = "", account: str = "", log_stream: str = "") -> None:
        """Hand over records, in order; returns once the other side has them."""

    def sent_ms(self, source_id: str) -> int:
        """When the record with this id was handed over (Unix ms); 0 where it is not known."""


class Kinesis:
    """CloudWatch Logs as its subscription writes to a Kinesis data stream."""

    def __init__(self, endpoint: str) -> None:
        self._client = boto3.client(
            "kinesis",
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id=AWS_KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=AWS_KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self._numbers = itertools.count()
        self._sent: dict[str, int] = {}

    def create(self) -> None:
        """Make the stream, unless it is there, and wait until it can be written to."""
        with suppress(self._client.exceptions.ResourceInUseException):
            self._client.create_stream(StreamName=STREAM, ShardCount=_SHARDS)
        self._client.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})

    def send(self, messages: Sequence[bytes], cluster: str = "", account: str = "", log_stream: str = "") -> None:
        """Put one subscription document that holds these log events; those of no cluster are a trail's."""
        log_stream = log_stream or f"kube-apiserver-audit-{hashlib.md5(cluster.encode()).hexdigest()}"  # noqa: S324 - a name
        now_ms = time.time_ns() // 1_000_000
        events = []
        for message in messages:
            event_id = f"{next(self._numbers):056d}"
            self._sent[event_id] = now_ms
            events.append({"id": event_id, "timestamp": now_ms, "message": message.decode("utf-8", "replace")})
        document = {
            "messageType": "DATA_MESSAGE",
            "owner": account,
            "logGroup": f"/aws/eks/{cluster}/cluster" if cluster else "aws-cloudtrail-logs",
            "logStream": log_stream,
            "subscriptionFilters": ["to-kinesis"],
            "logEvents": events,
        }
        data = gzip.compress(json.dumps(document).encode())
        key = hashlib.md5(f"{log_stream}{events[0]['id']}".encode()).hexdigest()  # noqa: S324 - a partition key
        self._client.put_record(StreamName=STREAM, Data=data, PartitionKey=key)

    def sent_ms(self, source_id: str) -> int:
        """Tell by CloudWatch's event id."""
        return self._sent.get(source_id, 0)


class PubSub:
    """Cloud Logging as its sink publishes to Pub/Sub: one LogEntry a message."""

    def __init__(self, emulator: str) -> None:
        os.environ["PUBSUB_EMULATOR_HOST"] = emulator
        self._publisher = PublisherClient()
        self._sent: dict[str, int] = {}

    def create(self) -> None:
        """Make the topic and the subscription."""
        self._publisher.create_topic(request={"name": _TOPIC})
        with SubscriberClient() as subscriber:
            subscriber.create_subscription(request={"name": SUBSCRIPTION, "topic": _TOPIC, "ack_deadline_seconds": 60})

    def send(self, messages: Sequence[bytes], cluster: str = "", account: str = "", log_stream: str = "") -> None:  # noqa: ARG002 - a LogEntry names them itself
        """Publish one message for each LogEntry."""
        now_ms = time.time_ns() // 1_000_000
        futures = [self._publisher.publish(_TOPIC, message) for message in messages]
        for future in futures:
            self._sent[future.result(timeout=30)] = now_ms

    def sent_ms(self, source_id: str) -> int:
        """Tell by Pub/Sub's message id."""
        return self._sent.get(source_id, 0)


class RawGcp:
    """GKE records straight to `raw.gcp`, as ingest-gcp would write them: for machines without the Pub/Sub stand-in."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = AckedProducer(bootstrap, {"log_level": "3"})  # a broker that just started is no news
        self._numbers = itertools.count(1)

    def send(self, messages: Sequence[bytes], cluster: str = "", account: str = "", log_stream: str = "") -> None:  # noqa: ARG002 - a LogEntry names them itself
        """Produce one record for each LogEntry."""
        now_ms = time.time_ns() // 1_000_000
        events = [split(message, str(next(self._numbers)), now_ms) for message in messages]
        self._producer.send(Outgoing(name("raw.gcp"), event.key(), event.value, event.headers()) for event in events)

    def sent_ms(self, source_id: str) -> int:  # noqa: ARG002 - nobody received it from anybody
        """There is no other side that it was handed to."""
        return 0
