"""The registry of clusters, clusters.yaml: what their owner knows and no log says. docs/clusters.md has its form.

Whoever needs a cluster's settings asks `Clusters.of`; today that is the normalizer, for the mirrors of registries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from leadsman_common.events import Cluster

KEYS = ("provider", "account", "region", "name")


class InvalidClustersError(ValueError):
    """clusters.yaml cannot be used; the text names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A prefix of image names, and what stands behind it: `registry.example.com:5000/mirror` for `docker.io`."""

    mirror: str
    upstream: str


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the registry says of one cluster, the defaults filled in."""

    registry_mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One cluster of the list: the keys it is known by, and the settings it gives."""

    known_by: tuple[tuple[str, str], ...]
    given: Mapping[str, Any]

    def is_about(self, cluster: Cluster) -> bool:
        """Whether every key that the entry gives is the cluster's."""
        return all(cluster[key] == value for key, value in self.known_by)  # type: ignore[literal-required]


@dataclass(frozen=True)
class Clusters:
    """The registry. Without a file it knows no cluster and has no settings."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    entries: tuple[_Entry, ...] = ()
    _found: dict[tuple[str, ...], ClusterSettings] = field(default_factory=dict, compare=False, repr=False)

    def of(self, cluster: Cluster) -> ClusterSettings:
        """The settings of a cluster: of the entry that knows it by most keys, over the defaults."""
        key = (cluster["provider"], cluster["account"], cluster["region"], cluster["name"])
        settings = self._found.get(key)
        if settings is None:
            entry = max((e for e in self.entries if e.is_about(cluster)), key=lambda e: len(e.known_by), default=None)
            settings = ClusterSettings(**{**self.defaults, **(entry.given if entry else {})})
            if len(self._found) < 10_000:  # names come with the records
                self._found[key] = settings
        return settings


NO_CLUSTERS = Clusters()


def load_clusters(path: Path) -> Clusters:
    """Read clusters.yaml. Raises InvalidClustersError, which names the file and what is wrong where."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidClustersError(f"{path}: {error}") from error
    try:
        return _clusters({} if document is None else document)
    except InvalidClustersError as error:
        raise InvalidClustersError(f"{path}: {error}") from None


def _clusters(document: Any) -> Clusters:
    top = _map(document, "the file", {"defaults", "clusters"})
    defaults = _settings(_map(top.get("defaults", {}), "defaults", set(_SETTINGS)), "defaults")
    listed = top.get("clusters", [])
    if not isinstance(listed, list):
        raise InvalidClustersError("clusters: must be a list")
    entries: dict[tuple[tuple[str, str], ...], _Entry] = {}
    for number, one in enumerate(listed, 1):
        where = f"clusters, number {number}"
        fields = _map(one, where, {*KEYS, *_SETTINGS})
        known_by = tuple((key, _text(fields[key], f"{where}: {key}")) for key in KEYS if key in fields)
        if "name" not in fields:
            raise InvalidClustersError(f"{where}: has no name")
        if known_by in entries:
            raise InvalidClustersError(f"{where}: the cluster stands in the list already")
        entries[known_by] = _Entry(known_by, _settings(fields, where))
    return Clusters(defaults, tuple(entries.values()))


def _settings(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {key: read(fields[key], f"{where}: {key}") for key, read in _SETTINGS.items() if key in fields}


def _mirrors(value: Any, where: str) -> tuple[Mirror, ...]:
    if not isinstance(value, list):
        raise InvalidClustersError(f"{where}: must be a list")
    found: dict[str, Mirror] = {}
    for number, one in enumerate(value, 1):
        here = f"{where}, number {number}"
        fields = _map(one, here, {"mirror", "upstream"})
        if missing := {"mirror", "upstream"} - fields.keys():
            raise InvalidClustersError(f"{here}: has no {', '.join(sorted(missing))}")
        mirror = Mirror(_prefix(fields["mirror"], f"{here}: mirror"), _prefix(fields["upstream"], f"{here}: upstream"))
        if mirror.mirror in found:
            raise InvalidClustersError(f"{here}: {mirror.mirror} stands in the list already")
        found[mirror.mirror] = mirror
    return tuple(found.values())


def _prefix(value: Any, where: str) -> str:
    """HOST[:PORT][/PATH] in lower case, as images are written: no scheme, no tag, no slash at the end."""
    text = _text(value, where).lower().rstrip("/")
    host, slash, path = text.partition("/")
    if "//" in text or "@" in text or any(c.isspace() for c in text) or ":" in path:
        raise InvalidClustersError(f"{where}: {value!r} is not HOST[:PORT][/PATH]")
    if not ("." in host or ":" in host or host == "localhost"):
        raise InvalidClustersError(f"{where}: {value!r} does not begin with the host of a registry")
    return host + slash + path


def _map(value: Any, where: str, allowed: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidClustersError(f"{where}: must be a map")
    if unknown := sorted(map(str, value.keys() - allowed)):
        raise InvalidClustersError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(allowed))}")
    return value


def _text(value: Any, where: str) -> str:
    if isinstance(value, str) and value:
        return value
    hint = "; put quotes around a number" if isinstance(value, int) else ""
    raise InvalidClustersError(f"{where}: must be text, not {value!r}{hint}")


_SETTINGS: dict[str, Callable[[Any, str], Any]] = {"registry_mirrors": _mirrors}
