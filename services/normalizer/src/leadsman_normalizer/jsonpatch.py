"""A JSON Patch (RFC 6902) as the merge fragment that says the same, so that one walk reads both (DETECTIONS 1.5)."""

from __future__ import annotations

from typing import Any, NamedTuple

MAX_OPS = 10_000  # as many as the API server takes
MAX_SEGMENTS = 40


class Fragment(NamedTuple):
    """What a patch sets, as a tree; and the key paths (lists as "#") that it replaced or removed as a whole."""

    tree: dict[str, Any]
    whole: frozenset[tuple[str, ...]]


class _Items(dict[str, Any]):
    """A list under construction: items by their segment, since a patch may speak of one item several times."""


def fragment_of(ops: list[Any]) -> Fragment:
    """The fragment of a JSON Patch. Operations that change nothing (`test`) or make no sense are passed over."""
    root: dict[str, Any] = {}
    whole: set[tuple[str, ...]] = set()
    for number, op in enumerate(ops[:MAX_OPS]):
        if not isinstance(op, dict) or not isinstance(op.get("path"), str):
            continue
        name, path = op.get("op"), op["path"]
        if name not in ("add", "replace", "remove", "move", "copy"):
            continue
        if name == "move" and isinstance(op.get("from"), str):
            whole.add(_generic(_segments(op["from"])))
        segments = _segments(path)
        if len(segments) > MAX_SEGMENTS:
            continue
        whole.add(_generic(segments))
        known = name in ("add", "replace")
        if not segments:
            root = op["value"] if known and isinstance(op.get("value"), dict) else root
            continue
        _set(root, segments, op.get("value") if known else None, number)
    tree = _lists(root)
    return Fragment(tree if isinstance(tree, dict) else {}, frozenset(whole))


def _segments(pointer: str) -> list[str]:
    """A JSON pointer's segments (RFC 6901)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _is_index(segment: str) -> bool:
    return segment == "-" or (segment.isascii() and segment.isdigit())


def _generic(segments: list[str]) -> tuple[str, ...]:
    return tuple("#" if _is_index(s) else s for s in segments)


def _set(root: dict[str, Any], segments: list[str], value: Any, number: int) -> None:
    node: dict[str, Any] = root
    for at, segment in enumerate(segments):
        key = f"-{number}" if segment == "-" else segment
        if at == len(segments) - 1:
            node[key] = value
            return
        following = _Items() if _is_index(segments[at + 1]) else {}
        below = node.get(key)
        if isinstance(below, list) and isinstance(following, _Items):  # set before by this patch: go on in it
            below = node[key] = _Items({str(i): item for i, item in enumerate(below)})
        if not isinstance(below, dict):
            below = node[key] = following
        node = below


def _lists(node: Any, depth: int = 0) -> Any:
    if depth > 2 * MAX_SEGMENTS:
        return node
    if isinstance(node, _Items):
        return [_lists(item, depth + 1) for item in node.values() if item is not None]
    if isinstance(node, dict):
        return {key: _lists(value, depth + 1) for key, value in node.items()}
    return node
