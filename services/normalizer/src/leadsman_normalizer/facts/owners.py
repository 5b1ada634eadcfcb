"""Who a pod belongs to: the outermost owner that names can tell.

It is the same for a parent and its children, so that they raise one alert (DETECTIONS 1.7).
"""

from __future__ import annotations

import re

from leadsman_common.events import Owner
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, truth

# the alphabet of the API server's random suffixes: no vowels, no 0, 1, 3 (apimachinery util/rand)
_HASH = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}\Z")
_TIME = re.compile(r"-[0-9]{8,}\Z")
_RANDOM = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}\Z")


def owners(metadata: Tree, why: list[str]) -> list[Owner]:
    """The ownerReferences. A mirror pod's, which is its node, is left out: no workload stands behind it."""
    return [
        {
            "kind": text(ref, "kind", why),
            "name": text(ref, "name", why),
            "uid": text(ref, "uid", why),
            "controller": truth(ref, "controller", why) or False,
        }
        for ref in mappings(metadata, "ownerReferences", why)
        if ref.get("kind") != "Node"
    ]


def outermost(kind: str, name: str, metadata: Tree, found: list[Owner], why: list[str]) -> tuple[str, str]:
    """Kind and name of the outermost owner that names can tell.

    A ReplicaSet is taken as its Deployment's and a Job with a time at its end as its CronJob's: the names say so, and
    the child's own event says no more. An object without an owner is its own; one without a name goes by generateName.
    """
    owner = next((o for o in found if o["controller"]), found[0] if found else None)
    if owner is None:
        return kind, name or text(metadata, "generateName", why).rstrip("-")
    if kind == "Pod" and owner["kind"] == "ReplicaSet":
        stem = _without_hash(owner["name"], text(mapping(metadata, "labels", why), "pod-template-hash", why))
        return ("Deployment", stem) if stem else ("ReplicaSet", owner["name"])
    if kind == "Pod" and owner["kind"] == "Job" and _TIME.search(owner["name"]):
        return "CronJob", _TIME.sub("", owner["name"])
    return owner["kind"], owner["name"]


def _without_hash(name: str, template_hash: str) -> str:
    """A ReplicaSet's name without its template hash; empty where it has none."""
    if template_hash and name.endswith(f"-{template_hash}"):
        return name[: -len(template_hash) - 1]
    return _HASH.sub("", name) if _HASH.search(name) else ""
