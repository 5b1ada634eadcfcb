"""Volumes and mounts of a pod, and PersistentVolumes (DETECTIONS R11)."""

from __future__ import annotations

import re

from leadsman_common.events import ContainerFacts, Mount, PvFacts, VolumeFacts
from leadsman_normalizer.facts.paths import harmless_to_read, judge
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, truth
from leadsman_normalizer.lenient import note

MAX_ITEMS = 500


def volumes(spec: Tree, containers: list[ContainerFacts], why: list[str]) -> list[VolumeFacts]:
    """The volumes of a PodSpec; `containers` say whether each is mounted read-only, and which part of it."""
    mounted: dict[str, list[Mount]] = {}
    for container in containers:
        for mount in container["mounts"]:
            mounted.setdefault(mount["volume"], []).append(mount)
    found = []
    listed = mappings(spec, "volumes", why)
    if len(listed) > MAX_ITEMS:
        note(why, f"more than {MAX_ITEMS} volumes: the rest is not read")
        listed.sort(key=lambda volume: _kind(volume) not in _FIRST)  # who hides one behind many is seen
    for volume in listed[:MAX_ITEMS]:
        if "$patch" in volume or ("$retainKeys" in volume and len(volume) == 1):
            continue
        facts = volume_facts(text(volume, "name", why), volume, why)
        own = mounted.get(facts["name"], [])
        facts["read_only"] = bool(own) and all(mount["read_only"] for mount in own)
        if facts["host_path"]:
            _narrowed(facts, own)
        found.append(facts)
    return found


def _narrowed(facts: VolumeFacts, own: list[Mount]) -> None:
    """What the mounts change in the verdict: /opt with the subPath cni is /opt/cni, and some files are only read."""
    for mount in own:
        verdict = judge(f"{facts['host_path']}/{mount['sub_path']}") if mount["sub_path"] else None
        if verdict and _TIERS.index(verdict.tier) > _TIERS.index(facts["tier"]):
            facts["tier"], facts["relation"], facts["matched"] = verdict.tier, verdict.relation, verdict.matched
            facts["socket"] = facts["socket"] or verdict.socket
    if facts["read_only"] and harmless_to_read(facts["host_path"]):
        facts["tier"], facts["relation"], facts["matched"] = "low", "", ""


def volume_facts(name: str, source: Tree, why: list[str]) -> VolumeFacts:
    """A volume's source: hostPath, local, secret and so on; a host path is judged."""
    kind = _kind(source)
    host = mapping(source, kind, why) if kind in ("hostPath", "local") else {}
    raw = text(host, "path", why)
    verdict = judge(raw) if raw else None
    claim = text(mapping(source, "persistentVolumeClaim", why), "claimName", why)
    return {
        "name": name,
        "type": kind,
        "host_path_raw": raw,
        "host_path": verdict.path if verdict else "",
        "host_path_type": text(host, "type", why),
        "tier": verdict.tier if verdict else "",
        "relation": verdict.relation if verdict else "",
        "matched": verdict.matched if verdict else "",
        "socket": verdict.socket if verdict else False,
        "read_only": False,
        "claim": claim,
        "driver": text(mapping(source, kind, why), "driver", why) if kind in ("csi", "flexVolume") else "",
        "audiences": _audiences(mapping(source, "projected", why), why),
    }


def _kind(source: Tree) -> str:
    """Which source a volume has. A patch may carry keys that the server drops: what reaches the node goes first."""
    kinds = [key for key, value in source.items() if isinstance(value, dict) and key not in _NOT_SOURCES]
    return next((key for key in _FIRST if key in kinds), kinds[0] if kinds else "")


def _audiences(projected: Tree, why: list[str]) -> list[str]:
    """For whom the volume holds tokens of the service account, the API server's own audiences apart."""
    tokens = [mapping(one, "serviceAccountToken", why) for one in mappings(projected, "sources", why)[:MAX_ITEMS]]
    found = dict.fromkeys(text(token, "audience", why)[:512] for token in tokens if token)
    return [audience for audience in found if audience and not _OWN_AUDIENCE.match(audience)]


def persistent_volume(body: Tree, why: list[str]) -> PvFacts | None:
    """A PersistentVolume's source, judged as a pod's volume; `claim` is namespace/name of the claim it is bound to.

    It is never read_only: accessModes choose where it may be bound, and no node enforces them on a path.
    """
    spec = mapping(body, "spec", why)
    if not spec:
        return None
    source = {key: value for key, value in spec.items() if key in _PV_SOURCES or key.endswith("Disk")}
    facts = volume_facts(text(mapping(body, "metadata", why), "name", why), source, why)
    claim = mapping(spec, "claimRef", why)
    if claim:
        facts["claim"] = f"{text(claim, 'namespace', why)}/{text(claim, 'name', why)}"
    return {"volume": facts}


def mounts(container: Tree, why: list[str]) -> list[Mount]:
    """The mounts of a container."""
    return [
        {
            "volume": text(mount, "name", why),
            "path": text(mount, "mountPath", why),
            "sub_path": text(mount, "subPath", why) or text(mount, "subPathExpr", why),
            "read_only": truth(mount, "readOnly", why) or False,
        }
        for mount in mappings(container, "volumeMounts", why)[:MAX_ITEMS]
        if "$patch" not in mount
    ]


_NOT_SOURCES = frozenset({"metadata"})
_FIRST = ("hostPath", "local", "gitRepo", "flexVolume", "csi", "projected")
_TIERS = ("", "low", "medium", "high")
# what an API server takes for itself: its --api-audiences, by default its issuer
_OWN_AUDIENCE = re.compile(
    r"(?:https://)?kubernetes\.default\.svc(?:\.cluster\.local)?/?\Z|kubernetes\Z|api\Z|k3s\Z|rke2\Z"
    r"|https://container\.googleapis\.com/v1/projects/[\w.:-]+/locations/[\w-]+/clusters/[\w-]+\Z"
    r"|https://oidc\.eks\.[\w-]+\.amazonaws\.com(?:\.cn)?/id/[0-9A-F]+\Z"
    r"|https://[\w.-]+\.azmk8s\.io(?::\d+)?/?\Z|https://[\w-]+\.oic\.prod-aks\.azure\.com/[\w/-]+\Z"
)
_PV_SOURCES = frozenset(
    [
        "hostPath",
        "local",
        "nfs",
        "csi",
        "iscsi",
        "rbd",
        "cephfs",
        "fc",
        "flexVolume",
        "azureFile",
        "portworxVolume",
        "glusterfs",
        "storageos",
        "cinder",
        "flocker",
        "quobyte",
        "photonPersistentDisk",
        "scaleIO",
        "vsphereVolume",
        "awsElasticBlockStore",
    ]
)
