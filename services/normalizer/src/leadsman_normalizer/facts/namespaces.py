"""Namespaces: the Pod Security levels that their labels set, and the labels by which webhooks and policies choose."""

from __future__ import annotations

from typing import Final

from leadsman_common.events import NamespaceFacts
from leadsman_normalizer.facts.values import Tree, mapping, text_map

POD_SECURITY: Final = "pod-security.kubernetes.io/"
# the label's last part -> the fact
LEVELS: Final = {"enforce": "enforce", "enforce-version": "enforce_version", "audit": "audit", "warn": "warn"}


def namespace_facts(body: Tree, why: list[str]) -> NamespaceFacts:
    """A namespace's facts; a fragment of a patch gives the labels that it sets."""
    labels = text_map(mapping(body, "metadata", why), "labels", why)
    return {
        "enforce": labels.get(f"{POD_SECURITY}enforce", ""),
        "enforce_version": labels.get(f"{POD_SECURITY}enforce-version", ""),
        "audit": labels.get(f"{POD_SECURITY}audit", ""),
        "warn": labels.get(f"{POD_SECURITY}warn", ""),
        "labels": labels,
    }
