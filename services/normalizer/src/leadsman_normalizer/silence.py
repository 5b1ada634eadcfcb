"""Which sources are silent, which clusters nobody registered, which the cloud knows and no log tells of. Pure.

    troubles(view, registry, now_ms)        what is wrong now
    changes(view, found, now_ms)            what is news of it: alerts to raise, alerts that are over

An alert's id is a hash of its rule, cluster, source and the moment from which on something was wrong, so that whoever
looks finds the same one. What is only suspected (nothing has come yet, and the time for it is not over) is noted too,
so that a restart does not begin to wait anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from leadsman_common.alerts import Alert, RuleRef, alert_id, own_alert
from leadsman_common.clusters import NO_CLUSTERS, Clusters
from leadsman_common.events import Cluster
from leadsman_common.sightings import AUDIT, Raised, Seen, Sightings, plain_id
from leadsman_common.since import span_text

MINUTE_MS = 60_000
# audit logs that go on for as long as a control plane lives: its own loops write leases and statuses all the time.
# GKE's Admin Activity is not among them: a quiet cluster may have nothing to tell for hours
CONSTANT_MS: Mapping[str, int] = dict.fromkeys(("k8s-audit", "eks-audit", "aks-audit"), 15 * MINUTE_MS)
# before that much was seen of a source it may be a file that somebody sent once; so may what came late
ESTABLISHED_MS = 60 * MINUTE_MS
# a cluster that is being made has no logs yet; nor has one whose logs were only just switched on
UNWATCHED_MS = 30 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of alert, with the id and the level of its rule."""

    name: str
    rule_id: str
    title: str
    level: str


SILENT = Kind(
    "source-silent", "8b6a3d3e-50b0-5b7e-9a53-1c0f7a2d9e01", "A source of a cluster has fallen silent", "high"
)
UNCLAIMED = Kind(
    "cluster-unclaimed", "8b6a3d3e-50b0-5b7e-9a53-1c0f7a2d9e02", "Events of a cluster that nobody registered", "medium"
)
UNWATCHED = Kind(
    "cluster-unwatched", "8b6a3d3e-50b0-5b7e-9a53-1c0f7a2d9e03", "A cluster whose audit log never came", "high"
)


KINDS = {kind.name: kind for kind in (SILENT, UNCLAIMED, UNWATCHED)}
_DAY_MS = 24 * 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong since a time; it is worth an alert once that is `wait_ms` ago."""

    kind: Kind
    cluster: Cluster
    source: str
    since_ms: int
    what: str
    wait_ms: int = 0

    @property
    def about(self) -> str:
        """What tells it from every other one."""
        return _about(self.kind, self.cluster["id"], self.source)


def silence_of(cluster_id: str, source: str) -> str:
    """What an alert about the silence of a source is about."""
    return _about(SILENT, cluster_id, source)


def _about(kind: Kind, cluster_id: str, source: str) -> str:
    return f"{kind.name}|{cluster_id}|{source}"


def troubles(view: Sightings, registry: Clusters, now_ms: int) -> list[Trouble]:
    """What is wrong at a time, and what may become so."""
    living = [seen for seen in view.seen.values() if _lives(view, registry, seen.cluster, now_ms)]
    return [
        *_silent(living, registry, now_ms),
        *_never(view, living, registry, now_ms),
        *_unclaimed(living, registry, now_ms),
        *_unwatched(view, living, registry, now_ms),
    ]


def changes(view: Sightings, found: Iterable[Trouble], now_ms: int) -> Iterator[tuple[Raised, Alert | None]]:
    """What is new of it: each record that is to be noted, with the alert that goes out before it, if any."""
    wrong = {one.about: one for one in found}
    for about, one in wrong.items():
        known = view.raised.get(about)
        if known is not None and known.over:
            known = None
        since_ms = known.since_ms if known else one.since_ms
        if since_ms + one.wait_ms > now_ms:
            if known is None:
                yield Raised(about, one.cluster, since_ms), None
        elif known is None or not known.alert_id:
            found_id = alert_id(one.kind.rule_id, one.cluster["id"], one.source, str(since_ms))
            yield (
                Raised(about, one.cluster, since_ms, found_id),
                _alert(found_id, one.kind, one.cluster, one.kind.level, one.what, now_ms),
            )
    for about, known in view.raised.items():
        if not known.over and about not in wrong:
            yield Raised(about, known.cluster, known.since_ms, known.alert_id, over=True), _over(known, now_ms)


def _silent(living: Iterable[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    """Sources that were there and are no more: declared ones by their own bound, others only where silence tells."""
    for seen in living:
        source, expects = seen.format, registry.of(seen.cluster).expects
        if source in expects:
            bound_ms = expects[source] * 1000
        elif source in CONSTANT_MS and _is_live(seen):
            bound_ms = CONSTANT_MS[source]
        else:
            continue
        silent_ms = now_ms - seen.last_ms
        if silent_ms > bound_ms:
            what = f"{source} of {seen.cluster['id']} is silent, and is expected within {span_text(bound_ms / 1000)}"
            yield Trouble(SILENT, seen.cluster, source, seen.last_ms, what)


def _is_live(seen: Seen) -> bool:
    """Whether it is a log that goes on, rather than an old one that was read once."""
    return seen.last_ms - seen.came_ms >= ESTABLISHED_MS and seen.last_ms - seen.newest_ms <= ESTABLISHED_MS


def _never(view: Sightings, living: list[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    """Sources that the registry expects, or whole clusters of it, of which nothing has ever come."""
    for entry in registry.entries:
        there = {seen.format for seen in living if entry.is_about(seen.cluster)}
        cluster = _here(view, registry, entry.cluster(), now_ms)
        if _is_deleted(view, cluster["id"], now_ms):
            continue
        expects = registry.settings(entry).expects
        for source in expects.keys() - there:
            what = f"{source} of {cluster['id']} is expected, and has never come"
            yield Trouble(SILENT, cluster, source, now_ms, what, expects[source] * 1000)
        if not expects and not there:
            what = f"{cluster['id']} is registered, and nothing of it has ever come"
            yield Trouble(UNWATCHED, cluster, "", now_ms, what, UNWATCHED_MS)


def _unclaimed(living: Iterable[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    if not registry.entries:
        return
    told = set()
    for seen in living:
        cluster = seen.cluster
        if cluster["id"] in told or registry.of(cluster).claimed or now_ms - seen.last_ms > _DAY_MS:
            continue
        told.add(cluster["id"])
        what = f"{cluster['id']} sends events and stands in no entry of the registry"
        yield Trouble(UNCLAIMED, cluster, "", seen.came_ms, what)


def _unwatched(view: Sightings, living: Iterable[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    """Clusters that the cloud's own API lists and whose audit log never came."""
    watched = {plain_id(seen.cluster["id"]) for seen in living if seen.format in AUDIT}
    for listed in view.listed.values():
        if now_ms - listed.at_ms > _DAY_MS:
            continue  # nobody asks any more
        for plain, made_ms in listed.known():
            cluster = _here(view, registry, plain, now_ms)
            if plain_id(cluster["id"]) not in watched:
                what = f"{listed.scope} lists {cluster['name']}, and its audit log has never come"
                yield Trouble(UNWATCHED, cluster, "", made_ms or listed.at_ms, what, UNWATCHED_MS)


def _here(view: Sightings, registry: Clusters, cluster: Cluster, now_ms: int) -> Cluster:
    """The cluster under the id that it has now, by the registry and by what was seen of its life."""
    plain: Cluster = {**cluster, "id": plain_id(cluster["id"])}
    resolved = registry.resolve(plain) if registry is not NO_CLUSTERS else plain
    return {**resolved, "id": view.current(resolved["id"], now_ms)}


def _lives(view: Sightings, registry: Clusters, cluster: Cluster, now_ms: int) -> bool:
    """Whether it is the one of its name that lives now: another may have taken its place, or none."""
    return _here(view, registry, cluster, now_ms)["id"] == cluster["id"] and not _is_deleted(
        view, cluster["id"], now_ms
    )


def _is_deleted(view: Sightings, cluster_id: str, now_ms: int) -> bool:
    life = view.lives.get(plain_id(cluster_id))
    return life is not None and max(life.made_ms, default=0) < life.deleted_ms <= now_ms


def _over(known: Raised, now_ms: int) -> Alert | None:
    """The last revision of an alert; None where there was none."""
    name, _, rest = known.about.partition("|")
    kind = KINDS.get(name)
    if kind is None or not known.alert_id:
        return None
    source = rest.rpartition("|")[2]
    what = f"Over after {span_text((now_ms - known.since_ms) / 1000)}: {kind.title} ({source or known.cluster['id']})"
    return _alert(known.alert_id, kind, known.cluster, "informational", what, now_ms, revision=1)


def _alert(id_: str, kind: Kind, cluster: Cluster, level: str, what: str, now_ms: int, revision: int = 0) -> Alert:
    rule: RuleRef = {"id": kind.rule_id, "name": kind.name, "title": kind.title, "level": kind.level}
    return own_alert(id_, rule, level, what, now_ms * 1000, cluster, revision)
