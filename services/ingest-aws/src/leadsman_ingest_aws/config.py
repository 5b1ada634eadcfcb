"""Settings of ingest-aws, read once from LEADSMAN_* variables."""

from __future__ import annotations

from dataclasses import dataclass

from leadsman_common.settings import Common, SettingError, setting
from leadsman_ingest_aws.envelope import MAX_PLAIN_BYTES


@dataclass(frozen=True)
class Settings(Common):
    """Where to read and how; credentials are the AWS SDK's own business."""

    kinesis_stream: str = setting("Kinesis data stream to read: its name or its ARN", "")
    aws_region: str = setting("AWS region; empty: the stream ARN's, else the AWS SDK's own settings", "")
    aws_endpoint_url: str = setting("endpoint of Kinesis and DynamoDB; empty: the real cloud", "")
    checkpoint_table: str = setting("DynamoDB table for checkpoints; empty: a file in LEADSMAN_STATE_DIR", "")
    state_dir: str = setting("folder for checkpoints where no table is set", "/var/lib/leadsman")
    poll_interval_s: float = setting("seconds between two reads of one shard; Kinesis allows five reads a second", 0.25)
    poll_records: int = setting("records asked for in one read, at most 10000", 500)
    shard_refresh_s: float = setting("seconds between two listings of the stream's shards", 30.0)
    max_plain_bytes: int = setting("a record that unpacks to more is dead-lettered", MAX_PLAIN_BYTES)
    max_bad_in_a_row: int = setting("bad records in a row after which the service stops; 0: never", 1000)
    broken_s: float = setting("seconds to bear a broken Kafka or AWS before leaving the process", 300.0)

    def __post_init__(self) -> None:
        """Check what no type says."""
        if not self.kinesis_stream:
            raise SettingError("LEADSMAN_KINESIS_STREAM is not set: Kinesis data stream to read: its name or its ARN")
        if not 1 <= self.poll_records <= 10_000:
            raise SettingError(f"LEADSMAN_POLL_RECORDS={self.poll_records} is not between 1 and 10000")

    @property
    def stream_name(self) -> str:
        """The stream's name, whichever way it was given (arn:aws:kinesis:REGION:ACCOUNT:stream/NAME)."""
        return self.kinesis_stream.rpartition("/")[2]

    @property
    def region(self) -> str:
        """The region that was given, by setting or by ARN, or ""."""
        parts = self.kinesis_stream.split(":")
        return self.aws_region or (parts[3] if len(parts) == 6 else "")
