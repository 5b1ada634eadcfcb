"""One record of any log as one AuditEvent: the pure core of the normalizer, the same in the stream and in a scan."""

from __future__ import annotations

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources import NOT_READ_YET, SOURCES

__all__ = ["Dropped", "normalize"]


def normalize(raw: RawEvent) -> AuditEvent | Dropped:
    """The event of a record, or why it is not ours. Raises InvalidEvent for bad data and nothing else.

    The source is chosen by `raw.format`; a record without one (a file) is looked at.
    """
    source_format = raw.format or detect(raw.value)
    source = SOURCES.get(source_format)
    if source is not None:
        return source(raw)
    if source_format in NOT_READ_YET:
        return Dropped(f"format not read yet: {source_format}")
    raise InvalidEvent(f"unknown format {source_format[:64]!r}" if source_format else "no known format")


def detect(value: bytes) -> str:
    """The format of a record by its field names; empty where it is none we know.

    A cut record keeps the field names at its beginning, so this does not parse.
    """
    if b'"protoPayload"' in value:
        return "gke-logentry"
    return "k8s-audit" if b'"auditID"' in value or b"audit.k8s.io" in value else ""
