"""Which sources are silent, which clusters nobody registered, which the cloud knows and no log tells of. Pure.

    troubles(view, registry, now_ms)        what is wrong now
    changes(view, found, now_ms)            what is news of it: alerts to raise, alerts that are over
    looked(watch, now_ms, every_ms)         since when somebody looks at it

How long a source may be silent is what the registry says; else what its own rhythm says (rhythm.py), once that is
known: of an audit log without pauses after a day, of any other source after a week with its weekend, and three pauses.

A canary (leadsman_common.canary) says itself when the next one is due, and is judged by that from the first one on.

An alert's id is a hash of its rule, cluster, source and the moment from which on something was wrong, so that whoever
looks finds the same one. What is only suspected (nothing has come yet, and the time for it is not over) is noted too,
so that a restart does not begin to wait anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from leadsman_common.alerts import Alert, RuleRef, alert_id, own_alert
from leadsman_common.clusters import NO_CLUSTERS, Clusters
from leadsman_common.events import Cluster
from leadsman_common.rhythm import GRAIN_MIN, MINUTE_MS, expected_ms
from leadsman_common.sightings import AUDIT, Raised, Seen, Sightings, Watch, plain_id
from leadsman_common.since import span_text
from leadsman_normalizer.causes import canary_cause, likely_cause

# audit logs that go on for as long as a control plane lives: its own loops write leases and statuses all the time.
# GKE's Admin Activity is not among them: a quiet cluster may have nothing to tell for hours
CONSTANT = ("k8s-audit", "eks-audit", "aks-audit")
# of what is usual for it; twice that is the promise, and looking takes its time
PATIENCE = 1.75
LEAST_MS = int(PATIENCE * GRAIN_MIN * MINUTE_MS)
# a day has its night, a week and a day have a weekend whenever they begin
DAY_MS = 24 * 60 * MINUTE_MS
WEEK_MS = 8 * DAY_MS
PAUSES = 3
# a log whose newest event was that old when it came is a past that is read back
FRESH_MS = 60 * MINUTE_MS
# who did not look for that long was away; then everything has this long to come again, and as long as he was away
AWAY_MS = 5 * MINUTE_MS
AGAIN_MS = 30 * MINUTE_MS
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
MISSING = Kind(
    "canary-missing", "8b6a3d3e-50b0-5b7e-9a53-1c0f7a2d9e04", "A cluster's canary does not come back", "high"
)


KINDS = {kind.name: kind for kind in (SILENT, UNCLAIMED, UNWATCHED, MISSING)}


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
        *_silent(view, living, registry, now_ms),
        *_never(view, living, registry, now_ms),
        *_unclaimed(living, registry, now_ms),
        *_unwatched(view, living, registry, now_ms),
        *_missing(view, living, registry, now_ms),
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


def looked(watch: Watch | None, now_ms: int, every_ms: int = 0) -> Watch:
    """Somebody looks now, with every record read; he does so each `every_ms`."""
    if watch is None:
        return Watch(now_ms, now_ms)
    if now_ms - watch.until_ms > max(AWAY_MS, 3 * every_ms):
        return Watch(now_ms, now_ms, now_ms - watch.until_ms)
    return Watch(watch.since_ms, max(now_ms, watch.until_ms), watch.away_ms)


def watched_ms(watch: Watch | None, from_ms: int, came_ms: int) -> int:
    """How long of a pause somebody watched: what nobody could see is no rhythm."""
    if watch is None:
        return came_ms - from_ms
    until_ms = came_ms if came_ms - watch.until_ms <= AWAY_MS else watch.until_ms
    away_ms = min(until_ms, watch.since_ms) - max(from_ms, watch.since_ms - watch.away_ms)
    return until_ms - from_ms - max(0, away_ms)


def _silent(view: Sightings, living: Sequence[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    """Sources that were there and are no more: declared ones by their own bound, others by their rhythm."""
    for seen in living:
        source, expects = seen.format, registry.of(seen.cluster).expects
        if source in expects:
            usual_ms = bound_ms = expects[source] * 1000
        elif now_ms - seen.last_ms < LEAST_MS:
            continue
        else:
            usual_ms = expected_ms(seen.gaps, seen.last_ms - seen.came_ms)
            bound_ms = int(PATIENCE * usual_ms)
            if not _is_known(seen, usual_ms):
                continue
        if now_ms > max(seen.last_ms + bound_ms, _again(view.watch, seen.last_ms, bound_ms)):
            what = (
                f"{source} of {seen.cluster['id']} is silent, and is expected within {span_text(usual_ms / 1000)}. "
                f"Likely cause: {likely_cause(view, seen, living, now_ms)}"
            )
            yield Trouble(SILENT, seen.cluster, source, seen.last_ms, what)


def _is_known(seen: Seen, usual_ms: int) -> bool:
    """Whether its rhythm is known, and is one: no old log that was read once, nor a file that somebody sends."""
    known_ms = seen.last_ms - seen.came_ms
    if seen.last_ms - seen.newest_ms > max(FRESH_MS, usual_ms):
        return False
    if seen.format in CONSTANT and usual_ms == GRAIN_MIN * MINUTE_MS:
        return known_ms >= DAY_MS
    return known_ms >= max(WEEK_MS, PAUSES * usual_ms)


def _again(watch: Watch | None, last_ms: int, bound_ms: int) -> int:
    """Until when a source has time to come again, after nobody looked; 0 where that plays no part."""
    if watch is None or watch.since_ms <= last_ms:
        return 0
    return watch.since_ms + min(bound_ms, watch.away_ms + AGAIN_MS)


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
        if cluster["id"] in told or registry.of(cluster).claimed or now_ms - seen.last_ms > DAY_MS:
            continue
        told.add(cluster["id"])
        what = f"{cluster['id']} sends events and stands in no entry of the registry"
        yield Trouble(UNCLAIMED, cluster, "", seen.came_ms, what)


def _unwatched(view: Sightings, living: Iterable[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    """Clusters that the cloud's own API lists and whose audit log never came."""
    watched = {plain_id(seen.cluster["id"]) for seen in living if seen.format in AUDIT}
    for listed in view.listed.values():
        if now_ms - listed.at_ms > DAY_MS:
            continue  # nobody asks any more
        for plain, made_ms in listed.known():
            cluster = _here(view, registry, plain, now_ms)
            if plain_id(cluster["id"]) not in watched:
                what = f"{listed.scope} lists {cluster['name']}, and its audit log has never come"
                yield Trouble(UNWATCHED, cluster, "", made_ms or listed.at_ms, what, UNWATCHED_MS)


def _missing(view: Sightings, living: Sequence[Seen], registry: Clusters, now_ms: int) -> Iterator[Trouble]:
    """Canaries that are due and do not come back."""
    for canary in view.canaries.values():
        cluster, usual_ms = canary.cluster, canary.every_s * 1000
        bound_ms = int(PATIENCE * usual_ms)
        due_ms = max(canary.came_ms + bound_ms, _again(view.watch, canary.came_ms, bound_ms))
        if usual_ms and now_ms > due_ms and _lives(view, registry, cluster, now_ms):
            what = (
                f"The canary of {cluster['id']} does not come back, and is due every {span_text(usual_ms / 1000)} "
                f"({canary.actor}). Likely cause: {canary_cause(view, canary, living, now_ms)}"
            )
            yield Trouble(MISSING, cluster, canary.actor, canary.came_ms, what)


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
    source = rest.removeprefix(f"{known.cluster['id']}|")
    what = f"Over after {span_text((now_ms - known.since_ms) / 1000)}: {kind.title} ({source or known.cluster['id']})"
    return _alert(known.alert_id, kind, known.cluster, "informational", what, now_ms, revision=1)


def _alert(id_: str, kind: Kind, cluster: Cluster, level: str, what: str, now_ms: int, revision: int = 0) -> Alert:
    rule: RuleRef = {"id": kind.rule_id, "name": kind.name, "title": kind.title, "level": kind.level}
    return own_alert(id_, rule, level, what, now_ms * 1000, cluster, revision)
