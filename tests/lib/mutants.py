"""Mutants of an attack: the same effective object by another kind, container list, spelling, patch and way of applying.

`generate(seed, wanted)` gives requests as they go over the wire; what the API server refuses, or stores without the
attack in it, is no mutant (`Mutant.held`).
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from attacks import APP, ATTACKS, HARMLESS, KINDS, ROLE_ATTACKS, SERVICE_ATTACKS, Json, Spelling

CREATE = ("create", "create-yaml", "generate-name", "ssa-new")
CHANGE = ("replace", "merge", "strategic", "json-deep", "json-list", "json-spec", "json-root", "ssa")
ROLES = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles",
}
SERVICES = "/api/v1/namespaces/{ns}/services"


@dataclass(frozen=True)
class Request:
    """One request; `body` is a document, or a JSON Patch."""

    method: str
    path: str
    content_type: str
    body: Any


@dataclass
class Mutant:
    """Requests of which the last one is the attack."""

    id: str
    rule: str
    what: dict[str, str]
    namespace: str
    steps: list[Request]
    where: tuple[str, ...]
    wanted: Json  # must be contained at `where` of the answer

    def held(self, answer: Json) -> bool:
        """Whether the object, as the server stored it, carries the attack."""
        at: Any = answer
        for key in self.where:
            at = at.get(key) if isinstance(at, dict) else None
        return contains(at, self.wanted)


def contains(found: Any, wanted: Any) -> bool:
    """Whether every part of `wanted` is in `found`; an item of a list may stand anywhere in it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(contains(f, w) for f in found) for w in wanted)
    return bool(found == wanted)


def generate(seed: int, wanted: int) -> list[Mutant]:
    """`wanted` mutants for each rule at most, chosen with the seed; every way and every kind is tried at least once."""
    rng = random.Random(seed)  # noqa: S311 - a choice of tests
    found: list[Mutant] = []
    for rule, spellings in ATTACKS.items():
        found += _chosen(rng, list(_pods(rule, spellings)), wanted)
    for rule, attacks in ROLE_ATTACKS.items():
        found += _chosen(rng, list(_roles(rule, attacks)), wanted)
    found += _chosen(rng, list(_services()), wanted)
    for number, mutant in enumerate(found):
        mutant.id = f"mutant-{number:04}"
        mutant.namespace = f"m-{number:04}"
        mutant.steps = [
            Request(s.method, s.path.replace("{ns}", mutant.namespace), s.content_type, s.body) for s in mutant.steps
        ]
    return found


def _chosen(rng: random.Random, mutants: list[Mutant], wanted: int) -> list[Mutant]:
    rng.shuffle(mutants)
    seen: set[tuple[str, str]] = set()
    first, rest = [], []
    for mutant in mutants:
        fresh = {(k, v) for k, v in mutant.what.items()} - seen
        (first if fresh else rest).append(mutant)
        seen |= fresh
    return [*first, *rest][:wanted]


def _at(path: tuple[str, ...], value: Any) -> Json:
    for key in reversed(path):
        value = {key: value}
    return value


def _merged(into: Any, more: Any) -> Any:
    if isinstance(into, dict) and isinstance(more, dict):
        return {**into, **{k: _merged(into.get(k), v) for k, v in more.items()}}
    return copy.deepcopy(more)


def pod_spec(kind: str, spelling: Spelling | None, where: str) -> Json:
    """A PodSpec with the attack's container in this list, or the same without the attack."""
    attack = {"name": "tool", "image": APP}
    spec: Json = {"containers": [{"name": "app", "image": APP}], "nodeSelector": {"example.com/none": "true"}}
    if spelling:
        attack = _merged(attack, spelling.container)
        spec = _merged(spec, spelling.pod)
    if kind in ("Job", "CronJob"):
        spec["restartPolicy"] = "Never"
    if where == "main":
        spec["containers"] = [attack]
    elif where == "second":
        spec["containers"].append(attack)
    elif where == "init":
        spec["initContainers"] = [attack]
    elif where == "sidecar":
        spec["initContainers"] = [{**attack, "restartPolicy": "Always"}]
    return spec


def _list_of(where: str) -> str:
    return {"init": "initContainers", "sidecar": "initContainers", "ephemeral": "ephemeralContainers"}.get(
        where, "containers"
    )


def object_of(kind: str, name: str, spec: Json, labels: Json) -> Json:
    _, version, path, _ = KINDS[kind]
    body: Json = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": {"example.com/app": "x", **labels}},
    }
    body = _merged(body, _at(path, spec))
    selected = {"example.com/app": "x", **labels}
    if kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Rollout"):
        body["spec"]["template"]["metadata"] = {"labels": selected}
        chosen = {"example.com/app": "x"}
        body["spec"]["selector"] = chosen if kind == "ReplicationController" else {"matchLabels": chosen}
    if kind == "StatefulSet":
        body["spec"]["serviceName"] = name
    if kind == "CronJob":
        body["spec"]["schedule"] = "0 4 1 1 *"
    return body


def _pods(rule: str, spellings: tuple[Spelling, ...]) -> Iterator[Mutant]:
    for spelling in spellings:
        for kind in spelling.kinds:
            for where in spelling.lists:
                if where == "ephemeral":
                    if kind == "Pod" and not spelling.name and not spelling.labels:
                        yield from _ephemeral(rule, spelling)
                    continue
                for way in (*CREATE, *CHANGE):
                    steps = _pod_steps(kind, spelling, where, way)
                    if steps:
                        spec = pod_spec(kind, spelling, where)
                        wanted = {
                            k: v for k, v in spec.items() if k in ("containers", "initContainers") or k in spelling.pod
                        }
                        what = {"kind": kind, "list": where, "way": way, "spelling": spelling.label}
                        yield Mutant("", rule, what, "", steps, KINDS[kind][2], wanted)


def _pod_steps(kind: str, spelling: Spelling, where: str, way: str) -> list[Request]:
    collection, _, path, changeable = KINDS[kind]
    name = spelling.name or "x"
    image_only = set(spelling.container) == {"image"} and not spelling.pod
    attack = object_of(kind, name, pod_spec(kind, spelling, where), spelling.labels)
    if way in CREATE:
        return _created(collection, name, attack, way)
    # the name cannot be changed, an immutable spec neither (but a pod's images)
    unchanging = spelling.name or spelling.labels or not (changeable or (kind == "Pod" and image_only))
    if unchanging or (kind == "Rollout" and way == "strategic"):
        return []
    benign = object_of(kind, name, pod_spec(kind, None, where), {})
    return _changed(collection, name, benign, attack, path, _list_of(where), way)


def _created(collection: str, name: str, attack: Json, way: str) -> list[Request]:
    if way == "generate-name":
        meta = {k: v for k, v in attack["metadata"].items() if k != "name"}
        stem = name if name.endswith("-x") else f"{name}-"
        return [
            Request(
                "POST",
                collection,
                "application/json",
                {**attack, "metadata": {**meta, "generateName": stem.removesuffix("x")}},
            )
        ]
    if way == "ssa-new":
        return [
            Request(
                "PATCH", f"{collection}/{name}?fieldManager=mutant&force=true", "application/apply-patch+yaml", attack
            )
        ]
    kind = "application/yaml" if way == "create-yaml" else "application/json"
    return [Request("POST", collection, kind, attack)]


def _changed(
    collection: str, name: str, benign: Json, attack: Json, path: tuple[str, ...], items: str, way: str
) -> list[Request]:
    """A harmless object, then what makes it the attack."""
    at = f"{collection}/{name}"
    before: Any = benign
    after: Any = attack
    for key in path:
        before, after = before[key], after[key]
    pointer = "/" + "/".join(path)
    fragment = {k: v for k, v in after.items() if before.get(k) != v}
    first = Request("POST", collection, "application/json", benign)
    last: Request
    if way == "replace":
        last = Request("PUT", at, "application/json", attack)
    elif way == "merge":
        last = Request("PATCH", at, "application/merge-patch+json", _at(path, fragment))
    elif way == "strategic":
        last = Request("PATCH", at, "application/strategic-merge-patch+json", _at(path, fragment))
    elif way == "ssa":
        last = Request("PATCH", f"{at}?fieldManager=mutant&force=true", "application/apply-patch+yaml", attack)
    else:
        ops = _operations(way, pointer, before, after, fragment, attack, items)
        if not ops:
            return []
        last = Request("PATCH", at, "application/json-patch+json", ops)
    return [first, last]


def _operations(
    way: str, pointer: str, before: Json, after: Json, fragment: Json, attack: Json, items: str
) -> list[Json]:
    if way == "json-spec":
        return [{"op": "replace", "path": pointer, "value": after}]
    if way == "json-root":
        return (
            [
                {"op": "test", "path": "/kind", "value": attack["kind"]},
                {"op": "replace", "path": "/spec", "value": attack["spec"]},
            ]
            if "spec" in attack
            else []
        )
    if way == "json-list":
        return [{"op": "add", "path": f"{pointer}/{k}", "value": v} for k, v in fragment.items()]
    ops: list[Json] = []
    for key, value in fragment.items():
        if key != items or len(before.get(key, [])) != len(value):
            ops.append({"op": "add", "path": f"{pointer}/{key}", "value": value})
            continue
        for index, (old, new) in enumerate(zip(before[key], value, strict=True)):
            ops += [
                {"op": "replace" if k in old else "add", "path": f"{pointer}/{key}/{index}/{k}", "value": v}
                for k, v in new.items()
                if old.get(k) != v
            ]
    return ops


def _ephemeral(rule: str, spelling: Spelling) -> Iterator[Mutant]:
    """An ephemeral container in a running pod, by each patch; pod-level fields cannot come that way."""
    if set(spelling.pod) - {"volumes"}:
        return
    collection = KINDS["Pod"][0]
    base = pod_spec("Pod", None, "main")
    if "volumes" in spelling.pod:
        return  # the pod has them from its creation on
    tool = _merged({"name": "debugger", "image": APP}, spelling.container)
    at = f"{collection}/x/ephemeralcontainers"
    first = Request("POST", collection, "application/json", object_of("Pod", "x", base, {}))
    ways = {
        "strategic": Request(
            "PATCH", at, "application/strategic-merge-patch+json", {"spec": {"ephemeralContainers": [tool]}}
        ),
        "merge": Request("PATCH", at, "application/merge-patch+json", {"spec": {"ephemeralContainers": [tool]}}),
        "json-deep": Request(
            "PATCH",
            at,
            "application/json-patch+json",
            [{"op": "add", "path": "/spec/ephemeralContainers", "value": [tool]}],
        ),
    }
    for way, last in ways.items():
        what = {"kind": "Pod", "list": "ephemeral", "way": way, "spelling": spelling.label}
        yield Mutant("", rule, what, "", [first, last], ("spec",), {"ephemeralContainers": [tool]})


def _roles(rule: str, attacks: tuple[tuple[str, Json, tuple[str, ...]], ...]) -> Iterator[Mutant]:
    for label, power, kinds in attacks:
        for kind in kinds:
            for order in ("alone", "last", "first"):
                rules = {"alone": [power], "last": [HARMLESS, power], "first": [power, HARMLESS]}[order]
                for way in (*CREATE, "replace", "merge", "json-deep", "json-list", "ssa"):
                    body = {
                        "apiVersion": "rbac.authorization.k8s.io/v1",
                        "kind": kind,
                        "metadata": {"name": "{ns}-role"},
                        "rules": rules,
                    }
                    what = {"kind": kind, "list": order, "way": way, "spelling": label}
                    steps = _rule_steps(ROLES[kind], body, power, way)
                    yield Mutant("", rule, what, "", steps, (), {"rules": [power]})


def _rule_steps(collection: str, body: Json, power: Json, way: str) -> list[Request]:
    if way in CREATE:
        return _created(collection, "{ns}-role", body, way)
    at = f"{collection}/{{ns}}-role"
    first = Request("POST", collection, "application/json", {**body, "rules": [HARMLESS]})
    last = {
        "replace": Request("PUT", at, "application/json", body),
        "merge": Request("PATCH", at, "application/merge-patch+json", {"rules": body["rules"]}),
        "json-list": Request(
            "PATCH", at, "application/json-patch+json", [{"op": "replace", "path": "/rules", "value": body["rules"]}]
        ),
        "ssa": Request("PATCH", f"{at}?fieldManager=mutant&force=true", "application/apply-patch+yaml", body),
        "json-deep": Request(
            "PATCH", at, "application/json-patch+json", [{"op": "add", "path": "/rules/-", "value": power}]
        ),
    }[way]
    return [first, last]


def _services() -> Iterator[Mutant]:
    for label, spec in SERVICE_ATTACKS:
        for way in (*CREATE, "replace", "merge", "strategic", "json-deep", "json-spec", "ssa"):
            base = {
                "selector": {"app": "x"},
                "ports": [{"name": "web", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            }
            body: Json = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {**base, **spec}}
            benign = {**body, "spec": base}
            if way in CREATE:
                steps = _created(SERVICES, "x", body, way)
            elif way == "json-spec":
                fields = [{"op": "add", "path": f"/spec/{k}", "value": v} for k, v in [*base.items(), *spec.items()]]
                steps = [
                    Request("POST", SERVICES, "application/json", benign),
                    Request("PATCH", f"{SERVICES}/x", "application/json-patch+json", fields),
                ]
            else:
                steps = _changed(SERVICES, "x", benign, body, ("spec",), "", way)
            what = {"kind": "Service", "list": "", "way": way, "spelling": label}
            yield Mutant("", "service-exposed", what, "", steps, ("spec",), spec)


def wire(request: Request, mutant: Mutant, before: Json) -> bytes:
    """The body as it is sent: a role's name carries the mutant's number, a PUT the version of the answer before it."""
    body = json.loads(json.dumps(request.body).replace("{ns}", mutant.namespace))
    if request.method == "PUT":
        body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
    return json.dumps(body).encode()


def unfired(found: Any, listed: list[Json]) -> list[str]:
    """The mutants whose rule raised nothing at medium or above; `found` is what a scan found.

    Each mutant names its `audits`: the audit ids of the requests of which one must fire.
    """
    fired = {(alert["rule"]["name"], item["audit_id"]) for alert in found.above("medium") for item in alert["evidence"]}
    return [
        f"{m['id']} {m['rule']}: {m['kind']} {m['list']} {m['way']} {m['spelling']}"
        for m in listed
        if not any((m["rule"], audit) in fired for audit in m["audits"])
    ]
