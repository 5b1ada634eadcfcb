"""Why a source is silent, as far as the records of `sightings` tell. Pure.

Asked in this order: did somebody switch the logging off, does the ingest service say what fails, is it there at all,
what else stopped at that time or goes on. The first that holds is said; where none does, what is known of the way is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from leadsman_common.events import AuditEvent
from leadsman_common.rhythm import MINUTE_MS
from leadsman_common.sightings import (
    ALIVE,
    AUDIT,
    BEAT_S,
    LOGGING_OFF,
    MAX_SIGN,
    TROUBLE,
    Canary,
    Seen,
    Sightings,
    Sign,
    plain_id,
)
from leadsman_common.since import span_text

# a log ends some minutes after the call, and CloudTrail tells of the call later still
BEFORE_MS = 120 * MINUTE_MS
# beats of an ingest service that may be missing
MISSED_MS = 5 * BEAT_S * 1000
# what stopped within so much of each other stopped together: a source is told of once a minute
TOGETHER_MS = 3 * MINUTE_MS
# a log that comes by that late brings no canary in time
LATE_MS = 30 * MINUTE_MS


def logging_off(event: AuditEvent) -> Sign | None:
    """The sign that a call leaves which took logs away; None for nearly every event."""
    facts = event["facts"]
    control_plane = facts["control_plane"] if facts is not None else None
    if control_plane is None or not control_plane["logging_off"] or event["cloud"] is None:
        return None
    if not event["outcome"]["effective"] or not event["cloud"]["operation"]:
        return None
    cluster = event["cluster"]
    about = plain_id(cluster["id"]) if cluster["name"] else f"{cluster['provider']}/{cluster['account']}"
    text = f"{event['action']} by {event['actor']['name']}"[:MAX_SIGN]
    return Sign(LOGGING_OFF, about, "", event["time"] // 1000, text)


def likely_cause(view: Sightings, seen: Seen, living: Sequence[Seen], now_ms: int) -> str:
    """What it most likely is, as the end of a sentence."""
    return (
        _switched_off(view.signs.values(), seen, now_ms)
        or _trouble(view.signs.values(), seen)
        or _nobody_there(view.signs.values(), seen, now_ms)
        or _beside(view, seen, living, now_ms)
    )


def canary_cause(view: Sightings, canary: Canary, living: Sequence[Seen], now_ms: int) -> str:
    """Why a canary does not come back: its cluster's audit log stopped, comes late, or goes on without it."""
    logs = [seen for seen in living if seen.cluster["id"] == canary.cluster["id"] and seen.format in AUDIT]
    log = max(logs, key=lambda seen: seen.last_ms, default=None)
    if log is None:
        return "nothing is known of its audit log"
    due_ms = canary.came_ms + canary.every_s * 1000
    if now_ms - log.last_ms > TOGETHER_MS and log.last_ms < due_ms + TOGETHER_MS:
        return f"{log.format} stopped with it: {likely_cause(view, log, living, now_ms)}"
    late_ms = log.last_ms - log.newest_ms
    if late_ms > LATE_MS:
        return f"{log.format} of it comes {span_text(late_ms / 1000)} late"
    return (
        f"{log.format} of it goes on, so the canary is not sent (its CronJob is suspended, gone or fails), is refused, "
        "or is not logged any more"
    )


def _switched_off(signs: Iterable[Sign], seen: Seen, now_ms: int) -> str:
    cluster = seen.cluster
    abouts = plain_id(cluster["id"]), f"{cluster['provider']}/{cluster['account']}"
    found = [
        sign
        for sign in signs
        if sign.kind == LOGGING_OFF and sign.about in abouts and seen.last_ms - BEFORE_MS <= sign.at_ms <= now_ms
    ]
    if not found:
        return ""
    last = max(found, key=lambda sign: sign.at_ms)
    return f"logging was switched off at {_clock(last.at_ms)} ({last.text})"


def _trouble(signs: Iterable[Sign], seen: Seen) -> str:
    """What the ingest service failed at since the last record; of several what names the cluster or its account."""
    found = [s for s in signs if s.kind == TROUBLE and s.about == seen.topic and s.at_ms >= seen.last_ms]
    if not found:
        return ""
    names = [name for name in (seen.cluster["name"], seen.cluster["account"]) if name]
    last = max(found, key=lambda s: (any(name in s.place or name in s.text for name in names), s.at_ms))
    return f"{last.text} ({last.place})"


def _nobody_there(signs: Iterable[Sign], seen: Seen, now_ms: int) -> str:
    beats = [sign for sign in signs if sign.kind == ALIVE and sign.about == seen.topic]
    if not beats:
        return ""
    last = max(beats, key=lambda sign: sign.at_ms)
    gone_ms = now_ms - last.at_ms
    if gone_ms <= MISSED_MS:
        return ""
    return (
        f"nobody is there: nothing was heard of {last.place} for {span_text(gone_ms / 1000)}: it does not run, or does "
        "not reach Kafka"
    )


def _beside(view: Sightings, seen: Seen, living: Sequence[Seen], now_ms: int) -> str:
    """What else stopped at that time, or goes on."""
    way = seen.topic or "its raw topic"
    runs = [sign.place for sign in view.signs.values() if sign.kind == ALIVE and sign.about == seen.topic]
    ingest = f"{runs[0]} runs and says of no trouble" if runs else f"what writes {way} is not known"
    others = [one for one in living if one is not seen]
    same_way = [one for one in others if one.topic == seen.topic]
    stopped = [one for one in same_way if abs(one.last_ms - seen.last_ms) <= TOGETHER_MS]
    if stopped:
        return (
            f"{ingest}; {len(stopped)} more of {way} stopped at the same time: the way to {way}, not the cluster alone"
        )
    own = sorted(
        one.format for one in others if one.cluster["id"] == seen.cluster["id"] and now_ms - one.last_ms < BEFORE_MS
    )
    if own:
        return (
            f"{ingest}, and {', '.join(own)} of it goes on: this log alone was switched off, or is cut off on its way"
        )
    if same_way:
        return f"{ingest}, and others of {way} go on: the cluster's logging, its subscription, or the cluster itself"
    return f"{ingest}, and nothing else comes by {way}: the cluster's logging, or the way to {way}"


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
