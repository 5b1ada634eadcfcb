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
        source = _segments(op["from"]) if name in ("move", "copy") and isinstance(op.get("from"), str) else None
        if name == "move" and source is not None:
            whole.add(_generic(source))
        segments = _segments(path)
        if len(segments) > MAX_SEGMENTS:
            continue
        whole.add(_generic(segments))
        # what the patch itself put elsewhere first: a value parked in an annotation and copied to the image
        value = _get(root, source) if source is not None else op.get("value") if name in ("add", "replace") else None
        if not segments:
            root = value if isinstance(value, dict) else root
            continue
        _set(root, segments, value, number)
    tree = _lists(root)
    return Fragment(tree if isinstance(tree, dict) else {}, frozenset(whole))


def _segments(pointer: str) -> list[str]:
    """A JSON pointer's segments (RFC 6901)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _is_index(segment: str) -> bool:
    return segment == "-" or (segment.isascii() and segment.isdigit())


def _generic(segments: list[str]) -> tuple[str, ...]:
    return tuple("#" if _is_index(s) else s for s in segments)


def _get(root: dict[str, Any], segments: list[str]) -> Any:
    """The text, number or list of such that the patch has set at a path so far; None for nothing.

    Objects are left out: one copied into itself again and again would grow without bound.
    """
    node: Any = root
    for segment in segments[:MAX_SEGMENTS]:
        if isinstance(node, list):
            at = int(segment) if _is_index(segment) and segment != "-" and len(segment) < 6 else len(node)
            node = node[at] if at < len(node) else None
        else:
            node = node.get(segment) if isinstance(node, dict) else None
    if isinstance(node, list):
        return None if any(isinstance(item, dict | list) for item in node) else list(node)
    return None if isinstance(node, dict) else node


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
