"""Google Cloud: calls about clusters that are no requests to them, from the same Cloud Audit Logs (FORMATS 3.2).

container.googleapis.com (ClusterManager), the IAM calls of Workload Identity, and what takes logs away: sinks,
exclusions, buckets, Data Access settings. https://cloud.google.com/kubernetes-engine/docs/how-to/audit-logging
"""

from __future__ import annotations

import re
from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cloud, Cluster, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of, groups_of
from leadsman_normalizer.assemble import cluster, status_of
from leadsman_normalizer.calls import Call, assemble_call, parameters_text, tree_of
from leadsman_normalizer.facts.gcp_calls import gcp_facts
from leadsman_normalizer.outcome import gke
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.log_entry import (
    NO_AUTHENTICATION,
    NO_METADATA,
    NO_OPERATION,
    NO_RPC,
    LogEntry,
    Payload,
)
from leadsman_normalizer.timestamps import micros

_DOMAIN: Final = ".googleapis.com"
_READ: Final = frozenset({"container", "iam", "iamcredentials", "logging", "cloudresourcemanager"})
_LOGGING = re.compile(
    r"google\.logging\.v2\.(?:ConfigServiceV2\.(?:(?:Create|Update|Delete)(?:Sink|Exclusion)|(?:Update|Delete)Bucket"
    r"|Update(?:Cmek)?Settings)|LoggingServiceV2\.DeleteLog)\Z"
)
_CLUSTER = re.compile(r"projects/([^/]+)/(?:zones|locations)/([^/]+)/clusters/([^/]+)")
_PROJECT = re.compile(r"projects/([^/]+)/")


def normalize_gcp_call(raw: RawEvent, entry: LogEntry, payload: Payload, reasons: list[str]) -> AuditEvent | Dropped:
    """An entry of a service other than k8s.io. Dropped where it is about no cluster, or only ends a call.

    Raises InvalidEvent where it names no method.
    """
    service = payload.serviceName.removesuffix(_DOMAIN)
    not_ours = Dropped(f"not ours: {payload.serviceName[:64]}")
    if service not in _READ:
        return not_ours
    if not payload.methodName:
        raise InvalidEvent("a LogEntry without methodName")
    if service == "logging" and not _LOGGING.match(payload.methodName):
        return not_ours
    who = payload.authenticationInfo or NO_AUTHENTICATION
    principal = who.principalEmail or who.principalSubject
    operation = entry.operation or NO_OPERATION
    if operation.last and not operation.first and not principal:
        return Dropped("the end of a long-running operation, whose start is an event")  # it has no caller
    asked = tree_of(payload.request, "request", reasons)
    extra = tree_of(payload.serviceData, "serviceData", reasons) or tree_of(payload.metadata, "metadata", reasons)
    labels = entry.resource.labels if entry.resource is not None else {}
    delegates = [who.principalSubject, *(d.principalSubject for d in who.serviceAccountDelegationInfo)]
    facts = gcp_facts(service, payload.methodName, payload.resourceName, labels, asked, extra, delegates, reasons)
    if not facts and service in ("iam", "iamcredentials", "cloudresourcemanager"):
        return not_ours
    return _event(raw, entry, payload, service, principal, asked, facts, reasons)


def _event(
    raw: RawEvent,
    entry: LogEntry,
    payload: Payload,
    service: str,
    principal: str,
    asked: dict[str, Any],
    facts: dict[str, Any],
    reasons: list[str],
) -> AuditEvent:
    rpc = payload.status or NO_RPC
    operation = entry.operation or NO_OPERATION
    metadata = payload.requestMetadata or NO_METADATA
    in_cluster = _cluster(raw, entry, payload)
    user: User = {"username": principal, "uid": "", "groups": list(groups_of(principal)), "extra": {}}
    granted = any(item.granted for item in payload.authorizationInfo) if payload.authorizationInfo else None
    outcome = gke("", "", granted, rpc.code, 0, "", streaming=False)
    failed = rpc.code != 0
    cloud: Cloud = {
        "service": payload.serviceName,
        "operation": payload.methodName,
        "principal": principal,
        "canonical_arn": "",
        "session": "",
        "access_key_id": "",
        "principal_id": "",
        "error": str(rpc.code) if failed else "",
        "parameters": parameters_text(asked, reasons),
    }
    return assemble_call(
        Call(
            raw=raw,
            format=raw.format or "gke-logentry",
            id=event_id(
                in_cluster["id"],
                operation.id or entry.insertId,
                "" if operation.id else entry.timestamp,
                payload.methodName,
                payload.resourceName,
                principal,
            ),
            call_id=operation.id or entry.insertId,
            action=f"{service}:{payload.methodName}",
            time=micros(entry.timestamp) or micros(entry.receiveTimestamp),
            logged=micros(entry.receiveTimestamp),
            cluster=in_cluster,
            user=user,
            actor=actor_of(user, None, "gcp", refused=rpc.code == 16),
            user_agent=metadata.callerSuppliedUserAgent,
            ip=metadata.callerIp or metadata.callerIP,
            status=status_of(outcome["http"], "Failure" if failed else "", "", rpc.message),
            outcome=outcome,
            cloud=cloud,
            facts=facts,
            failed=failed,
            reasons=reasons,
        )
    )


def _cluster(raw: RawEvent, entry: LogEntry, payload: Payload) -> Cluster:
    """The cluster by the resource's labels, else by the resource's name."""
    labels = entry.resource.labels if entry.resource is not None else {}
    named = _CLUSTER.match(payload.resourceName)
    project = _PROJECT.match(entry.logName)
    return cluster(
        "gcp",
        labels.get("project_id", "") or (named[1] if named else project[1] if project else "") or raw.account,
        (named[2] if named else labels.get("location", "") if "cluster_name" in labels else "") or raw.region,
        labels.get("cluster_name", "") or (named[3] if named else "") or raw.cluster,
    )
