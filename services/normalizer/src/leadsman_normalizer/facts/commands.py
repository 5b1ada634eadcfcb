"""Commands as text that a rule can match, whatever quoting or wrapping hides them (DETECTIONS R2 b).

One line for each reading: the words joined, what `sh -c` would run, the same without quotes and backslashes, and
what a base64 pipe would decode to. The text is a client's own, so every step is bounded.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterable

from leadsman_normalizer.redact import mask, mask_phrases, mask_words

MAX_TEXT = 16 * 1024
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh", "mksh", "busybox", "tcsh", "csh", "fish", "pwsh"})
_JOINED = re.compile(r"\\\r?\n[ \t]*")
_PIPED_ON = re.compile(r"(\||&&|;)[ \t]*\r?\n[ \t]*")
_QUOTES = re.compile(r"""\\(?=[^\n])|['"]""")
_IFS = re.compile(r"\$\{IFS[^}]{0,16}\}|\$IFS(?:\$[0-9@*])?")
_EMPTY = re.compile(r"\$[@*]|\$\{[@*]\}|\$\(\)|``")
_PREFIX = re.compile(r"(^|[|;&(]\s*|\s)(?:/?(?:[\w./-]*/)?(?:busybox|env)\s+(?:-\S+\s+|\w+=\S*\s+)*)(?=[A-Za-z./])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_DECODER = re.compile(
    r"base64\b|b64decode|-d\b.*\bopenssl|openssl\s+(?:enc|base64)|FromBase64String|frombase64", re.IGNORECASE
)
MAX_BLOBS = 8


def command_text(argv: list[str]) -> str:
    """Every reading of one command, a line each, secrets masked; at most 16 KiB."""
    return join_texts(readings(argv))


def join_texts(lines: Iterable[str]) -> str:
    """The distinct lines as one text of at most 16 KiB."""
    seen = dict.fromkeys(line for line in lines if line)
    return "\n".join(seen)[:MAX_TEXT]


def readings(argv: list[str]) -> list[str]:
    """The readings of one command, in order, masked."""
    words = [word[:MAX_TEXT] for word in argv[:1000]]
    if not words:
        return []
    lines = [_one(" ".join(words))]
    script = unwrap(words)
    if script:
        lines.append(_one(script))
    lines.extend([unquoted(mask_phrases(line)) for line in lines])
    for depth_from in (0, len(lines)):
        lines += [text for line in lines[depth_from:] for text in _decoded(line)]
    bounded = [line[:MAX_TEXT] for line in lines[:64]]
    masked = " ".join(mask_words(words))
    return [mask(_one(masked)), *(mask(line) for line in dict.fromkeys(bounded[1:]))]


def unwrap(words: list[str]) -> str:
    """What `sh -c X` runs, also behind env, busybox and the like; empty where no shell is told to."""
    for at, word in enumerate(words[:-1]):
        if word.startswith("-") and not word.startswith("--") and "c" in word and len(word) < 8:
            before = {posixpath.basename(w) for w in words[:at]}
            if before & _SHELLS:
                return words[at + 1]
    return ""


def unquoted(line: str) -> str:
    """The line as a shell would see its words: quotes, backslashes, $IFS and empty expansions gone."""
    line = _EMPTY.sub("", _IFS.sub(" ", line))
    line = _QUOTES.sub("", line)
    return _PREFIX.sub(r"\1", line)


def is_shell(word: str) -> bool:
    """Whether a program's name or path is a shell's."""
    return posixpath.basename(word) in _SHELLS


def _one(script: str) -> str:
    """A script with continued lines joined, so that a pipe is never cut by a line's end."""
    return _PIPED_ON.sub(r"\1 ", _JOINED.sub(" ", script)).strip()


def _decoded(line: str) -> list[str]:
    """What base64 in a line that decodes base64 says, where that is text."""
    if not _DECODER.search(line):
        return []
    found = []
    for blob in _BASE64.findall(line)[:MAX_BLOBS]:
        try:
            data = base64.b64decode(blob.replace("-", "+").replace("_", "/") + "=" * (-len(blob) % 4))
            text = data.decode()
        except (binascii.Error, ValueError):
            continue
        if text.isprintable() or all(c.isprintable() or c in "\r\n\t" for c in text):
            found += [_one(text), unquoted(_one(text))]
    return found
