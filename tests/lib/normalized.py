"""The normalizer's answer to a record, for tests that go on with events."""

from __future__ import annotations

from leadsman_common.clusters import NO_CLUSTERS
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped


def event_of(raw: RawEvent) -> AuditEvent | None:
    """The event of a record; None where it has none."""
    try:
        event = normalize(raw, NO_CLUSTERS)
    except InvalidEvent:
        return None
    return None if isinstance(event, Dropped) else event
