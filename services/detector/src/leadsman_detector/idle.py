"""Events of which it is known what comes of them: nothing, as of the one before that was alike.

Most of what is looked at in full is a workload or a person that does what it does all day. What its rules look at is
told by routing, or is its cluster, who came from where, or how it ended: where all of that is equal, so is the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leadsman_common.events import AuditEvent, parse_action
from leadsman_detector.compile import paths_of
from leadsman_detector.first_seen import Values, Watch
from leadsman_detector.match import CompiledRule, Route
from leadsman_detector.routing import is_met, known_fields, known_values

MAX_REMEMBERED = 20_000
GLANCED = ("cluster", "actor", "src_endpoint", "outcome", "cloud")  # what leadsman_common.avro.glance has the bytes of
WRITES = ("create", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Idle:
    """What is left to ask of an event whose rules are decided: whether it is the first of some values."""

    cluster: str
    sightings: tuple[tuple[Watch, Values], ...]


def is_told_at_a_glance(route: Route, action: str, flags: int) -> bool:
    """Whether all that the rules of a route look at is told by routing and by what a glance shows."""
    verb, _, _, _, operation = parse_action(action)
    if operation or not route or verb == "delete" or (route.changed and verb in WRITES):
        return False  # an object's versions hang on more than rules
    fields = known_fields(action, flags)
    return all(
        known_values(path, fields) is not None or path.partition(".")[0] in GLANCED
        for rule in route
        for path in _paths(rule)
    )


def is_never_idle(rules: Iterable[CompiledRule], action: str, flags: int) -> bool:
    """Whether there is a rule that all events of a route meet, so that a glance at them would be in vain."""
    fields = known_fields(action, flags)
    return any(is_met(rule.rule.condition, fields) and not (rule.first_seen or rule.filters) for rule in rules)


def idle_of(event: AuditEvent, rules: Sequence[CompiledRule], sought: dict[str, Watch]) -> Idle | None:
    """What is left to ask of events like this one, where the rules that it meets are all `sought`; None: too much.

    `rules` are those that it could meet, `sought` those with first_seen by name: of what was seen nothing comes.
    """
    found: list[tuple[Watch, Values]] = []
    for rule in rules:
        if rule.match(event) is None:
            continue
        watch = sought.get(rule.rule.name)
        if watch is None:
            return None
        found += [(watch, values) for values in watch.values(event)]
    return Idle(event["cluster"]["id"], tuple(found))


def _paths(rule: CompiledRule) -> list[str]:
    """Every field that decides whether a rule is met, and that its first_seen is about."""
    asked, filters = rule.rule, [f.given for f in rule.filters if f.takes_away]
    found = [path for node in (asked.condition, *(f.condition for f in filters)) for path in paths_of(node)]
    found += filter(None, (asked.each, *(f.every for f in filters)))
    return found + list(asked.first_seen.fields if asked.first_seen else ())
