"""Rules folders as overlays: what a later folder changes of an earlier one's rules, everywhere or for some clusters.

A folder with an `overlay.yml` at its top holds for the clusters that this names. A document `patch` changes the level
of rules, puts them on trial or turns them off. Clusters become part of the conditions when rules are read, so nothing
is asked of an event for the sake of overlays where there are none. Pure, but for reading `overlay.yml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from leadsman_common.alerts import LEVELS, level_rank
from leadsman_common.clusters import Clusters, Entry
from leadsman_detector.form import And, Correlation, Filter, Leaf, LevelStep, Node, Not, Or, Rule, Where
from leadsman_detector.sigma_nodes import BadSigma, nodes_of

OVERLAY = ("overlay.yml", "overlay.yaml")
OVERLAY_KEYS = {"title", "description", "clusters", "tenants"}
PATCH_KEYS = {"rules", "level", "enabled", "shadow"}
CLAUSE = "overlay"  # what a cluster that is asked for is called in the evidence
Form = TypeVar("Form", Rule, Correlation)


class BadOverlay(ValueError):
    """An overlay.yml or a patch that cannot be used."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What is changed of some rules, by name or id; what is None or empty stays."""

    rules: tuple[str, ...]
    level: str = ""
    enabled: bool | None = None
    shadow: bool | None = None
    where: Where = True
    origin: str = ""


def where_of(folder: Path, clusters: Clusters) -> Where:
    """Where a folder's rules hold: everywhere without an overlay.yml. Raises BadOverlay."""
    path = next((folder / name for name in OVERLAY if (folder / name).is_file()), None)
    if path is None:
        return True
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadOverlay(" ".join(f"not YAML: {error}".split())) from error
    if not isinstance(data, dict) or not set(data) <= OVERLAY_KEYS or not {"clusters", "tenants"} & set(data):
        raise BadOverlay("says clusters or tenants, each a list of names")
    names, tenants = (_names(data, key) for key in ("clusters", "tenants"))
    nodes = [*([_named(names)] if names else []), *_of_tenants(tenants, clusters)]
    return Or(tuple(nodes)) if nodes else False


def _names(data: Mapping[str, Any], key: str) -> list[str]:
    given = data.get(key, [])
    if not isinstance(given, list) or (key in data and not given) or not all(isinstance(n, str) and n for n in given):
        raise BadOverlay(f"{key}: a list of names")
    return given


def _named(patterns: Sequence[str]) -> Node:
    """Clusters by id or name; `*` and `?` are Sigma's."""
    detection = {CLAUSE: [{"cluster.id": patterns}, {"cluster.name": patterns}]}
    try:
        (node,) = nodes_of(detection, [CLAUSE], lambda *_: 0)
    except BadSigma as error:
        raise BadOverlay(f"clusters: {error}") from error
    return node


def _of_tenants(tenants: Sequence[str], clusters: Clusters) -> list[Node]:
    """The clusters of the registry that are these tenants'; of several entries for one the most exact holds."""
    if not tenants:
        return []
    settings = [(entry, clusters.settings(entry).tenant) for entry in clusters.entries]
    found: list[Node] = []
    for entry, tenant in settings:
        if tenant in tenants:
            closer = [_entry(e) for e, t in settings if len(e.known_by) > len(entry.known_by) and t not in tenants]
            found.append(And((_entry(entry), Not(Or(tuple(closer))))) if closer else _entry(entry))
    if clusters.defaults.get("tenant") in tenants:
        entries = tuple(_entry(entry) for entry, _ in settings)
        found.append(Not(Or(entries)) if entries else Leaf("cluster.id", "pattern", (None,), CLAUSE))
    return found


def _entry(entry: Entry) -> Node:
    return And(tuple(Leaf(f"cluster.{key}", "equals", value, CLAUSE, cased=True) for key, value in entry.known_by))


def read_patch(data: Mapping[str, Any], where: Where, origin: str) -> Patch:
    """A document's `patch`. Raises BadOverlay."""
    given = data["patch"]
    if not isinstance(given, dict) or "rules" not in given or not set(given) <= PATCH_KEYS or len(given) < 2:
        raise BadOverlay("patch: says rules, and level, enabled or shadow")
    rules = given["rules"] if isinstance(given["rules"], list) else [given["rules"]]
    if not rules or not all(isinstance(name, str) and name for name in rules):
        raise BadOverlay("patch: rules are names or ids")
    for key in ("enabled", "shadow"):
        if not isinstance(given.get(key, True), bool):
            raise BadOverlay(f"patch: {key} is true or false")
    level = "informational" if given.get("level") == "info" else str(given.get("level", ""))
    if level and level not in LEVELS:
        raise BadOverlay(f"no such level: {level}")
    return Patch(tuple(rules), level, given.get("enabled"), given.get("shadow"), where, origin)


def over(current: Where, where: Where, value: bool) -> Where:
    """Where something holds once it is said to hold, or not to, in some clusters more."""
    if isinstance(where, bool):
        return value if where else current
    if value:
        return True if current is True else where if current is False else Or((current, where))
    return False if current is False else Not(where) if current is True else And((current, Not(where)))


def patched(form: Form, patches: Sequence[Patch]) -> Form:
    """A rule or a correlation as patches leave it; what is said later holds."""
    levels: list[tuple[Node, str]] = []
    for patch in patches:
        origin = f"{form.origin} + {patch.origin}"
        form = replace(form, origin=origin)
        if patch.enabled is not None:
            form = replace(form, enabled=over(form.enabled, patch.where, patch.enabled))
        if patch.shadow is not None:
            form = replace(form, shadow=over(form.shadow, patch.where, patch.shadow))
        if patch.level and patch.where is True:
            form, levels = _levelled(form, patch.level), []
        elif patch.level and not isinstance(patch.where, bool):
            levels.append((patch.where, patch.level))
    return _levelled_in(form, levels) if levels else form


def _levelled(form: Form, level: str) -> Form:
    """At another level, and what moves it from there by as much; what is informational, as attempts are, stays so."""
    by = level_rank(level) - level_rank(form.level)
    if isinstance(form, Rule):
        return replace(form, level=level, levels=tuple(replace(s, level=shifted(s.level, by)) for s in form.levels))
    steps = tuple(replace(s, level=shifted(s.level, by)) for s in form.levels)
    return replace(form, level=level, levels=steps, shift=form.shift + by)


def _levelled_in(form: Form, levels: Sequence[tuple[Node, str]]) -> Form:
    """At other levels in some clusters; the last that holds for a cluster decides."""
    if isinstance(form, Correlation):
        return replace(form, moves=tuple((node, level_rank(level) - level_rank(form.level)) for node, level in levels))
    steps: list[LevelStep] = []
    for node, level in reversed(levels):
        moved = _levelled(form, level)
        steps += [LevelStep(And((node, step.when)), step.level) for step in moved.levels]
        steps.append(LevelStep(node, level))
    return replace(form, levels=(*steps, *form.levels))


def shifted(level: str, by: int) -> str:
    """A level moved by so much; informational stays."""
    rank = level_rank(level)
    return LEVELS[min(max(rank + by, 0), len(LEVELS) - 1)] if rank else level


def narrowed(rule: Rule) -> Rule:
    """A rule that is asked in some clusters alone, as one whose conditions say so."""
    if isinstance(rule.enabled, bool):
        return rule
    node, said = rule.enabled, rule.regression
    if said is not None:
        said = replace(said, insecure=And((node, said.insecure)), secure=And((node, said.secure)))
    return replace(rule, enabled=True, condition=And((node, rule.condition)), regression=said)


def filtering(given: Filter, where: Where) -> Filter:
    """A filter that speaks of some clusters alone: in all others everything stays."""
    if isinstance(where, bool):
        return given
    return replace(given, condition=Or((Not(where), given.condition)))
