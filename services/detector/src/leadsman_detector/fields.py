"""From a field's name in a rule to a function that fetches its values out of an event.

The schema says what a name can mean, so names are resolved once, at load: records are walked, arrays fan out (a field
of an array has as many values as the array has elements), and below a map the rest of the name is the key, dots and
all (`annotations.authorization.k8s.io/decision`). `requestObject.` and `responseObject.` reach into the JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

import msgspec

from leadsman_common.schemas import load_avsc, records_of
from leadsman_detector.form import ANYWHERE, Leaf

Getter = Callable[[Any], list[Any]]
BODIES = ("requestObject", "responseObject")
KNOWN: Mapping[str, Any] = {
    # what earlier events told, by kind; known.py adds it to an event. A list in a list has records.
    "pod": ["privileged", "host", "stdin", "created_by_same_actor", "age_s", "ephemeral", ["findings"]],
    "actor": [
        ["bound_roles"],
        ["bindings", "binding", "namespace", "role", "role_kind", "subject_kind", "age_s", "by", "by_self"],
    ],
    "role": [["classes"], ["grants"], "age_s", "new", "by", "by_same_actor"],
    "credential": [
        "minted_by", "minted_by_class", "minted_for", "minted_from", ["audiences"], "same_address", "age_s",
    ],
    "seen": [["actor_addresses"], "actor_here", ["credential_addresses"], "credential_here"],
    "service_account": [["cloud_roles"], "via", "by", "age_s"],
    "cloud_identity": [
        ["linked"], ["was_linked"], ["service_accounts"], ["clusters"], ["via"], ["policies"], ["classes"],
        ["had_policies"], ["had_classes"], "by", "age_s",
    ],
    "object": [["findings"], "age_s", "by", "by_same_actor", "new"],
}  # fmt: skip


class UnknownField(ValueError):
    """The event has no such field. `line` is where the rule names it."""

    line: int = 0


@cache
def _schema() -> Any:
    return load_avsc("audit-event")


@cache
def _records() -> dict[str, dict[str, Any]]:
    """Every record of the event's schema by name, its fields as a map from name to type."""
    records = records_of(_schema())
    return {name: {f["name"]: f["type"] for f in record["fields"]} for name, record in records.items()}


def _resolve(schema: Any) -> tuple[str, Any]:
    """('record', fields) | ('array', items) | ('map', values) | ('plain', type), nullable branches taken away."""
    if isinstance(schema, list):
        schema = next(branch for branch in schema if branch != "null")
    if isinstance(schema, str):
        return ("record", _records()[schema]) if schema in _records() else ("plain", schema)
    if schema["type"] == "record":
        found = _records().get(schema["name"])
        return "record", found if found is not None else {f["name"]: f["type"] for f in schema["fields"]}
    return schema["type"], schema.get("items", schema.get("values"))


def _steps(path: str, schema: Any) -> list[tuple[str, str]]:
    """The way to `path` as (kind, name) steps: key, item (fan out over an array), mapkey."""
    steps: list[tuple[str, str]] = []
    parts = path.split(".")
    kind, inner = _resolve(schema)
    at = 0
    while True:
        if kind == "array":
            steps.append(("item", ""))
            kind, inner = _resolve(inner)
            continue
        if at == len(parts):
            return steps
        if kind == "record" and parts[at] in inner:
            steps.append(("key", parts[at]))
            kind, inner = _resolve(inner[parts[at]])
            at += 1
        elif kind == "map":
            steps.append(("key", ".".join(parts[at:])))
            at = len(parts)
            kind, inner = _resolve(inner)
        else:
            raise UnknownField(path)


@lru_cache(maxsize=4096)
def _known_steps(path: str) -> list[tuple[str, str]]:
    head, _, rest = path.partition(".")
    if head == "known":
        try:
            return [("key", "known"), *_steps(rest, _known_schema())]
        except UnknownField:
            raise UnknownField(path) from None
    return _steps(path, _schema())


@cache
def _known_schema() -> Any:
    """What `known` can hold, in the words of a schema."""

    def field(given: str | list[str]) -> dict[str, Any]:
        if isinstance(given, str):
            return {"name": given, "type": "string"}
        name, *inner = given
        items = {"type": "record", "name": f"known.{name}", "fields": [field(i) for i in inner]} if inner else "string"
        return {"name": name, "type": {"type": "array", "items": items}}

    kinds = [
        {"name": kind, "type": {"type": "record", "name": f"known.{kind}", "fields": [field(g) for g in given]}}
        for kind, given in KNOWN.items()
    ]
    return {"type": "record", "name": "known", "fields": kinds}


@lru_cache(maxsize=4096)
def getter(path: str, each: str = "") -> Getter:
    """A function from event (or from one element of `each`) to the values of the field; absent ones are left out.

    Raises UnknownField where the event's schema has no such field.
    """
    if path == ANYWHERE:
        return texts
    head, _, rest = path.partition(".")
    if head in BODIES and rest:
        return _body_getter(head, rest)
    steps = _known_steps(path)
    if each:
        steps = steps[len(_known_steps(each)) :]
    if all(kind == "key" for kind, _ in steps):
        return _plain_getter([name for _, name in steps])
    return _fanning_getter(steps)


def texts(value: Any) -> list[Any]:
    """Every text below a value, an event's among them."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict):
        return [found for v in value.values() for found in texts(v)]
    if isinstance(value, list):
        return [found for v in value for found in texts(v)]
    return []


def all_text(event: Any) -> list[Any]:
    """Everything that an event holds as one text, for a quick look: JSON, so quotes and backslashes stand escaped."""
    return [_encoder().encode(event).decode()]


def misfit(leaf: Leaf) -> str:
    """Why no event can meet a leaf, by the type of its field; empty where one can."""
    kind = _type_of(leaf.path)
    if leaf.op != "equals" or kind is None or leaf.value == "":
        return ""
    text = str(leaf.value).lower()
    if kind in ("int", "long") and (isinstance(leaf.value, bool) or not re.fullmatch(r"-?\d+(\.0)?", text)):
        return f"{leaf.path} is a number, never {leaf.value!r}"
    if kind == "boolean" and text not in ("true", "false"):
        return f"{leaf.path} is true or false, never {leaf.value!r}"
    return ""


@lru_cache(maxsize=4096)
def _type_of(path: str) -> str | None:
    """The schema's type of a field that is one value; None for all others."""
    if path == ANYWHERE or path.partition(".")[0] in (*BODIES, "known"):
        return None
    schema = _schema()
    for kind, name in _known_steps(path):
        _, inner = _resolve(schema)
        schema = inner if kind == "item" or not isinstance(inner, dict) or name not in inner else inner[name]
    kind, inner = _resolve(schema)
    return str(inner) if kind == "plain" else None


def elements(each: str) -> Getter:
    """A function from event to the elements of the array `each`."""
    return getter(each)


def is_within(path: str, each: str) -> bool:
    """Whether a field belongs to the elements of `each`."""
    return bool(each) and path.startswith(f"{each}.")


def _plain_getter(names: list[str]) -> Getter:
    if len(names) == 1:
        (only,) = names

        def get_one(event: Any) -> list[Any]:
            value = event.get(only)
            return [value] if value or value == 0 else []

        return get_one

    def get(event: Any) -> list[Any]:
        value = event
        for name in names:
            if value is None:
                return []
            value = value.get(name)
        return [value] if value or value == 0 else []

    return get


def _fanning_getter(steps: list[tuple[str, str]]) -> Getter:
    """A getter of a field below one array or several; absent are null and what is empty, 0 and false are values."""
    at = next(n for n, (kind, _) in enumerate(steps) if kind == "item")
    before, after = [name for _, name in steps[:at]], steps[at + 1 :]
    if len(after) == 1 and after[0][0] == "key":
        last = after[0][1]

        def get_of_each(event: Any) -> list[Any]:
            for name in before:
                event = event.get(name)
                if event is None:
                    return []
            return [v for item in event if (v := item.get(last)) or v == 0]

        return get_of_each

    def get(event: Any) -> list[Any]:
        values = [event]
        for kind, name in steps:
            if kind == "key":
                values = [v for value in values if (v := value.get(name)) is not None]
            else:
                values = [v for value in values for v in value]
        return [v for v in values if v or v == 0]

    return get


def _body_getter(head: str, rest: str) -> Getter:
    parts = rest.split(".")

    def get(event: Any) -> list[Any]:
        text = event[head]
        try:
            return _json_values(_parse(text), parts) if text else []
        except RecursionError:  # nested deeper than any object of an API server
            return []

    return get


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder()


@cache
def _encoder() -> msgspec.json.Encoder:
    return msgspec.json.Encoder()


@lru_cache(maxsize=4)
def _parse(text: str) -> Any:
    """A body; many rules look into the same one, one after the other."""
    try:
        return _decoder().decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _json_values(value: Any, parts: list[str]) -> list[Any]:
    """Values at a path of untyped JSON: lists fan out, and a key may itself hold dots."""
    if isinstance(value, list):
        return [found for item in value for found in _json_values(item, parts)]
    if not parts:
        return [value] if value or value == 0 else []
    if not isinstance(value, Mapping):
        return []
    found: list[Any] = []
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in value:
            found += _json_values(value[key], parts[length:])
    return found
