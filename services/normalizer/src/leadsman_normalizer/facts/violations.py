"""What Pod Security says of a pod whose body the log does not hold, as the pod spec that would say the same.

The annotation pod-security.kubernetes.io/audit-violations is there at every level, Metadata too, where the namespace or
the admission configuration sets an audit level; its wording is that of
https://github.com/kubernetes/kubernetes/tree/master/staging/src/k8s.io/pod-security-admission/policy (check_*.go).
"""

from __future__ import annotations

import re
from typing import Any

from leadsman_normalizer.facts.values import Tree

MAX_TEXT = 16 * 1024
_NAMES = r'((?:"[^"]*"(?:, )?)+)'
_CONTAINERS = rf"\bcontainers? {_NAMES}"
_NAME = re.compile(r'"([^"]*)"')
_HOST = re.compile(r"\b(hostNetwork|hostPID|hostIPC)=true")
_PRIVILEGED = re.compile(rf"{_CONTAINERS} must not set securityContext\.privileged=true")
_CAPABILITIES = re.compile(rf"{_CONTAINERS} must not include {_NAMES} in securityContext\.capabilities\.add")
_PROC_MOUNT = re.compile(rf"{_CONTAINERS} must not set securityContext\.procMount to {_NAMES}")
_HOST_PROCESS = re.compile(r"hostProcess \(([^)]*) must not set securityContext\.windowsOptions\.hostProcess=true")
_HOST_PORTS = re.compile(rf"{_CONTAINERS} uses? hostPorts? (\d[\d, ]*)")
_HOST_PATHS = re.compile(rf"hostPath volumes \(volumes? {_NAMES}")
_RESTRICTED = re.compile(rf"\bvolumes? {_NAMES} uses? restricted volume types? {_NAMES}")


def spec_of(violations: str) -> Tree:
    """A pod spec with the fields that the violations name, {} for none.

    Capabilities, ports and volume types are listed for all containers or volumes together, so each gets all of them. A
    host path is not told: its volume has none.
    """
    said = violations[:MAX_TEXT]
    spec: Tree = dict.fromkeys(_HOST.findall(said), True)
    containers: dict[str, Tree] = {}
    for found in _PRIVILEGED.finditer(said):
        _set(containers, found[1], "privileged", value=True)
    for found in _CAPABILITIES.finditer(said):
        _set(containers, found[1], "capabilities", value={"add": _NAME.findall(found[2])})
    for found in _PROC_MOUNT.finditer(said):
        _set(containers, found[1], "procMount", value=_NAME.findall(found[2])[0])
    for found in _HOST_PROCESS.finditer(said):
        windows = {"windowsOptions": {"hostProcess": True}}
        _set(containers, found[1], "windowsOptions", value=windows["windowsOptions"])
        if found[1].startswith("pod"):
            spec["securityContext"] = windows
    for found in _HOST_PORTS.finditer(said):
        ports = [{"hostPort": int(port)} for port in found[2].split(",") if port.strip().isdigit()]
        for name in _NAME.findall(found[1]):
            containers.setdefault(name, {"name": name})["ports"] = ports
    if containers:
        spec["containers"] = list(containers.values())
    if volumes := _volumes(said):
        spec["volumes"] = [{"name": name, kind: {}} for name, kind in volumes.items()]
    return spec


def _set(containers: dict[str, Tree], names: str, key: str, *, value: Any) -> None:
    for name in _NAME.findall(names):
        containers.setdefault(name, {"name": name}).setdefault("securityContext", {})[key] = value


def _volumes(said: str) -> dict[str, str]:
    """The volumes by name. Where several types are named together, each may be the one on the node's disk."""
    found: dict[str, str] = {}
    for hit in _RESTRICTED.finditer(said):
        kinds = _NAME.findall(hit[2])
        kind = next((k for k in ("hostPath", "gitRepo", "flexVolume") if k in kinds), kinds[0])
        found.update(dict.fromkeys(_NAME.findall(hit[1]), kind))
    for hit in _HOST_PATHS.finditer(said):
        found.update(dict.fromkeys(_NAME.findall(hit[1]), "hostPath"))
    return found
