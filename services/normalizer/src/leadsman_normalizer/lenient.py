"""JSON into typed Structs: fast where the record is as documented, tolerant where it is not.

First step of every source. A wrong type becomes the field's default and a reason; only what is no JSON object at
all is an error. What a client can do to a record by a patch body (invalid UTF-8, lone surrogates, nesting, numbers
past any type: the API server logs a patch as sent) must not cost us the record.
"""

from __future__ import annotations

import json
import re
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from leadsman_common.errors import InvalidEvent

T = TypeVar("T", bound=msgspec.Struct)
NO_BODY = msgspec.Raw(b"")
MAX_DEPTH = 100
MAX_REASONS = 20
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_CLOSED = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)  # up to a string that is not closed
# a string (or its unclosed rest: without that branch every quote in it would be tried as a beginning), or a run of
# brackets that open, or that close: a record may be nothing else
STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|(?P<open>\\?\Z))|[\[{]++|[\]}]++', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_RUNS = re.compile(rb"[\[{]++|[\]}]++")
_PAIRS = 8  # how often pairs of brackets with nothing in between are taken away


class Truncated(Exception):
    """The JSON ends before it is complete; `message` is the decoder's own."""


def decode(cls: type[T], data: bytes, reasons: list[str]) -> T:
    """`data`, a JSON object, as `cls`; what does not fit is noted in `reasons`.

    Raises Truncated where the text ends early and InvalidEvent where it is no JSON object.
    """
    try:
        found: T = decoder(cls).decode(data)
        return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    tree = load(data, reasons)
    if not isinstance(tree, dict):
        raise InvalidEvent(f"not a JSON object but {_name(tree)}")
    return build(cls, tree, reasons)


def decode_whole(cls: type[T], data: bytes, reasons: list[str], what: str) -> T:
    """As `decode`, for a record of which a beginning is of no use: InvalidEvent where it is cut, too."""
    try:
        return decode(cls, data, reasons)
    except Truncated as error:
        raise InvalidEvent(f"truncated {what}: {error}") from error


def load_whole(data: bytes, reasons: list[str], what: str) -> Any:
    """As `load`, likewise."""
    try:
        return load(data, reasons)
    except Truncated as error:
        raise InvalidEvent(f"truncated {what}: {error}") from error


@cache
def decoder(cls: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a Struct, built once."""
    return msgspec.json.Decoder(cls)


def load(data: bytes, reasons: list[str]) -> Any:
    """Any JSON text as plain Python values that can be encoded again.

    Raises Truncated or InvalidEvent.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    data = prune(data.removeprefix(b"\xef\xbb\xbf"), reasons)  # a file saved with a byte order mark
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        note(reasons, "invalid UTF-8 replaced")
    try:
        return _plain(json.loads(text, parse_int=_int, parse_constant=_no_constant), reasons)
    except json.JSONDecodeError as error:
        if ends_early(data):
            raise Truncated(str(error)) from error
        raise InvalidEvent(f"malformed JSON: {error.msg} at {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"malformed JSON: {error}") from error


def build(cls: type[T], tree: dict[Any, Any], reasons: list[str], where: str = "") -> T:
    """`tree` as `cls`, field by field; a wrong type is the default and a reason."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        value = tree.get(field.encode_name)
        if value is None:
            continue
        path = f"{where}{field.encode_name}"
        try:
            values[field.name] = _field(field.type, value, reasons, path)
        except (msgspec.ValidationError, ValueError, TypeError, RecursionError):
            note(reasons, f"{path}: {_name(value)} where another type is due")
    return cls(**values)


def note(reasons: list[str], reason: str) -> None:
    """Add a coverage reason once; their number is bounded, since a client can provoke them."""
    if len(reasons) < MAX_REASONS and reason not in reasons:
        reasons.append(reason[:200])


def prune(data: bytes, reasons: list[str], max_depth: int = MAX_DEPTH) -> bytes:
    """`data` with everything nested deeper than `max_depth` replaced by null; found without recursion."""
    if not _may_be_deeper(data, max_depth):
        return data
    out: list[bytes] = []
    depth = kept = 0
    for token in STRUCTURE.finditer(data):
        run = token.group()
        if run[0] in b"[{":
            if depth <= max_depth < depth + len(run):
                out += (data[kept : token.start() + max_depth - depth], b"null")
            depth += len(run)
        elif run[0] in b"]}":
            if depth - len(run) <= max_depth < depth:
                kept = token.start() + depth - max_depth
            depth -= len(run)
    if not out:
        return data
    note(reasons, f"nested deeper than {max_depth}: cut")
    return b"".join((*out, data[kept:] if depth <= max_depth else b""))


def _field(kind: Any, value: Any, reasons: list[str], path: str) -> Any:
    """`value` as `kind`, with what does not fit left out; raises ValidationError where nothing does."""
    kinds = [k for k in (get_args(kind) if isinstance(kind, UnionType) else (kind,)) if k is not type(None)]
    kind = kinds[0]
    origin = get_origin(kind)
    if kind is msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(value))
    if origin is None and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return build(kind, value, reasons, f"{path}.")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        if kind is str and isinstance(value, int | float):
            note(reasons, f"{path}: a number where text is due")
            return str(value)
        if origin is list and isinstance(value, list):
            note(reasons, f"{path}: some items have a wrong type")
            return _items(get_args(kind)[0], value, reasons, path)
        if origin is dict and isinstance(value, dict):
            note(reasons, f"{path}: some values have a wrong type")
            return _entries(get_args(kind)[1], value)
        if kind in (int, bool) and isinstance(value, str):
            note(reasons, f"{path}: text where {kind.__name__} is due")
            return msgspec.convert(value, kind, strict=False)  # "200" for 200
        raise


def _items(item: Any, values: list[Any], reasons: list[str], path: str) -> list[Any]:
    if item is str:
        return [value for value in values if isinstance(value, str)]
    return [build(item, value, reasons, f"{path}.") for value in values if isinstance(value, dict)]


def _entries(item: Any, values: dict[Any, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        try:
            kept[str(key)] = msgspec.convert(value, item)
        except msgspec.ValidationError:
            if item is str and isinstance(value, int | float):
                kept[str(key)] = str(value)
    return kept


def ends_early(data: bytes) -> bool:
    """Whether brackets or a string are still open at the end of `data`, the beginning of one JSON value.

    Strings, then pairs of brackets, are taken away as wholes: two megabytes of them would else be a second of Python.
    """
    found = _CLOSED.match(data)
    whole = data[: found.end()] if found else b""
    brackets = STRING.sub(b"", whole).translate(None, _NO_BRACKETS)
    if brackets[:1] in (b"", b"]", b"}"):
        return len(whole) < len(data) and not brackets
    depth, rest = 1, brackets[1:]
    for _ in range(_PAIRS):
        rest = rest.replace(b"[]", b"").replace(b"{}", b"")
    for run in _RUNS.finditer(rest):
        size = run.end() - run.start()
        depth += size if rest[run.start()] in b"[{" else -size
        if depth <= 0:
            return False
    return True


def _may_be_deeper(data: bytes, max_depth: int) -> bool:
    """Whether anything could be nested deeper, found by counting brackets in pieces; those in strings count, too."""
    brackets = data.translate(None, _NO_BRACKETS)
    step = max(1, max_depth // 2)
    depth = 0
    for at in range(0, len(brackets), step):
        piece = brackets[at : at + step]
        opening = piece.count(b"[") + piece.count(b"{")
        if depth + opening > max_depth:
            return True
        depth = max(0, depth + 2 * opening - len(piece))
    return False


def _plain(value: Any, reasons: list[str]) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _text(value, reasons)
    if isinstance(value, list):
        return [_plain(item, reasons) for item in value]
    if isinstance(value, dict):
        return {_plain(key, reasons): _plain(item, reasons) for key, item in value.items()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value


def _text(value: str, reasons: list[str]) -> str:
    try:
        value.encode()
        return value
    except UnicodeEncodeError:
        note(reasons, "lone surrogates replaced")
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _int(text: str) -> int | None:
    return int(text) if len(text) < 19 else None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
