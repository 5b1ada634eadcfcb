"""Any Kafka topic as a source: what stands on it, and whose it is. Pure; `relay.py` reads and writes.

For those who already collect their audit logs (Vector, Fluent Bit, Kafka Connect, Event Hubs): a topic, the format of
what is in it, and where the cluster's name comes from. docs/sources/kafka.md has the form of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec.structs import replace

from leadsman_common.envelopes import audit_events, azure_records, cloudtrail_records, inside, text_of
from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import Bad, RawEvent, checked


class InvalidSourcesError(ValueError):
    """The sources cannot be used; the text names the file and the place in it."""


class Format(NamedTuple):
    """What becomes of a format: the raw topic it goes to, whose cloud it is, and what takes its envelope apart."""

    topic: str
    provider: str
    split: Callable[[bytes], list[bytes]]


def _one(data: bytes) -> list[bytes]:
    return [data]


def _azure(data: bytes) -> list[bytes]:
    """Event Hubs' envelope, or a record that a collector took out of it already."""
    try:
        return azure_records(data)
    except InvalidEvent:
        if text_of(data, "category"):
            return [data]
        raise


FORMATS: Mapping[str, Format] = {
    "k8s-audit": Format("raw.k8s", "", audit_events),
    "eks-audit": Format("raw.aws", "aws", audit_events),
    "eks-authenticator": Format("raw.aws", "aws", _one),
    "cloudtrail": Format("raw.aws", "aws", cloudtrail_records),
    "gke-logentry": Format("raw.gcp", "gcp", _one),
    "aks-audit": Format("raw.azure", "azure", _azure),
    "azure-activity": Format("raw.azure", "azure", _azure),
    "falco": Format("raw.k8s", "", audit_events),
    "guardduty": Format("raw.aws", "aws", _one),
    "scc": Format("raw.gcp", "gcp", _one),
}
# formats that do not name their cluster
_NAMELESS = ("k8s-audit", "eks-audit", "falco")
MAX_NAME = 256
_FROM = re.compile(r"key|topic|header:.+|field:.+")


@dataclass(frozen=True, slots=True)
class Source:
    """A topic to read. `topic` is a name, or a regular expression where it begins with ^.

    `cluster` is a name; or `cluster_from` says where it stands: `key`, `header:NAME`, `field:PATH` of the record, or
    `topic`: the first group of the regular expression. `field` holds the event where a collector wrapped it.
    """

    topic: str
    format: str
    cluster: str = ""
    cluster_from: str = ""
    field: str = ""
    provider: str = ""
    account: str = ""
    region: str = ""

    @property
    def raw_topic(self) -> str:
        """The raw topic that its events go to."""
        return FORMATS[self.format].topic

    def reads(self, topic: str) -> bool:
        """Whether a topic's records are this source's."""
        return topic == self.topic if not self.topic.startswith("^") else _pattern(self.topic).match(topic) is not None


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the source's broker had it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


def split(source: Source, record: Record, received_ms: int) -> list[RawEvent | Bad]:
    """The events of a record. What cannot be used is told, never left out; an empty record holds nothing."""
    base = RawEvent(
        value=record.value,
        format=source.format,
        provider=source.provider or FORMATS[source.format].provider,
        account=source.account,
        region=source.region,
        source_id=f"{record.topic}/{record.partition}/{record.offset}",
        received_ms=received_ms,
    )
    if not record.value:
        return []
    try:
        base = replace(base, cluster=_cluster(source, record))
        value = inside(record.value, source.field) if source.field else record.value
        values = FORMATS[source.format].split(value)
    except InvalidEvent as error:
        return [Bad(base, error.reason)]
    found = [replace(base, value=one, source_id=f"{base.source_id}/{n}") for n, one in enumerate(values)]
    return [checked(one) for one in found]


def load_sources(path: Path) -> tuple[Source, ...]:
    """Read the file of sources. Raises InvalidSourcesError, which names the file and what is wrong where."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSourcesError(f"{path}: {error}") from error
    if not isinstance(document, dict) or set(document) != {"sources"} or not isinstance(document["sources"], list):
        raise InvalidSourcesError(f"{path}: must be a map with a list named sources")
    found = tuple(_source(one, f"{path}: sources, number {n}") for n, one in enumerate(document["sources"], 1))
    if not found:
        raise InvalidSourcesError(f"{path}: sources is empty")
    if doubled := sorted({s.topic for s in found if sum(o.topic == s.topic for o in found) > 1}):
        raise InvalidSourcesError(f"{path}: {', '.join(doubled)} stands in it twice")
    return found


def source_of(sources: Iterable[Source], topic: str) -> Source | None:
    """The source that a topic's records belong to; one that names the topic goes before regular expressions."""
    return min((s for s in sources if s.reads(topic)), key=lambda s: s.topic.startswith("^"), default=None)


def _source(one: Any, where: str) -> Source:
    known = tuple(Source.__dataclass_fields__)
    if not isinstance(one, dict):
        raise InvalidSourcesError(f"{where}: must be a map")
    if unknown := sorted(map(str, one.keys() - set(known))):
        raise InvalidSourcesError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    if wrong := [key for key, value in one.items() if not isinstance(value, str) or not value]:
        raise InvalidSourcesError(f"{where}: {wrong[0]} must be text; put quotes around a number")
    if missing := {"topic", "format"} - one.keys():
        raise InvalidSourcesError(f"{where}: has no {', '.join(sorted(missing))}")
    found = Source(**one)
    if found.format not in FORMATS:
        raise InvalidSourcesError(f"{where}: unknown format {found.format}; known are {', '.join(FORMATS)}")
    if found.cluster and found.cluster_from:
        raise InvalidSourcesError(f"{where}: has both cluster and cluster_from")
    if found.cluster_from and not _FROM.fullmatch(found.cluster_from):
        raise InvalidSourcesError(f"{where}: cluster_from is key, topic, header:NAME or field:PATH")
    if found.topic.startswith("^"):
        try:
            groups = _pattern(found.topic).groups
        except re.error as error:
            raise InvalidSourcesError(f"{where}: topic: {error}") from error
        if found.cluster_from == "topic" and not groups:
            raise InvalidSourcesError(f"{where}: cluster_from topic needs a group in the regular expression")
    if found.format in _NAMELESS and not (found.cluster or found.cluster_from):
        raise InvalidSourcesError(f"{where}: {found.format} does not name its cluster: cluster or cluster_from is due")
    return found


def _cluster(source: Source, record: Record) -> str:
    """The cluster's name. Raises InvalidEvent where it stands elsewhere and is not there: events would mix."""
    kind, _, name = source.cluster_from.partition(":")
    if not kind:
        return source.cluster
    if kind == "topic":
        match = _pattern(source.topic).match(record.topic) if source.topic.startswith("^") else None
        found = match[1] or "" if match else record.topic
    elif kind == "field":
        found = text_of(record.value, name)
    else:
        found = (record.key if kind == "key" else record.headers.get(name, b"")).decode("utf-8", "replace")
    if not found:
        raise InvalidEvent(f"no name of a cluster in {source.cluster_from}")
    return found[:MAX_NAME]


@lru_cache(maxsize=256)
def _pattern(topic: str) -> re.Pattern[str]:
    return re.compile(topic)
