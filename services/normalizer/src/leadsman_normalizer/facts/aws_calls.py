"""What AWS calls say of clusters (FORMATS 2.5): access entries, roles that pods take, trust, logging, endpoints."""

from __future__ import annotations

import re
from typing import Any

from leadsman_common.events import CloudAccessFacts, CloudAssumeFacts, CloudLinkFacts, ControlPlaneFacts
from leadsman_normalizer.calls import decoded
from leadsman_normalizer.facts.aws_grants import grant_facts
from leadsman_normalizer.facts.aws_policies import (
    EKS_ISSUER,
    MAX_VALUES,
    POD_IDENTITY,
    SERVICE_ACCOUNT,
    allowed,
    issuer_of,
    several,
    subjects_of,
)
from leadsman_normalizer.facts.control_plane import control_plane
from leadsman_normalizer.facts.values import Tree, mapping, mappings, number, text, texts, truth

_LOG_GROUP = re.compile(r"/aws/eks/([^/]+)/cluster\Z")
_CLUSTER_GROUP = re.compile(r"eks-cluster-sg-(.+)-\d+\Z")
_CIDR_KEYS = frozenset({"cidrip", "cidripv4", "cidripv6"})
_LOG_TAKERS = frozenset({"DeleteLogGroup", "DeleteLogStream", "DeleteSubscriptionFilter"})


def aws_facts(
    service: str, name: str, caller: dict[str, str], asked: Tree, answered: Tree, why: list[str]
) -> dict[str, Any]:
    """The facts of a call, by their field of Facts; {} where it has none.

    `caller` is who called: name, provider and invoked_by of its userIdentity, and the account that was called.
    """
    match service:
        case "eks":
            return _eks(name, asked, answered, why)
        case "eks-auth" if name == "AssumeRoleForPodIdentity":
            return {"cloud_assume": _pod_identity(answered, why)}
        case "sts":
            found = _assumed(name, caller, asked, answered, why)
            return {"cloud_assume": found} if found is not None else {}
        case "iam":
            link, grant = _iam(name, asked, answered, why), grant_facts(name, caller["account"], asked, why)
            told = {"cloud_link": link, "cloud_grant": grant}
            return {key: found for key, found in told.items() if found is not None}
        case "logs":
            return {"control_plane": _log_group(name, asked, why)} if "logGroupName" in asked else {}
        case "ec2" if "SecurityGroup" in name:
            return {"control_plane": control_plane(target=_group_id(asked), cidrs=_cidrs(asked))}
        case _:
            return {}


def cluster_name(service: str, asked: Tree, answered: Tree) -> str:
    """The cluster that a call is about, by its parameters; empty where they do not say."""
    none: list[str] = []
    match service:
        case "eks" | "eks-auth":
            for tree in (asked, *(mapping(answered, key, none) for key in ("cluster", "accessEntry", "association"))):
                for key in ("name", "clusterName"):
                    if (key == "name" and tree is not asked) or not isinstance(tree.get(key), str):
                        continue
                    return str(tree[key])
            return ""
        case "sts":
            return _tags(asked).get("eks-cluster-name", "")
        case "logs":
            found = _LOG_GROUP.match(text(asked, "logGroupName", none))
            return found[1] if found else ""
        case "ec2":
            found = _CLUSTER_GROUP.match(text(asked, "groupName", none))
            return found[1] if found else ""
        case _:
            return ""


# --- eks --------------------------------------------------------------------------------------------------------


def _eks(name: str, asked: Tree, answered: Tree, why: list[str]) -> dict[str, Any]:
    if name in ("CreateAccessEntry", "UpdateAccessEntry", "DeleteAccessEntry") or name.endswith("AccessPolicy"):
        return {"cloud_access": _access(asked, answered, why)}
    if name.endswith("PodIdentityAssociation") and not name.startswith(("List", "Describe")):
        return {"cloud_link": _association(name, asked, answered, why)}
    if name in ("CreateCluster", "UpdateClusterConfig", "UpdateClusterVersion", "AssociateEncryptionConfig"):
        return {"control_plane": _cluster(asked, why)}
    return {}


def _access(asked: Tree, answered: Tree, why: list[str]) -> CloudAccessFacts:
    entry = mapping(answered, "accessEntry", why)
    scope = mapping(asked, "accessScope", why)
    policy = decoded(text(asked, "policyArn", why))
    return {
        "principal_arn": decoded(text(asked, "principalArn", why) or text(entry, "principalArn", why)),
        "policy": policy.rpartition("/")[2],
        "policy_arn": policy,
        "scope": text(scope, "type", why),
        "namespaces": texts(scope, "namespaces", why),
        "groups": texts(asked, "kubernetesGroups", why) or texts(entry, "kubernetesGroups", why),
        "username": text(asked, "username", why) or text(entry, "username", why),
        "type": text(asked, "type", why) or text(entry, "type", why),
    }


def _association(name: str, asked: Tree, answered: Tree, why: list[str]) -> CloudLinkFacts:
    stored = mapping(answered, "association", why)
    namespace = text(asked, "namespace", why) or text(stored, "namespace", why)
    account = text(asked, "serviceAccount", why) or text(stored, "serviceAccount", why)
    subjects = [f"{SERVICE_ACCOUNT}{namespace}:{account}"] if namespace and account else []
    removed = name.startswith("Delete")
    return {
        "via": "pod_identity",
        "identity": text(asked, "roleArn", why) or text(stored, "roleArn", why),
        "subjects": [] if removed else subjects,
        "removed": subjects if removed else [],
        "issuer": "",
        "unbounded": False,
    }


def _cluster(asked: Tree, why: list[str]) -> ControlPlaneFacts:
    off: list[str] = []
    on: list[str] = []
    for setup in mappings(mapping(asked, "logging", why), "clusterLogging", why):
        enabled = truth(setup, "enabled", why)
        if enabled is not None:
            (on if enabled else off).extend(texts(setup, "types", why))
    network = mapping(asked, "resourcesVpcConfig", why)
    return control_plane(
        logging_types_off=off,
        logging_types_on=on,
        logging_off=bool(off),
        endpoint_public=truth(network, "endpointPublicAccess", why),
        endpoint_private=truth(network, "endpointPrivateAccess", why),
        cidrs=texts(network, "publicAccessCidrs", why),
        auth_mode=text(mapping(asked, "accessConfig", why), "authenticationMode", why),
        version=text(asked, "version", why),
        secrets_encrypted=True if mappings(asked, "encryptionConfig", why) else None,  # once on, EKS keeps it on
        release_channel=text(mapping(asked, "upgradePolicy", why), "supportType", why),
    )


# --- roles that pods take ----------------------------------------------------------------------------------------


def _assumed(name: str, caller: dict[str, str], asked: Tree, answered: Tree, why: list[str]) -> CloudAssumeFacts | None:
    """A role taken by a service account; null where another identity takes it."""
    taken: CloudAssumeFacts = {
        "service_account": "",
        "role_arn": text(asked, "roleArn", why),
        "session_arn": text(mapping(answered, "assumedRoleUser", why), "arn", why),
        "issued_key": text(mapping(answered, "credentials", why), "accessKeyId", why),
        "issuer": "",
        "source": "",
        "pod": "",
        "pod_uid": "",
    }
    if name == "AssumeRoleWithWebIdentity":
        subject = caller["name"] or text(answered, "subjectFromWebIdentityToken", why)
        issuer = issuer_of(caller["provider"] or text(answered, "provider", why))
        if not subject.startswith(SERVICE_ACCOUNT) and EKS_ISSUER not in issuer:
            return None
        return {**taken, "service_account": subject, "issuer": issuer, "source": "irsa"}
    if caller["invoked_by"] != POD_IDENTITY:
        return None
    tags = _tags(asked)
    namespace, account = tags.get("kubernetes-namespace", ""), tags.get("kubernetes-service-account", "")
    return {
        **taken,
        "service_account": _service_account(namespace, account),
        "source": "pod_identity",
        "pod": tags.get("kubernetes-pod-name", ""),
        "pod_uid": tags.get("kubernetes-pod-uid", ""),
    }


def _pod_identity(answered: Tree, why: list[str]) -> CloudAssumeFacts:
    """eks-auth, the agent's call. The records seen hold no answer; one would be AssumeRoleForPodIdentityResponse."""
    subject = mapping(answered, "subject", why)
    namespace, account = text(subject, "namespace", why), text(subject, "serviceAccount", why)
    return {
        "service_account": _service_account(namespace, account),
        "role_arn": "",
        "session_arn": text(mapping(answered, "assumedRoleUser", why), "arn", why),
        "issued_key": text(mapping(answered, "credentials", why), "accessKeyId", why),
        "issuer": "",
        "source": "pod_identity",
        "pod": "",
        "pod_uid": "",
    }


def _service_account(namespace: str, name: str) -> str:
    return f"{SERVICE_ACCOUNT}{namespace}:{name}" if namespace and name else ""


# --- trust -------------------------------------------------------------------------------------------------------


def _iam(name: str, asked: Tree, answered: Tree, why: list[str]) -> CloudLinkFacts | None:
    if name.endswith("OpenIDConnectProvider"):
        arn = text(asked, "openIDConnectProviderArn", why) or text(answered, "openIDConnectProviderArn", why)
        issuer = issuer_of(arn) or text(asked, "url", why).removeprefix("https://")
        if EKS_ISSUER not in issuer:
            return None
        return _link("oidc_provider", arn, issuer=issuer)
    key = {"UpdateAssumeRolePolicy": "policyDocument", "CreateRole": "assumeRolePolicyDocument"}.get(name)
    policy = text(asked, key, why) if key is not None else ""
    if not policy:
        return None
    role = text(mapping(answered, "role", why), "arn", why) or text(asked, "roleName", why)
    return _trust(role, policy, why)


def _trust(role: str, policy: str, why: list[str]) -> CloudLinkFacts | None:
    """A trust policy's Kubernetes side: who may take the role by a token of a cluster's issuer, or by Pod Identity."""
    link: CloudLinkFacts | None = None
    for statement in allowed(policy, "trust policy", why):
        principal = statement.get("Principal")
        if not isinstance(principal, dict):
            continue
        if POD_IDENTITY in several(principal.get("Service")):
            link = link or _link("pod_identity", role)
        for provider in several(principal.get("Federated")):
            found = _federated(role, str(provider), statement)
            if found is None:
                continue
            if link is not None and link["via"] == found["via"]:
                found["subjects"] = [*link["subjects"], *found["subjects"]][:MAX_VALUES]
                found["unbounded"] |= link["unbounded"]
            link = found
    return link


def _federated(role: str, provider: str, statement: Tree) -> CloudLinkFacts | None:
    issuer = issuer_of(provider)
    subjects = subjects_of(statement.get("Condition"))
    if not issuer or (EKS_ISSUER not in issuer and not any(s.startswith(SERVICE_ACCOUNT) for s in subjects)):
        return None
    link = _link("oidc_trust", role, issuer=issuer)
    return {**link, "subjects": subjects, "unbounded": not subjects}


def _link(via: str, identity: str, *, issuer: str = "") -> CloudLinkFacts:
    return {"via": via, "identity": identity, "subjects": [], "removed": [], "issuer": issuer, "unbounded": False}


# --- logs and networks -------------------------------------------------------------------------------------------


def _log_group(name: str, asked: Tree, why: list[str]) -> ControlPlaneFacts:
    return control_plane(
        target=text(asked, "logGroupName", why),
        logging_off=name in _LOG_TAKERS,
        retention_days=number(asked, "retentionInDays", why) or 0,
    )


def _group_id(asked: Tree) -> str:
    nested = asked.get("ModifySecurityGroupRulesRequest")
    for tree in (asked, nested if isinstance(nested, dict) else {}):
        for key in ("groupId", "GroupId", "groupName"):
            if isinstance(tree.get(key), str):
                return str(tree[key])
    return ""


def _cidrs(node: Any, depth: int = 0) -> list[str]:
    """Every network named in the parameters; their shape differs by call and by the client's age."""
    found: list[str] = []
    if depth > 12:
        return found
    if isinstance(node, list):
        for item in node[:200]:
            found += _cidrs(item, depth + 1)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key.lower() in _CIDR_KEYS and isinstance(value, str):
                found.append(value)
            else:
                found += _cidrs(value, depth + 1)
    return list(dict.fromkeys(found))[:200]


def _tags(asked: Tree) -> dict[str, str]:
    """The session's tags: a list of {key, value}, or by name, where principalTags has them."""
    told: dict[str, str] = {}
    for found in (asked.get("principalTags"), asked.get("tags")):
        if isinstance(found, dict):
            pairs = list(found.items())
        else:
            tags = found if isinstance(found, list) else []
            pairs = [(tag.get("key"), tag.get("value")) for tag in tags if isinstance(tag, dict)]
        told |= {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, str)}
    return told
