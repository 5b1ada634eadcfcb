"""The registry of clusters, clusters.yaml: what their owner knows and no log says. docs/clusters.md has its form.

The normalizer asks `Clusters.resolve` for a cluster's identity and `Clusters.of` for its settings; `leadsman doctor`
goes through `entries` for what should be arriving.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from leadsman_common.events import Cluster
from leadsman_common.settings import SettingError
from leadsman_common.shared import shared

KEYS = ("provider", "account", "region", "name")
# how long a source that is expected may be silent where the registry does not say
SILENCE_S = 3600
# what may be expected of a cluster: the formats of the events' sources
EXPECTABLE = (
    "k8s-audit",
    "eks-audit",
    "eks-authenticator",
    "eks-api",
    "eks-controller-manager",
    "eks-scheduler",
    "cloudtrail",
    "gke-logentry",
    "aks-audit",
    "azure-activity",
    "falco",
    "guardduty",
    "scc",
)


class InvalidClustersError(ValueError):
    """clusters.yaml cannot be used; the text names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A prefix of image names, and what stands behind it: `registry.example.com:5000/mirror` for `docker.io`."""

    mirror: str
    upstream: str


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the registry says of one cluster, the defaults filled in. `claimed`: whether it stands in the list."""

    registry_mirrors: tuple[Mirror, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    tenant: str = ""
    expects: Mapping[str, int] = field(default_factory=dict)  # format of a source -> seconds it may be silent
    node_ranges: tuple[str, ...] = ()  # CIDR
    nat_ranges: tuple[str, ...] = ()  # CIDR
    impersonating_proxies: tuple[str, ...] = ()  # user names
    incarnation: str = ""
    claimed: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster of the list: the keys it is known by, and the settings it gives."""

    known_by: tuple[tuple[str, str], ...]
    given: Mapping[str, Any]

    def is_about(self, cluster: Cluster) -> bool:
        """Whether every key that the entry gives is the cluster's."""
        return all(cluster[key] == value for key, value in self.known_by)  # type: ignore[literal-required]

    def may_be(self, cluster: Cluster) -> bool:
        """Whether the cluster has the entry's name, and no key that the transport knew says otherwise."""
        return all(
            cluster[key] == value or (key != "name" and not cluster[key])  # type: ignore[literal-required]
            for key, value in self.known_by
        )

    def cluster(self) -> Cluster:
        """The cluster as the entry knows it, with its id."""
        keys = {**dict.fromkeys(KEYS, ""), **dict(self.known_by)}
        return _identified(keys["provider"], keys["account"], keys["region"], keys["name"], self._incarnation())

    def _incarnation(self) -> str:
        return str(self.given.get("incarnation", ""))


@dataclass(frozen=True)
class Clusters:
    """The registry. Without a file it knows no cluster and has no settings."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    _found: dict[tuple[str, ...], tuple[Cluster, ClusterSettings]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def of(self, cluster: Cluster) -> ClusterSettings:
        """The settings of a cluster: of the entry that knows it by most keys, over the defaults."""
        return self._look_up(cluster)[1]

    def resolve(self, cluster: Cluster) -> Cluster:
        """The cluster with what the transport did not know filled in from its entry, and with its stable id.

        The id is PROVIDER/ACCOUNT/REGION/NAME, and @INCARNATION where the entry has one: a cluster that was deleted
        and made anew under its old name has another id, and so none of the old one's state. A cluster that stands in
        no entry is given back as it came.
        """
        return self._look_up(cluster)[0]

    def settings(self, entry: Entry) -> ClusterSettings:
        """The settings of an entry, over the defaults."""
        return ClusterSettings(**{**self.defaults, **entry.given}, claimed=True)

    def _look_up(self, cluster: Cluster) -> tuple[Cluster, ClusterSettings]:
        key = (cluster["provider"], cluster["account"], cluster["region"], cluster["name"])
        found = self._found.get(key)
        if found is None:
            entry = self._entry(cluster)
            if entry is None:
                found = (cluster, ClusterSettings(**self.defaults))
            else:
                own = dict(entry.known_by)
                known: dict[str, str] = {
                    name: cluster[name] or own.get(name, "")  # type: ignore[literal-required]
                    for name in KEYS
                }
                settings = self.settings(entry)
                found = (_identified(**known, incarnation=settings.incarnation), settings)
            if len(self._found) < 10_000:  # names come with the records
                self._found[key] = found
        return found

    def _entry(self, cluster: Cluster) -> Entry | None:
        about = [e for e in self.entries if e.is_about(cluster)]
        if not about:  # the transport knew less than the entry says; two that fit are no answer
            about = [e for e in self.entries if e.may_be(cluster)]
            about = about if len(about) == 1 else []
        return max(about, key=lambda e: len(e.known_by), default=None)


def _identified(provider: str, account: str, region: str, name: str, incarnation: str) -> Cluster:
    found = f"{provider}/{account}/{region}/{name}" + (f"@{incarnation}" if incarnation else "")
    return shared(Cluster(id=found, name=name, provider=provider, account=account, region=region))


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


def registry_of(path: str) -> Clusters:
    """The registry that a service's setting names; empty without a file. Raises SettingError."""
    try:
        return load_clusters(Path(path)) if path else NO_CLUSTERS
    except InvalidClustersError as error:
        raise SettingError(f"LEADSMAN_CLUSTERS: {error}") from error


def _clusters(document: Any) -> Clusters:
    top = _map(document, "the file", {"defaults", "clusters"})
    defaults = _settings(_map(top.get("defaults", {}), "defaults", set(_SETTINGS)), "defaults")
    listed = top.get("clusters", [])
    if not isinstance(listed, list):
        raise InvalidClustersError("clusters: must be a list")
    entries: dict[tuple[tuple[str, str], ...], Entry] = {}
    for number, one in enumerate(listed, 1):
        where = f"clusters, number {number}"
        fields = _map(one, where, {*KEYS, *_SETTINGS, "incarnation"})
        known_by = tuple((key, _text(fields[key], f"{where}: {key}")) for key in KEYS if key in fields)
        if "name" not in fields:
            raise InvalidClustersError(f"{where}: has no name")
        if known_by in entries:
            raise InvalidClustersError(f"{where}: the cluster stands in the list already")
        given = _settings(fields, where)
        if "incarnation" in fields:
            given["incarnation"] = _text(fields["incarnation"], f"{where}: incarnation")
        entries[known_by] = Entry(known_by, given)
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


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidClustersError(f"{where}: must be a list")
    return tuple(_text(one, f"{where}, number {number}") for number, one in enumerate(value, 1))


def _labels(value: Any, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise InvalidClustersError(f"{where}: must be a map")
    return {_text(key, where): _text(one, f"{where}: {key}") for key, one in value.items()}


def _ranges(value: Any, where: str) -> tuple[str, ...]:
    found = _names(value, where)
    for one in found:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise InvalidClustersError(f"{where}: {error}") from None
    return found


def _expects(value: Any, where: str) -> Mapping[str, int]:
    """A list of formats, or a map of format to how long it may be silent: 90s, 30m, 6h, 2d."""
    if isinstance(value, list):
        return dict.fromkeys(_formats(_names(value, where), where), SILENCE_S)
    if not isinstance(value, dict):
        raise InvalidClustersError(f"{where}: must be a list of sources, or a map of source to duration")
    _formats(tuple(_text(key, where) for key in value), where)
    return {key: _seconds(one, f"{where}: {key}") for key, one in value.items()}


def _formats(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if unknown := sorted(set(names) - set(EXPECTABLE)):
        raise InvalidClustersError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(EXPECTABLE)}")
    return names


def _seconds(value: Any, where: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", value) if isinstance(value, str) else None
    if found is None:
        raise InvalidClustersError(f"{where}: {value!r} is not a duration such as 90s, 30m, 6h or 2d")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


_SETTINGS: dict[str, Callable[[Any, str], Any]] = {
    "registry_mirrors": _mirrors,
    "labels": _labels,
    "owner": _text,
    "tenant": _text,
    "expects": _expects,
    "node_ranges": _ranges,
    "nat_ranges": _ranges,
    "impersonating_proxies": _names,
}
