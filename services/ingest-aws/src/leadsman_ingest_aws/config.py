"""Settings of ingest-aws, read once from LEADSMAN_* variables. Each input is switched on by naming what it reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from leadsman_common.http_settings import Listening
from leadsman_common.settings import Common, SettingError, setting
from leadsman_common.since import span_ms
from leadsman_ingest_aws import places
from leadsman_ingest_aws.envelope import MAX_PLAIN_BYTES
from leadsman_ingest_aws.places import Place

_PLACE = re.compile(r"\d{12}/[a-z]{2}(-[a-z]+)+-\d{1,2}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")


@dataclass(frozen=True)
class Settings(Common, Listening):
    """Where to read and how; credentials are the AWS SDK's own business, but for roles in other accounts."""

    kinesis_stream: tuple[str, ...] = setting("Kinesis data streams to read: names or ARNs, comma-separated", ())
    sqs_queues: tuple[str, ...] = setting(
        "SQS queues to read: URLs or ARNs, comma-separated; news of S3 files and CloudTrail events, in any mix", ()
    )
    log_groups: tuple[str, ...] = setting("CloudWatch log groups to poll: names or ARNs, comma-separated", ())
    firehose_access_keys: tuple[str, ...] = setting(
        "access keys that Firehose may send, comma-separated (two while they rotate); with LEADSMAN_LISTEN_PORT",
        (),
        secret=True,
    )
    subscribed_groups: tuple[str, ...] = setting(
        "beginnings of the log groups to take of what subscriptions carry, comma-separated: /aws/eks/; empty: all", ()
    )
    aws_region: str = setting("AWS region where an ARN or URL names none; empty: the AWS SDK's own settings", "")
    aws_endpoint_url: str = setting("endpoint of every AWS service; empty: the real cloud", "")
    assume_roles: dict[str, str] = setting("role to read an account through: ACCOUNT=ROLE_ARN, comma-separated", dict)
    assume_external_id: str = setting("external id that these roles ask for", "")
    checkpoint_table: str = setting(
        "DynamoDB table for checkpoints and leases, which many workers share; empty: files in LEADSMAN_STATE_DIR", ""
    )
    state_dir: str = setting("folder for checkpoints where no table is set: one worker only", "/var/lib/leadsman")
    lease_s: float = setting("seconds after which the work of a silent worker is taken over by another", 10.0)
    poll_interval_s: float = setting("seconds between two reads of one shard; Kinesis allows five reads a second", 0.25)
    poll_records: int = setting("records asked for in one read, at most 10000", 500)
    shard_refresh_s: float = setting("seconds between two listings of a stream's shards", 30.0)
    max_plain_bytes: int = setting("a record that unpacks to more is dead-lettered", MAX_PLAIN_BYTES)
    sqs_visibility_s: int = setting("seconds that a message is ours before SQS gives it again; extended in time", 120)
    s3_buckets: tuple[str, ...] = setting("buckets that a message may name, comma-separated; empty: any", ())
    max_object_plain_bytes: int = setting("a file that unpacks to more is dead-lettered from there", 4 * 1024**3)
    firehose_path: str = setting("path that Firehose posts to", "/firehose")
    log_poll_interval_s: float = setting("seconds between two looks at a log group", 10.0)
    log_overlap_s: float = setting("how late, in seconds, an event may still come into a polled log group", 900.0)
    log_since: str = setting("how far back a log group without a checkpoint is read: 15m, 6h, 30d, or a time", "15m")
    eks_inventory: tuple[str, ...] = setting(
        "where EKS is asked which clusters there are, ACCOUNT/REGION, comma-separated: one without logs is an alert", ()
    )
    inventory_s: float = setting("seconds between two such questions", 900.0)
    max_bad_in_a_row: int = setting("bad records in a row after which the service stops; 0: never", 1000)
    broken_s: float = setting("seconds to bear a broken Kafka or AWS before leaving the process", 300.0)

    def __post_init__(self) -> None:
        """Check what no type says. Raises SettingError with a line for each mistake."""
        problems = [*self.listening_problems(), *self._inputs(), *self._limits()]
        if problems:
            raise SettingError("\n".join(problems))

    @property
    def streams(self) -> list[Place]:
        """The Kinesis streams."""
        return [places.stream(text) for text in self.kinesis_stream]

    @property
    def queues(self) -> list[Place]:
        """The SQS queues."""
        return [places.queue(text) for text in self.sqs_queues]

    @property
    def groups(self) -> list[Place]:
        """The log groups that are polled."""
        return [places.log_group(text) for text in self.log_groups]

    def _inputs(self) -> list[str]:
        found = []
        if not (self.kinesis_stream or self.sqs_queues or self.log_groups or self.listen_port >= 0):
            found.append(
                "nothing to read: set LEADSMAN_KINESIS_STREAM, LEADSMAN_SQS_QUEUES, LEADSMAN_LOG_GROUPS or "
                "LEADSMAN_LISTEN_PORT"
            )
        if self.listen_port >= 0 and not self.firehose_access_keys:
            found.append(
                "LEADSMAN_FIREHOSE_ACCESS_KEYS is not set: without one anybody could post to LEADSMAN_LISTEN_PORT"
            )
        if self.listen_port < 0 and self.firehose_access_keys:
            found.append("LEADSMAN_LISTEN_PORT is not set: the port that Firehose, or what stands before us, posts to")
        if any(len(key) > 4096 for key in self.firehose_access_keys):
            found.append("LEADSMAN_FIREHOSE_ACCESS_KEYS: Firehose sends no key of more than 4096 characters")
        if not self.firehose_path.startswith("/"):
            found.append(f"LEADSMAN_FIREHOSE_PATH={self.firehose_path!r} does not begin with /")
        found += _misread("LEADSMAN_KINESIS_STREAM", self.kinesis_stream, places.stream)
        found += _misread("LEADSMAN_SQS_QUEUES", self.sqs_queues, places.queue)
        found += _misread("LEADSMAN_LOG_GROUPS", self.log_groups, places.log_group)
        found += [
            f"LEADSMAN_EKS_INVENTORY: {place!r} is not ACCOUNT/REGION"
            for place in self.eks_inventory
            if not _PLACE.fullmatch(place)
        ]
        for account, role in self.assume_roles.items():
            if not (account.isdigit() and len(account) == 12 and _ROLE.fullmatch(role)):
                found.append(f"LEADSMAN_ASSUME_ROLES: {account}={role} is not ACCOUNT=arn:aws:iam::ACCOUNT:role/NAME")
        return found

    def _limits(self) -> list[str]:
        found = []
        if not 1 <= self.poll_records <= 10_000:
            found.append(f"LEADSMAN_POLL_RECORDS={self.poll_records} is not between 1 and 10000")
        if not 10 <= self.sqs_visibility_s <= 43_200:
            found.append(f"LEADSMAN_SQS_VISIBILITY_S={self.sqs_visibility_s} is not between 10 and 43200")
        if self.lease_s < 1:
            found.append(f"LEADSMAN_LEASE_S={self.lease_s} is less than 1")
        if self.inventory_s < 1:
            found.append(f"LEADSMAN_INVENTORY_S={self.inventory_s} is less than 1")
        if self.log_overlap_s < 0:
            found.append(f"LEADSMAN_LOG_OVERLAP_S={self.log_overlap_s} is negative")
        try:
            span_ms(self.log_since, 0)
        except ValueError as error:
            found.append(f"LEADSMAN_LOG_SINCE={self.log_since!r} {error}")
        return found


def _misread(variable: str, texts: tuple[str, ...], read: Callable[[str], Place]) -> list[str]:
    found = []
    for text in texts:
        try:
            read(text)
        except ValueError as error:
            found.append(f"{variable}: {text!r} {error}")
    found += [f"{variable}: {text!r} stands there twice" for text in sorted({t for t in texts if texts.count(t) > 1})]
    return found
