"""Google Cloud: calls about clusters that are no requests to them, from the same Cloud Audit Logs (FORMATS 3.2).

container.googleapis.com (ClusterManager), the IAM calls of Workload Identity, and what takes logs away: sinks,
exclusions, buckets, Data Access settings. https://cloud.google.com/kubernetes-engine/docs/how-to/audit-logging
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cloud, Cluster, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of, groups_of
from leadsman_normalizer.assemble import cluster, status_of
from leadsman_normalizer.calls import Call, assemble_call, parameters_text, tree_of
from leadsman_normalizer.facts.gcp_calls import gcp_facts
from leadsman_normalizer.lenient import NO_BODY, Truncated, decode
from leadsman_normalizer.outcome import gke
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.timestamps import micros

_DOMAIN: Final = ".googleapis.com"
_READ: Final = frozenset({"container", "iam", "iamcredentials", "logging", "cloudresourcemanager"})
_LOGGING = re.compile(
    r"google\.logging\.v2\.(?:ConfigServiceV2\.(?:(?:Create|Update|Delete)(?:Sink|Exclusion)|(?:Update|Delete)Bucket"
    r"|Update(?:Cmek)?Settings)|LoggingServiceV2\.DeleteLog)\Z"
)
_CLUSTER = re.compile(r"projects/([^/]+)/(?:zones|locations)/([^/]+)/clusters/([^/]+)")
_PROJECT = re.compile(r"projects/([^/]+)/")


class Delegation(msgspec.Struct, gc=False):
    """An item of serviceAccountDelegationInfo: who stood behind the principal."""

    principalSubject: str = ""


class Authentication(msgspec.Struct, gc=False):
    """authenticationInfo."""

    principalEmail: str = ""
    principalSubject: str = ""
    serviceAccountDelegationInfo: list[Delegation] = []


class Authorization(msgspec.Struct, gc=False):
    """An item of authorizationInfo."""

    granted: bool = False


class RequestMetadata(msgspec.Struct, gc=False):
    """requestMetadata."""

    callerIp: str = ""
    callerSuppliedUserAgent: str = ""


class RpcStatus(msgspec.Struct, gc=False):
    """google.rpc.Status."""

    code: int = 0
    message: str = ""


class Payload(msgspec.Struct, gc=False):
    """google.cloud.audit.AuditLog, as far as calls need it."""

    serviceName: str = ""
    methodName: str = ""
    resourceName: str = ""
    authenticationInfo: Authentication | None = None
    authorizationInfo: list[Authorization] | None = None
    requestMetadata: RequestMetadata | None = None
    request: msgspec.Raw = NO_BODY
    serviceData: msgspec.Raw = NO_BODY
    metadata: msgspec.Raw = NO_BODY
    status: RpcStatus | None = None


class Operation(msgspec.Struct, gc=False):
    """LogEntryOperation."""

    id: str = ""
    first: bool = False
    last: bool = False


class Resource(msgspec.Struct, gc=False):
    """MonitoredResource."""

    type: str = ""
    labels: dict[str, str] = {}


class Entry(msgspec.Struct, gc=False):
    """A LogEntry."""

    insertId: str = ""
    logName: str = ""
    timestamp: str = ""
    receiveTimestamp: str = ""
    operation: Operation | None = None
    resource: Resource | None = None
    protoPayload: Payload | None = None


def normalize_gcp_call(raw: RawEvent, service_name: str) -> AuditEvent | Dropped:
    """The LogEntry of a service other than k8s.io. Dropped where it is about no cluster, or only ends a call."""
    service = service_name.removesuffix(_DOMAIN)
    if service not in _READ:
        return Dropped(f"not ours: {service_name[:64]}")
    reasons: list[str] = []
    try:
        entry = decode(Entry, raw.value, reasons)
    except Truncated as error:
        raise InvalidEvent(f"truncated LogEntry: {error}") from error
    payload = entry.protoPayload or Payload()
    if not payload.methodName:
        raise InvalidEvent("a LogEntry without methodName")
    if service == "logging" and not _LOGGING.match(payload.methodName):
        return Dropped(f"not ours: {service_name[:64]}")
    who = payload.authenticationInfo or Authentication()
    principal = who.principalEmail or who.principalSubject
    operation = entry.operation or Operation()
    if operation.last and not operation.first and not principal:
        return Dropped("the end of a long-running operation, whose start is an event")  # it has no caller
    asked = tree_of(payload.request, "request", reasons)
    extra = tree_of(payload.serviceData, "serviceData", reasons) or tree_of(payload.metadata, "metadata", reasons)
    labels = entry.resource.labels if entry.resource is not None else {}
    delegates = [who.principalSubject, *(d.principalSubject for d in who.serviceAccountDelegationInfo)]
    facts = gcp_facts(service, payload.methodName, payload.resourceName, labels, asked, extra, delegates, reasons)
    if not facts and service in ("iam", "iamcredentials", "cloudresourcemanager"):
        return Dropped(f"not ours: {service_name[:64]}")
    return _event(raw, entry, payload, service, principal, asked, facts, reasons)


def _event(
    raw: RawEvent,
    entry: Entry,
    payload: Payload,
    service: str,
    principal: str,
    asked: dict[str, Any],
    facts: dict[str, Any],
    reasons: list[str],
) -> AuditEvent:
    rpc = payload.status or RpcStatus()
    operation = entry.operation or Operation()
    metadata = payload.requestMetadata or RequestMetadata()
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
            ip=metadata.callerIp,
            status=status_of(outcome["http"], "Failure" if failed else "", "", rpc.message),
            outcome=outcome,
            cloud=cloud,
            facts=facts,
            failed=failed,
            reasons=reasons,
        )
    )


def _cluster(raw: RawEvent, entry: Entry, payload: Payload) -> Cluster:
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
