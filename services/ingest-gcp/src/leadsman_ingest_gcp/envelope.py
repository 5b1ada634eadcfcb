"""A Pub/Sub message, or a line of an export, as a RawEvent: it is one LogEntry of Cloud Logging, untouched.

Pure, and first on the event's way from Google Cloud; pull.py and exports.py call it for each. Cluster, project and
location are inside the LogEntry, which ingest does not look into: the normalizer takes them from there.
"""

from __future__ import annotations

from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import RawEvent

FORMAT = "gke-logentry"
# what a raw topic takes (2 MiB), less room for key and headers; a LogEntry has 256 KiB at most, a message 10 MB
MAX_VALUE_BYTES = 2 * 1024 * 1024 - 64 * 1024


def split(data: bytes, message_id: str, received_ms: int) -> RawEvent:
    """Make the RawEvent of one message: PubsubMessage.data, its messageId, and when it was received (Unix ms).

    Raises InvalidEvent for a message that holds nothing, or more than a raw topic takes.
    """
    if not data:
        raise InvalidEvent("a message without data")
    if len(data) > MAX_VALUE_BYTES:
        raise InvalidEvent(f"a message of {len(data)} bytes, more than the {MAX_VALUE_BYTES} that a topic takes")
    return RawEvent(value=data, format=FORMAT, provider="gcp", source_id=message_id, received_ms=received_ms)
