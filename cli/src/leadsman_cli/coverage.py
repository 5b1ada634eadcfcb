"""What each rule can see under an audit policy: it can fire, is degraded, or is blind, and why. Pure.

Judged from what the rules say they require (leadsman_detector.requires) and what reaches us (audited.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from leadsman_cli.audited import NOBODY, SOMEBODY, Audit, Special, request, seen, specials
from leadsman_detector.form import AllOf, Correlation, Expression, NoneOf, Requirement, Rule
from leadsman_detector.requires import KINDS

Status = Literal["can fire", "degraded", "blind", "unknown"]
ORDER: tuple[Status, ...] = ("can fire", "degraded", "unknown", "blind")  # from best to worst
NAMES_SHOWN = 4
Pair: TypeAlias = tuple[str, str]  # a verb, and a resource as rules name it or a path


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one rule or correlation can see. `why` has what is missing, `notes` what is worth knowing besides."""

    name: str
    title: str
    level: str
    status: Status
    why: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    alert: bool = True  # False: it only feeds correlations


@dataclass(frozen=True, slots=True)
class _Found:
    """How one requirement stands: the requests it asks for, those that are missing and why, and what is late.

    `partly`: for whom or where requests are seen that are missing otherwise; `holes`: for whom or where they are
    missing that are seen otherwise; `noise`: the same of the control plane and of nodes.
    """

    requirement: Requirement
    asked: int
    missing: Mapping[str, Sequence[Pair]]
    late: tuple[Pair, ...] = ()
    partly: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()

    @property
    def met(self) -> int:
        return self.asked - sum(len(pairs) for pairs in self.missing.values())

    def told(self) -> tuple[str, ...]:
        return tuple(f"{self.requirement.what}: {_requests(pairs)} {why}" for why, pairs in self.missing.items())


def cover(rules: Iterable[Rule], correlations: Iterable[Correlation], audit: Audit) -> list[Coverage]:
    """Judge every rule and correlation, in their order."""
    named = list(specials(audit.policy))
    found = {rule.name: judge(rule, audit, named) for rule in rules}
    waiting = list(correlations)
    while waiting:  # a correlation of correlations comes after its parts
        ready = [c for c in waiting if all(part in found for part in c.rules)]
        for correlation in ready or waiting:
            found[correlation.name] = _combine(correlation, found)
        waiting = [c for c in waiting if c.name not in found]
    return list(found.values())


def judge(rule: Rule, audit: Audit, named: Sequence[Special] = ()) -> Coverage:
    """Judge one rule."""
    results = [_look(requirement, audit, named) for requirement in rule.requires]
    status, why, notes = _status(results)
    return Coverage(rule.name, rule.title, rule.level, status, why, notes, rule.tags, rule.alert)


def _look(requirement: Requirement, audit: Audit, named: Sequence[Special]) -> _Found:
    if requirement.log:
        where = "in the cloud's own log" if requirement.log == "cloud" else "from the sensors themselves"
        return _Found(requirement, 1, {}, noise=(f"{requirement.what}: {where}, if it is collected",))
    nobody = requirement.user == "unauthenticated"
    base = NOBODY if nobody else SOMEBODY
    missing: dict[str, list[Pair]] = {}
    late: list[Pair] = []
    partly: dict[str, list[Pair]] = {}
    holes: dict[tuple[str, bool, str], list[Pair]] = {}
    pairs = [(verb, what) for what in (*requirement.resources, *requirement.paths) for verb in requirement.verbs]
    for pair in pairs:
        result = seen(audit, request(base, *pair), requirement.level)
        if result.lacking:
            missing.setdefault(result.lacking, []).append(pair)
        elif result.late:
            late.append(pair)
        for special in () if nobody else named:
            lacking = seen(audit, request(special.asked, *pair), requirement.level).lacking
            if result.lacking and not lacking:
                partly.setdefault(special.called, []).append(pair)
            elif lacking and not result.lacking:
                holes.setdefault((special.called, special.control_plane, lacking), []).append(pair)
    return _Found(
        requirement,
        len(pairs),
        missing,
        tuple(late),
        tuple(f"seen all the same: {called}: {_requests(found)}" for called, found in partly.items()),
        tuple(_hole(key, found) for key, found in holes.items() if not key[1]),
        tuple(_hole(key, found) for key, found in holes.items() if key[1]),
    )


def _hole(key: tuple[str, bool, str], found: Sequence[Pair]) -> str:
    return f"{key[0]}: {_requests(found)} {key[2]}"


def _status(results: Sequence[_Found]) -> tuple[Status, tuple[str, ...], tuple[str, ...]]:
    if not results:
        return "unknown", ("the rule does not say what it requires",), ()
    of = {kind: [r for r in results if r.requirement.kind == kind] for kind in KINDS}
    lost = tuple(line for r in of["sight"] for line in r.told())
    partly = _once(line for r in of["sight"] for line in r.partly)
    if not partly and not any(r.met for r in of["sight"]):
        serving = [r for r in of["fallback"] if r.met]
        only = tuple(f"left is only: {r.requirement.what}" for r in serving)
        return ("degraded" if serving else "blind"), (*lost, *only), ()
    details = tuple(line for r in of["detail"] for line in r.told())
    late = tuple(f"{_requests(r.late)} told only when it ends (ResponseStarted omitted)" for r in results if r.late)
    holes = _once(line for r in of["sight"] for line in r.holes)
    asides = tuple(line for r in of["aside"] for line in r.told())
    why = (*lost, *partly, *details, *late, *holes)
    return ("degraded" if why else "can fire"), why, asides + _once(line for r in of["sight"] for line in r.noise)


def _combine(correlation: Correlation, found: Mapping[str, Coverage]) -> Coverage:
    """By its condition, or the worst of its parts; a part that is only a detail degrades and does no more."""
    kinds = {r.rule: r.kind for r in correlation.requires}
    ranks: dict[str, int] = {}
    why = []
    for name in correlation.rules:
        part = found.get(name)
        status: Status = part.status if part else "unknown"
        rank = ORDER.index(status)
        ranks[name] = min(rank, 1) if kinds.get(name) == "detail" else rank
        if not rank:
            continue
        what = next((r.what for r in correlation.requires if r.rule == name), "")
        why.append(f"{name} is {status}" + (f": {what}" if what else ""))
    condition = correlation.condition
    worst = max(ranks.values(), default=0) if condition is None else _rank(condition, ranks)
    return Coverage(
        correlation.name,
        correlation.title,
        correlation.level,
        ORDER[worst],
        tuple(why),
        tags=correlation.tags,
    )


def _rank(condition: Expression, ranks: Mapping[str, int]) -> int:
    """Of a condition over rules: one way out of several that is lost leaves the others."""
    if isinstance(condition, str):
        return ranks.get(condition, 0)
    if isinstance(condition, NoneOf):
        return min(_rank(condition.part, ranks), 1)
    parts = [_rank(part, ranks) for part in condition.parts]
    if isinstance(condition, AllOf) or min(parts) == max(parts):
        return max(parts)
    return max(min(parts), 1)


def _requests(pairs: Sequence[Pair]) -> str:
    """`create, patch of pods, deployments.apps`: the verbs of each set of resources, long sets shortened."""
    verbs: dict[str, list[str]] = {}
    for verb, what in pairs:
        verbs.setdefault(what, []).append(verb)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for what, found in verbs.items():
        grouped.setdefault(tuple(found), []).append(what)
    parts = []
    for found_verbs, names in grouped.items():
        shown = ", ".join(names[:NAMES_SHOWN])
        more = len(names) - NAMES_SHOWN
        parts.append(f"{', '.join(found_verbs)} of {shown}" + (f" and {more} more" if more > 0 else ""))
    return "; ".join(parts)


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))
