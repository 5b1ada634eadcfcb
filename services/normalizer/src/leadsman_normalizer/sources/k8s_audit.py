"""Native audit events (audit.k8s.io v1, v1beta1, v1alpha1): self-managed clusters, EKS, and what AKS wraps.

https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/; identities on EKS: FORMATS 2.4.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import parse_qsl

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import NO_REF, Actor, AuditEvent, Cloud, ObjectRef, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_common.shared import shared
from leadsman_normalizer.actor import actor_of
from leadsman_normalizer.assemble import (
    DELETES,
    NO_STATUS,
    Request,
    assemble,
    cluster_of,
    dry_run_of_delete,
    is_dry_run,
    status_of,
)
from leadsman_normalizer.facts.kinds import kind_of
from leadsman_normalizer.lenient import NO_BODY, Truncated, build, decode, decoder, load, note
from leadsman_normalizer.outcome import DECISION, FAILURE, REASON, native
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.salvage import complete_fields, strip_marker
from leadsman_normalizer.timestamps import micros

MAX_USER_AGENT = 2048
_PRINCIPAL_ID = "sigs.k8s.io/aws-iam-authenticator/principalId"


class UserInfo(msgspec.Struct, gc=False):
    """authentication.k8s.io UserInfo."""

    username: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}


class Reference(msgspec.Struct, gc=False):
    """audit.k8s.io ObjectReference."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    apiGroup: str = ""
    apiVersion: str = ""
    resourceVersion: str = ""
    subresource: str = ""


class Status(msgspec.Struct, gc=False):
    """metav1.Status, as far as it is kept."""

    code: int = 0
    status: str = ""
    reason: str = ""
    message: str = ""


class Event(msgspec.Struct, gc=False):
    """An audit.k8s.io Event; users and bodies are left raw: the ones are cached, the others rarely needed."""

    kind: str = ""
    apiVersion: str = ""
    level: str = ""
    auditID: str = ""
    stage: str = ""
    requestURI: str = ""
    verb: str = ""
    user: msgspec.Raw = NO_BODY
    impersonatedUser: msgspec.Raw = NO_BODY
    sourceIPs: list[str] = []
    userAgent: str = ""
    objectRef: Reference | None = None
    responseStatus: Status | None = None
    requestObject: msgspec.Raw = NO_BODY
    responseObject: msgspec.Raw = NO_BODY
    requestReceivedTimestamp: str = ""
    stageTimestamp: str = ""
    timestamp: str = ""  # v1alpha1 had this one alone
    annotations: dict[str, str] = {}


class _Metadata(msgspec.Struct, gc=False):
    name: str = ""
    uid: str = ""
    resourceVersion: str = ""
    namespace: str = ""


class _Named(msgspec.Struct, gc=False):
    """As much of a response as names what it created."""

    kind: str = ""
    metadata: _Metadata | None = None


def normalize_native(raw: RawEvent) -> AuditEvent | Dropped:
    """One native event. Raises InvalidEvent where it is none, or is cut before the fields that make one."""
    reasons: list[str] = []
    event, truncated = read_event(raw.value, reasons)
    if event.stage == "RequestReceived":
        return Dropped("stage RequestReceived")
    return from_event(raw, event, raw.format or "k8s-audit", truncated=truncated, reasons=reasons)


def read_event(value: bytes, reasons: list[str]) -> tuple[Event, bool]:
    """The record decoded, or what stands in front of its cut; and whether it was cut."""
    try:
        return _checked(decode(Event, value, reasons), truncated=False), False
    except Truncated:
        pass
    except InvalidEvent:
        if strip_marker(value) == value.rstrip(b" \t\r\n"):
            raise
    reasons.clear()
    note(reasons, "record truncated")
    head = complete_fields(strip_marker(value))
    return _checked(decode(Event, head, reasons), truncated=True), True


def _checked(event: Event, *, truncated: bool) -> Event:
    if event.kind not in ("Event", ""):
        raise InvalidEvent(f"kind {event.kind[:64]!r} is no audit event")
    if event.apiVersion and not event.apiVersion.startswith("audit.k8s.io/"):
        raise InvalidEvent(f"apiVersion {event.apiVersion[:64]!r} is no audit event's")
    if truncated:
        missing = [
            name
            for name, there in (
                ("auditID", event.auditID),
                ("verb", event.verb),
                ("user", bytes(event.user)),
                ("objectRef", event.objectRef is not None),
            )
            if not there
        ]
        if missing:
            raise InvalidEvent(f"truncated before {', '.join(missing)}")
    elif not event.verb and not event.requestURI:
        raise InvalidEvent("an audit event without verb and requestURI")
    return event


def from_event(raw: RawEvent, event: Event, source_format: str, *, truncated: bool, reasons: list[str]) -> AuditEvent:
    """The AuditEvent of a decoded native event."""
    cluster = cluster_of(raw, "aws" if source_format == "eks-audit" else "")
    status = event.responseStatus
    code = status.code if status is not None else 0
    failure = status is not None and status.status == FAILURE
    annotations = event.annotations
    user, cloud, actor, trouble = who(
        bytes(event.user), bytes(event.impersonatedUser), cluster["provider"], refused=code == 401
    )
    for reason in trouble:
        note(reasons, reason)
    if not event.verb:
        note(reasons, "verb: none")
    if not code and not failure:
        note(reasons, "responseStatus: no code; whether the request was refused is not told")
    ref = _reference(event)
    received = event.requestReceivedTimestamp or event.timestamp
    time, logged = micros(received), micros(event.stageTimestamp)
    if not time:
        note(reasons, "requestReceivedTimestamp: none")
        time = logged or raw.received_ms * 1000
    return assemble(
        Request(
            raw=raw,
            format=source_format,
            id=event_id(
                cluster["id"],
                event.auditID,
                received,
                event.verb,
                event.requestURI,
                user["username"],
            ),
            audit_id=event.auditID,
            time=time,
            logged=logged or time,
            stage=event.stage,
            level=event.level,
            verb=event.verb,
            uri=event.requestURI,
            user_agent=event.userAgent[:MAX_USER_AGENT],
            user=user,
            impersonated=read_impersonated(bytes(event.impersonatedUser))[0],
            source_ips=event.sourceIPs,
            ref=ref,
            status=NO_STATUS if status is None else status_of(code, status.status, status.reason, status.message),
            annotations=annotations,
            dry_run=_is_dry_run(event, ref, reasons, truncated=truncated),
            cluster=cluster,
            actor=actor,
            ip=event.sourceIPs[-1] if event.sourceIPs else "",
            outcome=native(annotations.get(DECISION, ""), annotations.get(REASON, ""), code, failure),
            cloud=cloud,
            request=bytes(event.requestObject),
            response=bytes(event.responseObject),
            truncated=truncated,
            reasons=reasons,
        )
    )


def _is_dry_run(event: Event, ref: ObjectRef, reasons: list[str], *, truncated: bool) -> bool:
    asked = dry_run_of(event.requestURI) if "dryRun" in event.requestURI else ""
    if event.verb in DELETES:
        request = bytes(event.requestObject)
        if asked and not request and (truncated or event.level == "Metadata"):
            note(reasons, "dryRun: the body of a delete decides, and the log holds none")
            return False
        asked = dry_run_of_delete(request, asked)
    return asked != "" and is_dry_run(event.verb, ref, asked)


def dry_run_of(uri: str) -> str:
    """The value of dryRun in a request URI; several are joined, as no server takes them for one."""
    try:
        pairs = parse_qsl(uri.partition("?")[2], keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        return ""
    return ",".join(value for key, value in pairs if key == "dryRun")


@lru_cache(maxsize=8192)
def read_user(data: bytes) -> tuple[User, tuple[str, ...]]:
    """A UserInfo and what was wrong with it. Cached by its bytes: users repeat, and nobody changes the result."""
    reasons: list[str] = []
    info = UserInfo()
    if data:
        try:
            info = decoder(UserInfo).decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            tree = load(data, reasons)
            if isinstance(tree, dict):
                info = build(UserInfo, tree, reasons, "user.")
            elif tree is not None:
                note(reasons, "user: no object")
    user: User = {"username": info.username, "uid": info.uid, "groups": info.groups, "extra": info.extra}
    return shared(user), tuple(reasons)


def read_impersonated(data: bytes) -> tuple[User | None, tuple[str, ...]]:
    """The user acted as, null where there is none."""
    return (None, ()) if data in (b"", b"null") else read_user(data)


@lru_cache(maxsize=8192)
def who(
    user_data: bytes, impersonated_data: bytes, provider: str, *, refused: bool
) -> tuple[User, Cloud | None, Actor, tuple[str, ...]]:
    """The user, its cloud identity, the actor, and what was wrong with the record's users."""
    user, trouble = read_user(user_data)
    impersonated, more = read_impersonated(impersonated_data)
    actor = actor_of(user, impersonated, provider, refused=refused)
    cloud = cloud_of(user)
    return user, None if cloud is None else shared(cloud), shared(actor), (*trouble, *more)


def cloud_of(user: User) -> Cloud | None:
    """The AWS identity that aws-iam-authenticator leaves in user.extra; null without one."""
    extra = user["extra"]
    if not extra or not (extra.get("arn") or extra.get("canonicalArn")):
        return None

    def first(key: str) -> str:
        values = extra.get(key)
        return values[0] if values else ""

    return {
        "service": "",
        "operation": "",
        "principal": first("arn") or first("canonicalArn"),
        "canonical_arn": first("canonicalArn"),
        "session": first("sessionName"),
        "access_key_id": first("accessKeyId"),
        "principal_id": first(_PRINCIPAL_ID) or first("principalId"),
        "error": "",
        "parameters": "",
    }


def group_and_version(group: str, version: str) -> tuple[str, str]:
    """An objectRef's group and version; other tools write "core" for none, or GROUP/VERSION as the version."""
    if not group and "/" in version:
        group, _, version = version.partition("/")
    return "" if group == "core" else group, version


def _reference(event: Event) -> ObjectRef:
    """The objectRef, with the name from the response where the request could not have one (generateName)."""
    found = event.objectRef
    if found is None:
        return NO_REF
    group, version = group_and_version(found.apiGroup, found.apiVersion)
    ref: ObjectRef = {
        "resource": found.resource,
        "namespace": found.namespace,
        "name": found.name,
        "uid": found.uid,
        "apiGroup": group,
        "apiVersion": version,
        "resourceVersion": found.resourceVersion,
        "subresource": found.subresource,
    }
    if event.verb in ("create", "update", "patch"):
        complete(event.verb, ref, bytes(event.responseObject))
    return ref


def complete(verb: str, ref: ObjectRef, response: bytes) -> None:
    """Fill name, uid and resourceVersion from the stored object; a Status has none of them.

    Only where something is missing or a version matters: leases and the like are most of all writes.
    """
    if not response or ref["subresource"] not in ("", "ephemeralcontainers"):
        return
    if ref["name"] and kind_of(verb, ref["apiGroup"], ref["resource"], ref["subresource"]) is None:
        return
    try:
        named = decoder(_Named).decode(response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    stored = named.metadata
    if stored is None or named.kind == "Status":
        return
    ref["name"] = ref["name"] or stored.name
    ref["uid"] = ref["uid"] or stored.uid
    ref["resourceVersion"] = stored.resourceVersion or ref["resourceVersion"]
