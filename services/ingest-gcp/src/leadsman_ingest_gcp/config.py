"""Settings of ingest-gcp, read once from LEADSMAN_* variables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leadsman_common.settings import Common, SettingError, setting

_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+")


@dataclass(frozen=True)
class Settings(Common):
    """What to pull and how; credentials are the Google SDK's own business, as is PUBSUB_EMULATOR_HOST."""

    pubsub_subscriptions: tuple[str, ...] = setting(
        "subscriptions to pull, projects/PROJECT/subscriptions/NAME each, comma-separated", ()
    )
    pubsub_endpoint: str = setting("endpoint of Pub/Sub, host:port; empty: the global one", "")
    pull_messages: int = setting("messages in hand at most, over all subscriptions", 4000)
    pull_bytes: int = setting("bytes in hand at most, over all subscriptions", 64 * 1024 * 1024)
    batch_messages: int = setting("messages produced together at most", 500)
    batch_wait_s: float = setting("seconds to wait for a fuller batch", 0.02)
    max_bad_in_a_row: int = setting("bad messages in a row after which the service stops; 0: never", 1000)
    broken_s: float = setting("seconds to bear a broken Kafka or Pub/Sub before leaving the process", 300.0)

    def __post_init__(self) -> None:
        """Check what no type says."""
        if not self.pubsub_subscriptions:
            raise SettingError("LEADSMAN_PUBSUB_SUBSCRIPTIONS is not set: the subscriptions to pull")
        for path in self.pubsub_subscriptions:
            if not _SUBSCRIPTION.fullmatch(path):
                raise SettingError(
                    f"LEADSMAN_PUBSUB_SUBSCRIPTIONS: {path!r} is not projects/PROJECT/subscriptions/NAME"
                )
        if min(self.pull_messages, self.pull_bytes, self.batch_messages) < 1:
            raise SettingError("LEADSMAN_PULL_MESSAGES, _PULL_BYTES and LEADSMAN_BATCH_MESSAGES must be positive")
