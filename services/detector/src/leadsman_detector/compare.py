"""What one leaf of a condition asks of the values of its field, as a function.

Text is compared in any letter case unless the leaf is `cased`; regular expressions keep their case. Everything here
takes time linear in the text, which is the attacker's (DETECTIONS 1.10).
"""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

import re2

from leadsman_detector.form import Leaf

Test = Callable[[list[Any]], bool]  # the values of a field -> whether one of them meets the leaf
Pair = Callable[[list[Any], list[Any]], bool]  # the values of two fields
MAX_TEXT = 16 * 1024  # what a regular expression is run over
Part = str | int | None

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "equals": operator.eq,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": operator.contains,
}


class BadPattern(ValueError):
    """A regular expression that cannot run in linear time, or a network that is none. `line` is where it stands."""

    line: int = 0


def text_of(value: Any) -> str | None:
    """A value as text, as JSON spells it; None for what is no single value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def test_of(leaf: Leaf) -> Test:
    """The test of any leaf that looks at one field. Raises BadPattern."""
    value = leaf.value
    if leaf.op == "null":
        return lambda values: not values
    if leaf.op == "exists":
        return lambda values: bool(values) is value
    if leaf.op == "equals":
        return _equals(value, leaf.cased)
    if leaf.op == "pattern":
        return _pattern(value, leaf.cased)
    if leaf.op == "regex":
        return _regex(value, cased=True)
    if leaf.op == "cidr":
        return _cidr(value)
    if leaf.op == "compare":
        name, number = value
        compare = _COMPARE[name]
        return lambda values: any(is_number(v) and compare(v, number) for v in values)
    raise BadPattern(f"no test for {leaf.op}")


def pair_of(leaf: Leaf) -> Pair:
    """The test of a `fieldref` over the values of its two fields: any of the one with any of the other."""
    compare = _TEXTS[leaf.value[1]]

    def meets(ours: list[Any], theirs: list[Any]) -> bool:
        texts = [t.lower() for v in theirs if (t := text_of(v)) is not None]
        return any(compare(t.lower(), other) for v in ours if (t := text_of(v)) is not None for other in texts)

    return meets


def is_number(value: Any) -> bool:
    """Whether it is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equals(value: Any, cased: bool) -> Test:
    if value == "":
        return lambda values: not values
    if isinstance(value, bool):
        # absent is false: the schema's plain fields cannot tell them apart
        return lambda values: any(v is value for v in values) if value else not any(v is True for v in values)
    if isinstance(value, int | float):
        text = str(value)
        return lambda values: any(v == value if is_number(v) else v == text for v in values)
    if cased:
        return lambda values: value in values
    folded = value.lower()

    def same(values: list[Any]) -> bool:
        for v in values:  # noqa: SIM110 - twice as fast as any() over a generator
            if v == value or ((text := text_of(v)) is not None and text.lower() == folded):
                return True
        return False

    return same


def _pattern(parts: tuple[Part, ...], cased: bool) -> Test:
    """A Sigma string with wildcards; the plain forms (contains, startswith, endswith) without a regular expression."""
    inner = parts[parts[0] is None : len(parts) - (parts[-1] is None)]
    if len(inner) != 1 or not isinstance(inner[0], str):
        return _regex(_pattern_regex(parts), cased=cased, limit=None)
    wanted = inner[0] if cased else inner[0].lower()
    compare = _TEXTS["startswith" if parts[0] is not None else "endswith" if parts[-1] is not None else "contains"]

    def found(values: list[Any]) -> bool:
        for v in values:
            text = text_of(v)
            if text is not None and compare(text if cased else text.lower(), wanted):
                return True
        return False

    return found


def _pattern_regex(parts: tuple[Part, ...]) -> str:
    """A Sigma string with wildcards as a regular expression over the whole value."""
    out = "".join(".*" if p is None else "." if isinstance(p, int) else re2.escape(p) for p in parts)
    return f"^(?:{out})$"


def _regex(pattern: str, *, cased: bool, limit: int | None = MAX_TEXT) -> Test:
    compiled = compile_regex(pattern, cased)

    def search(values: list[Any]) -> bool:
        for v in values:
            text = text_of(v)
            if text is not None and compiled.search(text[:limit]) is not None:
                return True
        return False

    return search


@cache
def compile_regex(pattern: str, cased: bool) -> Any:
    """A compiled RE2 expression. Raises BadPattern."""
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


@lru_cache(maxsize=65536)
def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a text is, or None; an IPv4 address that is written as an IPv6 one is the former."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network that a text is. Raises BadPattern."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise BadPattern(f"not a network: {text}") from error


def _cidr(value: str) -> Test:
    network = network_of(value)

    def inside(values: list[Any]) -> bool:
        return any(isinstance(v, str) and (a := address_of(v)) is not None and a in network for v in values)

    return inside
