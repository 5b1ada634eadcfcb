"""Every source Leadsman can read, one line each: format -> function of a RawEvent."""

from __future__ import annotations

from collections.abc import Callable

from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.gke_audit import normalize_gke
from leadsman_normalizer.sources.k8s_audit import normalize_native

SOURCES: dict[str, Callable[[RawEvent], AuditEvent | Dropped]] = {
    "k8s-audit": normalize_native,
    "eks-audit": normalize_native,
    "gke-logentry": normalize_gke,
}
# streams that ingest carries and nothing reads yet: kept on the raw topic, counted, no error
NOT_READ_YET = frozenset({"eks-authenticator", "eks-api", "eks-controller-manager", "eks-scheduler", "eks-unknown"})
