"""Reading objects of unknown shape: each getter gives the typed value or the default, and notes a wrong type.

Under every module of facts. `why` collects coverage reasons.
"""

from __future__ import annotations

from typing import Any

from leadsman_normalizer.lenient import note

Tree = dict[str, Any]
_INT64 = 1 << 63
_INT32 = 1 << 31


def mapping(tree: Any, key: str, why: list[str]) -> Tree:
    """The object under `key`, else {}."""
    value = tree.get(key)
    if value is None or isinstance(value, dict):
        return value or {}
    note(why, f"{key}: no object")
    return {}


def listing(tree: Tree, key: str, why: list[str]) -> list[Any]:
    """The list under `key`, else []."""
    value = tree.get(key)
    if value is None or isinstance(value, list):
        return value or []
    note(why, f"{key}: no list")
    return []


def mappings(tree: Tree, key: str, why: list[str]) -> list[Tree]:
    """The objects of the list under `key`."""
    items = listing(tree, key, why)
    found = [item for item in items if isinstance(item, dict)]
    if len(found) != len(items):
        note(why, f"{key}: an item is no object")
    return found


def text(tree: Tree, key: str, why: list[str]) -> str:
    """The text under `key`, else ""."""
    value = tree.get(key)
    if isinstance(value, str):
        return value
    if value is not None:
        note(why, f"{key}: no text")
    return ""


def texts(tree: Tree, key: str, why: list[str]) -> list[str]:
    """The texts of the list under `key`."""
    items = listing(tree, key, why)
    found = [item for item in items if isinstance(item, str)]
    if len(found) != len(items):
        note(why, f"{key}: an item is no text")
    return found


def text_map(tree: Tree, key: str, why: list[str]) -> dict[str, str]:
    """The entries with text of the object under `key`."""
    found = mapping(tree, key, why)
    kept = {k: v for k, v in found.items() if isinstance(v, str)}
    if any(v is not None and not isinstance(v, str) for v in found.values()):
        note(why, f"{key}: a value is no text")
    return kept


def truth(tree: Tree, key: str, why: list[str]) -> bool | None:
    """The boolean under `key`; null where absent or of another type (the server refuses "true" as text)."""
    value = tree.get(key)
    if value is None or isinstance(value, bool):
        return value
    note(why, f"{key}: no boolean")
    return None


def number(tree: Tree, key: str, why: list[str]) -> int | None:
    """The 64-bit integer under `key`, else null."""
    value = tree.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64:
        return value
    if value is not None:
        note(why, f"{key}: no integer")
    return None


def port(tree: Tree, key: str, why: list[str]) -> int:
    """The 32-bit integer under `key`, else 0."""
    value = number(tree, key, why)
    if value is None:
        return 0
    if -_INT32 <= value < _INT32:
        return value
    note(why, f"{key}: out of range")
    return 0
