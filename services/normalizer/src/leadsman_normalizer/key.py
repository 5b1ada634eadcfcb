"""The key of an event on audit.events: what must keep its order stands on one partition (DESIGN 2)."""

from __future__ import annotations

from leadsman_common.events import AuditEvent

# these act so much that one actor a partition would make it hot; their objects spread
_BY_OBJECT = frozenset({"control_plane", "node", "managed_cloud"})


def partition_key(event: AuditEvent) -> bytes:
    """Cluster and actor; for the platform's own actors cluster and object."""
    actor = event["actor"]
    if actor["class"] in _BY_OBJECT:
        ref = event["objectRef"]
        about = f"{ref['resource']}.{ref['apiGroup']}/{ref['namespace']}/{ref['name']}"
    else:
        about = actor["name"]
    return f"{event['cluster']['id']}|{about}".encode("utf-8", "replace")
