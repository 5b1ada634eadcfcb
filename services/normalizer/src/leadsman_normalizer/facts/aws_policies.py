"""IAM policy documents: what their statements allow, and whom a role's trust names.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html. What a statement denies and on which
conditions it holds is left out: what is told is the most that a policy may allow.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from leadsman_normalizer.calls import decoded
from leadsman_normalizer.facts.values import Tree
from leadsman_normalizer.lenient import note

MAX_POLICY_CHARS = 64 * 1024
MAX_VALUES = 200
MAX_ACTION_CHARS = 128
EKS_ISSUER: Final = "oidc.eks."
SERVICE_ACCOUNT: Final = "system:serviceaccount:"
POD_IDENTITY: Final = "pods.eks.amazonaws.com"
_OIDC = ":oidc-provider/"
# by which who may do it gives itself more, whatever it is done to
_RAISING = (
    "iam:attachrolepolicy", "iam:attachuserpolicy", "iam:attachgrouppolicy", "iam:putrolepolicy", "iam:putuserpolicy",
    "iam:putgrouppolicy", "iam:createpolicyversion", "iam:setdefaultpolicyversion", "iam:updateassumerolepolicy",
    "iam:createaccesskey", "iam:createloginprofile", "iam:updateloginprofile", "iam:addusertogroup",
    "iam:deleterolepermissionsboundary", "iam:putrolepermissionsboundary", "iam:deleteuserpermissionsboundary",
)  # fmt: skip
# and where it may be done to any role at all; of one role they are everyday work (a node's, a pipeline's)
_RAISING_ON_ANY = ("iam:passrole", "sts:assumerole")
_CLUSTER = ("eks:createaccessentry", "eks:associateaccesspolicy", "eks:updateaccessentry", "eks:updateclusterconfig")
_SECRETS = ("secretsmanager:getsecretvalue", "ssm:getparameters", "ssm:getparametersbypath")


def allowed(policy: str, what: str, why: list[str]) -> list[Tree]:
    """The statements of a policy that allow something; what cannot be read is noted under the name `what`."""
    if len(policy) > MAX_POLICY_CHARS:
        note(why, f"{what}: too large to read")
        return []
    try:
        document = msgspec.json.decode(decoded(policy) if policy.startswith("%") else policy)
    except (msgspec.DecodeError, RecursionError):
        note(why, f"{what}: no JSON")
        return []
    if not isinstance(document, dict):
        return []
    found = several(document.get("Statement"))
    return [statement for statement in found if isinstance(statement, dict) and statement.get("Effect") == "Allow"]


def several(value: Any) -> list[Any]:
    """IAM writes one value bare and several as a list."""
    return value[:MAX_VALUES] if isinstance(value, list) else [] if value is None else [value]


def issuer_of(provider: str) -> str:
    """The issuer of an OIDC provider's ARN; empty where it is none."""
    return provider.partition(_OIDC)[2]


def subjects_of(condition: Any) -> list[str]:
    """The values that a Condition compares the token's subject with."""
    if not isinstance(condition, dict):
        return []
    found: list[str] = []
    for operator, tests in condition.items():
        if not isinstance(tests, dict) or "Not" in operator:
            continue
        for key, wanted in tests.items():
            if key.endswith(":sub"):
                found += [value for value in several(wanted) if isinstance(value, str)]
    return found[:MAX_VALUES]


def powers(statements: list[Tree]) -> list[str]:
    """What the statements allow, in classes.

    admin: everything; iam: giving oneself more; cluster: letting somebody into a cluster; secrets: reading any of them;
    service: all of a service, on everything.
    """
    found: set[str] = set()
    for statement in statements:
        found |= _powers(statement)
    return sorted(found)


def _powers(statement: Tree) -> set[str]:
    actions = [a.lower()[:MAX_ACTION_CHARS] for a in several(statement.get("Action")) if isinstance(a, str)]
    resources = [r for r in several(statement.get("Resource")) if isinstance(r, str)]
    everywhere = "*" in resources or "NotResource" in statement
    if "NotAction" in statement:
        but = [a.lower()[:MAX_ACTION_CHARS] for a in several(statement["NotAction"]) if isinstance(a, str)]
        without_iam = any(_covers(action, "iam:attachrolepolicy") for action in but)
        return ({"service"} if without_iam else {"admin"}) if everywhere else set()
    found: set[str] = set()
    if everywhere and any(action.strip("*?") in ("", ":") for action in actions):
        found.add("admin")
    if any(_covers(action, name) for action in actions for name in _RAISING):
        found.add("iam")
    any_role = everywhere or any(r.endswith(":role/*") for r in resources)
    if any_role and any(_covers(action, name) for action in actions for name in _RAISING_ON_ANY):
        found.add("iam")
    if any(_covers(action, name) for action in actions for name in _CLUSTER):
        found.add("cluster")
    if everywhere and any(_covers(action, name) for action in actions for name in _SECRETS):
        found.add("secrets")
    if everywhere and any(action.endswith(":*") for action in actions):
        found.add("service")
    return found


def _covers(pattern: str, action: str) -> bool:
    """Whether an action of a policy, with `*` and `?`, is the named one; both in lower case."""
    return fnmatchcase(action, pattern.replace("[", "[[]"))


def trusted(statements: list[Tree], account: str) -> tuple[list[str], list[str]]:
    """Whom the trust of a role in this account names beside clusters' service accounts, and what kinds they are of."""
    names: list[str] = []
    kinds: set[str] = set()
    for statement in statements:
        given = statement.get("Principal")
        principal = given if isinstance(given, dict) else {"AWS": given}
        for name in several(principal.get("AWS")):
            if isinstance(name, str):
                names.append(name)
                kinds.add("everybody" if name == "*" else "account" if _account(name) == account else "other_account")
        for name in several(principal.get("Service")):
            if isinstance(name, str) and name != POD_IDENTITY:
                names.append(name)
                kinds.add("service")
        of_a_cluster = any(s.startswith(SERVICE_ACCOUNT) for s in subjects_of(statement.get("Condition")))
        for name in several(principal.get("Federated")):
            if isinstance(name, str) and EKS_ISSUER not in issuer_of(name) and not of_a_cluster:
                names.append(name)
                kinds.add("federated")
    return list(dict.fromkeys(names))[:MAX_VALUES], sorted(kinds)


def _account(principal: str) -> str:
    """The account of a principal: an ARN, or the account's number alone. The id of a deleted role has none."""
    parts = principal.split(":")
    return parts[4] if len(parts) > 5 else principal
