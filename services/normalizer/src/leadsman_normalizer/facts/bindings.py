"""RoleBindings and ClusterRoleBindings: who gets which role, and whether the actor gives it to itself."""

from __future__ import annotations

from leadsman_common.events import Actor, BindingFacts, SubjectFacts
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text

_EVERYBODY = frozenset({"system:anonymous", "system:unauthenticated", "system:authenticated"})
# groups that everyone is in: to name them is no gift to oneself (Actor.groups lacks them on GKE)
_COMMON_GROUPS = frozenset({"system:authenticated", "system:unauthenticated", "system:serviceaccounts"})
MAX_SUBJECTS = 1000


def binding_facts(kind: str, name: str, namespace: str, body: Tree, actor: Actor, why: list[str]) -> BindingFacts:
    """A binding's facts; `self` where a subject is the actor, authenticated or impersonated, or one of its groups."""
    role = mapping(body, "roleRef", why)
    subjects: list[SubjectFacts] = [
        {
            "kind": text(subject, "kind", why),
            "namespace": text(subject, "namespace", why),
            "name": text(subject, "name", why),
        }
        for subject in mappings(body, "subjects", why)
    ]
    names = {n for n in (actor["name"], actor["authenticated"]) if n}
    groups = set(actor["groups"]) - _COMMON_GROUPS
    return {
        "kind": kind,
        "name": name,
        "namespace": namespace,
        "role_kind": text(role, "kind", why),
        "role_name": text(role, "name", why),
        "subjects": subjects[:MAX_SUBJECTS],
        "anonymous": any(subject["name"] in _EVERYBODY for subject in subjects),
        "self": any(_is(subject, names, groups, namespace) for subject in subjects),
        "members": [_told(subject, namespace) for subject in subjects[:MAX_SUBJECTS]],
    }


def _is(subject: SubjectFacts, names: set[str], groups: set[str], namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return f"system:serviceaccount:{subject['namespace'] or namespace}:{subject['name']}" in names
    return subject["name"] in (groups if subject["kind"] == "Group" else names)


def _told(subject: SubjectFacts, namespace: str) -> str:
    if subject["kind"] != "ServiceAccount":
        return f"{subject['kind']} {subject['name']}"
    return f"ServiceAccount {subject['namespace'] or namespace}/{subject['name']}"
