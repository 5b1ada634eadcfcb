"""A second reading of conditions, as plain as can be: what the compiled closures and the index must agree with."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from leadsman_detector.form import ANYWHERE, And, Leaf, Node, Or

ABSENT = (None, "", [], {})


def holds(node: Node, event: Any, each: str = "", element: Any = None) -> bool:
    """Whether a condition holds for an event, and for this element of `each`."""
    if isinstance(node, And):
        return all(holds(p, event, each, element) for p in node.parts)
    if isinstance(node, Or):
        return any(holds(p, event, each, element) for p in node.parts)
    if not isinstance(node, Leaf):
        return not holds(node.part, event, each, element)
    values = values_of(node.path, event, each, element)
    if node.op == "fieldref":
        others = values_of(node.value[0], event, each, element)
        return any(meets(text(a), node.value[1], text(b)) for a in values for b in others)
    if node.op == "null":
        return not values
    if node.op == "exists":
        return (values != []) == node.value
    if node.value == "" and node.op == "equals":
        return not values
    if node.value is False:
        return True not in [v for v in values if isinstance(v, bool)]
    return any(one(node, v) for v in values)


def explain(node: Node, event: Any, each: str = "", element: Any = None) -> list[tuple[Leaf, Any]] | None:
    """The leaves that made a condition hold, each with the value that met it; None where it does not hold."""
    if isinstance(node, And):
        parts = [explain(p, event, each, element) for p in node.parts]
        return None if None in parts else [leaf for part in parts for leaf in part]
    if isinstance(node, Or):
        parts = [found for p in node.parts if (found := explain(p, event, each, element)) is not None]
        return [leaf for part in parts for leaf in part] if parts else None
    if not holds(node, event, each, element):
        return None
    if not isinstance(node, Leaf):
        return []
    values = values_of(node.path, event, each, element)
    if node.op == "exists" and node.value and not (each and node.path.startswith(f"{each}.")):
        return [(node, v) for v in values]
    alone = values if len(values) == 1 or node.op == "fieldref" else [v for v in values if holds_for(node, v)]
    return [(node, v) for v in alone[:1]]


def holds_for(leaf: Leaf, value: Any) -> bool:
    """Whether one value alone meets a leaf."""
    return leaf.op == "exists" or (leaf.value is not False and one(leaf, value)) or (leaf.value is False and not value)


def values_of(path: str, event: Any, each: str, element: Any) -> list[Any]:
    """All values at a path: arrays fan out, bodies are JSON, keys may hold dots."""
    if path == ANYWHERE:
        return [v for v in flat(event) if isinstance(v, str) and v]
    if each and path.startswith(f"{each}."):
        return walk(element, path[len(each) + 1 :].split("."))
    head, *rest = path.split(".")
    if head == "requestObject" and rest:
        return walk(json.loads(event[head]), rest) if event[head] else []
    return walk(event, path.split("."))


def walk(value: Any, parts: list[str]) -> list[Any]:
    if isinstance(value, list):
        return [found for item in value for found in walk(item, parts)]
    if not parts:
        return [] if value in ABSENT else [value]
    if not isinstance(value, dict):
        return []
    keys = [(".".join(parts[:n]), parts[n:]) for n in range(1, len(parts) + 1)]
    return [found for key, rest in keys if key in value for found in walk(value[key], rest)]


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return [v for item in (value.values() if isinstance(value, dict) else value) for v in flat(item)]
    return [value]


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def meets(ours: str, form: str, theirs: str) -> bool:
    ours, theirs = ours.lower(), theirs.lower()
    return {
        "equals": ours == theirs,
        "startswith": ours.startswith(theirs),
        "endswith": ours.endswith(theirs),
        "contains": theirs in ours,
    }[form]


def one(leaf: Leaf, value: Any) -> bool:
    """Whether one value meets a leaf."""
    wanted = leaf.value
    if leaf.op == "equals":
        if isinstance(wanted, bool) or isinstance(value, bool):
            return text(wanted).lower() == text(value).lower() and (isinstance(value, bool) or wanted is not True)
        if isinstance(wanted, int | float) and isinstance(value, int | float):
            return wanted == value
        return text(value) == text(wanted) or (not leaf.cased and text(value).lower() == text(wanted).lower())
    if leaf.op == "pattern":
        regex = "".join(".*" if p is None else "." if p == 1 else re.escape(str(p)) for p in wanted)
        return re.fullmatch(regex, text(value), re.DOTALL | (0 if leaf.cased else re.IGNORECASE)) is not None
    if leaf.op == "regex":
        return re.search(wanted, text(value), re.DOTALL) is not None
    if leaf.op == "cidr":
        try:
            return ipaddress.ip_address(value) in ipaddress.ip_network(wanted)
        except ValueError:
            return False
    assert leaf.op == "compare"
    name, number = wanted
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return {"lt": value < number, "lte": value <= number, "gt": value > number, "gte": value >= number}[name]
