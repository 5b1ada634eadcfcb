"""The YAML documents of rule folders, each knowing the line that every one of its keys stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from leadsman_detector.form import Problem

Lines = dict[int, dict[Any, int]]  # by identity of a map: key -> line


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file, and where its keys stand. `data` must live as long as its lines are asked for."""

    file: str
    data: dict[str, Any]
    first_line: int
    lines: Lines = field(repr=False)
    origin: str = ""  # FOLDER/FILE
    layer: int = 0  # the place of its folder among those that are read

    @property
    def label(self) -> str:
        """What to call it in a problem."""
        return str(self.data.get("name") or self.data.get("title") or "")

    @property
    def name(self) -> str:
        """Its slug: the name that it gives itself, or its file's."""
        return str(self.data.get("name") or Path(self.file).stem)

    def line(self, *keys: Any) -> int:
        """The line of a key, given with those above it; of the last one that is there.

        A field is found by its name without modifiers. Lists are gone through.
        """
        line, at = self.first_line, [self.data]
        for key in keys:
            found = [(m, key) for m in _maps(at) if key in m]
            found = found or [(m, k) for m in _maps(at) for k in m if key == str(k).partition("|")[0]]
            if not found:
                return line
            line = self.lines.get(id(found[0][0]), {}).get(found[0][1], line)
            at = [m[k] for m, k in found]
        return line


def files_of(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """The rule files of folders, each with its name below its folder.

    Hidden ones are none: a mounted ConfigMap holds every file a second time, below `..data`.
    """
    found: list[tuple[str, Path]] = []
    for folder in folders:
        if folder.is_file():
            found.append((folder.name, folder))
            continue
        for path in sorted(p for p in folder.rglob("*.y*ml") if p.is_file()):
            name = path.relative_to(folder)
            if not any(part.startswith(".") for part in name.parts):
                found.append((str(name), path))
    return found


def documents_of(file: str, text: str, origin: str = "", layer: int = 0) -> Iterator[Document | Problem]:
    """The documents of one file, and what could not be read of it."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            data = loader.document(node) if node else None
            line = node.start_mark.line + 1 if node else 0
            if isinstance(data, dict):
                yield Document(file, data, line, loader.lines, origin, layer)
            elif data is not None:
                yield Problem(file, "", "a rule is a map", line)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        yield Problem(file, "", " ".join(f"not YAML: {reason}".split()), mark.line + 1 if mark else 0)
    finally:
        loader.dispose()


_TEXT, _LIST, _MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


class _Loader(yaml.CSafeLoader):
    """Keeps the line of every key, and takes no key twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines: Lines = {}
        self._made: dict[int, Any] = {}

    def document(self, node: yaml.Node) -> Any:
        """What the root of a document stands for."""
        self._made.clear()  # nodes of the one before are gone, and others may stand in their places
        return self.made(node)

    def made(self, node: yaml.Node) -> Any:
        """What a node stands for. The usual is made here at once, all else as YAML's constructor has it."""
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == _TEXT else self.construct_object(node, deep=True)
        if id(node) in self._made:  # an alias
            return self._made[id(node)]
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            items: list[Any] = []
            self._made[id(node)] = items
            items += [self.made(item) for item in node.value]
            return items
        if node.tag == _MAP and all(key.tag == _TEXT for key, _ in node.value):
            data: dict[Any, Any] = {}
            self._made[id(node)] = data
            for key, value in node.value:
                if key.value in data:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                data[key.value] = self.made(value)
            self.lines[id(data)] = {key.value: key.start_mark.line + 1 for key, _ in node.value}
            return data
        return self.construct_document(node)

    def marked_map(self, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
        """A map as YAML's own constructor makes it, with its lines."""
        data: dict[Any, Any] = {}
        yield data
        own = {self.construct_object(key, deep=True): key.start_mark for key, _ in node.value if key.value != "<<"}
        if len(own) < sum(key.value != "<<" for key, _ in node.value):
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add(key.value)
        data.update(self.construct_mapping(node))
        self.lines[id(data)] = {key: mark.line + 1 for key, mark in own.items()}


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.marked_map)


def _maps(values: list[Any]) -> Iterator[dict[Any, Any]]:
    for value in values:
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from _maps(value)
