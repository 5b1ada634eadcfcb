"""One PodFacts from every kind that carries a pod spec, custom resources among them (DETECTIONS 1.6)."""

from __future__ import annotations

from typing import Any

from leadsman_common.events import ContainerFacts, PodFacts
from leadsman_normalizer.facts.containers import MAX_CONTAINERS, container_facts
from leadsman_normalizer.facts.owners import outermost, owners
from leadsman_normalizer.facts.values import Tree, mapping, mappings, number, text, text_map, truth
from leadsman_normalizer.facts.volumes import volumes
from leadsman_normalizer.lenient import note

LISTS = {"containers": "main", "initContainers": "init", "ephemeralContainers": "ephemeral"}
# where custom resources put containers: Argo Workflows, Tekton
_SINGLE = ("container", "script", "taskSpec")
_CUSTOM_LISTS = {**LISTS, "steps": "main", "sidecars": "main"}
_MIRROR = "kubernetes.io/config.mirror"
# Binary Authorization of GKE, and any ImagePolicyWebhook: alpha.image-policy.k8s.io/break-glass
_BREAK_GLASS = "image-policy.k8s.io/break-glass"
MAX_NODES = 20_000
MAX_DEPTH = 16


def pod_facts(kind: str, path: tuple[str, ...], body: Tree, name: str, why: list[str]) -> PodFacts:
    """The facts of a body of `kind` whose PodSpec stands at `path`; a fragment gives what it holds."""
    spec = body
    for key in path:
        spec = mapping(spec, key, why)
    template = body
    for key in path[:-1]:
        template = mapping(template, key, why)
    if not spec and isinstance(body.get("ephemeralContainers"), list):
        spec = body  # the EphemeralContainers kind of servers before 1.22
    above = mapping(template, "metadata", why) if len(path) > 1 else {}
    return _facts(kind, ".".join(path), body, [spec], _containers([spec], template, why), name, above, why)


def custom_pod_facts(body: Tree, name: str, why: list[str]) -> PodFacts | None:
    """The facts of the pod specs that a bounded search finds in a custom resource, taken together; None for none."""
    found: list[tuple[str, list[Tree]]] = []
    seen = 0
    queue: list[tuple[Tree, str, tuple[Tree, ...]]] = [(body, "", ())]
    while queue:
        node, path, above = queue.pop()
        seen += 1
        if seen > MAX_NODES:
            note(why, f"custom resource larger than {MAX_NODES} objects: searched in part")
            break
        chain = (*above, node)
        if holds_containers(node):
            found.append((path, list(chain)))
        if len(above) < MAX_DEPTH:
            for key, value in node.items():
                if key in ("metadata", "status", "managedFields"):
                    continue
                below = f"{path}.{key}" if path else key
                children = value if isinstance(value, list) else [value]
                queue += [(child, below, chain) for child in children if isinstance(child, dict)]
    if not found:
        return None
    holders = [chain[-1] for _, chain in found]
    specs = list({id(node): node for _, chain in found for node in chain}.values())
    containers = _containers(holders, {}, why)
    kind = text(body, "kind", why)
    return _facts(kind, min(path for path, _ in found), body, specs, containers, name, {}, why)


def holds_containers(node: Tree) -> bool:
    """Whether an object looks like a PodSpec: a list of containers, or Argo's one container, with an image."""
    for key in _CUSTOM_LISTS:
        items = node.get(key)
        if isinstance(items, list) and any(isinstance(i, dict) and isinstance(i.get("image"), str) for i in items):
            return True
    return any(isinstance(one := node.get(key), dict) and isinstance(one.get("image"), str) for key in _SINGLE)


def _containers(specs: list[Tree], template: Tree, why: list[str]) -> list[ContainerFacts]:
    annotations = text_map(mapping(template, "metadata", []), "annotations", [])
    found: list[tuple[str, Tree]] = []
    for spec in specs:
        for key, which in _CUSTOM_LISTS.items():
            if key in LISTS or key in spec:
                items = mappings(spec, key, why) if key in LISTS else _with_image(spec.get(key))
                found += [(which, item) for item in items if not _gone(item)]
        found += [("volume", image) for image in _mounted_images(spec, why)]
        found += [
            ("main", one)
            for key in _SINGLE
            if isinstance(one := spec.get(key), dict) and isinstance(one.get("image"), str)
        ]
    if len(found) > MAX_CONTAINERS:
        note(why, f"more than {MAX_CONTAINERS} containers: the rest is not read")
        found.sort(key=lambda pair: not _asks_for_power(pair[1]))  # who hides one behind many is seen
    return [container_facts(which, item, annotations, why) for which, item in found[:MAX_CONTAINERS]]


def _asks_for_power(container: Tree) -> bool:
    security = container.get("securityContext")
    return isinstance(security, dict) and bool(
        security.get("privileged") or security.keys() & {"capabilities", "windowsOptions", "procMount"}
    )


def _mounted_images(spec: Tree, why: list[str]) -> list[Tree]:
    """OCI images mounted as volumes: a program may come in one as well as in a container's own image."""
    volumes_of = spec.get("volumes")
    if not isinstance(volumes_of, list):
        return []
    sources = [(text(v, "name", why), v["image"]) for v in volumes_of if isinstance(v, dict) and "image" in v]
    return [
        {"name": name, "image": source["reference"]}
        for name, source in sources
        if isinstance(source, dict) and isinstance(source.get("reference"), str)
    ]


def _with_image(items: Any) -> list[Tree]:
    return (
        [i for i in items if isinstance(i, dict) and isinstance(i.get("image"), str)] if isinstance(items, list) else []
    )


def _gone(item: Tree) -> bool:
    return item.get("$patch") == "delete"


def _facts(
    kind: str,
    path: str,
    body: Tree,
    specs: list[Tree],
    containers: list[ContainerFacts],
    name: str,
    template_metadata: Tree,
    why: list[str],
) -> PodFacts:
    """`specs`: the PodSpec; for a custom resource also the objects around it, since Argo keeps hostNetwork above."""
    metadata = mapping(body, "metadata", why)
    found = owners(metadata, why)
    owner_kind, owner_name = outermost(kind, name or text(metadata, "name", why), metadata, found, why)
    security = [mapping(spec, "securityContext", why) for spec in specs]
    annotations = mapping(metadata, "annotations", why)
    labels = {**text_map(template_metadata, "labels", why), **text_map(metadata, "labels", why)}

    def flag(key: str) -> bool:
        return any(truth(spec, key, why) for spec in specs)

    def first_text(trees: list[Tree], key: str) -> str:
        return next((value for tree in trees if (value := text(tree, key, why))), "")

    for container in containers:  # what the container leaves unsaid, its pod says
        container["seccomp"] = container["seccomp"] or _profile(security, "seccompProfile", why)
        container["apparmor"] = container["apparmor"] or _profile(security, "appArmorProfile", why)

    def maybe(key: str) -> bool | None:
        return next((value for spec in specs if (value := truth(spec, key, why)) is not None), None)

    return {
        "kind": kind,
        "template_path": path,
        "owners": found,
        "owner_kind": owner_kind,
        "owner_name": owner_name,
        "generate_name": text(metadata, "generateName", why),
        "service_account": first_text(specs, "serviceAccountName") or first_text(specs, "serviceAccount"),
        "automount": maybe("automountServiceAccountToken"),
        "host_network": flag("hostNetwork"),
        "host_pid": flag("hostPID"),
        "host_ipc": flag("hostIPC"),
        "share_process_ns": flag("shareProcessNamespace"),
        "host_process": any(truth(mapping(s, "windowsOptions", why), "hostProcess", why) for s in security),
        "host_users": maybe("hostUsers"),
        "node_name": first_text(specs, "nodeName"),
        "run_as_user": next((n for s in security if (n := number(s, "runAsUser", why)) is not None), None),
        "seccomp": _profile(security, "seccompProfile", why),
        "containers": containers,
        "volumes": [volume for spec in specs for volume in volumes(spec, containers, why)],
        "labels": labels,
        "mirror": _MIRROR in annotations,
        "replicas": number(mapping(body, "spec", why), "replicas", why),
        "stdin": any(_wants_stdin(spec) for spec in specs),
        "psa_violations": "",
        "injected_images": [],
        "mutated_by": [],
        "break_glass": any(
            _breaks_glass(entries) for entries in (labels, annotations, mapping(template_metadata, "annotations", why))
        ),
    }


def _breaks_glass(entries: Tree) -> bool:
    return any(
        value == "true" and (key == _BREAK_GLASS or key.endswith(f".{_BREAK_GLASS}")) for key, value in entries.items()
    )


def _profile(security: list[Tree], key: str, why: list[str]) -> str:
    return next((found for s in security if (found := text(mapping(s, key, why), "type", why))), "")


def _wants_stdin(spec: Tree) -> bool:
    lists = (spec.get(key) for key in LISTS)
    return any(
        isinstance(c, dict) and c.get("stdin") is True for items in lists if isinstance(items, list) for c in items
    )
