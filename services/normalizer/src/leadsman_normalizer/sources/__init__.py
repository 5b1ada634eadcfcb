"""Every source Leadsman can read, one line each: format -> function of a RawEvent."""

from __future__ import annotations

from collections.abc import Callable

from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.aks_audit import normalize_aks
from leadsman_normalizer.sources.azure_activity import normalize_activity
from leadsman_normalizer.sources.cloudtrail import normalize_cloudtrail
from leadsman_normalizer.sources.eks_authenticator import normalize_authenticator
from leadsman_normalizer.sources.eks_components import normalize_component_line
from leadsman_normalizer.sources.falco import normalize_falco
from leadsman_normalizer.sources.gke_audit import normalize_gke
from leadsman_normalizer.sources.guardduty import normalize_guardduty
from leadsman_normalizer.sources.k8s_audit import normalize_native
from leadsman_normalizer.sources.scc import normalize_scc

SOURCES: dict[str, Callable[[RawEvent], AuditEvent | Dropped]] = {
    "k8s-audit": normalize_native,
    "eks-audit": normalize_native,
    "eks-authenticator": normalize_authenticator,
    "eks-api": normalize_component_line,
    "eks-controller-manager": normalize_component_line,
    "eks-scheduler": normalize_component_line,
    "eks-unknown": normalize_component_line,  # a stream of EKS that has no name here: cloud-controller-manager
    "cloudtrail": normalize_cloudtrail,
    "aks-audit": normalize_aks,
    "azure-activity": normalize_activity,
    "gke-logentry": normalize_gke,
    "falco": normalize_falco,
    "guardduty": normalize_guardduty,
    "scc": normalize_scc,
}
