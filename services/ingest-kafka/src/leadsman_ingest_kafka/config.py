"""Settings of ingest-kafka, read once from LEADSMAN_* variables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leadsman_common.kafka_sources import InvalidSourcesError, Source, load_sources
from leadsman_common.settings import Common, SettingError, setting


@dataclass(frozen=True)
class Settings(Common):
    """What to read and where."""

    kafka_sources: str = setting("file of the topics to read, their format and cluster: docs/sources/kafka.md", "")
    source_bootstrap: str = setting("brokers to read from; empty: LEADSMAN_KAFKA_BOOTSTRAP, with its options", "")
    source_options: dict[str, str] = setting(
        "librdkafka options for those brokers (SASL, TLS): name=value, comma-separated", dict, secret=True
    )
    source_group: str = setting("consumer group at those brokers", "leadsman-ingest-kafka")
    batch_messages: int = setting("records produced and committed together at most", 500)
    max_bad_in_a_row: int = setting("bad records in a row after which the service stops; 0: never", 1000)
    broken_s: float = setting("seconds to bear a broken Kafka on either side before leaving the process", 300.0)

    def __post_init__(self) -> None:
        """Check what no type says."""
        if not self.kafka_sources:
            raise SettingError("LEADSMAN_KAFKA_SOURCES is not set: the file of the topics to read")
        if not 1 <= self.batch_messages <= 10_000:
            raise SettingError(f"LEADSMAN_BATCH_MESSAGES={self.batch_messages} is not between 1 and 10000")

    def sources(self) -> tuple[Source, ...]:
        """The topics to read. Raises SettingError where the file cannot be used."""
        try:
            return load_sources(Path(self.kafka_sources))
        except InvalidSourcesError as error:
            raise SettingError(f"LEADSMAN_KAFKA_SOURCES: {error}") from error
