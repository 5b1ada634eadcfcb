"""How late events of a source may come, measured against that source's own progress."""

from __future__ import annotations

from collections.abc import Mapping

from leadsman_common.events import AuditEvent

AUDIT = "audit"
# by source; the formats that are no source of their own are audit logs, which come within minutes
LATENESS_MS: Mapping[str, int] = {
    AUDIT: 600_000,
    "cloudtrail": 7_200_000,
    "azure-activity": 7_200_000,
    "guardduty": 7_200_000,
    "scc": 7_200_000,
}


def source_of(event: AuditEvent) -> str:
    """The source whose progress an event is part of."""
    return source_named(event["source"]["format"])


def source_named(source_format: str) -> str:
    """The same by the format of its source."""
    return source_format if source_format in LATENESS_MS else AUDIT
