"""Where the schemas are: packaged with this distribution, or the repository's folder in an editable install."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def schemas_dir() -> Path:
    """The folder that holds avro/, topics/ and examples/."""
    packaged = Path(__file__).parent / "_schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "schemas"


def avsc_text(name: str) -> str:
    """The schema `name` (such as audit-event) as its file has it."""
    return (schemas_dir() / "avro" / f"{name}.avsc").read_text(encoding="utf-8")


def load_avsc(name: str) -> dict[str, Any]:
    """The schema `name` as JSON."""
    loaded: dict[str, Any] = json.loads(avsc_text(name))
    return loaded


def records_of(schema: Any) -> dict[str, dict[str, Any]]:
    """Every record that a schema (as JSON) defines, by name, in the order of their definition."""
    found: dict[str, dict[str, Any]] = {}

    def walk(part: Any) -> None:
        if isinstance(part, list):
            for branch in part:
                walk(branch)
        elif isinstance(part, dict):
            if part["type"] == "record":
                found[part["name"]] = part
                for field in part["fields"]:
                    walk(field["type"])
            else:
                walk(part.get("items", part.get("values")))

    walk(schema)
    return found
