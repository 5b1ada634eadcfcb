"""What Azure's calls say of AKS clusters: diagnostic settings, networks, accounts, roles, commands (FORMATS 4)."""

from __future__ import annotations

from typing import Any, Final

from leadsman_common.events import CloudAccessFacts, ControlPlaneFacts, ExecFacts
from leadsman_normalizer.facts.commands import command_text
from leadsman_normalizer.facts.control_plane import control_plane
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, texts, truth
from leadsman_normalizer.redact import mask

# https://learn.microsoft.com/en-us/azure/role-based-access-control/built-in-roles/containers
_ROLES: Final = {
    "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8": "Azure Kubernetes Service Cluster Admin Role",
    "1afdec4b-e479-420e-99e7-f82237c7c5e6": "Azure Kubernetes Service Cluster Monitoring User",
    "4abbcc35-e782-43d8-92c5-2d3f1bd2253f": "Azure Kubernetes Service Cluster User Role",
    "ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8": "Azure Kubernetes Service Contributor Role",
    "3498e952-d568-435e-9b2c-8d77e338d7f7": "Azure Kubernetes Service RBAC Admin",
    "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b": "Azure Kubernetes Service RBAC Cluster Admin",
    "7f6c6a51-bcf8-42ba-9220-52d62157d7db": "Azure Kubernetes Service RBAC Reader",
    "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb": "Azure Kubernetes Service RBAC Writer",
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
}


def azure_facts(operation: str, resource_id: str, asked: Tree, answered: Tree, why: list[str]) -> dict[str, Any]:
    """The facts of a call, by their field of Facts; {} where it has none. The log holds few bodies."""
    match operation:
        case "diagnosticSettings/delete":
            return {"control_plane": control_plane(target=resource_id.rpartition("/")[2], logging_off=True)}
        case "diagnosticSettings/write":
            return {"control_plane": _setting(resource_id, asked, why)}
        case "managedClusters/write" if asked:
            return {"control_plane": _cluster(mapping(asked, "properties", why), why)}
        case "managedClusters/runCommand/action" if command := text(asked, "command", why):
            return {"exec": _run(command)}
        case "roleAssignments/write" | "roleAssignments/delete":
            found = mapping(asked, "properties", why) or mapping(answered, "properties", why)
            return {"cloud_access": _assigned(found, why)} if found else {}
        case _:
            return {}


def _run(command: str) -> ExecFacts:
    """The command that AKS runs in a pod of its own, as cluster-admin: one word, since a shell takes it apart."""
    return {
        "kind": "aks_run_command",
        "argv": [mask(command)],
        "command_text": command_text([command]),
        "container": "",
        "stdin": False,
        "stdout": False,
        "stderr": False,
        "tty": False,
        "transport": "",
        "interactive": False,
        "pod": "",
        "namespace": "aks-command",
    }


def _assigned(properties: Tree, why: list[str]) -> CloudAccessFacts:
    """A role assignment on the cluster, or in one of its namespaces."""
    definition = text(properties, "roleDefinitionId", why)
    role = definition.rpartition("/")[2].lower()
    namespace = text(properties, "scope", why).lower().partition("/namespaces/")[2]
    return {
        "principal_arn": text(properties, "principalId", why),
        "policy": _ROLES.get(role, role),
        "policy_arn": definition,
        "scope": "namespace" if namespace else "cluster",
        "namespaces": [namespace] if namespace else [],
        "groups": [],
        "username": "",
        "type": text(properties, "principalType", why),
    }


def _setting(resource_id: str, asked: Tree, why: list[str]) -> ControlPlaneFacts:
    """A setting is written whole: a category that it leaves out is off, too, but was perhaps never on."""
    off: list[str] = []
    on: list[str] = []
    for log in mappings(mapping(asked, "properties", why), "logs", why):
        enabled = truth(log, "enabled", why)
        name = text(log, "category", why) or text(log, "categoryGroup", why)
        if enabled is not None and name:
            (on if enabled else off).append(name)
    return control_plane(
        target=resource_id.rpartition("/")[2], logging_types_off=off, logging_types_on=on, logging_off=bool(off)
    )


def _cluster(properties: Tree, why: list[str]) -> ControlPlaneFacts:
    access = mapping(properties, "apiServerAccessProfile", why)
    private = truth(access, "enablePrivateCluster", why)
    public = {"Enabled": True, "Disabled": False}.get(text(properties, "publicNetworkAccess", why))
    disabled = truth(properties, "disableLocalAccounts", why)
    return control_plane(
        version=text(properties, "kubernetesVersion", why),
        cidrs=texts(access, "authorizedIPRanges", why),
        endpoint_private=private,
        endpoint_public=public if public is not None else None if private is None else not private,
        local_accounts=None if disabled is None else not disabled,
        rbac=truth(properties, "enableRBAC", why),
        secrets_encrypted=truth(
            mapping(mapping(properties, "securityProfile", why), "azureKeyVaultKms", why), "enabled", why
        ),
        release_channel=text(mapping(properties, "autoUpgradeProfile", why), "upgradeChannel", why),
    )
