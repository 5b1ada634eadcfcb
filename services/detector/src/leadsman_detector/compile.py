"""A rule's condition as closures: one that decides on an event, one that decides on the routing fields alone.

The second is three-valued: from `action` and the flags it says no, yes, or that only the whole event can tell. What
says no is never decoded (DESIGN 3 and 6).
"""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

from leadsman_common.events import Flag, parse_action
from leadsman_detector.fields import Getter, getter, is_within
from leadsman_detector.form import And, Keyword, Leaf, Node, Not, Or

Test = Callable[[list[Any]], bool]  # the values of a field -> whether one of them meets the leaf
Predicate = Callable[[Any, Any], bool]  # (event, element of `each` or None)
MAX_TEXT = 16 * 1024  # what a regular expression is run over: the text is the attacker's (DETECTIONS 1.10)

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


class BadPattern(ValueError):
    """A regular expression that cannot run in linear time, or a network that is none."""


@dataclass(frozen=True, slots=True)
class MatchedLeaf:
    """A leaf that held, with the value that met it."""

    leaf: Leaf
    value: Any


class Condition:
    """A compiled condition. `each` names the array whose elements its fields speak of, or is empty."""

    def __init__(self, node: Node, each: str = "") -> None:
        self._leaves: dict[tuple[Any, ...], tuple[Getter, Test, bool]] = {}
        self._node = node
        self._each = each
        self._predicate = self._compile(node)
        self.paths = tuple(dict.fromkeys(leaf.path for leaf in _positive_leaves(node)))
        self.known_paths = tuple(dict.fromkeys(p for p in _all_paths(node) if p.startswith("known.")))

    def holds(self, event: Any, element: Any = None) -> bool:
        """Whether the condition holds for the event (and this element of `each`)."""
        return self._predicate(event, element)

    def may_hold(self, known: Mapping[str, list[Any]]) -> bool:
        """Whether the condition could hold, given the values of some fields; see `known_fields`."""
        return self._partial(self._node, known) is not False

    def explain(self, event: Any, element: Any = None) -> list[MatchedLeaf]:
        """The leaves that made it hold, each with a value; leaves under a `not` are none."""
        found: list[MatchedLeaf] = []
        self._explain(self._node, event, element, found)
        return found

    def _compile(self, node: Node) -> Predicate:
        if isinstance(node, And):
            parts = [self._compile(p) for p in node.parts]
            return lambda event, element: all(p(event, element) for p in parts)
        if isinstance(node, Or):
            parts = [self._compile(p) for p in _merged(node)]
            return lambda event, element: any(p(event, element) for p in parts)
        if isinstance(node, Not):
            part = self._compile(node.part)
            return lambda event, element: not part(event, element)
        if isinstance(node, Keyword):
            wanted = node.value.lower()
            return lambda event, _element: _has_keyword(event, wanted)
        get, test, inner = self._leaf(node)
        if inner:
            return lambda _event, element: test(get(element))
        return lambda event, _element: test(get(event))

    def _leaf(self, leaf: Leaf) -> tuple[Getter, Test, bool]:
        key = (
            leaf.path,
            leaf.op,
            type(leaf.value),
            leaf.value,
            leaf.cased,
        )  # 1 and True are equal, their tests are not
        kept = self._leaves.get(key)
        if kept is None:
            inner = is_within(leaf.path, self._each)
            get = getter(leaf.path, self._each if inner else "")
            kept = self._leaves[key] = (get, self._test(leaf, inner), inner)
        return kept

    def _test(self, leaf: Leaf, inner: bool) -> Test:
        if leaf.op != "fieldref":
            return test_of(leaf)
        raise BadPattern(f"fieldref is not read yet: {leaf.path}{' in each' if inner else ''}")

    def _partial(self, node: Node, known: Mapping[str, list[Any]]) -> bool | None:
        """Kleene's logic over what is known: True, False, or None for unknown."""
        if isinstance(node, And | Or):
            decides = isinstance(node, Or)
            unknown = False
            for part in node.parts:
                value = self._partial(part, known)
                if value is decides:
                    return decides
                unknown = unknown or value is None
            return None if unknown else not decides
        if isinstance(node, Not):
            value = self._partial(node.part, known)
            return None if value is None else not value
        if isinstance(node, Keyword):
            return None
        values = known_values(node.path, known)
        return None if values is None else self._leaf(node)[1](values)

    def _explain(self, node: Node, event: Any, element: Any, found: list[MatchedLeaf]) -> bool:
        if isinstance(node, And):
            mine: list[MatchedLeaf] = []
            if not all(self._explain(p, event, element, mine) for p in node.parts):
                return False
            found += mine
            return True
        if isinstance(node, Or):
            return any([self._explain(p, event, element, found) for p in node.parts])  # noqa: C419 - all are wanted
        if isinstance(node, Not):
            return not self._compile(node.part)(event, element)
        if isinstance(node, Keyword):
            return _has_keyword(event, node.value.lower())
        get, test, inner = self._leaf(node)
        values = get(element if inner else event)
        hit = next((v for v in values if test([v])), None)
        if hit is not None:
            found.append(MatchedLeaf(node, hit))
            return True
        return test(values)


def known_values(path: str, known: Mapping[str, list[Any]]) -> list[Any] | None:
    """The values of a field as far as routing tells: None where it does not. A missing fact empties all below it."""
    if path in known:
        return known[path]
    if path.startswith("facts."):
        return known.get(".".join(path.split(".", 2)[:2]))
    return None


_FACT_FLAGS = {
    "facts.pod": Flag.HAS_POD,
    "facts.role": Flag.HAS_ROLE,
    "facts.binding": Flag.HAS_BINDING,
    "facts.service": Flag.HAS_SERVICE,
    "facts.exec": Flag.HAS_EXEC,
    "facts.ingress": Flag.HAS_INGRESS,
    "facts.token": Flag.HAS_TOKEN,
    "facts.pv": Flag.HAS_PV,
    "facts.service_account": Flag.HAS_SERVICE_ACCOUNT,
    "facts.csr": Flag.HAS_CSR,
    "facts.webhook": Flag.HAS_WEBHOOK,
    "facts.config_map": Flag.HAS_CONFIG_MAP,
    "facts.cloud_access": Flag.HAS_CLOUD_ACCESS,
    "facts.cloud_assume": Flag.HAS_CLOUD_ASSUME,
    "facts.control_plane": Flag.HAS_CONTROL_PLANE,
    "facts.cloud_link": Flag.HAS_CLOUD_LINK,
}
_BOOL_FLAGS = {
    "actor.unauthenticated": Flag.UNAUTHENTICATED,
    "actor.impersonating": Flag.IMPERSONATING,
    "outcome.effective": Flag.EFFECTIVE,
    "dryRun": Flag.DRY_RUN,
    "coverage.truncated": Flag.TRUNCATED,
}
ALL_FLAGS = (1 << 63) - 1


def known_fields(action: str, flags: int, known: int = ALL_FLAGS) -> dict[str, list[Any]]:
    """What `action` and `flags` say of an event's fields. `known` masks the flag bits that can be trusted."""
    verb, resource, group, subresource, operation = parse_action(action)
    fields: dict[str, list[Any]] = {"action": [action]}
    for path, value in (
        ("verb", verb),
        ("objectRef.resource", resource),
        ("objectRef.apiGroup", group),
        ("objectRef.subresource", subresource),
        ("cloud.operation", operation.partition(":")[2]),
    ):
        fields[path] = [value] if value else []
    if operation:
        # a cloud call's verb and object are not in its action
        for path in ("verb", "objectRef.resource", "objectRef.apiGroup", "objectRef.subresource"):
            del fields[path]
    elif not known & Flag.CLOUD_CALL:
        del fields["cloud.operation"]
    for path, bit in _BOOL_FLAGS.items():
        if known & bit:
            fields[path] = [bool(flags & bit)]
    for path, bit in _FACT_FLAGS.items():
        if known & bit and not flags & bit:
            fields[path] = []
    return fields


def test_of(leaf: Leaf) -> Test:
    """The test of one leaf. Raises BadPattern."""
    value = leaf.value
    if leaf.op == "null":
        return lambda values: not values
    if leaf.op == "exists":
        return lambda values: bool(values) is value
    if leaf.op == "equals":
        return _equals(value, leaf.cased)
    if leaf.op == "pattern":
        return _regex(_pattern_regex(value), cased=leaf.cased)
    if leaf.op == "regex":
        return _regex(value, cased=True)
    if leaf.op == "cidr":
        return _cidr(value)
    if leaf.op == "compare":
        name, number = value
        compare = _COMPARE[name]
        return lambda values: any(isinstance(v, int | float) and compare(v, number) for v in values)
    raise BadPattern(f"no test for {leaf.op}")


def _equals(value: Any, cased: bool) -> Test:
    if value == "":
        return lambda values: not values
    if isinstance(value, bool):
        # absent is false: the schema's plain fields cannot tell them apart
        return lambda values: any(v is value for v in values) if value else not any(v is True for v in values)
    if isinstance(value, int | float):
        text = str(value)
        return lambda values: any(v == value if isinstance(v, int | float) else v == text for v in values)
    if cased:
        return lambda values: value in values
    folded = value.lower()

    return lambda values: any(v == value or str(v).lower() == folded for v in values)


def _pattern_regex(parts: tuple[str | int | None, ...]) -> str:
    """A Sigma string with wildcards as a regular expression over the whole value."""
    out = "".join(".*" if p is None else "." if isinstance(p, int) else re2.escape(p) for p in parts)
    return f"^(?:{out})$"


def _regex(pattern: str, *, cased: bool) -> Test:
    compiled = _compile_regex(pattern, cased)

    def search(values: list[Any]) -> bool:
        return any(compiled.search((v if isinstance(v, str) else str(v))[:MAX_TEXT]) is not None for v in values)

    return search


@cache
def _compile_regex(pattern: str, cased: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = cased
    options.dot_nl = True
    options.max_mem = 32 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else error
        reason = text.decode() if isinstance(text, bytes) else str(text)
        raise BadPattern(f"regular expression not usable in linear time: {reason}: {pattern}") from error


def _cidr(value: str) -> Test:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise BadPattern(f"not a network: {value}") from error

    def inside(values: list[Any]) -> bool:
        for v in values:
            try:
                if ipaddress.ip_address(v) in network:
                    return True
            except ValueError:
                continue
        return False

    return inside


def _has_keyword(value: Any, wanted: str) -> bool:
    if isinstance(value, str):
        return wanted in value.lower()
    if isinstance(value, dict):
        return any(_has_keyword(v, wanted) for v in value.values())
    if isinstance(value, list):
        return any(_has_keyword(v, wanted) for v in value)
    return False


def _merged(node: Or) -> list[Node]:
    """The parts of an `or`, nested ones flattened, the regular expressions on one field made into a single one."""
    flat: list[Node] = []
    waiting: list[Node] = list(node.parts)
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, Or):
            waiting[:0] = part.parts
        else:
            flat.append(part)
    by_path: dict[str, list[Leaf]] = {}
    for part in flat:
        if isinstance(part, Leaf) and part.op == "regex":
            by_path.setdefault(part.path, []).append(part)
    single = {path: leaves for path, leaves in by_path.items() if len(leaves) > 1}
    rest = [p for p in flat if not (isinstance(p, Leaf) and p.op == "regex" and p.path in single)]
    return [*rest, *(Leaf(path, "regex", "|".join(f"(?:{x.value})" for x in ls)) for path, ls in single.items())]


def _all_paths(node: Node) -> list[str]:
    """Every field that a condition looks at, those under a `not` too."""
    if isinstance(node, And | Or):
        return [path for p in node.parts for path in _all_paths(p)]
    if isinstance(node, Not):
        return _all_paths(node.part)
    return [node.path] if isinstance(node, Leaf) else []


def _positive_leaves(node: Node) -> list[Leaf]:
    if isinstance(node, And | Or):
        return [leaf for p in node.parts for leaf in _positive_leaves(p)]
    return [node] if isinstance(node, Leaf) else []
