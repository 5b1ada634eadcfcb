"""Which facts a request itself set: what tells a change from a state where nothing is known of before (DETECTIONS 1.8).

The convention of `facts.touched`:
- `*`: the request brought the whole object (create, update, and an apply that created it);
- else dotted fact paths as in the schema, lists without index: `pod.containers.privileged`, `role.rules`;
- a path stands for everything below it: `pod.containers` where a JSON Patch adds or replaces a container, `pod` where
  it replaces the spec; a rule's field counts as touched if a touched path equals it, is a prefix of it by whole
  segments, or lies below it;
- an image touches `pod.containers.image` and all that is read from it (`image_repo` and so on), a host path likewise;
- labels, annotations and status touch nothing, but for those that are facts themselves (`role.aggregate_to`,
  `service.internal`, `service_account.role_arn`, `ingress.class`, `namespace.enforce`);
- a patch whose body the log does not hold touches [], and so does an update by which a controller of the control plane
  writes a workload's status, scale or revision: the whole object is sent, and what is dangerous about it was there.
"""

from __future__ import annotations

from typing import Any

from leadsman_normalizer.facts.accounts import AZURE_CLIENT, GCP_ACCOUNT, ROLE_ARN
from leadsman_normalizer.facts.kinds import Kind
from leadsman_normalizer.facts.namespaces import LEVELS, POD_SECURITY
from leadsman_normalizer.facts.pod import LISTS, holds_containers
from leadsman_normalizer.facts.roles import AGGREGATE_TO
from leadsman_normalizer.facts.services import EXPOSING_ANNOTATIONS

_IMAGE = (*tuple(f"image{part}" for part in ("", "_raw", "_host", "_repo", "_suffix", "_name")), "tag", "digest")
_PATH = ("host_path", "host_path_raw", "tier", "relation", "matched", "socket", "type")
# the JSON keys of each object and the facts they set; a dict goes on one object deeper
_HOOKS = dict.fromkeys(("postStart", "preStop"), ("hooks", "command_text"))
_CONTAINER: dict[str, Any] = {
    "name": ("name",),
    "image": _IMAGE,
    "command": ("command", "command_text"),
    "args": ("args", "command_text"),
    "script": ("command_text",),
    "source": ("command_text",),
    "lifecycle": _HOOKS,
    "livenessProbe": {"exec": ("hooks", "command_text")},
    "readinessProbe": {"exec": ("hooks", "command_text")},
    "startupProbe": {"exec": ("hooks", "command_text")},
    "env": ("env_refs", "command_text"),
    "ports": ("ports",),
    "volumeMounts": ("mounts",),
    "securityContext": {
        "privileged": ("privileged",),
        "allowPrivilegeEscalation": ("allow_priv_esc",),
        "runAsUser": ("run_as_user",),
        "capabilities": {"add": ("caps_add",), "drop": ("caps_drop",)},
        "procMount": ("proc_mount",),
        "seccompProfile": ("seccomp",),
        "appArmorProfile": ("apparmor",),
        "windowsOptions": {"hostProcess": ("host_process",)},
    },
}
_POD: dict[str, Any] = {
    "serviceAccountName": ("service_account",),
    "serviceAccount": ("service_account",),
    "automountServiceAccountToken": ("automount",),
    "hostNetwork": ("host_network",),
    "hostPID": ("host_pid",),
    "hostIPC": ("host_ipc",),
    "shareProcessNamespace": ("share_process_ns",),
    "hostUsers": ("host_users",),
    "nodeName": ("node_name",),
    "securityContext": {
        "runAsUser": ("run_as_user",),
        "seccompProfile": ("seccomp", "containers.seccomp"),
        "appArmorProfile": ("containers.apparmor",),
        "windowsOptions": {"hostProcess": ("host_process",)},
    },
}
_VOLUME: dict[str, Any] = {
    "name": ("name",),
    "hostPath": {"path": _PATH, "type": ("host_path_type",)},
    "local": {"path": _PATH},
    "persistentVolumeClaim": ("claim", "type"),
    **dict.fromkeys(("csi", "flexVolume"), ("driver", "type")),
    "gitRepo": ("type",),
    "projected": ("audiences", "type"),
}
_OBJECTS: dict[str, dict[str, Any]] = {
    "role": {"rules": ("rules",), "metadata": {"labels": "labels"}},
    "binding": {"subjects": ("subjects", "anonymous", "self", "members"), "roleRef": ("role_kind", "role_name")},
    "service": {
        "spec": {
            "type": ("type", "exposure"),
            "ports": ("ports", "sensitive_targets"),
            "externalIPs": ("external_ips", "exposure"),
            "loadBalancerSourceRanges": ("source_ranges", "exposure"),
            "loadBalancerClass": ("lb_class",),
            "selector": ("selector", "sensitive_targets"),
            "externalName": ("external_name",),
        },
        "metadata": {"annotations": "annotations"},
    },
    "ingress": {
        "spec": {
            **dict.fromkeys(("rules", "hosts", "host", "hostnames"), ("hosts", "sensitive_targets")),
            **dict.fromkeys(("defaultBackend", "backend", "http", "tcp", "to"), ("sensitive_targets",)),
            **dict.fromkeys(("tls", "servers", "listeners"), ("hosts", "tls")),
            **dict.fromkeys(("ingressClassName", "gatewayClassName"), ("class",)),
        },
        "metadata": {"annotations": "annotations"},
    },
    "service_account": {"metadata": {"annotations": "annotations"}},
    "csr": {
        "spec": {"signerName": ("signer",), "usages": ("usages",), "request": ("cn", "o")},
        "status": {"conditions": ("approved_by", "conditions")},
    },
    "webhook": {"webhooks": ("configs",)},
    "config_map": {"data": {"mapRoles": ("roles",), "mapUsers": ("users",), "mapAccounts": ("accounts",)}},
    "namespace": {"metadata": {"labels": {f"{POD_SECURITY}{label}": (fact,) for label, fact in LEVELS.items()}}},
}
_META = {
    **dict.fromkeys(EXPOSING_ANNOTATIONS, ("service.internal", "service.source_ranges", "service.exposure")),
    "kubernetes.io/ingress.class": ("ingress.class",),
    ROLE_ARN: ("service_account.role_arn",),
    GCP_ACCOUNT: ("service_account.gcp_service_account",),
    AZURE_CLIENT: ("service_account.azure_client_id",),
}
MAX_TOUCHED = 200


def touched_by(kind: Kind, fragment: Any, whole: frozenset[tuple[str, ...]] = frozenset()) -> list[str]:
    """The fact paths that a patch's fragment sets.

    `whole` are key paths at which a JSON Patch replaced or removed something as a whole: all below them is touched.
    """
    found: set[str] = set()
    if kind.fact == "pod":
        _pod_at(kind.spec, fragment, found, whole, ())
    elif kind.fact == "custom":
        _custom(fragment, found, 0)
    elif kind.fact == "pv":
        _leaves("pv.volume.", {"spec": {**_VOLUME, "claimRef": ("claim",)}}, fragment, found, whole, ())
    elif kind.fact in _OBJECTS:
        _leaves(f"{kind.fact}.", _OBJECTS[kind.fact], fragment, found, whole, ())
    if kind.fact == "namespace" and _sets_labels(fragment):
        found.add("namespace.labels")
    return sorted(found)[:MAX_TOUCHED]


def _sets_labels(fragment: Any) -> bool:
    metadata = fragment.get("metadata") if isinstance(fragment, dict) else None
    return isinstance(metadata, dict) and "labels" in metadata


def _pod_at(
    path: tuple[str, ...], node: Any, found: set[str], whole: frozenset[tuple[str, ...]], at: tuple[str, ...]
) -> None:
    if at in whole:
        found.add("pod")
    if isinstance(node, dict) and at == () and "ephemeralContainers" in node:
        _containers(node["ephemeralContainers"], found, whole, ("ephemeralContainers",))
    for depth, key in enumerate(path):
        if not isinstance(node, dict) or key not in node:
            return
        node = node[key]
        if path[: depth + 1] in whole:
            found.add("pod")
        if not isinstance(node, dict):
            found.add("pod")  # spec: null, or a template replaced by something odd
            return
        if depth == 0 and "replicas" in node:
            found.add("pod.replicas")
    _spec(node, found, whole, path)


def _spec(spec: dict[str, Any], found: set[str], whole: frozenset[tuple[str, ...]], at: tuple[str, ...]) -> None:
    if "$patch" in spec:
        found.add("pod")
    for key, value in spec.items():
        if key in LISTS or key in ("steps", "sidecars"):
            _containers(value, found, whole, (*at, key))
        elif key in ("container", "script", "taskSpec") and isinstance(value, dict):
            _leaves("pod.containers.", _CONTAINER, value, found, whole, (*at, key))
        elif key == "volumes":
            _items("pod.volumes", _VOLUME, value, found, whole, (*at, key))
            if isinstance(value, list) and any(isinstance(v, dict) and "image" in v for v in value):
                found.update(f"pod.containers.{fact}" for fact in _IMAGE)  # an OCI image as a volume
    _leaves("pod.", _POD, spec, found, whole, at)


def _containers(items: Any, found: set[str], whole: frozenset[tuple[str, ...]], at: tuple[str, ...]) -> None:
    _items("pod.containers", _CONTAINER, items, found, whole, at)


def _items(
    prefix: str,
    table: dict[str, Any],
    items: Any,
    found: set[str],
    whole: frozenset[tuple[str, ...]],
    at: tuple[str, ...],
) -> None:
    if at in whole or (*at, "#") in whole or not isinstance(items, list):
        found.add(prefix)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            if "$patch" in item:
                found.add(prefix)
            _leaves(f"{prefix}.", table, item, found, whole, (*at, "#"))
            if prefix == "pod.volumes" and not item.keys() <= {"name", "hostPath", "$patch"}:
                found.add("pod.volumes.type")


def _leaves(
    prefix: str,
    table: dict[str, Any],
    node: Any,
    found: set[str],
    whole: frozenset[tuple[str, ...]],
    at: tuple[str, ...],
) -> None:
    if not isinstance(node, dict):
        return
    for key, facts in table.items():
        if key not in node:
            continue
        value, here = node[key], (*at, key)
        if isinstance(facts, tuple):
            found.update(prefix + fact for fact in facts)
        elif isinstance(facts, str):
            _metadata(value, found, whole=here in whole)
        elif isinstance(value, dict) and here not in whole:
            _leaves(prefix, facts, value, found, whole, here)
        else:  # null or replaced as a whole: every fact below is touched
            _all(prefix, facts, found)


def _all(prefix: str, table: dict[str, Any], found: set[str]) -> None:
    for facts in table.values():
        if isinstance(facts, tuple):
            found.update(prefix + fact for fact in facts)
        elif isinstance(facts, dict):
            _all(prefix, facts, found)


def _metadata(entries: Any, found: set[str], *, whole: bool) -> None:
    """Labels and annotations that are facts."""
    for key in entries if isinstance(entries, dict) else ():
        found.update(_META.get(key, ()))
        if key.startswith(AGGREGATE_TO):
            found.add("role.aggregate_to")
    if whole or not isinstance(entries, dict):
        found.update(("role.aggregate_to", "service.internal", "service.exposure"))


def _custom(node: Any, found: set[str], depth: int) -> None:
    if depth > 32:
        return
    if isinstance(node, list):
        for item in node:
            _custom(item, found, depth + 1)
    if not isinstance(node, dict):
        return
    if holds_containers(node) or node.keys() & (LISTS.keys() | {"hostNetwork", "hostPID", "hostIPC", "volumes"}):
        _spec(node, found, frozenset(), ())
    for key, value in node.items():
        if key not in ("metadata", "status", "managedFields", *LISTS):
            _custom(value, found, depth + 1)
