"""A cheap look at a record for `leadsman scan`: action and flags from the head fields, bodies never decoded.

Most records match no entry of the rule index and need no more than this. The look vouches for the bits in `known`;
where only the whole of normalize can tell, it gives None.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from leadsman_common.events import Flag, ObjectRef, action_of
from leadsman_common.raw import RawEvent
from leadsman_normalizer import actor as actors
from leadsman_normalizer import outcome as outcomes
from leadsman_normalizer.assemble import DELETES, is_dry_run
from leadsman_normalizer.facts import FLAG_OF
from leadsman_normalizer.facts.components import tells_version
from leadsman_normalizer.facts.exec import STREAMS
from leadsman_normalizer.facts.kinds import WRITES, kind_of
from leadsman_normalizer.lenient import NO_BODY
from leadsman_normalizer.normalize import detect
from leadsman_normalizer.outcome import DECISION, FAILURE, REASON
from leadsman_normalizer.redact import mask_uri
from leadsman_normalizer.sources.k8s_audit import MAX_USER_AGENT, dry_run_of, group_and_version, who

_FACTS = 0
for _flag in FLAG_OF.values():
    _FACTS |= int(_flag)
# what actor, outcome and request line decide, of every native record
_ALWAYS = int(
    Flag.UNAUTHENTICATED
    | Flag.FORBIDDEN
    | Flag.FAILED
    | Flag.DRY_RUN
    | Flag.SERVICE_ACCOUNT
    | Flag.TRUNCATED
    | Flag.EFFECTIVE
    | Flag.NODE
    | Flag.CONTROL_PLANE
    | Flag.MANAGED_CLOUD
    | Flag.IMPERSONATING
    | Flag.FAILED_AUTH
    | Flag.CLOUD_CALL
)


class Head(NamedTuple):
    """What a cheap look tells: the bits in `known` are as normalize would have them; `dropped` is its reason."""

    action: str
    flags: int
    known: int
    dropped: str = ""
    event: _Event | None = None
    provider: str = ""


class _Reference(msgspec.Struct, gc=False):
    resource: str = ""
    apiGroup: str = ""
    apiVersion: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class _Status(msgspec.Struct, gc=False):
    code: int = 0
    status: str = ""


class _Annotations(msgspec.Struct, gc=False):
    decision: str = msgspec.field(name=DECISION, default="")
    reason: str = msgspec.field(name=REASON, default="")


class _Event(msgspec.Struct, gc=False):
    kind: str = ""
    apiVersion: str = ""
    stage: str = ""
    requestURI: str = ""
    verb: str = ""
    userAgent: str = ""
    user: msgspec.Raw = NO_BODY
    impersonatedUser: msgspec.Raw = NO_BODY
    objectRef: _Reference | None = None
    responseStatus: _Status | None = None
    annotations: _Annotations | None = None


_TOLD = frozenset({"userAgent", "requestURI", "objectRef.namespace", "objectRef.name"})
_DECODER = msgspec.json.Decoder(_Event)
_DROPPED = Head("", 0, 0, "stage RequestReceived")
# half of a log under a policy that omits no stage: known by the first fields, in the order in which the server writes
_RECEIVED = re.compile(
    rb'\{"kind":"Event","apiVersion":"audit\.k8s\.io/v1","level":"[A-Za-z]+","auditID":"[^"\\]*",'
    rb'"stage":"RequestReceived",'
)
_NO_REFERENCE = _Reference()
_NO_ANNOTATIONS = _Annotations()
_NO_STATUS = _Status()


def peek(raw: RawEvent) -> Head | None:
    """The head of a native record; None where only normalize can tell (other formats, cut or malformed records)."""
    value = raw.value
    source_format = raw.format or detect(value)
    if source_format not in ("k8s-audit", "eks-audit"):
        return None
    if _RECEIVED.match(value) is not None and value.endswith(b"}"):
        return _DROPPED
    try:
        event = _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if event.kind not in ("Event", "") or not event.verb or not event.apiVersion.startswith("audit.k8s.io/"):
        return None
    if event.stage == "RequestReceived":
        return _DROPPED
    if event.verb in DELETES and b"dryRun" in value:
        return None  # the body decides
    ref = event.objectRef or _NO_REFERENCE
    annotations = event.annotations or _NO_ANNOTATIONS
    status = event.responseStatus or _NO_STATUS
    code = status.code
    group, _ = group_and_version(ref.apiGroup, ref.apiVersion)
    action, known, facts = _decided(event.verb, group, ref.resource, ref.subresource)
    provider = raw.provider or ("aws" if source_format == "eks-audit" else "")
    flags = facts | _outcome_flags(annotations.decision, annotations.reason, code, status.status == FAILURE)
    flags |= _actor_flags(bytes(event.user), bytes(event.impersonatedUser), provider, refused=code == 401)
    if "dryRun" in event.requestURI and _dry(event.verb, ref, group, event.requestURI):
        flags |= int(Flag.DRY_RUN)
    return Head(action, flags, known, "", event, provider)


def is_told(path: str) -> bool:
    """Whether `told` gives this field of the event."""
    return path in _TOLD or path.startswith(("user.", "actor."))


def told(head: Head) -> dict[str, Any] | None:
    """As much of the event as its head tells, as normalize would have it; None where more is needed for that."""
    event = head.event
    if event is None:
        return None
    ref = event.objectRef or _NO_REFERENCE
    if not ref.name and event.verb in WRITES and ref.subresource in ("", "ephemeralcontainers"):
        return None  # the response has the name
    code = (event.responseStatus or _NO_STATUS).code
    user, _, actor, _ = who(bytes(event.user), bytes(event.impersonatedUser), head.provider, refused=code == 401)
    uri = event.requestURI
    return {
        "userAgent": event.userAgent[:MAX_USER_AGENT],
        "requestURI": mask_uri(uri) if "?" in uri else uri,
        "objectRef": {"namespace": ref.namespace, "name": ref.name},
        "user": user,
        "actor": actor,
    }


@lru_cache(maxsize=8192)
def _decided(verb: str, group: str, resource: str, subresource: str) -> tuple[str, int, int]:
    """The action, the bits known, and the bits of facts that the action alone decides."""
    action = action_of(verb, resource, group, subresource)
    if resource == "nodes" and subresource == "proxy":
        return action, _ALWAYS | (_FACTS & ~int(Flag.HAS_EXEC)), 0  # the path decides
    if resource == "pods" and subresource in STREAMS and verb in ("create", "get"):
        return action, _ALWAYS | _FACTS, int(Flag.HAS_EXEC)
    kind = kind_of(verb, group, resource, subresource)
    if kind is None and tells_version(verb, group, resource):
        return action, _ALWAYS | (_FACTS & ~int(Flag.HAS_CONTROL_PLANE)), 0  # the user agent decides
    if kind is None:
        return action, _ALWAYS | _FACTS, 0
    if kind.fact == "token":
        return action, _ALWAYS | _FACTS, int(Flag.HAS_TOKEN)
    own = FLAG_OF["pod" if kind.fact == "custom" else kind.fact]
    return action, _ALWAYS | (_FACTS & ~int(own)), 0


@lru_cache(maxsize=16384)
def _outcome_flags(decision: str, reason: str, code: int, failure: bool) -> int:
    return outcomes.flags_of(outcomes.native(decision, reason, code, failure))


@lru_cache(maxsize=8192)
def _actor_flags(user: bytes, impersonated: bytes, provider: str, *, refused: bool) -> int:
    return actors.flags_of(who(user, impersonated, provider, refused=refused)[2])


def _dry(verb: str, ref: _Reference, group: str, uri: str) -> bool:
    found: ObjectRef = {
        "resource": ref.resource,
        "namespace": "",
        "name": "",
        "uid": "",
        "apiGroup": group,
        "apiVersion": "",
        "resourceVersion": "",
        "subresource": ref.subresource,
    }
    return is_dry_run(verb, found, dry_run_of(uri))
