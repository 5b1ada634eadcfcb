"""Dead letters of what cannot stand on the raw topic."""

from __future__ import annotations

from leadsman_common.kafka import DeadLetter, Outgoing, dead_letter
from leadsman_common.raw import RawEvent
from leadsman_ingest_gcp.envelope import FORMAT, MAX_VALUE_BYTES


def dead(topic: str, data: bytes, source_id: str, received_ms: int, reason: str, stage: str) -> Outgoing:
    """The dead letter of one; what is too long is cut, and said so."""
    if len(data) > MAX_VALUE_BYTES:
        reason = f"cut; {reason}"
    raw = RawEvent(data[:MAX_VALUE_BYTES], FORMAT, provider="gcp", source_id=source_id, received_ms=received_ms)
    # it never was on the raw topic, so it has no partition and offset there
    return dead_letter(DeadLetter(topic, -1, -1, raw.key(), raw.value, raw.headers(), reason, stage))
