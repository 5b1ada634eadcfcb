"""What Google Cloud's calls say of clusters (FORMATS 3.2): logging, endpoints, legacy ABAC, Workload Identity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from leadsman_common.events import CloudAssumeFacts, CloudGrant, CloudLinkFacts, ControlPlaneFacts
from leadsman_normalizer.facts.control_plane import control_plane
from leadsman_normalizer.facts.values import Tree, mapping, mappings, number, text, texts, truth

WORKLOAD_IDENTITY_USER: Final = "roles/iam.workloadIdentityUser"
_EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})
_GOOGLE = "serviceAccount:"
MAX_MEMBERS = 200
MAX_MEMBER_CHARS = 1024
# serviceAccount:PROJECT.svc.id.goog[NAMESPACE/NAME]
_MEMBER = re.compile(r"(?:serviceAccount:)?([a-z0-9.:-]+\.svc\.id\.goog)\[([^/\]]+)/([^\]]+)\]\Z")
# principal://iam.googleapis.com/projects/N/locations/global/workloadIdentityPools/POOL/subject/ns/NAMESPACE/sa/NAME and
# principalSet://.../namespace/NAMESPACE, .../kubernetes.cluster/URL, .../*
_PRINCIPAL = re.compile(
    r"principal(?:Set)?://iam\.googleapis\.com/.*/workloadIdentityPools/([^/]+\.svc\.id\.goog)/(.+)\Z"
)


def gcp_facts(
    service: str,
    method: str,
    resource_name: str,
    labels: dict[str, str],
    asked: Tree,
    extra: Tree,
    delegates: list[str],
    why: list[str],
) -> dict[str, Any]:
    """The facts of a call, by their field of Facts; {} where it has none.

    `extra` is serviceData (or metadata), which holds a policy's delta; `delegates` are the subjects behind the caller.
    """
    operation = method.rpartition(".")[2]
    match service:
        case "container":
            told = _cluster(operation, asked, why)
            return {"control_plane": control_plane(**told)} if told else {}
        case "logging":
            return {"control_plane": _logs(operation, resource_name, asked, why)}
        case "iamcredentials":
            return _token(resource_name, labels, delegates)
        case _ if operation.lower() == "setiampolicy":
            identity = labels.get("email_id", "") or resource_name
            return _policy(service, identity, asked, extra, why)
        case _:
            return {}


# --- container.googleapis.com ------------------------------------------------------------------------------------


def _cluster(operation: str, asked: Tree, why: list[str]) -> dict[str, Any]:
    """What a ClusterManager call sets; both creation and update say it, under names of their own."""
    match operation:
        case "SetLegacyAbac":
            return {"legacy_abac": truth(asked, "enabled", why) or False}  # false is left out of the JSON
        case "SetLoggingService" | "SetLogging":
            return _logging_service(text(asked, "loggingService", why))
        case "UpdateMaster":
            return {"version": text(asked, "masterVersion", why)}
        case "SetMasterAuth":
            told = _master_auth(mapping(asked, "update", why), why)
            return {**told, "basic_auth": told["basic_auth"] or text(asked, "action", why).endswith("_PASSWORD")}
        case "SetNetworkPolicy":
            return {"network_policy": truth(mapping(asked, "networkPolicy", why), "enabled", why) or False}
        case "CreateCluster":
            made = mapping(asked, "cluster", why)
            abac = truth(mapping(made, "legacyAbac", why), "enabled", why)
            return {
                "legacy_abac": abac,
                "version": text(made, "initialClusterVersion", why),
                **_logging_service(text(made, "loggingService", why)),
                **_components(mapping(made, "loggingConfig", why), why),
                **_networks(made, "masterAuthorizedNetworksConfig", why),
                **_endpoint(mapping(made, "privateClusterConfig", why), why),
                **_endpoints(mapping(made, "controlPlaneEndpointsConfig", why), why),
                **_anonymous(made, "anonymousAuthenticationConfig", "rbacBindingConfig", why),
                **(_master_auth(mapping(made, "masterAuth", why), why) if "masterAuth" in made else {}),
                "network_policy": truth(mapping(made, "networkPolicy", why), "enabled", why),
                **_hardening(made, "databaseEncryption", "shieldedNodes", "releaseChannel", why),
            }
        case "UpdateCluster":
            update = mapping(asked, "update", why)
            return {
                "version": text(update, "desiredMasterVersion", why),
                **_logging_service(text(update, "desiredLoggingService", why)),
                **_components(mapping(update, "desiredLoggingConfig", why), why),
                **_networks(update, "desiredMasterAuthorizedNetworksConfig", why),
                **_endpoint(mapping(update, "desiredPrivateClusterConfig", why), why),
                **_endpoints(mapping(update, "desiredControlPlaneEndpointsConfig", why), why),
                **_anonymous(update, "desiredAnonymousAuthenticationConfig", "desiredRbacBindingConfig", why),
                **_hardening(update, "desiredDatabaseEncryption", "desiredShieldedNodes", "desiredReleaseChannel", why),
            }
        case _:
            return {}


def _logging_service(name: str) -> dict[str, Any]:
    if not name:
        return {}
    off = name == "none"
    return {"logging_off": off, "logging_types_off": ["all"]} if off else {"logging_types_on": [name]}


def _components(config: Tree, why: list[str]) -> dict[str, Any]:
    """loggingConfig: the components that are logged from now on. Audit logs do not depend on it."""
    named = texts(mapping(config, "componentConfig", why), "enableComponents", why)
    return {"logging_types_on": named} if named else {}


def _networks(asked: Tree, key: str, why: list[str]) -> dict[str, Any]:
    if not isinstance(asked.get(key), dict):
        return {}
    config = asked[key]
    blocks = [text(block, "cidrBlock", why) for block in mappings(config, "cidrBlocks", why)[:MAX_MEMBERS]]
    return {
        "authorized_networks": truth(config, "enabled", why) or False,  # false is left out of the JSON
        "cidrs": [block for block in blocks if block],
    }


def _endpoint(config: Tree, why: list[str]) -> dict[str, Any]:
    private = truth(config, "enablePrivateEndpoint", why)
    return {} if private is None else {"endpoint_private": private, "endpoint_public": not private}


def _endpoints(config: Tree, why: list[str]) -> dict[str, Any]:
    """controlPlaneEndpointsConfig, which says the same since 2024."""
    by_ip = mapping(config, "ipEndpointsConfig", why)
    if not by_ip:
        return {}
    public = (truth(by_ip, "enabled", why) or False) and (truth(by_ip, "enablePublicEndpoint", why) or False)
    return {"endpoint_public": public, **_networks(by_ip, "authorizedNetworksConfig", why)}


def _anonymous(asked: Tree, authentication: str, bindings: str, why: list[str]) -> dict[str, Any]:
    """Whether anonymous requests get further than the health paths, and whether bindings to everybody may count."""
    told: dict[str, Any] = {}
    mode = text(mapping(asked, authentication, why), "mode", why)
    if mode in ("ENABLED", "LIMITED"):
        told["anonymous_auth"] = mode == "ENABLED"
    insecure = mapping(asked, bindings, why)
    said = [
        truth(insecure, f"enableInsecureBindingSystem{group}", why) for group in ("Unauthenticated", "Authenticated")
    ]
    if any(value is not None for value in said):
        told["anonymous_bindings"] = any(said)
    return told


def _hardening(asked: Tree, encryption: str, shielded: str, channel: str, why: list[str]) -> dict[str, Any]:
    """Whether Secrets and nodes are protected, and which channel versions come by. False is left out of the JSON."""
    told: dict[str, Any] = {}
    state = text(mapping(asked, encryption, why), "state", why)
    if state:
        told["secrets_encrypted"] = state == "ENCRYPTED"
    if isinstance(asked.get(shielded), dict):
        told["shielded_nodes"] = truth(asked[shielded], "enabled", why) or False
    if isinstance(asked.get(channel), dict):
        told["release_channel"] = text(asked[channel], "channel", why) or "UNSPECIFIED"
    return told


def _master_auth(auth: Tree, why: list[str]) -> dict[str, Any]:
    """MasterAuth: without a user name no password opens the cluster. False is left out of the JSON."""
    certificate = mapping(auth, "clientCertificateConfig", why)
    issued = truth(certificate, "issueClientCertificate", why) or False
    return {
        "basic_auth": bool(text(auth, "username", why) or auth.get("password")),
        "client_certificate": issued if "clientCertificateConfig" in auth else None,
    }


# --- logs ---------------------------------------------------------------------------------------------------------


def _logs(operation: str, resource_name: str, asked: Tree, why: list[str]) -> ControlPlaneFacts:
    """Sinks, exclusions, buckets. An update takes logs away where it disables, or excludes."""
    body: Tree = {}
    for kind in ("sink", "exclusion", "bucket"):
        body = body or mapping(asked, kind, why)
    name = text(asked, "sinkName", why) or text(asked, "name", why) or text(body, "name", why) or resource_name
    disabled = truth(body, "disabled", why) is True
    gone = operation.startswith("Delete") and not operation.endswith("Exclusion")
    excluded = operation in ("CreateExclusion", "UpdateExclusion") and not disabled
    narrowed = operation == "UpdateSink" and (disabled or bool(mappings(body, "exclusions", why)))
    return control_plane(
        target=name,
        logging_off=gone or excluded or narrowed,
        retention_days=number(body, "retentionDays", why) or 0,
    )


# --- Workload Identity ----------------------------------------------------------------------------------------------


def _policy(service: str, identity: str, asked: Tree, extra: Tree, why: list[str]) -> dict[str, Any]:
    """SetIamPolicy: who may act as a service account, and which Data Access logs are written."""
    delta = mapping(extra, "policyDelta", why)
    added, removed, pool, unbounded = _members(delta, asked, why, only_role=service == "iam")
    facts: dict[str, Any] = {}
    if added or removed or unbounded:
        link: CloudLinkFacts = {
            "via": "workload_identity",
            "identity": identity,
            "subjects": added,
            "removed": removed,
            "issuer": pool,
            "unbounded": unbounded,
        }
        facts["cloud_link"] = link
    if grants := list(_grants(service, identity, delta, why)):
        facts["cloud_grant"] = {"grants": grants}
    audited = mappings(delta, "auditConfigDeltas", why)[:MAX_MEMBERS]
    if audited and service == "cloudresourcemanager":
        facts["control_plane"] = _data_access(audited, identity, why)
    elif not delta and service == "cloudresourcemanager" and "auditConfigs" in str(asked.get("updateMask", "")):
        facts["control_plane"] = _audit_configs(mapping(asked, "policy", why), identity, why)
    return facts


def _members(delta: Tree, asked: Tree, why: list[str], *, only_role: bool) -> tuple[list[str], list[str], str, bool]:
    """Service accounts that a policy adds and removes, their pool, and whether all of a cluster are added.

    By the policy's delta, else by the whole policy.
    """
    changes = [
        (text(found, "action", why), text(found, "role", why), text(found, "member", why))
        for found in mappings(delta, "bindingDeltas", why)[:MAX_MEMBERS]
    ] or [
        ("ADD", text(binding, "role", why), member)
        for binding in mappings(mapping(asked, "policy", why), "bindings", why)[:MAX_MEMBERS]
        for member in texts(binding, "members", why)[:MAX_MEMBERS]
    ]
    added: list[str] = []
    removed: list[str] = []
    pool, unbounded = "", False
    for action, role, member in changes:
        if only_role and role != WORKLOAD_IDENTITY_USER:
            continue
        found, its_pool = service_account_of_member(member)
        if not its_pool:
            continue
        pool = its_pool
        if action == "REMOVE":
            removed += [found] if found else []
        elif found:
            added.append(found)
        else:
            unbounded = True
    return added[:MAX_MEMBERS], removed[:MAX_MEMBERS], pool, unbounded


def _grants(service: str, identity: str, delta: Tree, why: list[str]) -> Iterator[CloudGrant]:
    """What service accounts are given, Google's and clusters' own; on one of Google's: who may act as it.

    By the delta alone: a whole policy does not say what of it is new.
    """
    for found in mappings(delta, "bindingDeltas", why)[:MAX_MEMBERS]:
        role, member = text(found, "role", why), text(found, "member", why)[:MAX_MEMBER_CHARS]
        given: CloudGrant = {
            "identity": "",
            "via": "binding",
            "policy": role,
            "policy_arn": "",
            "classes": [],
            "principals": [],
            "scope": identity,
            "removed": text(found, "action", why) == "REMOVE",
        }
        account, pool = service_account_of_member(member)
        if account and not (service == "iam" and role == WORKLOAD_IDENTITY_USER):  # which is a link
            yield {**given, "identity": account}
        elif service == "iam" and not pool:
            everybody = ["everybody"] if member in _EVERYBODY else []
            yield {**given, "identity": identity, "via": "trust", "principals": [member], "classes": everybody}
        elif service != "iam" and member.startswith(_GOOGLE) and not pool:
            yield {**given, "identity": member.removeprefix(_GOOGLE)}


def service_account_of_member(member: str) -> tuple[str, str]:
    """The user name of the Kubernetes service account that an IAM member is, and its workload pool.

    `system:serviceaccount:NAMESPACE:*` for a whole namespace, "" for a whole cluster; no pool for any other member.
    """
    if len(member) > MAX_MEMBER_CHARS:
        return "", ""
    if found := _MEMBER.match(member):
        return f"system:serviceaccount:{found[2]}:{found[3]}", found[1]
    principal = _PRINCIPAL.match(member)
    if principal is None:
        return "", ""
    parts = principal[2].split("/")
    match parts:
        case ["subject", "ns", namespace, "sa", name]:
            return f"system:serviceaccount:{namespace}:{name}", principal[1]
        case ["namespace", namespace]:
            return f"system:serviceaccount:{namespace}:*", principal[1]
        case _:
            return "", principal[1]


def _data_access(deltas: list[Tree], identity: str, why: list[str]) -> ControlPlaneFacts:
    off: list[str] = []
    on: list[str] = []
    for found in deltas:
        # an exempted member is a hole in the log as well: an ADD of one takes logs away
        taken = (text(found, "action", why) == "REMOVE") is not bool(text(found, "exemptedMember", why))
        (off if taken else on).append(f"{text(found, 'service', why)}:{text(found, 'logType', why)}")
    return control_plane(target=identity, logging_types_off=off, logging_types_on=on, logging_off=bool(off))


def _audit_configs(policy: Tree, identity: str, why: list[str]) -> ControlPlaneFacts:
    """The whole of a policy's Data Access settings, where no delta says what changed; without any, all are off."""
    off: list[str] = []
    on: list[str] = []
    for config in mappings(policy, "auditConfigs", why)[:MAX_MEMBERS]:
        for log in mappings(config, "auditLogConfigs", why)[:MAX_MEMBERS]:
            named = f"{text(config, 'service', why)}:{text(log, 'logType', why)}"
            (off if texts(log, "exemptedMembers", why) else on).append(named)
    off = off if off or on else ["all"]
    return control_plane(target=identity, logging_types_off=off, logging_types_on=on, logging_off=bool(off))


def _token(resource_name: str, labels: dict[str, str], delegates: list[str]) -> dict[str, Any]:
    """iamcredentials: a Kubernetes service account takes a Google one's token. The token itself is not in the log."""
    for delegate in delegates:
        account, pool = service_account_of_member(delegate)
        if account:
            taken: CloudAssumeFacts = {
                "service_account": account,
                "role_arn": labels.get("email_id", "") or resource_name.rpartition("/")[2],
                "session_arn": "",
                "issued_key": "",
                "issuer": pool,
                "source": "workload_identity",
                "pod": "",
                "pod_uid": "",
            }
            return {"cloud_assume": taken}
    return {}
