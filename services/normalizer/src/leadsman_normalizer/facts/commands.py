"""Commands as text that a rule can match, whatever quoting or wrapping hides them (DETECTIONS R2 b).

One reading after the other: the words joined, what `sh -c` would run, the same without quotes and backslashes, and
what a base64 pipe would decode to. An empty line stands between two readings and nowhere else, so that a rule never
takes the end of one and the beginning of the next together. The text is a client's own, so every step is bounded.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import zlib
from collections.abc import Iterable, Sequence

from leadsman_normalizer.redact import mask, mask_phrases, mask_words

MAX_TEXT = 16 * 1024
TOO_LONG = f"a command longer than {MAX_TEXT // 1024} KiB: read in part"
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh", "mksh", "busybox", "tcsh", "csh", "fish", "pwsh"})
_JOINED = re.compile(r"\\\r?\n[ \t]*")
_PIPED_ON = re.compile(r"(\||&&|;)[ \t]*\r?\n[ \t]*")
_BLANK = re.compile(r"\n\s*\n")
_QUOTES = re.compile(r"""\\(?=[^\n])|['"]""")
_IFS = re.compile(r"\$\{IFS[^}]{0,16}\}|\$IFS(?:\$[0-9@*])?")
_EMPTY = re.compile(r"\$[@*1-9]|\$\{[@*1-9]\}|\$\(\)|``")
_BRACES = re.compile(r"\{([^\s{}]{1,2000})\}")
_PREFIX = re.compile(r"(^|[|;&(]\s*|\s)(?:/?(?:[\w./-]*/)?(?:busybox|env)\s+(?:-\S+\s+|\w+=\S*\s+)*)(?=[A-Za-z./])")
_ESCAPED = re.compile(r"\\x([0-9A-Fa-f]{2})|\\0?([0-7]{3})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
_DECODER = re.compile(r"base64|b64decode|openssl|pwsh|powershell", re.IGNORECASE)
_HEX_DECODER = re.compile(r"\bxxd\b|unhexlify|fromhex|pack\(")
_REVERSER = re.compile(r"(?:^|[|;&(\s])rev\b")
MAX_BLOBS = 256  # of one line; decoys that are no text cost nothing, so that a few do not hide the one that is
MAX_LINES = 64
MAX_WORDS = 1000  # of one command, half of them from its end


def command_text(argv: list[str]) -> str:
    """Every reading of one command, an empty line between two, secrets masked; at most 16 KiB."""
    return join_texts([readings(argv)])


def is_too_long(argv: Iterable[str]) -> bool:
    """Whether a command has more text than is read."""
    return sum(len(word) + 1 for word in argv) > MAX_TEXT


def join_texts(commands: Iterable[Sequence[str]]) -> str:
    """The readings of several commands as one text of at most 16 KiB: an empty line between two readings.

    Where they are longer, readings that an earlier one contains go first, and then each command has its share: a
    long one cannot push the next out of sight.
    """
    seen: dict[str, None] = {}
    groups = []
    for command in commands:
        lines = [line for line in dict.fromkeys(command) if line and line not in seen]
        seen.update(dict.fromkeys(lines))
        if lines:
            groups.append(lines)
    text = _joined(groups)
    if len(text) <= MAX_TEXT:
        return text
    groups = [[line for n, line in enumerate(lines) if not any(line in e for e in lines[:n])] for lines in groups]
    share = MAX_TEXT // len(groups) - 2
    return _joined([[_shortened("\n\n".join(lines), share)] for lines in groups])[:MAX_TEXT]


def _joined(groups: Iterable[Iterable[str]]) -> str:
    return "\n\n".join(line for lines in groups for line in lines)


def _shortened(text: str, size: int) -> str:
    """A text's beginning and end where it is longer than `size`: padding goes in front as easily as behind."""
    if len(text) <= size:
        return text
    tail = size // 3
    return f"{text[: max(size - tail - 2, 0)]}\n\n{text[len(text) - tail :]}" if tail else text[:size]


def readings(argv: list[str]) -> list[str]:
    """The readings of one command, in order, masked."""
    kept = argv if len(argv) <= MAX_WORDS else [*argv[: MAX_WORDS // 2], *argv[-MAX_WORDS // 2 :]]
    words = [_shortened(word, MAX_TEXT) for word in kept]
    if not words:
        return []
    lines = [_one(" ".join(words))]
    script = unwrap(words)
    if script:
        lines.append(_one(script))
    lines.extend([unquoted(mask_phrases(line)) for line in lines])
    for depth_from in (0, len(lines)):
        lines += [text for line in lines[depth_from:] for text in _decoded(line)]
    bounded = [_shortened(line, MAX_TEXT) for line in dict.fromkeys(lines[:MAX_LINES])]
    masked = " ".join(mask_words(words))
    return [mask(_one(masked)), *(mask(line) for line in bounded[1:])]


def unwrap(words: list[str]) -> str:
    """What `sh -c X` runs, also behind env, busybox and the like; empty where no shell is told to."""
    for at, word in enumerate(words[:-1]):
        if word.startswith("-") and not word.startswith("--") and "c" in word and len(word) < 8:
            before = {posixpath.basename(w) for w in words[:at]}
            if before & _SHELLS:
                rest = [w for w in words[at + 1 :] if w not in ("--", "-")]  # sh -c -- X
                return rest[0] if rest else ""
    return ""


def unquoted(line: str) -> str:
    """The line as a shell would see its words: quotes, backslashes, braces, $IFS and empty expansions gone."""
    line = _ESCAPED.sub(_unescaped, line)
    line = _EMPTY.sub("", _IFS.sub(" ", line))
    line = _QUOTES.sub("", line)
    if "{" in line:
        line = _BRACES.sub(_unbraced, mask(line))  # masked first: a secret may hold a comma
    return _PREFIX.sub(r"\1", line)


def is_shell(word: str) -> bool:
    """Whether a program's name or path is a shell's."""
    return posixpath.basename(word) in _SHELLS


def _one(script: str) -> str:
    """A script with continued lines joined, so that a pipe is never cut by a line's end, and without empty lines."""
    return _BLANK.sub("\n", _PIPED_ON.sub(r"\1 ", _JOINED.sub(" ", script))).strip()


def _unescaped(found: re.Match[str]) -> str:
    r"""What \x63 and \143 stand for, in $'...', printf and echo -e; where it is text."""
    character = chr(int(found[1], 16) if found[1] else int(found[2], 8))
    return character if character.isprintable() or character in "\n\t" else found[0]


def _unbraced(found: re.Match[str]) -> str:
    """{cat,/etc/shadow} as its words."""
    return found[1].replace(",", " ") if "," in found[1] else found[0]


def _decoded(line: str) -> list[str]:
    """What base64, hex or a reversal in a line that undoes it says, where that is text."""
    found: list[str] = []
    if _DECODER.search(line):
        found += [_text(_from_base64(blob)) for blob in _BASE64.findall(line)[:MAX_BLOBS]]
    if _HEX_DECODER.search(line):
        found += [_text(bytes.fromhex(blob)) for blob in _HEX.findall(line)[:MAX_BLOBS]]
    if _REVERSER.search(line):
        found.append(mask(line)[::-1])  # a secret that is spelled backwards would not be known for one
    texts = [_one(text) for text in found if text]
    return [reading for text in texts for reading in (text, unquoted(text))]


def _from_base64(blob: str) -> bytes:
    try:
        return base64.b64decode(blob.replace("-", "+").replace("_", "/") + "=" * (-len(blob) % 4))
    except (binascii.Error, ValueError):
        return b""


def _text(data: bytes) -> str:
    """Bytes as text, gunzipped where they are gzip's; empty where they are no text."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = zlib.decompressobj(31).decompress(data, MAX_TEXT)
        except zlib.error:
            return ""
    try:
        text = data.decode("utf-16-le" if data[1:2] == b"\x00" else "utf-8")
    except UnicodeDecodeError:
        return ""
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else ""
