"""Why a rule met an event or did not: its condition as a tree, each part with whether it held and the actual values.

For people who write and tune rules (`leadsman scan --explain`). It decides nothing: the same tests and getters as in
compile.py are asked once more, part by part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from leadsman_common.alerts import iso_time
from leadsman_common.events import AuditEvent
from leadsman_detector.compare import pair_of, test_of
from leadsman_detector.fields import elements, getter, is_within
from leadsman_detector.filters import CompiledFilter
from leadsman_detector.form import ANYWHERE, And, Filter, FirstSeen, Leaf, Node, Not, Or
from leadsman_detector.match import CompiledRule

MAX_VALUES = 20  # of a field, shown
MAX_WANTED = 6  # of the values that a field is compared with,
MAX_TEXT = 120  # and their length
Kind: TypeAlias = Literal["all", "any", "not", "field"]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition. `name` is the detection that it is, `test` what a field was asked, `values` its values."""

    kind: Kind
    held: bool
    name: str = ""
    test: str = ""
    values: tuple[Any, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A filter, a level step or a modifier. `gives` says what comes of it where it holds."""

    gives: str
    part: Part


@dataclass(frozen=True, slots=True)
class Looked:
    """One look at an event: for a rule with `each` at one element, named in `element`."""

    element: str
    condition: Part
    filters: tuple[Step, ...]
    levels: tuple[Step, ...]
    modifiers: tuple[Step, ...]


def explain(compiled: CompiledRule, event: AuditEvent) -> list[Looked]:
    """What the rule saw in the event: one look, or one for each element of its `each`.

    Where that array is empty there is one look without an element, as in the rule itself.
    """
    each = compiled.rule.each
    if not each:
        return [_look(compiled, event, None, "")]
    found = elements(each)(event)
    looked = [_look(compiled, event, element, f"{each}[{n}]{_name(element)}") for n, element in enumerate(found)]
    return looked or [_look(compiled, event, {}, f"{each}: none")]


def _look(compiled: CompiledRule, event: AuditEvent, element: Any, name: str) -> Looked:
    rule = compiled.rule
    asked = _Asked(rule.each, event, element)
    return Looked(
        name,
        asked.part(rule.condition),
        tuple(_filter(f, rule.each, event, element) for f in compiled.filters),
        tuple(Step(step.level, asked.part(step.when)) for step in rule.levels),
        tuple(
            Step(f"{modifier.by:+d} {modifier.why}", asked.part(modifier.when))
            for modifier in rule.modifiers
            if not isinstance(modifier.when, FirstSeen)  # it hangs on what was before, not on the event
        ),
    )


def _filter(compiled: CompiledFilter, each: str, event: AuditEvent, element: Any) -> Step:
    """A filter held where what its condition lets stay does not; with `every`, for none of that list's elements."""
    given = compiled.given
    gives = f"{given.name}: {_what(given)}"
    if given.every and given.every != each:
        found = elements(given.every)(event)
        asked = [_Asked(given.every, event, one, each, element) for one in found]
    else:
        asked = [_Asked(each, event, element)]
    parts = tuple(one.part(Not(given.condition)) for one in asked)
    return Step(gives, Part("all", compiled.holds(event, element), parts=parts))


def _what(given: Filter) -> str:
    if given.suppress is not None:
        return f"nobody is told until {iso_time(given.suppress.until)[:19]}Z ({given.suppress.owner})"
    return f"at most {given.level}" if given.level else "taken away"


def _name(element: Any) -> str:
    name = element.get("name") or element.get("host_path") if isinstance(element, dict) else ""
    return f" {name}" if name else ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An event, and the element of `each` that fields of it mean."""

    each: str
    event: Any
    element: Any
    outer: str = ""  # a filter's `every` stands within the rule's own `each`
    outer_element: Any = None

    def part(self, node: Node, inside: str = "") -> Part:
        """The part that a node is; `inside` is the detection around it, which need not be named again."""
        name = _clause(node)
        name = "" if name == inside else name
        within = name or inside
        if isinstance(node, Not) and isinstance(node.part, Not):
            return self.part(node.part.part, inside)
        if isinstance(node, Not):
            part = self.part(node.part, within)
            return Part("not", not part.held, name, parts=(part,))
        if isinstance(node, Leaf):
            return self._field([node], name)
        parts: tuple[Part, ...]
        if isinstance(node, And):
            parts = tuple(self.part(p, within) for p in node.parts)
            return Part("all", all(p.held for p in parts), name, parts=parts)
        groups = list(_grouped(node))
        if len(groups) == 1 and isinstance(groups[0], list):
            return self._field(groups[0], name)
        parts = tuple(
            self._field(g, "" if g[0].clause == within else g[0].clause)
            if isinstance(g, list)
            else self.part(g, within)
            for g in groups
        )
        return Part("any", any(p.held for p in parts), name, parts=parts)

    def _field(self, leaves: Sequence[Leaf], name: str) -> Part:
        """One field against the values of one or several leaves, any of which will do."""
        first = leaves[0]
        values = self._values(first.path)
        held = [leaf for leaf in leaves if self._holds(leaf, values)]
        shown = () if first.path == ANYWHERE else tuple(values[:MAX_VALUES])
        return Part("field", bool(held), name, f"{_label(first.path)} {_asks(leaves, held)}", shown)

    def _values(self, path: str) -> list[Any]:
        if is_within(path, self.each):
            return getter(path, self.each)(self.element)
        if self.outer and is_within(path, self.outer):
            return getter(path, self.outer)(self.outer_element)
        return getter(path)(self.event)

    def _holds(self, leaf: Leaf, values: list[Any]) -> bool:
        if leaf.op == "fieldref":
            return pair_of(leaf)(values, self._values(leaf.value[0]))
        return test_of(leaf)(values)


def _grouped(node: Or) -> Iterator[Node | list[Leaf]]:
    """The parts of an `or`; leaves that ask the same of one field stand together."""
    flat: list[Node] = []
    waiting: list[Node] = list(node.parts)
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, Or) and _clause(part) == _clause(node):
            waiting[:0] = part.parts
        else:
            flat.append(part)
    groups: dict[tuple[str, str, str], list[Leaf]] = {}
    for part in flat:
        if isinstance(part, Leaf):
            groups.setdefault((part.path, part.op, part.clause), []).append(part)
    for part in flat:
        if not isinstance(part, Leaf):
            yield part
        elif (group := groups.pop((part.path, part.op, part.clause), None)) is not None:
            yield group


def _clause(node: Node) -> str:
    """The one detection that all of a node stands in, or nothing."""
    if isinstance(node, Leaf):
        return node.clause
    if isinstance(node, Not):
        return ""
    found = {_clause(part) for part in node.parts}
    return found.pop() if len(found) == 1 else ""


def _label(path: str) -> str:
    return "any text of the event" if path == ANYWHERE else path


def _asks(leaves: Sequence[Leaf], held: Sequence[Leaf]) -> str:
    """What is asked of the field, in words: the values that met it first, where there are many."""
    texts = [_ask(leaf) for leaf in leaves]
    if len(texts) == 1:
        return texts[0]
    told: list[str] = []
    for text in dict.fromkeys([*(_ask(leaf) for leaf in held), *texts]):
        if told and (len(told) == MAX_WANTED or sum(map(len, told)) + len(text) > MAX_TEXT):
            break
        told.append(text)
    more = len(texts) - len(told)
    return " or ".join(told) + (f" or {more} more" if more > 0 else "")


def _ask(leaf: Leaf) -> str:
    value = leaf.value
    if leaf.op == "null" or (leaf.op == "equals" and value == ""):
        return "is absent"
    if leaf.op == "exists":
        return "is there" if value else "is absent"
    if leaf.op == "equals":
        return f"is {_text(value)}"
    if leaf.op == "pattern":
        return f"is like {''.join('*' if p is None else '?' if isinstance(p, int) else p for p in value)}"
    if leaf.op == "regex":
        return f"matches /{value}/"
    if leaf.op == "cidr":
        return f"is within {value}"
    if leaf.op == "compare":
        return f"is {value[0]} {value[1]}"
    return f"{value[1]} the field {value[0]}"


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
