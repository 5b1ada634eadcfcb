"""What Azure's calls say of AKS clusters: diagnostic settings, and the API server's networks (FORMATS 4)."""

from __future__ import annotations

from typing import Any

from leadsman_common.events import ControlPlaneFacts
from leadsman_normalizer.facts.control_plane import control_plane
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, texts, truth


def azure_facts(operation: str, resource_id: str, asked: Tree, why: list[str]) -> dict[str, Any]:
    """The facts of a call, by their field of Facts; {} where it has none."""
    match operation:
        case "diagnosticSettings/delete":
            return {"control_plane": control_plane(target=resource_id.rpartition("/")[2], logging_off=True)}
        case "diagnosticSettings/write":
            return {"control_plane": _setting(resource_id, asked, why)}
        case "managedClusters/write" if asked:
            return {"control_plane": _cluster(mapping(asked, "properties", why), why)}
        case _:
            return {}


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
    return control_plane(
        version=text(properties, "kubernetesVersion", why),
        cidrs=texts(access, "authorizedIPRanges", why),
        endpoint_private=private,
        endpoint_public=None if private is None else not private,
    )
