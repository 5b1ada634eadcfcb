"""What Redis does when it is full, from what its INFO tells: managed services forbid CONFIG. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEEPS = "noeviction"


def policies(info: Mapping[str, Any]) -> set[str]:
    """The eviction policies that INFO told, of one server or of each node of a cluster; none where it does not tell."""
    if "maxmemory_policy" in info:
        return {str(info["maxmemory_policy"])}
    nodes = (node for node in info.values() if isinstance(node, Mapping))
    return {str(node["maxmemory_policy"]) for node in nodes if "maxmemory_policy" in node}


def complaint(info: Mapping[str, Any]) -> str:
    """Why this Redis may not hold state, or "". Every key has an expiry: volatile-* evicts it as allkeys-* does."""
    if evicting := sorted(policies(info) - {KEEPS}):
        return (
            f"Redis evicts when it is full (maxmemory-policy {', '.join(evicting)}): what it holds would be forgotten "
            f"without a word. Set maxmemory-policy {KEEPS} (in the parameter group of a managed Redis)"
        )
    return ""
