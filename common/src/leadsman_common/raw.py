"""A record as it stands on a raw topic: the untouched bytes of ONE log event, and what the transport knew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

# the headers of every raw topic (DESIGN 2); each is UTF-8 text, and an absent one is simply not there
HEADER_NAMES = (
    "format",
    "cluster",
    "account",
    "region",
    "provider",
    "source-id",
    "received-ms",
    "log-stream",
)


# what a raw topic takes (2 MiB), less room for key and headers
MAX_VALUE_BYTES = 2 * 1024 * 1024 - 64 * 1024


class RawEvent(msgspec.Struct, frozen=True, gc=False):
    """One log event and where it came from. `topic` is empty for a file, `file` is empty for a topic."""

    value: bytes
    format: str = ""
    cluster: str = ""
    account: str = ""
    region: str = ""
    provider: str = ""
    source_id: str = ""
    received_ms: int = 0
    log_stream: str = ""
    topic: str = ""
    partition: int = 0
    offset: int = 0
    file: str = ""
    line: int = 0

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers that say the same."""
        pairs = (
            ("format", self.format),
            ("cluster", self.cluster),
            ("account", self.account),
            ("region", self.region),
            ("provider", self.provider),
            ("source-id", self.source_id),
            ("received-ms", str(self.received_ms) if self.received_ms else ""),
            ("log-stream", self.log_stream),
        )
        return [(name, value.encode()) for name, value in pairs if value]

    def key(self) -> bytes:
        """Hash of the source id: order is not needed, and one big source fills all partitions."""
        return hashlib.blake2b(self.source_id.encode("utf-8", "replace"), digest_size=8).digest()


class Bad(NamedTuple):
    """Something that is no event, with what was known of it, and why."""

    raw: RawEvent
    reason: str


def checked(event: RawEvent) -> RawEvent | Bad:
    """The event, or why it cannot stand on a raw topic."""
    size = len(event.value)
    if size > MAX_VALUE_BYTES:
        return Bad(event, f"an event of {size} bytes, more than the {MAX_VALUE_BYTES} that a topic takes")
    if not size:
        return Bad(event, "an event without content")
    return event


def from_headers(
    value: bytes, headers: Iterable[tuple[str, bytes | None]] | None, topic: str, partition: int, offset: int
) -> RawEvent:
    """A RawEvent out of a Kafka record. Headers that are not ours are passed over."""
    found: Mapping[str, str] = {
        name: data.decode("utf-8", "replace") for name, data in headers or () if data is not None
    }
    received = found.get("received-ms", "")
    return RawEvent(
        value=value,
        format=found.get("format", ""),
        cluster=found.get("cluster", ""),
        account=found.get("account", ""),
        region=found.get("region", ""),
        provider=found.get("provider", ""),
        source_id=found.get("source-id", ""),
        received_ms=int(received) if received.isascii() and received.isdigit() and len(received) < 15 else 0,
        log_stream=found.get("log-stream", ""),
        topic=topic,
        partition=partition,
        offset=offset,
    )
