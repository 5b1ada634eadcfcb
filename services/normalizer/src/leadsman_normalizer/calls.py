"""Events that are no requests to an API server: cloud API calls, authentications, lines of a component's log.

What `assemble` is for requests, this is for them: the last step of the sources of that kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from leadsman_common.events import (
    NO_REF,
    Actor,
    AuditEvent,
    Cloud,
    Cluster,
    Facts,
    Flag,
    Outcome,
    ResponseStatus,
    User,
)
from leadsman_common.raw import RawEvent
from leadsman_normalizer import actor as actors
from leadsman_normalizer import outcome as outcomes
from leadsman_normalizer import redact
from leadsman_normalizer.assemble import NO_STATUS, endpoint, source_of
from leadsman_normalizer.facts import empty, flags_of
from leadsman_normalizer.lenient import note

MAX_PARAMETERS_BYTES = 32 * 1024
MAX_USER_AGENT = 2048
NOBODY: Final[User] = {"username": "", "uid": "", "groups": [], "extra": {}}
# the clouds spell a refusal in many ways: AccessDenied, AccessDeniedException, Client.UnauthorizedOperation,
# AuthorizationFailed
_REFUSED = re.compile(r"(?i)access.?denied|un-?authorized|not.?authorized|authorization.?failed|forbidden")


@dataclass(slots=True)
class Call:
    """A call as its source read it. `facts` are the fields of Facts that it has; `failed`: it was answered by an error.

    `id` is event_id's; `call_id` the vendor's own id of the call.
    """

    raw: RawEvent
    format: str
    id: str
    action: str
    time: int
    cluster: Cluster
    actor: Actor
    outcome: Outcome
    call_id: str = ""
    logged: int = 0
    user: User = field(default_factory=lambda: NOBODY)
    user_agent: str = ""
    ip: str = ""
    status: ResponseStatus = field(default_factory=lambda: NO_STATUS)
    cloud: Cloud | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    reasons: list[str] = field(default_factory=list)


def assemble_call(call: Call) -> AuditEvent:
    """The event of a call. Verb and object are empty: what was done is in `action` and `cloud`."""
    flags = actors.flags_of(call.actor) | outcomes.flags_of(call.outcome)
    if call.cloud is not None:
        flags |= Flag.CLOUD_CALL
    if call.failed:
        flags |= Flag.FAILED
    facts: Facts | None = None
    if call.facts:
        facts = empty()
        facts.update(call.facts)  # type: ignore[typeddict-item]
        facts["touched"] = ["*"]
        flags |= flags_of(facts)
    raw = call.raw
    time = call.time
    if not time:
        note(call.reasons, "time: none")
        time = raw.received_ms * 1000
    return {
        "action": call.action,
        "flags": int(flags),
        "id": call.id,
        "time": time,
        "loggedTime": call.logged or time,
        "auditID": call.call_id,
        "stage": "ResponseComplete" if call.cloud is not None else "",
        "level": "",
        "verb": "",
        "requestURI": "",
        "userAgent": call.user_agent[:MAX_USER_AGENT],
        "user": call.user,
        "impersonatedUser": None,
        "sourceIPs": [call.ip] if call.ip else [],
        "objectRef": NO_REF,
        "responseStatus": call.status,
        "annotations": {},
        "dryRun": False,
        "cluster": call.cluster,
        "actor": call.actor,
        "src_endpoint": endpoint(call.ip),
        "outcome": call.outcome,
        "cloud": call.cloud,
        "facts": facts,
        "coverage": {
            "body": "request" if facts is not None and call.cloud is not None else "",
            "truncated": False,
            "reasons": call.reasons,
        },
        "source": source_of(raw, call.format),
        "requestObject": "",
        "responseObject": "",
    }


def outcome_of(authz: str, *, effective: bool, http: int = 0, reason: str = "") -> Outcome:
    """An outcome without RBAC: no binding, no role, no gRPC code."""
    return {
        "authz": authz,
        "reason": reason,
        "binding": "",
        "binding_kind": "",
        "binding_namespace": "",
        "role": "",
        "role_kind": "",
        "subject": "",
        "subject_kind": "",
        "http": http,
        "grpc": -1,
        "effective": effective,
    }


def outcome_of_error(error: str, *, http: int = 0) -> Outcome:
    """The outcome by a cloud's error code: none is success; a refusal is told apart from other errors."""
    if not error:
        return outcome_of("allow", effective=True, http=http)
    return outcome_of("forbid" if is_refusal(error) else "none", effective=False, http=http)


def is_refusal(error: str) -> bool:
    """Whether an error code says that the caller may not, rather than that the call was wrong."""
    return _REFUSED.search(error[:256]) is not None


def parameters_text(tree: Any, reasons: list[str]) -> str:
    """A call's parameters as redacted JSON text; empty with a reason where they are too large to travel."""
    if tree in (None, {}, []):
        return ""
    text = redact.parameters_text(tree, limit=MAX_PARAMETERS_BYTES)
    if not text:
        note(reasons, "parameters: too large to travel")
    return text


def tree_of(raw: msgspec.Raw, name: str, reasons: list[str]) -> dict[str, Any]:
    """An object left raw, decoded; {} where it is absent, and with a reason where it is none."""
    data = bytes(raw)
    if not data or data == b"null":
        return {}
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = ""
    if isinstance(found, dict):
        return found
    note(reasons, f"{name}: no object")
    return {}


def decoded(text: str) -> str:
    """An ARN without URL encoding: EKS's calls carry them as they stood in the path."""
    return unquote(text) if "%" in text else text
