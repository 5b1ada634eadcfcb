"""The ways on which AWS hands events over, each made in the stand-in: put messages in here, ask what is acknowledged.

Where the stand-in delivers by itself (subscriptions to Kinesis, news of S3, rules of EventBridge) it does.
"""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

import boto3

REGION = "eu-west-1"
ACCOUNT = "123456789012"  # the stand-in's
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
STREAM = "kube-apiserver-audit-0123456789abcdef0123456789abcdef"


def message(name: str) -> str:
    """An event that may stand for an audit event or for a CloudTrail record, with spaces that must survive."""
    return f'{{"kind":"Event",  "auditID":"{name}", "eventID":"{name}","eventName":"Call","user":{{"username":"é"}}}}'


class Aws:
    """The clients, and a table for checkpoints and leases."""

    def __init__(self, endpoint: str) -> None:
        from leadsman_ingest_aws.checkpoints import create_table

        self.endpoint = endpoint
        self.name = f"audit-{secrets.token_hex(4)}"
        self.dynamo = self.client("dynamodb")
        create_table(self.dynamo, self.name)
        self.env = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "LEADSMAN_AWS_ENDPOINT_URL": endpoint,
            "LEADSMAN_AWS_REGION": REGION,
            "LEADSMAN_CHECKPOINT_TABLE": self.name,
            "LEADSMAN_LEASE_S": "2",
        }

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **KEYS)

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """The rows of the table whose `stream` begins so."""
        items = self.dynamo.scan(TableName=self.name, ConsistentRead=True)["Items"]
        return [item for item in items if item["stream"]["S"].startswith(stream)]


class Kinesis:
    """A log group, a subscription, a stream."""

    def __init__(self, aws: Aws, shards: int = 1) -> None:
        self._aws = aws
        self.kinesis, self._logs = aws.client("kinesis"), aws.client("logs")
        self.kinesis.create_stream(StreamName=aws.name, ShardCount=shards)
        self._group = f"/aws/eks/{aws.name}/cluster"
        self._logs.create_log_group(logGroupName=self._group)
        self._logs.create_log_stream(logGroupName=self._group, logStreamName=STREAM)
        arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{aws.name}"
        self._logs.put_subscription_filter(
            logGroupName=self._group,
            filterName="leadsman",
            filterPattern="",
            destinationArn=arn,
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/r",
        )
        self.env = {
            **aws.env,
            "LEADSMAN_KINESIS_STREAM": arn,
            "LEADSMAN_POLL_INTERVAL_S": "0.05",
            "LEADSMAN_SHARD_REFRESH_S": "1",
        }

    def put(self, messages: Sequence[str]) -> None:
        for text in messages:  # a record each
            event = {"timestamp": int(time.time() * 1000), "message": text}
            self._logs.put_log_events(logGroupName=self._group, logStreamName=STREAM, logEvents=[event])

    def acknowledged(self) -> Any:
        return sorted(row["position"]["S"] for row in self._aws.rows("arn:") if "position" in row)


class _Queue:
    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self.sqs = aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName=aws.name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{aws.name}"
        self.env = {**aws.env, "LEADSMAN_SQS_QUEUES": self.arn, "LEADSMAN_SQS_VISIBILITY_S": "10"}

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(answer[name]) for name in names)

    def acknowledged(self) -> Any:
        return -self.left()


class TrailFiles(_Queue):
    """A trail's bucket, whose news S3 itself sends to a queue; a file a call."""

    def __init__(self, aws: Aws) -> None:
        super().__init__(aws)
        self.s3 = aws.client("s3")
        self.s3.create_bucket(Bucket=aws.name, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.s3.put_bucket_notification_configuration(
            Bucket=aws.name,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": self.arn, "Events": ["s3:ObjectCreated:*"]}]
            },
        )

    def key(self) -> str:
        return f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/2026/11/28/{secrets.token_hex(8)} +é.json.gz"

    def put(self, messages: Sequence[str]) -> None:
        body = gzip.compress(b'{"Records":[' + ",".join(messages).encode() + b"]}")
        self.s3.put_object(Bucket=self._aws.name, Key=self.key(), Body=body)


class FirehoseFiles(TrailFiles):
    """The same bucket, with what Firehose writes of CloudWatch's records: gzip members that follow each other."""

    def put(self, messages: Sequence[str]) -> None:
        body = b"".join(gzip.compress(json.dumps(document([text])).encode()) for text in messages)
        self.s3.put_object(Bucket=self._aws.name, Key=f"exports/{secrets.token_hex(8)}", Body=body)


class Bridge(_Queue):
    """A rule of EventBridge whose target is a queue."""

    def __init__(self, aws: Aws) -> None:
        super().__init__(aws)
        self._events = aws.client("events")
        pattern = {"detail-type": ["AWS API Call via CloudTrail"], "detail": {"test": [aws.name]}}
        self._events.put_rule(Name=aws.name, EventPattern=json.dumps({"detail-type": pattern["detail-type"]}))
        self._events.put_targets(Rule=aws.name, Targets=[{"Id": "1", "Arn": self.arn}])

    def put(self, messages: Sequence[str]) -> None:
        for text in messages:
            entry = {"Source": "eks", "DetailType": "AWS API Call via CloudTrail", "Detail": text}
            self._events.put_events(Entries=[entry])

    def close(self) -> None:
        self._events.remove_targets(Rule=self._aws.name, Ids=["1"])
        self._events.delete_rule(Name=self._aws.name)


class LogGroup:
    """A log group that is polled."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self.logs = aws.client("logs")
        self.group = f"/aws/eks/{aws.name}/cluster"
        self.logs.create_log_group(logGroupName=self.group)
        self.logs.create_log_stream(logGroupName=self.group, logStreamName=STREAM)
        self.env = {
            **aws.env,
            "LEADSMAN_LOG_GROUPS": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{self.group}",
            "LEADSMAN_LOG_POLL_INTERVAL_S": "0.2",
        }

    def put(self, messages: Sequence[str], time_ms: int = 0, stream: str = STREAM) -> None:
        time_ms = time_ms or int(time.time() * 1000)
        events = [{"timestamp": time_ms, "message": text} for text in messages]
        self.logs.put_log_events(logGroupName=self.group, logStreamName=stream, logEvents=events)

    def acknowledged(self) -> Any:
        return len(self._aws.rows("seen:"))


PATHS = {
    "kinesis": Kinesis,
    "trail-files": TrailFiles,
    "firehose-files": FirehoseFiles,
    "bridge": Bridge,
    "logs": LogGroup,
}


def document(messages: Sequence[str], **changes: Any) -> dict[str, Any]:
    """CloudWatch's record of these messages."""
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "/aws/eks/harbour/cluster",
        "logStream": STREAM,
        "subscriptionFilters": ["leadsman"],
        "logEvents": [
            {"id": f"{secrets.randbelow(10**56):056d}", "timestamp": int(time.time() * 1000), "message": text}
            for text in messages
        ],
    } | changes
