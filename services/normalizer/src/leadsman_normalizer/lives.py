"""What an event tells of its cluster's life: that it was made, or deleted. Pure.

EKS and GKE log the calls themselves. Any API server makes the namespace kube-system once, when its store is empty, and
nobody can delete it: whoever makes it again is another cluster, whatever its name.
"""

from __future__ import annotations

from typing import Final, Literal

from leadsman_common.events import AuditEvent

Told = Literal["made", "deleted"]
_CALLS: Final[dict[str, Told]] = {
    "eks:CreateCluster": "made",
    "eks:DeleteCluster": "deleted",
    "container:google.container.v1.ClusterManager.CreateCluster": "made",
    "container:google.container.v1.ClusterManager.DeleteCluster": "deleted",
    "container:google.container.v1beta1.ClusterManager.CreateCluster": "made",
    "container:google.container.v1beta1.ClusterManager.DeleteCluster": "deleted",
    "microsoft.containerservice:managedClusters/delete": "deleted",
}
_NAMESPACE: Final = "create namespaces"


def told_by(event: AuditEvent) -> Told | None:
    """What the event tells; None for nearly every event."""
    action = event["action"]
    if action == _NAMESPACE:
        first = event["objectRef"]["name"] == "kube-system" and event["outcome"]["http"] == 201 and not event["dryRun"]
        return "made" if first else None
    told = _CALLS.get(action)
    return told if told and event["outcome"]["effective"] else None
