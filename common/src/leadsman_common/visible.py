"""Text that an attacker may have chosen, made visible: nothing in it ends a line, moves a cursor or turns the reading.

Pure; what channels, drawings and pages begin with before their own markup's escaping.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# controls, formats (bidi, zero width, tags), surrogates, private use, unassigned, line and paragraph separators
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# letters and marks that print as nothing: grapheme joiner, Hangul fillers, Khmer vowels, variation selectors, Braille
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")

VALUE_CHARS = 300


def clean(text: str, limit: int = VALUE_CHARS) -> str:
    r"""At most `limit` characters of `text` on one line; what cannot be seen is spelled out, such as \x1b or \u202e."""
    return joined((char if " " <= char <= "~" else _visible(char) for char in text), limit)


def joined(pieces: Iterable[str], limit: int) -> str:
    """The pieces in front that fit, none cut in two, and an ellipsis where some are left out."""
    out: list[str] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > limit:
            while size > limit - 1:
                size -= len(out.pop())
            return "".join(out) + "…"
        out.append(piece)
        size += len(piece)
    return "".join(out)


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in _HIDDEN_CATEGORIES or _BLANK.match(char):
        return char.encode("unicode_escape").decode()
    return " " if category == "Zs" else char


def cells(text: str) -> int:
    """How many columns of a fixed-width font a text takes."""
    return sum(_wide(char) for char in text)


def clipped(text: str, width: int) -> str:
    """`clean` text of at most `width` columns: East Asian letters take two, marks on a letter none, and only one stays.

    Marks that pile up on one letter would leave their line.
    """
    out: list[str] = []
    taken, marked = 0, False
    for char in clean(text, max(1, 4 * width)):
        mark = bool(unicodedata.combining(char)) or unicodedata.category(char) in ("Mn", "Me")
        if mark and marked:
            continue
        marked = mark
        taken += _wide(char)
        out.append(char)
    if taken <= width:
        return "".join(out)
    while out and taken > width - 1:
        taken -= _wide(out.pop())
    return "".join(out) + "…" if width > 0 else ""


def _wide(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
