"""GKE: Cloud Audit Logs of the service k8s.io, one LogEntry a record (FORMATS 3).

https://cloud.google.com/kubernetes-engine/docs/how-to/audit-logging
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Actor, AuditEvent, Cloud, ObjectRef, ResponseStatus, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_common.shared import shared
from leadsman_normalizer.actor import ANONYMOUS, actor_of, groups_of
from leadsman_normalizer.assemble import (
    DELETES,
    Request,
    assemble,
    cluster,
    dry_run_of_delete,
    is_dry_run,
    status_of,
)
from leadsman_normalizer.calls import NOBODY
from leadsman_normalizer.lenient import decode_whole, decoder, note
from leadsman_normalizer.outcome import DECISION, FAILURE, REASON, gke
from leadsman_normalizer.redact import mask
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.gcp_calls import normalize_gcp_call
from leadsman_normalizer.sources.gke_names import Name, parse_name
from leadsman_normalizer.sources.k8s_audit import MAX_USER_AGENT, complete
from leadsman_normalizer.sources.log_entry import (
    NO_AUTHENTICATION,
    NO_METADATA,
    NO_OPERATION,
    NO_RESOURCE,
    NO_RPC,
    Authentication,
    LogEntry,
    Payload,
    RpcStatus,
)
from leadsman_normalizer.timestamps import micros

COMMAND = "command.gke.io/command"
DRY_RUN = "command.gke.io/dryRun"
SYSTEM_EVENT, POLICY_DENIED = "system_event", "policy"
_STREAMS = frozenset({"exec", "attach", "portforward"})


class _Status(msgspec.Struct, gc=False):
    """A Status among the responses."""

    kind: str = ""
    type: str = msgspec.field(name="@type", default="")
    code: int = 0
    reason: str = ""
    status: str = ""
    message: str = ""


_UNREADABLE = actor_of(NOBODY, None, "gcp", refused=False)
_SYSTEM: Actor = {**_UNREADABLE, "class": "managed_cloud"}


def normalize_gke(raw: RawEvent) -> AuditEvent | Dropped:
    """One LogEntry. Dropped where it is about no cluster; raises InvalidEvent where it is no audit entry."""
    reasons: list[str] = []
    entry = decode_whole(LogEntry, raw.value, reasons, "LogEntry")
    payload = entry.protoPayload
    if payload is None:
        if b'"textPayload"' in raw.value or b'"jsonPayload"' in raw.value:
            return Dropped("not ours: a LogEntry of no audit log")  # a sink's filter that is too wide
        raise InvalidEvent("a LogEntry without protoPayload")
    if payload.serviceName != "k8s.io" and (payload.serviceName or not payload.methodName.startswith("io.k8s.")):
        return normalize_gcp_call(raw, entry, payload, reasons)
    if not payload.methodName:
        raise InvalidEvent("a LogEntry without methodName")
    return _from_entry(raw, entry, payload, reasons)


def _from_entry(raw: RawEvent, entry: LogEntry, payload: Payload, reasons: list[str]) -> AuditEvent:
    operation = entry.operation or NO_OPERATION
    resource = entry.resource or NO_RESOURCE
    metadata = payload.requestMetadata or NO_METADATA
    rpc = payload.status or NO_RPC
    checked = payload.authorizationInfo[0].resource if payload.authorizationInfo else ""
    name = parse_name(payload.methodName, payload.resourceName or checked)
    labels = entry.labels
    where = resource.labels
    in_cluster = cluster(
        "gcp",
        where.get("project_id", "") or raw.account,
        where.get("location", "") or raw.region,
        where.get("cluster_name", "") or raw.cluster,
    )
    log = _log_of(entry.logName)
    code = rpc.code or (7 if log == POLICY_DENIED else 0)
    user, impersonated, actor, cloud = who(payload.authenticationInfo or NO_AUTHENTICATION, refused=code == 16)
    if user["username"] == ANONYMOUS and any(
        reason.startswith("protoPayload.authenticationInfo") for reason in reasons
    ):
        user, actor = NOBODY, _UNREADABLE  # who asked stands there in a wrong type: nobody says that it was anonymous
    if log == SYSTEM_EVENT and actor["class"] == "unauthenticated" and not impersonated:
        user, actor = NOBODY, _SYSTEM  # Google's own action: it has no caller, rather than one without credentials
    ref = _reference(name, bytes(payload.response))
    uri = _uri(name)
    streaming = name.subresource in _STREAMS or (name.subresource == "proxy" and code == 2)
    answer = _answer(bytes(payload.response), rpc)
    outcome = gke(
        "forbid" if log == POLICY_DENIED else labels.get(DECISION, ""),
        labels.get(REASON, ""),
        any(item.granted for item in payload.authorizationInfo) if payload.authorizationInfo else None,
        code,
        answer["code"],
        name.verb,
        streaming,
        answer["status"] == FAILURE,
    )
    if ref["resource"] == "pods" and name.subresource in _STREAMS:
        note(reasons, "stdin, tty and container of a stream are not logged on GKE")
        if name.subresource == "exec" and COMMAND not in labels:
            note(reasons, "the command is not logged: no label command.gke.io/command")
    time = micros(entry.timestamp)
    if not time:
        note(reasons, "timestamp: none")
        time = micros(entry.receiveTimestamp) or raw.received_ms * 1000
    request, response = bytes(payload.request), bytes(payload.response)
    audit_id = operation.id or entry.insertId
    ip = metadata.callerIp or metadata.callerIP
    dry_run = _dry_run(labels.get(DRY_RUN, ""))
    if name.verb in DELETES:
        dry_run = dry_run_of_delete(request, dry_run)
    return assemble(
        Request(
            raw=raw,
            format=raw.format or "gke-logentry",
            # a stream's two entries differ in time and share all else; the command keeps apart what a client
            # that chose its own Audit-ID, and with it operation.id, would have fold into one
            id=event_id(
                in_cluster["id"],
                audit_id,
                labels.get(COMMAND, "") if streaming else entry.timestamp,
                payload.methodName,
                payload.resourceName,
                user["username"],
            ),
            audit_id=audit_id,
            time=time,
            logged=micros(entry.receiveTimestamp) or time,
            stage="ResponseStarted" if streaming and operation.first and not operation.last else "ResponseComplete",
            level="RequestResponse" if response else "Request" if request else "Metadata",
            verb=name.verb,
            uri=uri,
            user_agent=metadata.callerSuppliedUserAgent[:MAX_USER_AGENT],
            user=user,
            impersonated=impersonated,
            source_ips=[ip] if ip else [],
            ref=ref,
            status={**answer, "code": outcome["http"]},
            annotations={**labels, COMMAND: mask(labels[COMMAND])} if COMMAND in labels else labels,
            dry_run=is_dry_run(name.verb, ref, dry_run),
            cluster=in_cluster,
            actor=actor,
            ip=ip,
            outcome=outcome,
            cloud=cloud,
            request=request,
            response=response,
            gke_command=labels.get(COMMAND, ""),
            reasons=reasons,
        )
    )


@lru_cache(maxsize=1024)
def _log_of(name: str) -> str:
    """The log that an entry is of: activity, data_access, system_event or policy; clients may decode the slash."""
    return name.replace("%2F", "/").rpartition("/")[2]


def who(found: Authentication, *, refused: bool) -> tuple[User, User | None, Actor, Cloud | None]:
    """The users of an entry: the principal, whom it acts as, the actor, and its cloud identity."""
    return _who(found.principalEmail or found.principalSubject, found.authoritySelector, refused=refused)


@lru_cache(maxsize=8192)
def _who(principal: str, selector: str, *, refused: bool) -> tuple[User, User | None, Actor, Cloud | None]:
    if not principal and selector == ANONYMOUS:  # so in Panther's samples: nobody impersonates here
        principal, selector = selector, ""
    if not principal and not refused:
        principal = ANONYMOUS if not selector else ""
    user = _user(principal)
    impersonated = _user(selector) if selector else None
    actor = actor_of(user, impersonated, "gcp", refused=refused, nobody=True)
    cloud: Cloud | None = None
    if "@" in principal or principal.startswith("principal"):
        cloud = {
            "service": "",
            "operation": "",
            "principal": principal,
            "canonical_arn": "",
            "session": "",
            "access_key_id": "",
            "principal_id": "",
            "error": "",
            "parameters": "",
        }
    return (
        shared(user),
        None if impersonated is None else shared(impersonated),
        shared(actor),
        None if cloud is None else shared(cloud),
    )


def _user(name: str) -> User:
    return {"username": name, "uid": "", "groups": list(groups_of(name)), "extra": {}}


def _reference(name: Name, response: bytes) -> ObjectRef:
    ref: ObjectRef = {
        "resource": name.resource,
        "namespace": name.namespace,
        "name": name.name,
        "uid": "",
        "apiGroup": name.group,
        "apiVersion": name.version,
        "resourceVersion": "",
        "subresource": name.subresource,
    }
    if name.verb in ("create", "update", "patch"):
        complete(name.verb, ref, response)
    return ref


def _uri(name: Name) -> str:
    """The path, where it says what objectRef does not: non-resource requests and what stands behind a proxy."""
    if name.path:
        return name.path
    if name.subresource == "proxy":
        return f"/api/{name.version}/{name.resource}/{name.name}/proxy/{name.rest}"
    return ""


def _answer(response: bytes, rpc: RpcStatus) -> ResponseStatus:
    """The Status in the response where there is one, else the RPC's."""
    if response and (b"Status" in response[:4096] or b'"Failure"' in response[:4096]):
        try:
            found = decoder(_Status).decode(response)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = _Status()
        bare = found.status == FAILURE and not (found.kind or found.type)
        if bare or found.kind == "Status" or found.type.endswith(".Status"):
            return status_of(found.code, found.status, found.reason, found.message)
    return status_of(0, "Failure" if rpc.code else "", "", rpc.message)


def _dry_run(label: str) -> str:
    """The label as the parameter it stands for."""
    return "All" if label.lower() in ("all", "true", "[all]", '["all"]') else ""
