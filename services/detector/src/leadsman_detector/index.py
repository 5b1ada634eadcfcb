"""Which of many conditions an event could meet, without trying them one by one (DESIGN 6).

From each condition one set of leaves is taken of which at least one must hold: its anchors. Every kind of anchor has an
access path, so that the cost of a look-up hangs on the fields that are looked at and not on the number of conditions:

    exact value                     a dict
    contains, keyword, regex        an Aho-Corasick automaton over literals that every match must hold
    startswith, endswith            the same, with marks at both ends of the text
    network                         a dict for each length of prefix
    number compared                 a sorted list of thresholds
    absent, present                 one test, shared by all conditions that ask for it
    another field                   the same

What was found for a text is remembered, since user agents, names and addresses come again and again. Of several sets
that could be the anchors, the one that is asked for by the fewest other conditions is taken. Only what has no anchor
(a bare `not`) is always a candidate. A candidate is decided by its own closures afterwards.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import ahocorasick

from leadsman_detector import literals
from leadsman_detector.compare import (
    MAX_TEXT,
    BadPattern,
    Test,
    address_of,
    compile_regex,
    is_number,
    network_of,
    test_of,
    text_of,
)
from leadsman_detector.compile import Condition, paths_of, positive_leaves
from leadsman_detector.fields import is_within
from leadsman_detector.form import ANYWHERE, And, Leaf, Node, Not, Or

T = TypeVar("T")
Values = Callable[[Any], list[Any] | None]  # the values of a field in an event; None where they are not known
MAX_REMEMBERED = 8192  # texts a field
MAX_TOGETHER = 512  # the same of several indexes, of which there are many
MAX_REMEMBERED_LENGTH = 256
_REGEXES_TOGETHER = 64
# how much an access path lets through, guessed: an exact value is often a category (a registry, a namespace, true)
_RANKS = {"literal": 0, "exact": 0.5, "network": 1, "short": 3, "number": 5, "regex": 6, "shared": 7, "whole": 8}
_SHORT = 4  # letters
_SETTLED = 100


class Index(Generic[T]):
    """Conditions (each with its `each`) and what belongs to them; `values` makes the getter of a field.

    Fields that are `settled` before a look-up tell nothing new: they are anchors only where there is no other.
    """

    def __init__(
        self,
        entries: Iterable[tuple[Node, str, T]],
        values: Callable[[str], Values],
        settled: Container[str] = (),
    ) -> None:
        self.items: list[T] = []
        self.always: list[int] = []
        fields: dict[str, Field] = {}
        wholes: dict[Leaf, list[int]] = defaultdict(list)
        kept = list(entries)
        asked = Counter(_key(leaf) for node, _, _ in kept for leaf in set(positive_leaves(node)))
        for number, (node, each, item) in enumerate(kept):
            self.items.append(item)
            anchors = _anchors(node, each, asked, settled)
            if anchors is None:
                self.always.append(number)
                continue
            for leaf in anchors[1]:
                if _kind(leaf) == "whole":
                    wholes[replace(leaf, clause="")].append(number)
                else:
                    fields.setdefault(leaf.path, Field()).add(leaf, number)
        self.paths = tuple(fields)
        self.fields = [(values(path), field.remembered, field.closed()) for path, field in fields.items()]
        self.wholes = [(Condition(leaf), tuple(numbers)) for leaf, numbers in wholes.items()]

    def find(self, event: Any) -> list[T]:
        """What belongs to the conditions that the event could meet, in the order they were given."""
        return _candidates(event, self.items, self.always, self.fields, self.wholes)

    def sieve(self, known: Values, told: Callable[[str], bool]) -> list[tuple[Values, Field]] | None:
        """The fields that are left to look at where some are `known` and some will be told; None: it takes an event."""
        if self.always or self.wholes:
            return None
        left: list[tuple[Values, Field]] = []
        for path, (get, _, field) in zip(self.paths, self.fields, strict=True):
            values = known(path)
            if values is None:
                if not told(path):
                    return None
                left.append((get, field))
            elif field.met(values):
                return None
        return left


class Together(Generic[T]):
    """Several indexes asked at once: each field of an event is fetched once, and what was found for a text is kept."""

    def __init__(self, indexes: Sequence[Index[T]]) -> None:
        self._items: list[T] = []
        self._always: list[int] = []
        self._wholes: list[tuple[Condition, tuple[int, ...]]] = []
        fields: dict[str, Beside] = {}
        for index in indexes:
            start = len(self._items)
            self._items += index.items
            self._always += [start + number for number in index.always]
            self._wholes += [(condition, _moved(numbers, start)) for condition, numbers in index.wholes]
            for path, (get, _, field) in zip(index.paths, index.fields, strict=True):
                fields.setdefault(path, Beside(get)).add(start, field)
        self._fields = [(beside.get, beside.remembered, beside) for beside in fields.values()]

    def find(self, event: Any) -> list[T]:
        """What the indexes find, one after the other."""
        return _candidates(event, self._items, self._always, self._fields, self._wholes)


class Beside:
    """One field of several indexes, each with the number that its first condition has among all of them."""

    def __init__(self, get: Values) -> None:
        self.get = get
        self.numbers: list[int] = []
        self.remembered: dict[str, tuple[int, ...]] = {}  # as Field has it
        self.shared: list[tuple[Test, list[int]]] = []
        self._shared: dict[tuple[Any, ...], list[int]] = {}
        self._fields: list[tuple[int, Field]] = []

    def add(self, start: int, field: Field) -> None:
        """Add the field of one index."""
        self.numbers += _moved(field.numbers, start)
        self._fields.append((start, field))
        for key, test, numbers in field.asked():
            if key not in self._shared:
                self._shared[key] = []
                self.shared.append((test, self._shared[key]))
            self._shared[key] += _moved(numbers, start)

    def look_up(self, value: Any) -> Sequence[int]:
        """The conditions that a value may meet."""
        found = tuple(number for start, field in self._fields for number in _moved(field.look_up(value), start))
        if isinstance(value, str) and len(value) <= MAX_REMEMBERED_LENGTH:
            if len(self.remembered) >= MAX_TOGETHER:
                self.remembered.clear()
            self.remembered[value] = found
        return found


class Field:
    """The access paths of one field. Values are remembered as texts: a number is not taken for a truth value."""

    def __init__(self) -> None:
        self.numbers: list[int] = []  # of all conditions that are anchored here
        self.remembered: dict[str, tuple[int, ...]] = {}
        self.shared: list[tuple[Test, list[int]]] = []
        self._shared: dict[tuple[Any, ...], list[int]] = {}
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._literals: dict[str, list[int]] = defaultdict(list)
        self._networks: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._above: list[tuple[float, int]] = []
        self._below: list[tuple[float, int]] = []
        self._regexes: list[tuple[Leaf, int]] = []
        self._together: list[tuple[Any, tuple[int, ...]]] = []
        self._automaton: Any = None

    def add(self, leaf: Leaf, number: int) -> None:
        """Tie a condition to a leaf that must hold for it."""
        self.numbers.append(number)
        kind = _kind(leaf)
        if kind == "exact":
            for text in _exact_texts(leaf.value):
                self._exact[text].append(number)
        elif kind == "literal":
            for text in _literals(leaf):
                self._literals[text].append(number)
        elif kind == "network":
            network = network_of(leaf.value)
            shift = network.max_prefixlen - network.prefixlen
            self._networks[network.version, shift][int(network.network_address) >> shift].append(number)
        elif kind == "number":
            above = leaf.value[0] in ("gt", "gte")
            (self._above if above else self._below).append((leaf.value[1], number))
        elif kind == "regex":
            self._regexes.append((leaf, number))
        else:
            key = (leaf.op, type(leaf.value), leaf.value)
            if key not in self._shared:
                self._shared[key] = []
                self.shared.append((test_of(leaf), self._shared[key]))
            self._shared[key].append(number)

    def closed(self) -> Field:
        """The field when everything was added."""
        if self._literals:
            self._automaton = ahocorasick.Automaton()
            for text, numbers in self._literals.items():
                self._automaton.add_word(text, tuple(numbers))
            self._automaton.make_automaton()
        for start in range(0, len(self._regexes), _REGEXES_TOGETHER):
            some = self._regexes[start : start + _REGEXES_TOGETHER]
            self._together += _joined(some)
        self._above.sort()
        self._below.sort()
        self.numbers = sorted(set(self.numbers))
        return self

    def asked(self) -> Iterator[tuple[tuple[Any, ...], Test, list[int]]]:
        """The tests that conditions share: what they ask, the test, and whose it is."""
        return ((key, test, numbers) for key, (test, numbers) in zip(self._shared, self.shared, strict=True))

    def met(self, values: list[Any]) -> bool:
        """Whether there is a condition that these values may meet."""
        return any(map(self.look_up, values)) or any(test(values) for test, _ in self.shared)

    def look_up(self, value: Any) -> Sequence[int]:
        """The conditions that a value may meet."""
        if is_number(value) and (self._above or self._below):
            return (*self._of_number(value), *self._of_text(value))
        found = tuple(self._of_text(value))
        if isinstance(value, str) and len(value) <= MAX_REMEMBERED_LENGTH:
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.clear()
            self.remembered[value] = found
        return found

    def _of_number(self, value: float) -> list[int]:
        above, below = self._above, self._below
        found = [number for _, number in above[: bisect_right(above, value, key=_threshold)]]
        return found + [number for _, number in below[bisect_left(below, value, key=_threshold) :]]

    def _of_text(self, value: Any) -> list[int]:
        text = text_of(value)
        if text is None:
            return []
        found = list(self._exact.get(text.lower(), ()))
        if isinstance(value, float) and value.is_integer():
            found += self._exact.get(str(int(value)), ())
        if self._automaton is not None:
            for _, numbers in self._automaton.iter(literals.fold(text)):
                found += numbers
        if self._networks and (address := address_of(text)) is not None:
            whole = int(address)
            for (version, shift), networks in self._networks.items():
                if version == address.version:
                    found += networks.get(whole >> shift, ())
        for compiled, numbers in self._together:
            if compiled.search(text[:MAX_TEXT]) is not None:
                found += numbers
        return found


def _candidates(
    event: Any,
    items: Sequence[T],
    always: Sequence[int],
    asked: Sequence[tuple[Values, Mapping[str, Sequence[int]], Field | Beside]],
    wholes: Sequence[tuple[Condition, tuple[int, ...]]],
) -> list[T]:
    """The items whose conditions the event could meet, by number. `asked`: getters, what is remembered, and whose."""
    found = list(always)
    for get, remembered, field in asked:
        values = get(event)
        if values is None:
            found += field.numbers
            continue
        for value in values:
            try:
                found += remembered[value]
            except (KeyError, TypeError):
                found += field.look_up(value)
        for test, tested in field.shared:
            if test(values):
                found += tested
    for condition, numbers in wholes:
        if condition.holds(event):
            found += numbers
    if not found:
        return []
    return [items[number] for number in sorted(set(found))]


def _anchors(
    node: Node, each: str, asked: Counter[Any], settled: Container[str]
) -> tuple[float, tuple[Leaf, ...]] | None:
    """Leaves of which one must hold for the condition to hold, with how much they let through; None: there are none."""
    if isinstance(node, Not):
        return None
    if isinstance(node, And):
        some = [found for part in node.parts if (found := _anchors(part, each, asked, settled)) is not None]
        return min(some, key=lambda found: found[0], default=None)
    if isinstance(node, Or):
        parts = [_anchors(part, each, asked, settled) for part in node.parts]
        if not parts or any(found is None for found in parts):
            return None
        every = [found for found in parts if found is not None]
        return max(weight for weight, _ in every), tuple(leaf for _, leaves in every for leaf in leaves)
    if any(path.startswith("known.") for path in paths_of(node)):  # an event is judged before that is asked for
        return None
    kind = _kind(node)
    if kind == "shared" and is_within(node.path, each) and test_of(node)([]):
        return None  # absent from one element of `each` is not absent from the event
    short = node.value is True or (kind == "literal" and min(map(len, _literals(node))) < _SHORT)
    rank = _SETTLED if node.path in settled else _RANKS["short" if short else kind]
    return rank + math.log2(asked[_key(node)]), (node,)


def _kind(leaf: Leaf) -> str:
    """The access path of a leaf."""
    if leaf.op == "fieldref" or (leaf.path == ANYWHERE and not _literals(leaf)):
        return "whole"
    if leaf.op == "equals":
        return "shared" if leaf.value == "" or leaf.value is False else "exact"
    if leaf.op in ("pattern", "regex"):
        return "literal" if _literals(leaf) else "regex" if leaf.op == "regex" else "shared"
    return {"cidr": "network", "compare": "number"}.get(leaf.op, "shared")


def _literals(leaf: Leaf) -> literals.Literals:
    if leaf.op not in ("pattern", "regex"):
        return ()
    found = literals.of_pattern(leaf.value) if leaf.op == "pattern" else literals.of_regex(leaf.value)
    return literals.plain(found) if leaf.path == ANYWHERE else found


def _regex_of(leaf: Leaf) -> str:
    return str(leaf.value)


def _exact_texts(value: Any) -> set[str]:
    """The texts under which an event may hold a value, in lower case."""
    text = text_of(value) or ""
    if isinstance(value, float) and value.is_integer():
        return {text.lower(), str(int(value))}
    return {text.lower()}


def _moved(numbers: Iterable[int], start: int) -> tuple[int, ...]:
    return tuple(start + number for number in numbers)


def _key(leaf: Leaf) -> tuple[Any, ...]:
    return leaf.path, leaf.op, type(leaf.value), leaf.value


def _threshold(entry: tuple[float, int]) -> float:
    return entry[0]


def _joined(some: Sequence[tuple[Leaf, int]]) -> list[tuple[Any, tuple[int, ...]]]:
    """Expressions as one; in halves where one would be too large for the engine, as each by itself is not."""
    pattern = "|".join(f"(?:{p})" for p in dict.fromkeys(_regex_of(leaf) for leaf, _ in some))
    try:
        return [(compile_regex(pattern, cased=True), tuple(number for _, number in some))]
    except BadPattern:
        if len(some) == 1:
            raise
        half = len(some) // 2
        return [*_joined(some[:half]), *_joined(some[half:])]
