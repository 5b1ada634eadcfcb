"""Sigma's conditions, `a and not 1 of b_*`, read at once: pySigma's own parser takes a fifth of the time to load rules.

Only what is well-formed is read here. For everything else there is None, and pySigma says what is wrong with it
(sigma_nodes.py); a test holds the two to the same meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from leadsman_detector.form import And, Node, Not, Or

Named: TypeAlias = Callable[[str], Node]  # the node of a detection; raises KeyError
Chosen: TypeAlias = Callable[[str], list[str]]  # the detections that a pattern names

MAX_DEPTH = 60
_TOKEN = re.compile(r"\s*([()]|[A-Za-z0-9_*-]+)\s*")
_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_PATTERN = re.compile(r"[A-Za-z0-9_*]+\Z")
_QUANTIFIERS: dict[str, type[And | Or]] = {"1": Or, "any": Or, "all": And}
_WORDS = frozenset({"and", "or", "not", "(", ")"})


class _NotPlain(ValueError):
    """Something that pySigma is asked about."""


def read_condition(text: str, named: Named, chosen: Chosen) -> Node | None:
    """The node of a condition; None where it is not well-formed, or names what is not there."""
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return None
        tokens.append(found[1])
        at = found.end()
    reader = _Reader(tokens, named, chosen)
    try:
        node = reader.either(0)
    except (_NotPlain, KeyError):
        return None
    return node if reader.at == len(tokens) else None


class _Reader:
    """Reads tokens from the left; `or` binds least, then `and`, then `not`."""

    def __init__(self, tokens: Sequence[str], named: Named, chosen: Chosen) -> None:
        self.at = 0
        self._tokens, self._named, self._chosen = tokens, named, chosen

    def either(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _NotPlain
        return self._several("or", lambda: self._both(depth), Or)

    def _both(self, depth: int) -> Node:
        return self._several("and", lambda: self._one(depth), And)

    def _several(self, word: str, read: Callable[[], Node], kind: type[And | Or]) -> Node:
        parts = [read()]
        while self._peek() == word:
            self.at += 1
            parts.append(read())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _one(self, depth: int) -> Node:
        word = self._next()
        if word == "not":
            if depth > MAX_DEPTH:
                raise _NotPlain
            return Not(self._one(depth + 1))
        if word == "(":
            node = self.either(depth + 1)
            if self._next() != ")":
                raise _NotPlain
            return node
        if word in _QUANTIFIERS and self._peek() == "of":
            self.at += 1
            return self._of(word, self._next())
        if word in _WORDS or not _NAME.match(word):
            raise _NotPlain
        return self._named(word)

    def _of(self, quantifier: str, pattern: str) -> Node:
        names = self._chosen(pattern) if _PATTERN.match(pattern) else []
        if not names:
            raise _NotPlain
        nodes = tuple(self._named(name) for name in names)
        return nodes[0] if len(nodes) == 1 else _QUANTIFIERS[quantifier](nodes)

    def _peek(self) -> str:
        return self._tokens[self.at] if self.at < len(self._tokens) else ""

    def _next(self) -> str:
        self.at += 1
        if self.at > len(self._tokens):
            raise _NotPlain
        return self._tokens[self.at - 1]
