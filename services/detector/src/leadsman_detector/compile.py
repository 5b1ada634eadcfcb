"""A rule's condition as closures over a decoded event, and what of it held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import msgspec

from leadsman_detector.compare import BadPattern, Test, pair_of, test_of
from leadsman_detector.fields import Getter, UnknownField, getter, is_within
from leadsman_detector.form import And, Leaf, Node, Not, Or

MAX_TOLD = 1000  # values of one field that a match tells
Predicate = Callable[[Any, Any], bool]  # (event, element of `each` or None)
Explainer = Callable[[Any, Any, "list[MatchedLeaf]"], bool]  # the same, and adds the leaves that made it hold


class MatchedLeaf(msgspec.Struct, frozen=True, gc=False):
    """A leaf that held, with the value that met it."""

    leaf: Leaf
    value: Any


class Condition:
    """A compiled condition. `each` names the array whose elements its fields speak of, or is empty.

    With `outer`, an array that a condition around this one goes through, the event is given as (event, its element).
    Raises UnknownField or BadPattern, with the line of what is wrong.
    """

    def __init__(self, node: Node, each: str = "", outer: str | None = None) -> None:
        self.node = node
        self.each = each
        self._outer = outer
        self._leaves: dict[tuple[Any, ...], tuple[Getter, Test, bool]] = {}
        self._predicates: dict[int, tuple[Node, Predicate]] = {}  # by identity: the nodes are kept alive
        self._explainers: dict[int, tuple[Node, Explainer]] = {}  # made when something is first explained
        self._together: dict[tuple[int, str], Or] = {}
        self._predicate = self._compile(node)
        self.paths = tuple(dict.fromkeys(leaf.path for leaf in positive_leaves(node)))
        self.known_paths = tuple(dict.fromkeys(p for p in paths_of(node) if p.startswith("known.")))

    def holds(self, event: Any, element: Any = None) -> bool:
        """Whether the condition holds for the event (and this element of `each`)."""
        return self._predicate(event, element)

    def explain(self, event: Any, element: Any = None) -> list[MatchedLeaf]:
        """The leaves that made it hold, each with a value; leaves under a `not` are none."""
        found: list[MatchedLeaf] = []
        self._explainer(self.node)(event, element, found)
        return found

    def perhaps(self, event: Any, element: Any, unknown: Callable[[str], bool]) -> bool | None:
        """Whether it holds where some fields are not known: True, False, or None where it hangs on them."""
        return self._perhaps(self.node, event, element, unknown)

    def _perhaps(self, node: Node, event: Any, element: Any, unknown: Callable[[str], bool]) -> bool | None:
        if isinstance(node, Not):
            part = self._perhaps(node.part, event, element, unknown)
            return None if part is None else not part
        if isinstance(node, And | Or):
            decides = isinstance(node, Or)
            parts = [self._perhaps(part, event, element, unknown) for part in node.parts]
            return decides if decides in parts else None if None in parts else not decides
        return None if unknown(node.path) else self._compile(node)(event, element)

    def _compile(self, node: Node) -> Predicate:
        if id(node) not in self._predicates:
            self._predicates[id(node)] = (node, self._closure(node))
        return self._predicates[id(node)][1]

    def _closure(self, node: Node) -> Predicate:
        if isinstance(node, And):
            return _all([self._compile(p) for p in node.parts])
        if isinstance(node, Or):
            return _any([self._compile(p) for p in _merged(node)])
        if isinstance(node, Not):
            part = self._compile(node.part)
            return lambda event, element: not part(event, element)
        if node.op == "fieldref":
            return self._fieldref(node)
        get, test, inner = self._leaf(node)
        if inner:
            return lambda _event, element: test(get(element))
        return lambda event, _element: test(get(event))

    def _leaf(self, leaf: Leaf) -> tuple[Getter, Test, bool]:
        # 1 and True are equal, their tests are not
        key = (leaf.path, leaf.op, type(leaf.value), leaf.value, leaf.cased)
        kept = self._leaves.get(key)
        if kept is None:
            get, inner = self._getter(leaf.path, leaf.line)
            try:
                kept = self._leaves[key] = (get, test_of(leaf), inner)
            except BadPattern as error:
                error.line = leaf.line
                raise
        return kept

    def _getter(self, path: str, line: int) -> tuple[Getter, bool]:
        inner = is_within(path, self.each)
        try:
            if self._outer is None or inner:
                return getter(path, self.each if inner else ""), inner
            beside = is_within(path, self._outer)
            get = getter(path, self._outer if beside else "")
            return (lambda pair: get(pair[1])) if beside else (lambda pair: get(pair[0])), False
        except UnknownField as error:
            error.line = line
            raise

    def _fieldref(self, leaf: Leaf) -> Predicate:
        (ours, inner), (theirs, other_inner) = (self._getter(p, leaf.line) for p in (leaf.path, leaf.value[0]))
        meets = pair_of(leaf)
        return lambda event, element: meets(
            ours(element if inner else event), theirs(element if other_inner else event)
        )

    def _explainer(self, node: Node) -> Explainer:
        if id(node) not in self._explainers:
            self._explainers[id(node)] = (node, self._explaining(node))
        return self._explainers[id(node)][1]

    def _explaining(self, node: Node) -> Explainer:
        if isinstance(node, And):
            return _explain_all([self._explainer(p) for p in node.parts])
        if isinstance(node, Or):
            return _explain_any([(self._beforehand(node, p), self._explainer(p)) for p in node.parts])
        if isinstance(node, Not):
            predicate = self._compile(node.part)
            return lambda event, element, _found: not predicate(event, element)
        if node.op == "fieldref":
            get, inner = self._getter(node.path, node.line)
            return _explain_pair(node, get, self._compile(node), inner=inner)
        get, test, inner = self._leaf(node)
        if node.op == "exists" and node.value and not inner:
            return _explain_list(node, get)
        return _explain_leaf(node, get, test, inner=inner)

    def _beforehand(self, node: Or, part: Node) -> Predicate | None:
        """Whether one of all the expressions on a field holds, asked once for all of them; None: nothing to ask."""
        if not _is_regex(part):
            return None
        beside = [p for p in node.parts if _is_regex(p) and p.path == part.path]
        if len(beside) < 2:
            return None
        return self._compile(self._together.setdefault((id(node), part.path), Or(tuple(beside))))


def positive_leaves(node: Node) -> list[Leaf]:
    """The leaves of a condition that stand under no `not`."""
    if isinstance(node, And | Or):
        return [leaf for p in node.parts for leaf in positive_leaves(p)]
    return [node] if isinstance(node, Leaf) else []


def _all(parts: list[Predicate]) -> Predicate:
    def holds(event: Any, element: Any) -> bool:
        for part in parts:  # noqa: SIM110 - three times as fast as all() over a generator
            if not part(event, element):
                return False
        return True

    return holds


def _any(parts: list[Predicate]) -> Predicate:
    def holds(event: Any, element: Any) -> bool:
        for part in parts:  # noqa: SIM110 - three times as fast as any() over a generator
            if part(event, element):
                return True
        return False

    return holds


def _explain_all(parts: list[Explainer]) -> Explainer:
    def explain(event: Any, element: Any, found: list[MatchedLeaf]) -> bool:
        mine: list[MatchedLeaf] = []
        for part in parts:
            if not part(event, element, mine):
                return False
        found += mine
        return True

    return explain


def _explain_any(parts: list[tuple[Predicate | None, Explainer]]) -> Explainer:
    """All of the parts are asked, but for those of which it is known beforehand that none holds."""

    def explain(event: Any, element: Any, found: list[MatchedLeaf]) -> bool:
        held, asked = False, {}
        for beforehand, part in parts:
            if beforehand is not None:
                if beforehand not in asked:
                    asked[beforehand] = beforehand(event, element)
                if not asked[beforehand]:
                    continue
            if part(event, element, found):
                held = True
        return held

    return explain


def _explain_leaf(leaf: Leaf, get: Getter, test: Test, *, inner: bool) -> Explainer:
    def explain(event: Any, element: Any, found: list[MatchedLeaf]) -> bool:
        values = get(element if inner else event)
        if not test(values):
            return False
        hit = values[0] if len(values) == 1 else next((v for v in values if test([v])), None)
        if hit is not None:
            found.append(MatchedLeaf(leaf, hit))
        return True

    return explain


def _explain_list(leaf: Leaf, get: Getter) -> Explainer:
    """Of a list that is asked for as a whole each value is told."""

    def explain(event: Any, _element: Any, found: list[MatchedLeaf]) -> bool:
        values = get(event)
        found += [MatchedLeaf(leaf, v) for v in values[:MAX_TOLD]]
        return bool(values)

    return explain


def _explain_pair(leaf: Leaf, get: Getter, holds: Predicate, *, inner: bool) -> Explainer:
    def explain(event: Any, element: Any, found: list[MatchedLeaf]) -> bool:
        if not holds(event, element):
            return False
        if (hit := next(iter(get(element if inner else event)), None)) is not None:
            found.append(MatchedLeaf(leaf, hit))
        return True

    return explain


def _is_regex(node: Node) -> TypeGuard[Leaf]:
    return isinstance(node, Leaf) and node.op == "regex"


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
            test_of(part)  # a bad one is named alone
            by_path.setdefault(part.path, []).append(part)
    single = {path: leaves for path, leaves in by_path.items() if len(leaves) > 1}
    rest = [p for p in flat if not (isinstance(p, Leaf) and p.op == "regex" and p.path in single)]
    return [*rest, *(_one_regex(leaves) for leaves in single.values())]


def _one_regex(leaves: list[Leaf]) -> Leaf:
    pattern = "|".join(f"(?:{leaf.value})" for leaf in leaves)
    return Leaf(leaves[0].path, "regex", pattern, line=leaves[0].line)


def leaves_of(node: Node) -> list[Leaf]:
    """Every leaf of a condition, those under a `not` too."""
    if isinstance(node, And | Or):
        return [leaf for p in node.parts for leaf in leaves_of(p)]
    return leaves_of(node.part) if isinstance(node, Not) else [node]


def paths_of(node: Node) -> list[str]:
    """Every field that a condition looks at, those under a `not` too."""
    pairs = ((leaf.path, leaf.value[0] if leaf.op == "fieldref" else "") for leaf in leaves_of(node))
    return [path for pair in pairs for path in pair if path]
