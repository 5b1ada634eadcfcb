"""From an event to the rules it meets: routed on `action` and `flags`, then decided by compiled conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadsman_common.alerts import level_rank
from leadsman_common.events import AuditEvent, touches
from leadsman_detector.compile import ALL_FLAGS, BadPattern, Condition, MatchedLeaf, known_fields
from leadsman_detector.fields import UnknownField, elements
from leadsman_detector.form import Correlation, Problem, Rule
from leadsman_detector.rules import RuleFiles, read

MAX_ROUTES = 50_000  # distinct (action, flags) remembered; a client can make up resources, not memory of ours


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that an event met: what decided, and the level after the rule's own steps."""

    rule: Rule
    event: AuditEvent
    level: str
    leaves: tuple[MatchedLeaf, ...]

    @property
    def attempt(self) -> bool:
        """Whether the request was refused or failed."""
        return not self.event["outcome"]["effective"]


class CompiledRule:
    """One rule, ready to be asked. Raises UnknownField or BadPattern for a rule that cannot be compiled."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.condition = Condition(rule.condition, rule.each)
        self._steps = [(Condition(step.when, rule.each), step.level) for step in rule.levels]
        self._elements = elements(rule.each) if rule.each else None
        self.modifiers = tuple((Condition(m.when, rule.each), m) for m in rule.modifiers)
        conditions = [self.condition, *(c for c, _ in self._steps), *(c for c, _ in self.modifiers)]
        self.uses_known = any(c.known_paths for c in conditions)  # looks at known.*, what earlier events told
        self._fact_paths = tuple(p.removeprefix("facts.") for p in self.condition.paths if p.startswith("facts."))

    def match(self, event: AuditEvent) -> Match | None:
        """The match with the highest level over the elements of `each`, or None."""
        if self.rule.changed and event["verb"] == "patch" and not self._touched(event):
            return None
        if self._elements is None:
            return self._match_one(event, None) if self.condition.holds(event) else None
        found = [self._match_one(event, e) for e in self._elements(event) if self.condition.holds(event, e)]
        if not found:
            return None
        leaves = {(leaf.leaf.path, str(leaf.value)): leaf for m in found for leaf in m.leaves}
        best = max(found, key=lambda m: level_rank(m.level))
        return Match(self.rule, event, best.level, tuple(leaves.values()))

    def _match_one(self, event: AuditEvent, element: Any) -> Match:
        level, leaves = self.rule.level, self.condition.explain(event, element)
        for step, stepped in self._steps:
            if step.holds(event, element):
                level = stepped
                leaves += [x for x in step.explain(event, element) if x not in leaves]
                break
        return Match(self.rule, event, level, tuple(leaves))

    def _touched(self, event: AuditEvent) -> bool:
        """Whether the request itself set one of the facts that the rule looks at (DETECTIONS 1.8)."""
        facts = event["facts"]
        if facts is None:
            return False
        return any(touches(facts["touched"], path) for path in self._fact_paths)


class RuleSet:
    """Compiled rules with the routes to them."""

    def __init__(self, files: RuleFiles) -> None:
        problems = list(files.problems)
        fed = {name for c in files.correlations for name in c.rules}
        self.rules: list[CompiledRule] = []
        for rule in files.rules:
            try:
                compiled = CompiledRule(rule)
            except UnknownField as error:
                problems.append(Problem(rule.file, rule.name, f"no such field: {error}"))
            except BadPattern as error:
                problems.append(Problem(rule.file, rule.name, str(error)))
            else:
                if rule.alert or rule.name in fed:
                    self.rules.append(compiled)
        self.correlations: tuple[Correlation, ...] = files.correlations
        self.fed = frozenset(fed)
        self.problems = tuple(problems)
        self.digest = files.digest
        self._routes: dict[tuple[str, int, int], tuple[CompiledRule, ...]] = {}

    def candidates(self, action: str, flags: int, known: int = ALL_FLAGS) -> tuple[CompiledRule, ...]:
        """The rules that an event with this action and these flags could meet; remembered for each distinct pair."""
        key = (action, flags, known)
        found = self._routes.get(key)
        if found is None:
            fields = known_fields(action, flags, known)
            found = tuple(r for r in self.rules if r.condition.may_hold(fields))
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[key] = found
        return found

    def match(self, event: AuditEvent, candidates: Sequence[CompiledRule] | None = None) -> list[Match]:
        """Every rule that the event meets."""
        rules = self.candidates(event["action"], event["flags"]) if candidates is None else candidates
        return [m for rule in rules if (m := rule.match(event)) is not None]


def load(folders: Sequence[Path]) -> RuleSet:
    """Read and compile the rules below the folders; what is wrong stands in `problems`."""
    return RuleSet(read(folders))
