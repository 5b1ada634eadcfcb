"""`leadsman scan --explain RULE`: for each event that the rule could meet, which clause held and which did not.

The events go through the detector as in any scan, so that what it knows of objects and pods is known here too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from leadsman_cli.output import clean
from leadsman_cli.readers import Item, Unreadable
from leadsman_common.alerts import Alert, Modifier, iso_time
from leadsman_common.clusters import NO_CLUSTERS, Clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_detector.alert import Where, object_text
from leadsman_detector.detect import Detector
from leadsman_detector.explain import Looked, Part, Step, explain
from leadsman_detector.match import CompiledRule, RuleSet
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

_JOINED = {"all": "all of", "any": "any of"}
MAX_VALUE = 200


@dataclass(frozen=True, slots=True)
class Explained:
    """One event that a rule could meet: what was looked at, the match's level if it met it, and the alerts raised."""

    event: AuditEvent
    looked: Sequence[Looked]
    level: str
    modifiers: Sequence[Modifier]  # that led to the level, the engine's own among them
    alerts: Sequence[Alert]

    @property
    def outcome(self) -> str:
        """What came of it, in words."""
        if not self.level:
            return "does not meet the rule"
        why = ", ".join(f"{modifier['by']:+d} {modifier['why']}" for modifier in self.modifiers)
        met = f"meets the rule at {self.level}" + (f" ({why})" if why else "")
        if not self.alerts:
            return f"{met}; no alert: nothing new, or not the rule's to raise"
        shadow = " in shadow: nobody is told" if self.alerts[0].get("shadow") else ""
        return f"{met}; alert {self.alerts[0]['level']}{shadow}"


class Explainer:
    """A scan that keeps why, for one rule. Raises KeyError where there is no such rule."""

    def __init__(self, rules: RuleSet, slug: str, clusters: Clusters = NO_CLUSTERS) -> None:
        self.rule: CompiledRule = {r.rule.name: r for r in rules.rules}[slug]
        self.bad: list[Unreadable] = []
        self._rules = rules
        self._clusters = clusters
        self._detector = Detector(rules)
        self._state = MemoryState()

    def take(self, items: Iterable[Item]) -> Iterator[Explained]:
        """Judge records and yield what the rule made of those that it could meet."""
        for item in items:
            if isinstance(item, Unreadable):
                self.bad.append(item)
                continue
            try:
                found = self._judge(item)
            except InvalidEvent as error:
                self.bad.append(Unreadable(item.file, item.line, error.reason))
            else:
                if found is not None:
                    yield found

    def _judge(self, raw: RawEvent) -> Explained | None:
        event = normalize(raw, self._clusters)
        if isinstance(event, Dropped):
            return None
        plan = Plan()
        self._detector.judge(plan, event, Where())
        alerts = self._state.settle(self._detector.evaluate(plan))
        if self.rule not in self._rules.candidates(event["action"], event["flags"]):
            return None
        for asked in plan.asking:
            event = asked.event
        match = self.rule.match(event)
        raised = [a for a in alerts if a["rule"]["name"] == self.rule.rule.name]
        level, modifiers = (match.level, match.modifiers) if match else ("", ())
        return Explained(event, explain(self.rule, event), level, modifiers, raised)


class Printer(Protocol):
    """Writes what came of one event."""

    def __call__(self, slug: str, explained: Explained) -> None: ...


def tree(slug: str, explained: Explained) -> None:
    """A tree for people, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    event = explained.event
    source = event["source"]
    head = f"{source['file']}:{source['line']}  {iso_time(event['time'])[:19]}Z  {event['actor']['name'] or 'nobody'}"
    root = Tree(Text(clean(f"{head}  {event['action']} {object_text(event)}"), "bold"))
    for looked in explained.looked:
        at = root.add(Text(clean(looked.element))) if looked.element else root
        _branch(at, looked.condition, slug)
        if not looked.condition.held:
            continue
        kinds = (("filter", looked.filters), ("level", looked.levels), ("modifier", looked.modifiers))
        for title, steps in kinds:
            for step in steps:
                _branch(at, step.part, f"{title} {step.gives}")
                if title == "level" and step.part.held:
                    break
    root.add(Text(explained.outcome, "bold yellow" if explained.alerts else ""))
    console.print(root)


def _branch(at: Tree, part: Part, title: str = "") -> None:
    mark, style = ("+", "green") if part.held else ("-", "red")
    head = f"{title} ({part.name})" if title and part.name else title or part.name
    if part.kind == "not":  # one line with what it turns round
        part = part.parts[0]
        head = f"{head}: not {part.name}" if head else f"not {part.name}".rstrip()
    text = ""
    if part.kind == "field":
        values = ", ".join(_text(v) for v in part.values)
        text = f"{_text(part.test)}  [{values or 'absent'}]"
    elif len(part.parts) > 1:
        text = _JOINED[part.kind]
    branch = at.add(Text(clean(f"{mark} {': '.join(filter(None, (head, text)))}"), style))
    for inner in part.parts:
        _branch(branch, inner)


def _text(value: Any) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def jsonl(slug: str, explained: Explained) -> None:
    """One JSON document a line, the same tree in it."""
    event = explained.event
    document = {
        "rule": slug,
        "file": event["source"]["file"],
        "line": event["source"]["line"],
        "time": iso_time(event["time"]),
        "event": event["id"],
        "actor": event["actor"]["name"],
        "action": event["action"],
        "object": object_text(event),
        "held": bool(explained.level),
        "level": explained.level or None,
        "modifiers": list(explained.modifiers),
        "alerts": [{"id": a["id"], "level": a["level"], "shadow": a.get("shadow", False)} for a in explained.alerts],
        "looked": [_looked(looked) for looked in explained.looked],
    }
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


def _looked(looked: Looked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "element": looked.element,
        "condition": _part(looked.condition),
        "filters": [_step(step) for step in looked.filters],
        "levels": [_step(step) for step in looked.levels],
        "modifiers": [_step(step) for step in looked.modifiers],
    }
    return {k: v for k, v in found.items() if v}


def _step(step: Step) -> dict[str, Any]:
    return {"gives": step.gives, "when": _part(step.part)}


def _part(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"held": part.held, "kind": part.kind}
    if part.name:
        found["detection"] = part.name
    if part.kind == "field":
        found |= {"test": part.test, "values": list(part.values)}
    if part.parts:
        found["parts"] = [_part(inner) for inner in part.parts]
    return found


PRINTERS: Mapping[str, Printer] = {"table": tree, "jsonl": jsonl}
