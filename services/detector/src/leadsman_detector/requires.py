"""`leadsman.requires` of a rule: what an audit policy must log for the rule to see. `leadsman coverage` reads it.

An entry names requests and the level they must be logged at:

    requires:
        - for: pod specs                       # what the rule sees by them
          verbs: [create, update, patch]
          resources: [pods, deployments.apps, pods/ephemeralcontainers]   # RESOURCE[.GROUP][/SUBRESOURCE], or '%list%'
          level: Request                       # Metadata where left out
        - for: the whole object behind a patch
          as: detail                           # sight where left out
          ...

`as` says what it means when the requests are not logged so: a `sight` is one of the rule's ways to see (none left: the
rule is blind; some left: degraded), a `detail` only degrades, an `aside` is only told, and a `fallback` serves where
no sight does. `user: unauthenticated` asks about requests without credentials, `paths` names non-resource URLs, and in
a correlation `rule` names one of its rules (whose own coverage counts) in place of verbs and resources. `log: cloud`
and `log: sensor` stand alone: calls of the cloud's own API, what other sensors see. No audit policy decides of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from leadsman_detector.form import Requirement

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
KINDS = ("sight", "detail", "aside", "fallback")
USERS = ("authenticated", "unauthenticated")
VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "head", "post"})
LOGS = ("cloud", "sensor")
_KEYS = {"for", "verbs", "resources", "paths", "level", "as", "user", "rule", "log"}
_RESOURCE = re.compile(r"[a-z0-9]+(\.[a-z0-9.-]+)?(/[a-z]+)?")


class BadRequirement(ValueError):
    """An entry of `requires` that says nothing; the text is the reason."""


def read_requires(
    given: Any, lists: Mapping[str, Sequence[str]], rules: Sequence[str] | None = None
) -> tuple[Requirement, ...]:
    """The entries of a `requires`, checked. `rules`: a correlation's rules; None for a rule. Raises BadRequirement."""
    if given is None:
        return ()
    if not isinstance(given, list):
        raise BadRequirement("leadsman.requires: is a list of maps")
    return tuple(_read(entry, lists, rules) for entry in given)


def _read(entry: Any, lists: Mapping[str, Sequence[str]], rules: Sequence[str] | None) -> Requirement:
    if not isinstance(entry, dict):
        raise BadRequirement("leadsman.requires: is a list of maps")
    if unknown := {str(k) for k in entry} - _KEYS:
        raise BadRequirement(f"leadsman.requires: unknown {', '.join(sorted(unknown))}")
    what = entry.get("for")
    if not isinstance(what, str) or not what:
        raise BadRequirement("leadsman.requires: an entry says in `for` what the rule sees by it")
    kind = _one_of(entry, "as", KINDS, "sight")
    rule = str(entry.get("rule", ""))
    asked = {"verbs", "resources", "paths"} & set(entry)
    if rule:
        if rules is None or rule not in rules:
            raise BadRequirement(f"leadsman.requires: {what}: {rule} is none of the rules of this correlation")
        if asked or "level" in entry or "user" in entry:
            raise BadRequirement(f"leadsman.requires: {what}: rule stands alone, {rule} has requirements of its own")
        return Requirement(what, kind, rule=rule)
    if rules is not None:
        raise BadRequirement(f"leadsman.requires: {what}: a correlation names one of its rules")
    if "log" in entry:
        if asked or "level" in entry or "user" in entry:
            raise BadRequirement(f"leadsman.requires: {what}: log stands alone")
        return Requirement(what, kind, log=_one_of(entry, "log", LOGS, ""))
    resources = _expanded(_texts(entry, "resources"), lists)
    paths = _texts(entry, "paths")
    verbs = _texts(entry, "verbs")
    if not verbs or not (resources or paths):
        raise BadRequirement(f"leadsman.requires: {what}: needs verbs, and resources or paths")
    if wrong := [v for v in verbs if v not in VERBS]:
        raise BadRequirement(f"leadsman.requires: {what}: no such verb in an audit log: {', '.join(wrong)}")
    if wrong := [r for r in resources if not _RESOURCE.fullmatch(r)]:
        raise BadRequirement(f"leadsman.requires: {what}: not RESOURCE[.GROUP][/SUBRESOURCE]: {', '.join(wrong)}")
    if wrong := [p for p in paths if not p.startswith("/")]:
        raise BadRequirement(f"leadsman.requires: {what}: a path begins with /: {', '.join(wrong)}")
    level = _one_of(entry, "level", LEVELS[1:], "Metadata")
    user = _one_of(entry, "user", USERS, "authenticated")
    return Requirement(what, kind, verbs, resources, paths, level, user)


def _one_of(entry: dict[str, Any], key: str, known: Sequence[str], default: str) -> str:
    given = entry.get(key, default)
    if given not in known:
        raise BadRequirement(f"leadsman.requires: {entry['for']}: {key} is one of {', '.join(known)}, not {given!r}")
    return str(given)


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    given = entry.get(key, [])
    if not isinstance(given, list) or not all(isinstance(v, str) for v in given):
        raise BadRequirement(f"leadsman.requires: {entry['for']}: {key} is a list of names")
    return tuple(given)


def _expanded(names: Sequence[str], lists: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    out: list[str] = []
    for name in names:
        if name.startswith("%") and name.endswith("%"):
            if name[1:-1] not in lists:
                raise BadRequirement(f"leadsman.requires: no such list: {name}")
            out += lists[name[1:-1]]
        else:
            out.append(name)
    return tuple(out)
