"""The event put together: what a source read, with actor, outcome, facts and flags. The last step of normalize."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from leadsman_common.events import (
    Actor,
    AuditEvent,
    Cloud,
    Cluster,
    Endpoint,
    Flag,
    ObjectRef,
    Outcome,
    ResponseStatus,
    Source,
    User,
    action_of,
    is_public,
)
from leadsman_common.raw import RawEvent
from leadsman_common.shared import shared
from leadsman_normalizer import actor as actors
from leadsman_normalizer import outcome as outcomes
from leadsman_normalizer.bodies import body
from leadsman_normalizer.facts import Asked, empty, flags_of, read_facts
from leadsman_normalizer.facts.components import component, tells_version
from leadsman_normalizer.facts.exec import STREAMS
from leadsman_normalizer.facts.kinds import WRITES, kind_of, may_be_custom
from leadsman_normalizer.lenient import decoder, note
from leadsman_normalizer.redact import audit_annotations, body_text, mask, mask_uri

# plain numbers: an IntFlag takes a microsecond for each |
_DRY_RUN, _TRUNCATED = int(Flag.DRY_RUN), int(Flag.TRUNCATED)
_HAS_CONTROL_PLANE = int(Flag.HAS_CONTROL_PLANE)
_OPENED = STREAMS | {"proxy"}
NO_STATUS: Final[ResponseStatus] = shared(ResponseStatus(code=0, status="", reason="", message=""))
DELETES = frozenset({"delete", "deletecollection"})
# dryRun is honoured for the stored objects of these groups; exec, tokens and reviews act regardless (DETECTIONS 1.3)
_ACTS_REGARDLESS = frozenset({"exec", "attach", "portforward", "proxy", "token", "eviction", "binding"})
_REVIEWS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
# bodies that travel, redacted, beside those that facts are read from: rules read them as text
_CARRIED = frozenset(
    {
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("apiregistration.k8s.io", "apiservices"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        ("networking.k8s.io", "networkpolicies"),
        ("", "namespaces"),
    }
)
# ConfigMaps that say who may enter and what names resolve to; any other may hold anything
_CARRIED_CONFIGMAPS = frozenset({"aws-auth", "coredns", "kube-dns", "coredns-custom"})


class Request(msgspec.Struct, gc=False):
    """One request as its source read it, before it is judged."""

    raw: RawEvent
    format: str
    id: str
    audit_id: str
    time: int
    logged: int
    stage: str
    level: str
    verb: str
    uri: str
    user_agent: str
    user: User
    impersonated: User | None
    source_ips: list[str]
    ref: ObjectRef
    status: ResponseStatus
    annotations: dict[str, str]
    dry_run: bool
    cluster: Cluster
    actor: Actor
    ip: str
    outcome: Outcome
    cloud: Cloud | None
    request: bytes = b""
    response: bytes = b""
    gke_command: str = ""
    truncated: bool = False
    reasons: list[str] = msgspec.field(default_factory=list)


class _DeleteOptions(msgspec.Struct, gc=False):
    """metav1.DeleteOptions, as far as it is read."""

    dryRun: list[str] = []


def assemble(request: Request) -> AuditEvent:
    """The event of a request."""
    raw, ref, reasons = request.raw, request.ref, request.reasons
    verb, actor, outcome = request.verb, request.actor, request.outcome
    flags = actors.flags_of(actor) | outcomes.flags_of(outcome)
    if request.dry_run:
        flags |= _DRY_RUN
    if request.truncated:
        flags |= _TRUNCATED
    facts, source, sent, stored = None, "", "", ""
    if _is_read(verb, ref):
        read = read_facts(
            Asked(
                verb,
                ref,
                request.uri,
                request.gke_command,
                request.request,
                request.response,
                outcome["http"],
                request.annotations,
                actor,
                request.cluster["provider"],
            ),
            reasons,
        )
        facts, source = read.facts, read.source
        if facts is not None:
            flags |= flags_of(facts)
        if read.bodies is not None and (facts is not None or _carried(ref)):
            sent, stored = _texts(read.bodies.request, read.bodies.response, ref, reasons, patched=verb == "patch")
        elif verb in WRITES and facts is None and _carried(ref):
            found = body(request.request, "requestObject", reasons), body(request.response, "responseObject", reasons)
            sent, stored = _texts(*found, ref, reasons, patched=verb == "patch")
            source = "response" if stored else "request" if sent else "none"
    if facts is None and tells_version(verb, ref["apiGroup"], ref["resource"]):
        told = component(actor["class"], request.user_agent)
        if told is not None:
            facts = {**empty(), "control_plane": told}
            flags |= _HAS_CONTROL_PLANE
    return {
        "action": action_of(verb, ref["resource"], ref["apiGroup"], ref["subresource"]),
        "flags": int(flags),
        "id": request.id,
        "time": request.time,
        "loggedTime": request.logged,
        "auditID": request.audit_id,
        "stage": request.stage,
        "level": request.level,
        "verb": verb,
        "requestURI": mask_uri(request.uri) if "?" in request.uri else request.uri,
        "userAgent": request.user_agent,
        "user": request.user,
        "impersonatedUser": request.impersonated,
        "sourceIPs": request.source_ips,
        "objectRef": ref,
        "responseStatus": request.status,
        "annotations": audit_annotations(request.annotations),
        "dryRun": request.dry_run,
        "cluster": request.cluster,
        "actor": actor,
        "src_endpoint": endpoint(request.ip),
        "outcome": outcome,
        "cloud": request.cloud,
        "facts": facts,
        "coverage": {"body": source, "truncated": request.truncated, "reasons": reasons},
        "source": source_of(raw, request.format),
        "requestObject": sent,
        "responseObject": stored,
    }


def is_dry_run(verb: str, ref: ObjectRef, value: str) -> bool:
    """Whether a request asked for nothing to be stored, and the server heeds that (DETECTIONS 1.3).

    `value` is the dryRun parameter: only exactly `All` counts, and only for writes of stored built-in objects.
    """
    return (
        value == "All"
        and (verb in WRITES or verb in DELETES)
        and ref["resource"] != ""
        and ref["subresource"] not in _ACTS_REGARDLESS
        and ref["apiGroup"] not in _REVIEWS
        and not may_be_custom(ref["apiGroup"])
    )


def dry_run_of_delete(request: bytes, asked: str) -> str:
    """The dryRun that the server heeds for a delete: its body's, where it has one, and only else the query's `asked`.

    kubectl sends a body; who adds `?dryRun=All` beside an empty one deletes all the same
    (k8s.io/apiserver pkg/endpoints/handlers/delete.go).
    """
    if request in (b"", b"null"):
        return asked
    if b"dryRun" not in request:
        return ""
    try:
        return ",".join(decoder(_DeleteOptions).decode(request).dryRun)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def cluster_of(raw: RawEvent, provider: str) -> Cluster:
    """The cluster as the transport knew it; the id is empty where nothing but the provider is known."""
    return cluster(raw.provider or provider, raw.account, raw.region, raw.cluster)


@lru_cache(maxsize=4096)
def cluster(provider: str, account: str, region: str, name: str) -> Cluster:
    """A cluster by its parts."""
    known = account or region or name
    parts: Cluster = {
        "id": f"{provider}/{account}/{region}/{name}" if known else "",
        "name": name,
        "provider": provider,
        "account": account,
        "region": region,
    }
    return shared(parts)


@lru_cache(maxsize=8192)
def endpoint(ip: str) -> Endpoint:
    """The address that a request came from."""
    return shared(Endpoint(ip=ip, public=is_public(ip)))


def source_of(raw: RawEvent, source_format: str) -> Source:
    """Where a record was read."""
    return {
        "format": source_format,
        "topic": raw.topic,
        "partition": raw.partition,
        "offset": raw.offset,
        "source_id": raw.source_id,
        "file": raw.file,
        "line": raw.line,
        "received_ms": raw.received_ms,
    }


def _is_read(verb: str, ref: ObjectRef) -> bool:
    """Whether query or bodies have anything to tell: of most requests, and of most writes (leases), nothing."""
    if ref["subresource"] in _OPENED or kind_of(verb, ref["apiGroup"], ref["resource"], ref["subresource"]) is not None:
        return True
    return verb in WRITES and _carried(ref)


def _carried(ref: ObjectRef) -> bool:
    if ref["subresource"] not in ("", "approval"):
        return False  # a node's status, a namespace's finalizers: many, and no rule reads them
    if (ref["apiGroup"], ref["resource"]) in _CARRIED:
        return True
    return ref["resource"] == "configmaps" and ref["apiGroup"] == "" and ref["name"] in _CARRIED_CONFIGMAPS


def _texts(request: Any, response: Any, ref: ObjectRef, reasons: list[str], *, patched: bool) -> tuple[str, str]:
    """Both bodies as redacted text; a reason where one was too large to travel.

    The response travels only where it says what the request does not: for a patch, or without a request.
    """
    resource = "" if ref["name"] in _CARRIED_CONFIGMAPS else ref["resource"]
    sent = body_text(request, resource) if request is not None else ""
    if patched or request is None:
        stored = body_text(response, resource) if response is not None else ""
    else:
        stored, response = "", None
    if request is not None and not sent:
        note(reasons, "requestObject: too large to travel")
    if response is not None and not stored:
        note(reasons, "responseObject: too large to travel")
    return sent, stored


def status_of(code: int, status: str, reason: str, message: str) -> ResponseStatus:
    """A Status with its message masked: it may quote the object."""
    known = code if -(1 << 31) <= code < 1 << 31 else 0
    if not (status or reason or message):
        return _code_alone(known)
    return {"code": known, "status": status, "reason": reason, "message": mask(message)}


@lru_cache(maxsize=256)
def _code_alone(code: int) -> ResponseStatus:
    """What most answers have."""
    return shared(ResponseStatus(code=code, status="", reason="", message=""))
