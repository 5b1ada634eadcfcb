"""What IAM calls give a role or take from it: policies, permission boundaries, and who may take it."""

from __future__ import annotations

from typing import Final

from leadsman_common.events import CloudGrant, CloudGrantFacts
from leadsman_normalizer.facts.aws_policies import allowed, powers, trusted
from leadsman_normalizer.facts.values import Tree, text

# https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html: calls about roles, and how they give
GRANTING: Final = {
    "AttachRolePolicy": ("attached", False),
    "DetachRolePolicy": ("attached", True),
    "PutRolePolicy": ("inline", False),
    "DeleteRolePolicy": ("inline", True),
    "PutRolePermissionsBoundary": ("boundary", False),
    "DeleteRolePermissionsBoundary": ("boundary", True),
    "UpdateAssumeRolePolicy": ("trust", False),
}


def grant_facts(name: str, account: str, asked: Tree, why: list[str]) -> CloudGrantFacts | None:
    """What a call gives or takes; null for another call, and where the record does not name the role.

    `account` is that of the role.
    """
    role = text(asked, "roleName", why)
    if name not in GRANTING or not role:
        return None
    via, removed = GRANTING[name]
    arn = text(asked, "policyArn", why) or text(asked, "permissionsBoundary", why)
    grant: CloudGrant = {
        "identity": role,
        "via": via,
        "policy": text(asked, "policyName", why) or arn.rpartition("/")[2],
        "policy_arn": arn,
        "classes": [],
        "principals": [],
        "scope": "",
        "removed": removed,
    }
    document = text(asked, "policyDocument", why)
    if via == "inline" and document:
        grant["classes"] = powers(allowed(document, "policy", why))
    elif via == "trust":
        grant["principals"], grant["classes"] = trusted(allowed(document, "trust policy", []), account)
    return {"grants": [grant]}
