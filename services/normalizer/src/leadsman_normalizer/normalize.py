"""One record of any log as one AuditEvent: the pure core of the normalizer, the same in the stream and in a scan."""

from __future__ import annotations

from msgspec.structs import replace

from leadsman_common.clusters import NO_CLUSTERS, Clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.detect import detect
from leadsman_normalizer.mirrors import undo_mirrors
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources import SOURCES

NOTIFICATION = b'"notificationConfigName"'
NOTIFICATION_BYTES = 64  # it is what they begin with

__all__ = ["Dropped", "detect", "normalize"]


def normalize(raw: RawEvent, clusters: Clusters = NO_CLUSTERS) -> AuditEvent | Dropped:
    """The event of a record, or why it is not ours. Raises InvalidEvent for bad data and nothing else.

    The source is chosen by `raw.format`; a record without one (a file) is looked at. `clusters` is the registry.
    """
    source_format = raw.format or detect(raw.value)
    if source_format == "eks-unknown" and (found := detect(raw.value)) not in ("", source_format):
        source_format = found  # another log group sent the same way: CloudTrail's
        raw = replace(raw, format=found)
    if source_format == "gke-logentry" and NOTIFICATION in raw.value[:NOTIFICATION_BYTES]:
        source_format = "scc"  # Security Command Center's findings come through Pub/Sub as well
    source = SOURCES.get(source_format)
    if source is not None:
        event = source(raw)
        if clusters is not NO_CLUSTERS and not isinstance(event, Dropped):
            event["cluster"] = clusters.resolve(event["cluster"])
            undo_mirrors(event, clusters)
        return event
    raise InvalidEvent(f"unknown format {source_format[:64]!r}" if source_format else "no known format")
