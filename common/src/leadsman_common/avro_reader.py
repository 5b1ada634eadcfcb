"""A reader of one Avro schema as generated Python: twice as fast as fastavro's, which reads byte by byte.

It is for our own schemas only, as avro_writer.py is, and for what our own writers write. It gives what fastavro would,
or raises: then fastavro reads the record, and says what is wrong with it. A test holds the two together.
https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Reader = Callable[[bytes, int], tuple[Any, int]]  # the bytes and where the record begins -> the record and its end
_MAX_BYTES = 10  # of a number of 64 bits


class NotOurs(ValueError):
    """Something that none of our writers writes, or broken bytes."""


def reader(schema: Mapping[str, Any]) -> Reader:
    """The reader of a record schema. It raises IndexError or ValueError for what it does not understand.

    An end beyond the bytes that it was given means that they were cut off.
    """
    generator = _Generator()
    result = generator.value(dict(schema))
    return _compiled(generator, result, f"<reader of {schema['name']}>")


def picker(schema: Mapping[str, Any], picked: Sequence[str], span: tuple[str, str]) -> Reader:
    """What tells of a record without reading all of it; it raises as `reader` does, and passes over what is not picked.

    It gives the plain fields that are `picked` (`field` or `field.field`), in the schema's order, and the bytes of all
    fields from the first of `span` to the last: they are equal only where the fields are.
    """
    generator = _Generator()
    results = []
    for field in schema["fields"]:
        if field["name"] == span[0]:
            generator.add("start = p")
        results += generator.pick(field["type"], field["name"], picked)
        if field["name"] == span[1]:
            generator.add("end = p")
    return _compiled(generator, f"({', '.join(results)}, d[start:end])", f"<picker of {schema['name']}>")


def _compiled(generator: _Generator, result: str, name: str) -> Reader:
    body = [f"    {line}" for line in generator.lines]
    source = "\n".join(["def read(d, p):", *body, f"    return {result}, p"])
    scope: dict[str, Any] = {"number": _number, "length": _length, "NotOurs": NotOurs}
    exec(compile(source, name, "exec"), scope)  # noqa: S102 - our own schema, no input
    read: Reader = scope["read"]
    return read


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The varint at a place, as its bits stand there, and where it ends."""
    value = shift = 0
    for end in range(at, at + _MAX_BYTES):
        byte = data[end]
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << 64:
            return value, end + 1
        shift += 7
    raise NotOurs("a number of more than 64 bits")


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The same of a length or a count, which is not negative."""
    first = data[at]
    second = data[at + 1] if first & 0x80 else 0
    bits, end = (first & 0x7F | second << 7, at + 2) if first & 0x80 and second < 0x80 else _number(data, at)
    if bits & 1:
        raise NotOurs("a negative length, or a block with its size")
    return bits, end


class _Generator:
    """Writes the body of a function over `d`, the bytes, and `p`, the place; every value gets a name of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._named: dict[str, Any] = {}
        self._names = 0
        self._pad = ""

    def value(self, schema: Any) -> str:
        """Add what reads a value; gives the expression that then stands for it."""
        if isinstance(schema, list):
            return self._nullable(schema)
        if isinstance(schema, str):
            return self.value(self._named[schema]) if schema in self._named else self._plain(schema)
        if schema["type"] == "record":
            self._named[schema["name"]] = schema
            fields = [f"{field['name']!r}: {self.value(field['type'])}" for field in schema["fields"]]
            return "{" + ", ".join(fields) + "}"
        return self._blocks(schema)

    def pick(self, schema: Any, path: str, picked: Sequence[str]) -> list[str]:
        """Add what reads the picked fields of a value and passes over the rest; gives their expressions."""
        if path in picked:
            return [self.value(schema)]
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        if isinstance(schema, dict) and schema["type"] == "record":
            self._named[schema["name"]] = schema
            return [
                one for field in schema["fields"] for one in self.pick(field["type"], f"{path}.{field['name']}", picked)
            ]
        self._pass(schema)
        return []

    def _pass(self, schema: Any) -> None:
        if isinstance(schema, list):
            (branch,) = (b for b in schema if b != "null")
            null = 0 if schema[0] == "null" else 2
            self.add("n = d[p]", "p += 1", f"if n == {2 - null}:")
            self._pad += "    "
            self.pick(branch, "", ())
            self._pad = self._pad[:-4]
            self.add(f"elif n != {null}: raise NotOurs('union')")
        elif schema == "boolean":
            self.add("p += 1")
        elif schema in ("int", "long"):
            self.add("while d[p] > 127: p += 1", "p += 1")
        elif schema == "string":
            self.add("n = d[p]", "p += 1", "if n & 129: n, p = length(d, p - 1)", "p += n >> 1")
        else:
            self._pass_blocks(schema)

    def _pass_blocks(self, schema: Mapping[str, Any]) -> None:
        count = self._name("c")
        self.add("n = d[p]", "if not n: p += 1", "while n:")
        self._pad += "    "
        self.add("p += 1", "if n & 129: n, p = length(d, p - 1)", f"for {count} in range(n >> 1):")
        self._pad += "    "
        if schema["type"] == "map":
            self._pass("string")
        self.pick(schema.get("items", schema.get("values")), "", ())
        self._pad = self._pad[:-4]
        self.add("n = d[p]", "if not n: p += 1")
        self._pad = self._pad[:-4]

    def add(self, *lines: str) -> None:
        """Add lines as deep as the others here."""
        self.lines += [self._pad + line for line in lines]

    def _name(self, letter: str = "v") -> str:
        self._names += 1
        return f"{letter}{self._names}"

    def _plain(self, kind: str) -> str:
        name = self._name()
        if kind == "boolean":
            self.add(f"{name} = d[p]", f"if {name} > 1: raise NotOurs('no truth value')", "p += 1")
            return f"{name} == 1"
        if kind == "string":
            self.add(
                "n = d[p]",
                "p += 1",
                "if n:",
                "    if n & 129: n, p = length(d, p - 1)",
                "    q = p + (n >> 1)",
                f"    {name} = d[p:q].decode()",
                "    p = q",
                f"else: {name} = ''",
            )
            return name
        if kind not in ("int", "long"):
            raise TypeError(f"no reader for {kind}")
        self.add("n = d[p]", "if n < 128: p += 1", "else: n, p = number(d, p)", f"{name} = n >> 1 ^ -(n & 1)")
        return name

    def _nullable(self, schema: list[Any]) -> str:
        (branch,) = (b for b in schema if b != "null")
        name, null = self._name(), 0 if schema[0] == "null" else 2
        self.add(
            "n = d[p]", "p += 1", f"if n == {null}: {name} = None", f"elif n != {2 - null}: raise NotOurs('union')"
        )
        self.add("else:")
        self._pad += "    "
        self.add(f"{name} = {self.value(branch)}")
        self._pad = self._pad[:-4]
        return name

    def _blocks(self, schema: Mapping[str, Any]) -> str:
        is_map = schema["type"] == "map"
        name, count = self._name(), self._name("c")
        self.add(f"{name} = {'{}' if is_map else '[]'}", "n = d[p]", "if not n: p += 1", "while n:")
        self._pad += "    "
        self.add("p += 1", "if n & 129: n, p = length(d, p - 1)", f"for {count} in range(n >> 1):")
        self._pad += "    "
        if is_map:
            key = self._plain("string")
            self.add(f"{name}[{key}] = {self.value(schema['values'])}")
        else:
            self.add(f"{name}.append({self.value(schema['items'])})")
        self._pad = self._pad[:-4]
        self.add("n = d[p]", "if not n: p += 1")
        self._pad = self._pad[:-4]
        return name
