"""The literals that a text must hold for a pattern or a regular expression to match it.

Only ASCII counts, folded to lower case: Unicode's case rules are not the same in Python and in RE2, and a literal that
is asked for too strictly would hide a match. A text is folded the same way and stands between two marks, so that a
literal may be tied to its beginning or its end.
"""

from __future__ import annotations

import re
from itertools import product

# the standard library's own parser: an expression that it reads otherwise than RE2 is left without literals
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from leadsman_detector.compare import Part

START, END = "\x02", "\x03"
MIN_LENGTH = 2
_MAX_SPELLINGS = 16  # of one run of letters with choices in it, as [xy]
_NOT_AS_RE2 = ("[:", "\\Q", "\\C", "\\p", "\\P", "\\z")
Literals = tuple[str, ...]


def fold(text: str) -> str:
    """A text as the literals see it."""
    folded = text.lower()
    if not text.isascii():
        folded = folded.replace("\u017f", "s")  # the long s, which RE2 takes for an s
    return f"{START}{folded}{END}"


def plain(literals: Literals) -> Literals:
    """The same without the letters that JSON escapes, to be looked for in an event as one text."""
    return _best([tuple(max(re.findall(r'[^\x00-\x1f"\\\x7f]*', text), key=len) for text in literals)]) or ()


def of_pattern(parts: tuple[Part, ...]) -> Literals:
    """The longest literal of a Sigma string with wildcards, or none."""
    runs: list[str] = []
    for n, part in enumerate(parts):
        if isinstance(part, str):
            start = START if n == 0 else ""
            end = END if n == len(parts) - 1 else ""
            runs += _ascii_runs(start + part.lower() + end)
    return _best([(run,) for run in runs]) or ()


def of_regex(pattern: str) -> Literals:
    """Literals of which every match holds at least one; none where nothing can be said."""
    if any(mark in pattern for mark in _NOT_AS_RE2):
        return ()
    try:
        parsed = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return ()
    return _best(_of_sequence(parsed)) or ()


def _of_sequence(sequence: Any) -> list[Literals]:
    """Sets of literals, of each of which one must occur."""
    found: list[Literals] = []
    run: list[str] = [""]
    for op, value in sequence:
        choices = _choices(op, value)
        if choices and len(run) * len(choices) <= _MAX_SPELLINGS:
            run = [a + b for a, b in product(run, choices)]
            continue
        found.append(tuple(run))
        run = choices or [""]
        if not choices:
            found += _of_part(op, value)
    return [*found, tuple(run)]


def _choices(op: Any, value: Any) -> list[str]:
    """The few letters that may stand here, folded; none where it is no letter."""
    if op is ops.LITERAL:
        letters = [value]
    elif op is ops.IN and all(kind is ops.LITERAL for kind, _ in value):
        letters = [letter for _, letter in value]
    else:
        return []
    texts = {chr(letter).lower() for letter in letters}
    return sorted(texts) if all(len(t) == 1 and t.isascii() for t in texts) else []


def _of_part(op: Any, value: Any) -> list[Literals]:
    if op is ops.SUBPATTERN:
        return _of_sequence(value[3])
    if op is ops.BRANCH:
        sets = [_best(_of_sequence(branch)) for branch in value[1]]
        return [tuple(text for one in sets for text in one or ())] if all(sets) else []
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[0] >= 1:
        return _of_sequence(value[2])
    return []


def _best(sets: list[Literals]) -> Literals | None:
    """The set whose shortest literal is the longest; None where all are too short to tell anything."""
    useful = [one for one in sets if one and min(map(len, one)) >= MIN_LENGTH]
    return max(useful, key=lambda one: (min(map(len, one)), -len(one)), default=None)


def _ascii_runs(text: str) -> list[str]:
    return re.findall(r"[\x00-\x7f]+", text)
