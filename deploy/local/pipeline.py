"""The whole stream on the local stack, under one topic prefix: its topics, cloud stand-ins, services and alerts.

The end-to-end tests, the kill test and the benchmark use it: records go in at the clouds or on the raw topics, and
what comes out is read from the topics. It adds nothing to what the services do.
"""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import boto3
import grpc
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from processes import StackError

from leadsman_common import topics
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, Outgoing, consumer
from leadsman_common.raw import RawEvent
from services import AWS_KEYS, REGION, STREAM, Addresses, Services

TOPICS_DIR = Path(__file__).resolve().parents[2] / "schemas" / "topics"
PROJECT = "local"
# what each service reads, by its consumer group after the topic prefix
GROUPS = {
    "normalizer": ("leadsman-normalizer", ("raw.aws", "raw.gcp", "raw.k8s", "raw.azure")),
    "detector": ("leadsman-detector", ("audit.events",)),
    "notifier": ("leadsman-notifier-webhook", ("alerts",)),
}


@dataclass(frozen=True)
class World:
    """What the pipeline stands on. Without the clouds' addresses records go straight onto the raw topics."""

    bootstrap: str
    redis_url: str
    moto: str = ""  # http://127.0.0.1:PORT
    pubsub: str = ""  # 127.0.0.1:PORT
    webhook: str = ""


@dataclass
class Pipeline:
    """One stream. A context manager: on the way out services are stopped and topics deleted."""

    run_dir: Path
    world: World
    prefix: str = field(default_factory=lambda: f"p{secrets.token_hex(4)}-")
    max_partitions: int = 3
    extra: Mapping[str, str] = field(default_factory=dict)  # further settings of the services
    _groups: dict[str, Consumer] = field(default_factory=dict)  # that ask for a group's offsets and do not join

    def __enter__(self) -> Self:
        """Create the topics and the clouds' streams; start nothing."""
        declared = topics.load(TOPICS_DIR)
        self.names = {base: topics.name(base, self.prefix) for base in declared}
        topics.create(self.world.bootstrap, declared.values(), self.prefix, max_partitions=self.max_partitions)
        self.admin = AdminClient({"bootstrap.servers": self.world.bootstrap})
        self._producer = AckedProducer(self.world.bootstrap)
        self.stream = f"{self.prefix}audit"
        self.topic = f"projects/{PROJECT}/topics/{self.prefix}audit"
        subscription = f"projects/{PROJECT}/subscriptions/{self.prefix}audit"
        if self.world.moto:
            self._open_kinesis()
        if self.world.pubsub:
            self._open_pubsub(subscription)
        addresses = Addresses(
            bootstrap=self.world.bootstrap,
            redis_url=self.world.redis_url,
            topic_prefix=self.prefix,
            aws_endpoint=self.world.moto,
            kinesis_stream=self.stream if self.world.moto else "",
            pubsub_emulator=self.world.pubsub,
            pubsub_subscription=subscription if self.world.pubsub else "",
        )
        sink = {}
        if self.world.webhook:  # on this machine, and told of each alert by itself
            sink = {
                "LEADSMAN_WEBHOOK_URL": self.world.webhook,
                "LEADSMAN_WEBHOOK_LIMIT_PER_MINUTE": "0",
                "LEADSMAN_NOTIFY_ALLOW": "127.0.0.0/8",
            }
        # silence is told by the clock: what was recorded long ago is silent as soon as a run takes a minute
        quiet = {"LEADSMAN_STDOUT_FORMAT": "off", "LEADSMAN_SILENCE_LOOK_S": "0"}
        self.services = Services(
            self.run_dir / self.prefix.rstrip("-"),
            addresses,
            tie_to_parent=True,
            extra={**quiet, **sink, **self.extra},
        )
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave nothing running and no topics behind."""
        self.services.stop(grace_s=10)
        for client in self._groups.values():
            client.close()
        topics.delete(self.world.bootstrap, self.names.values())

    def service_names(self) -> list[str]:
        """Name the services that have something to do here."""
        ingest = {"ingest-aws": self.world.moto, "ingest-gcp": self.world.pubsub, "notifier": self.world.webhook}
        return [name for name in STREAM if ingest.get(name, "yes")]

    # --- in ----------------------------------------------------------------------------------------------------

    def put_cloudwatch(self, cluster: str, account: str, messages: Sequence[str]) -> None:
        """Put one CloudWatch Logs subscription document, gzip, as one Kinesis record: EKS audit events of a cluster."""
        document = {
            "messageType": "DATA_MESSAGE",
            "owner": account,
            "logGroup": f"/aws/eks/{cluster}/cluster",
            "logStream": "kube-apiserver-audit-0123456789abcdef0123456789abcdef",
            "subscriptionFilters": ["audit"],
            "logEvents": [
                {"id": f"{secrets.randbelow(10**56):056d}", "timestamp": time.time_ns() // 1_000_000, "message": text}
                for text in messages
            ],
        }
        self.put_kinesis(gzip.compress(json.dumps(document).encode(), 5))

    def put_kinesis(self, data: bytes) -> None:
        """Put one record of whatever bytes."""
        self._kinesis.put_record(StreamName=self.stream, Data=data, PartitionKey=secrets.token_hex(8))

    def publish(self, datas: Sequence[bytes]) -> list[str]:
        """Publish one Pub/Sub message for each; returns their ids."""
        answer = self._publisher.publish(topic=self.topic, messages=[{"data": data} for data in datas])
        return list(answer.message_ids)

    def produce_raw(self, raws: Iterable[RawEvent]) -> None:
        """Put records on the raw topic of their provider, as ingest does, and wait for Kafka."""
        self._producer.send(
            Outgoing(self.names[f"raw.{raw.provider}"], raw.key(), raw.value, raw.headers()) for raw in raws
        )

    # --- out ---------------------------------------------------------------------------------------------------

    def read(self, base: str) -> list[Message]:
        """Read all that a topic holds now."""
        ends = self.ends(base)
        client = Consumer(
            {"bootstrap.servers": self.world.bootstrap, "group.id": "reader", "enable.auto.commit": False}
        )
        try:
            client.assign([TopicPartition(p.topic, p.partition, 0) for p, end in ends.items() if end])
            found: list[Message] = []
            wanted = sum(ends.values())
            while len(found) < wanted:
                batch = client.consume(min(wanted - len(found), 10_000), timeout=10)
                if not batch:
                    raise StackError(f"{base}: {len(found)} of {wanted} records came")
                found += [message for message in batch if message.error() is None]
            return found
        finally:
            client.close()

    def alerts(self) -> list[dict[str, Any]]:
        """Read and decode the alerts; a repeat stands there as often as it came."""
        return [dict(alert_codec().decode(message.value() or b"")) for message in self.read("alerts")]

    def ends(self, base: str) -> dict[TopicPartition, int]:
        """Tell the end offset of each partition of a topic."""
        topic = self.names[base]
        partitions = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}
        return {at: future.result(timeout=10).offset for at, future in self.admin.list_offsets(asked).items()}

    def count(self, base: str) -> int:
        """Tell how many records a topic holds."""
        return sum(self.ends(base).values())

    def lag(self, service: str) -> int:
        """Tell how many records a service has not yet read and committed."""
        group, bases = GROUPS[service]
        # not by the admin client: librdkafka 2.x ends the process where the group's coordinator is still loading
        if group not in self._groups:
            self._groups[group] = consumer(self.world.bootstrap, self.prefix + group)
        ends = [(at, end) for base in bases for at, end in self.ends(base).items()]
        asked = [TopicPartition(at.topic, at.partition) for at, _ in ends]
        try:
            committed = self._groups[group].committed(asked, timeout=10)
        except KafkaException:  # a broker that has just come up has not read yet what the group committed
            committed = asked
        return sum(end - max(0, at.offset) for (_, end), at in zip(ends, committed, strict=True))

    def wait_through(self, *, raw: int, timeout_s: float = 240.0) -> None:
        """Wait until `raw` records or more are on the raw topics and each service in turn has done all it got.

        Raises StackError as `until` does.
        """
        deadline = time.monotonic() + timeout_s
        self.until(lambda: self.count("raw.aws") + self.count("raw.gcp") >= raw, f"{raw} raw records", timeout_s)
        for service in GROUPS:
            if service in self.service_names():
                self.until(lambda of=service: not self.lag(of), f"{service} done", deadline - time.monotonic())

    def until(
        self,
        condition: Callable[[], object],
        what: str,
        timeout_s: float = 120.0,
        *,
        of: Sequence[str] | None = None,
    ) -> None:
        """Wait until it holds. Raises StackError with the logs' ends when it does not, or when a service has left.

        `of` names the services that run; all by default.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            gone = [name for name in of or self.service_names() if not self.services.running(name)]
            if gone or time.monotonic() > deadline:
                named = gone or of or self.service_names()
                ends = "\n".join(f"--- {name}\n{self.services.log_tail(name)}" for name in named)
                raise StackError(f"not come about: {what}; not running: {gone}\n{ends}")
            time.sleep(0.02)

    # --- the clouds --------------------------------------------------------------------------------------------

    def _open_kinesis(self) -> None:
        self._kinesis = boto3.client(
            "kinesis",
            endpoint_url=self.world.moto,
            region_name=REGION,
            aws_access_key_id=AWS_KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=AWS_KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self._kinesis.create_stream(StreamName=self.stream, ShardCount=2)
        self._kinesis.get_waiter("stream_exists").wait(StreamName=self.stream)

    def _open_pubsub(self, subscription: str) -> None:
        channel = grpc.insecure_channel(self.world.pubsub)
        self._publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self._publisher.create_topic(name=self.topic)
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        subscriber.create_subscription(name=subscription, topic=self.topic, ack_deadline_seconds=10)
