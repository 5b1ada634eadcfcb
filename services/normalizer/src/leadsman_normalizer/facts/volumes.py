"""Volumes and mounts of a pod, and PersistentVolumes (DETECTIONS R11)."""

from __future__ import annotations

from leadsman_common.events import ContainerFacts, Mount, PvFacts, VolumeFacts
from leadsman_normalizer.facts.paths import judge
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, truth

MAX_ITEMS = 500


def volumes(spec: Tree, containers: list[ContainerFacts], why: list[str]) -> list[VolumeFacts]:
    """The volumes of a PodSpec; `containers` say whether each is mounted read-only."""
    mounts: dict[str, list[bool]] = {}
    for container in containers:
        for mount in container["mounts"]:
            mounts.setdefault(mount["volume"], []).append(mount["read_only"])
    found = []
    for volume in mappings(spec, "volumes", why)[:MAX_ITEMS]:
        if "$patch" in volume or ("$retainKeys" in volume and len(volume) == 1):
            continue
        facts = volume_facts(text(volume, "name", why), volume, why)
        modes = mounts.get(facts["name"])
        facts["read_only"] = bool(modes) and all(modes or ())
        found.append(facts)
    return found


def volume_facts(name: str, source: Tree, why: list[str]) -> VolumeFacts:
    """A volume's source: hostPath, local, secret and so on; a host path is judged."""
    kind = next((key for key, value in source.items() if isinstance(value, dict) and key not in _NOT_SOURCES), "")
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
    }


def persistent_volume(body: Tree, why: list[str]) -> PvFacts | None:
    """A PersistentVolume's source, judged as a pod's volume; `claim` is namespace/name of the claim it is bound to."""
    spec = mapping(body, "spec", why)
    if not spec:
        return None
    source = {key: value for key, value in spec.items() if key in _PV_SOURCES or key.endswith("Disk")}
    facts = volume_facts(text(mapping(body, "metadata", why), "name", why), source, why)
    claim = mapping(spec, "claimRef", why)
    if claim:
        facts["claim"] = f"{text(claim, 'namespace', why)}/{text(claim, 'name', why)}"
    modes = spec.get("accessModes")
    facts["read_only"] = isinstance(modes, list) and modes == ["ReadOnlyMany"]
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
