"""What came of a request: the authorisation decision, and apart from it whether it took effect (DETECTIONS 1.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from leadsman_common.events import Flag, Outcome
from leadsman_common.shared import shared

_INT32 = 1 << 31
FAILURE = "Failure"  # metav1.Status.status
DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
# kubernetes plugin/pkg/auth/authorizer/rbac/rbac.go and pkg/registry/rbac/validation/rule.go
_RBAC = re.compile(rf"(ClusterRoleBinding|RoleBinding) {_QUOTED} of (ClusterRole|Role) {_QUOTED} to (\w+) {_QUOTED}")
_EFFECTIVE, _FORBIDDEN, _FAILED = int(Flag.EFFECTIVE), int(Flag.FORBIDDEN), int(Flag.FAILED)
_GRPC = {
    0: 200,
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 409,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}


class Allowed(NamedTuple):
    """An RBAC reason taken apart."""

    binding_kind: str = ""
    binding_namespace: str = ""
    binding: str = ""
    role_kind: str = ""
    role: str = ""
    subject_kind: str = ""
    subject: str = ""


@lru_cache(maxsize=8192)
def parse_reason(reason: str) -> Allowed:
    """Take `RBAC: allowed by RoleBinding "b/ns" of ClusterRole "r" to ServiceAccount "sa/ns"` apart.

    A service account is given by its user name, system:serviceaccount:NAMESPACE:NAME, as Actor.name has it.
    """
    found = _RBAC.search(reason[:4096]) if "allowed by" in reason else None
    if found is None:
        return Allowed()
    kind, binding, role_kind, role, subject_kind, subject = (_unquoted(part) for part in found.groups())
    namespace = ""
    if kind == "RoleBinding":
        binding, _, namespace = binding.rpartition("/") if "/" in binding else (binding, "", "")
    if subject_kind == "ServiceAccount" and "/" in subject:
        account, _, its_namespace = subject.rpartition("/")
        subject = f"system:serviceaccount:{its_namespace}:{account}"
    return Allowed(kind, namespace, binding, role_kind, role, subject_kind, subject)


@lru_cache(maxsize=16384)
def native(decision: str, reason: str, code: int, failure: bool = False) -> Outcome:
    """The outcome of a native record, by its annotations, HTTP code (0: none there), and whether it says Failure.

    The API server always writes a code. A record without one was taken apart elsewhere: unless its status says so,
    that it was refused is not told, and to take it for a mere attempt would hide what it did.
    """
    failed = "error" if reason else "none"  # on an authoriser's error the server writes the reason alone
    authz = decision if decision in ("allow", "forbid") else failed
    return _outcome(authz, reason, code, -1, untold=code == 0 and not failure)


@lru_cache(maxsize=16384)
def gke(
    decision: str,
    reason: str,
    granted: bool | None,
    grpc: int,
    code: int,
    verb: str,
    streaming: bool,
    failure: bool = False,
) -> Outcome:
    """The outcome of a LogEntry (FORMATS 3.1, 7).

    `granted`: of authorizationInfo, null where that is absent. `code`: of the response's Status, 0 where none;
    `failure`: whether that says so without a code, which no HTTP code tells then.
    """
    http = code or (0 if failure and not grpc else mapped(grpc, verb, streaming=streaming))
    if decision in ("allow", "forbid"):
        authz = decision
    elif granted is not None:
        authz = "allow" if granted else "forbid"
    elif http in (401, 403):
        authz = "forbid" if http == 403 else "none"
    else:
        authz = "allow" if http < 300 else "none"  # it was served, so it was allowed
    return _outcome(authz, reason, http, grpc)


def mapped(grpc: int, verb: str, *, streaming: bool) -> int:
    """The HTTP code that a gRPC code stands for; streams end with 2, UNKNOWN, although they were opened."""
    if streaming and grpc in (0, 2):
        return 101
    if grpc == 0 and verb == "create":
        return 201
    return _GRPC.get(grpc, 500)


def flags_of(outcome: Outcome) -> int:
    """The bits that the outcome decides."""
    bits = _EFFECTIVE if outcome["effective"] else 0
    if outcome["authz"] == "forbid":
        bits |= _FORBIDDEN
    if outcome["http"] >= 400:
        bits |= _FAILED
    return bits


def _outcome(authz: str, reason: str, http: int, grpc: int, *, untold: bool = False) -> Outcome:
    allowed = parse_reason(reason)
    http = http if -_INT32 <= http < _INT32 else 0  # what no schema's int takes is no code
    grpc = grpc if -_INT32 <= grpc < _INT32 else -1
    outcome: Outcome = {
        "authz": authz,
        "reason": reason,
        "binding": allowed.binding,
        "binding_kind": allowed.binding_kind,
        "binding_namespace": allowed.binding_namespace,
        "role": allowed.role,
        "role_kind": allowed.role_kind,
        "subject": allowed.subject,
        "subject_kind": allowed.subject_kind,
        "http": http,
        "grpc": grpc,
        "effective": authz not in ("forbid", "error") and (untold or 200 <= http < 300 or http == 101),
    }
    return shared(outcome)


def _unquoted(text: str) -> str:
    """A Go-quoted string's inside (%q)."""
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text
