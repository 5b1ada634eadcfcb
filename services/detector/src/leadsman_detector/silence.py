"""`silence`: a log that nothing comes of any more, while others go on (DETECTIONS K16, DESIGN 7).

Of each source the first event of a minute is a beat. A source is silent after a beat that no other follows for five
times its usual gap, and for a quarter of an hour at the least. Its own beats of the last day say what is usual, so it
must have been watched for a while. Where nothing else came in that time either, it is the whole stream that stood
still, and that is no matter of one log. Beats are judged by a timer of the wall clock, once late events are no longer
to be expected. Log files end where they end: a scan knows no silence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import msgspec

from leadsman_common.events import NO_REF, AuditEvent
from leadsman_detector import members
from leadsman_detector.alert import Where
from leadsman_detector.due import SILENCE, encode_due
from leadsman_detector.first_seen import Key
from leadsman_detector.form import Silence
from leadsman_detector.lateness import LATENESS_MS, source_of
from leadsman_detector.match import CompiledRule, Match
from leadsman_detector.state import ALL_TIME, CLOCK, DAY_MS, Put, Range, StateReply, Timer

MINUTE_MS = 60_000
MAX_BEATS = DAY_MS // MINUTE_MS
MAX_OTHERS = 1000
LEAST_BEATS = 20  # fewer are no rhythm
USUAL = 0.99  # of the gaps between beats are not longer than the usual one: an outage is none
EVERYWHERE = "all:"
WHO = "the audit log"
WHAT = "fell silent"
_OTHERS = "silence/others"


@dataclass(frozen=True, slots=True)
class Quiet:
    """A beat that is looked at, and where the replies stand: the beats of its source, the last ones of the others."""

    match: Match
    where: Where
    given: Silence
    due_ms: int
    beats: int
    others: int


class Beats:
    """The rules with `silence`; they are asked of events that are looked at anyway."""

    def __init__(self, rules: Sequence[CompiledRule]) -> None:
        self._rules = [(compiled, compiled.rule.silence) for compiled in rules if compiled.rule.silence is not None]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def key(self, event: AuditEvent) -> Key:
        """What a worker remembers a minute of a source by."""
        return self.minute(event["cluster"]["id"], source_of(event), event["time"] // 1000)

    def minute(self, cluster: str, source: str, at_ms: int) -> Key:
        """The same of a cluster, a source and a time."""
        return "silence", cluster, source, at_ms // MINUTE_MS

    def beat(self, event: AuditEvent, where: Where, kept: bytes) -> list[Put | Timer]:
        """What a beat leaves; `kept` is the event as it is looked at again."""
        cluster, at_ms = event["cluster"]["id"], event["time"] // 1000
        place = f"{cluster}\x1f{source_of(event)}".encode("utf-8", "surrogatepass")
        last = msgspec.msgpack.encode((place, at_ms))
        found: list[Put | Timer] = [
            Put(_OTHERS, EVERYWHERE, at_ms, last, DAY_MS, MAX_OTHERS, _OTHERS, "last", place),
        ]
        for compiled, given in self._rules:
            if compiled.match(event) is None:
                continue
            group = _group(compiled, event)
            name = str(at_ms // MINUTE_MS).encode()
            beat = str(at_ms).encode()
            found.append(Put(f"{group}/beats", cluster, at_ms, beat, DAY_MS, MAX_BEATS, group, "earliest", name))
            due_ms = at_ms + given.least_s * 1000 + LATENESS_MS[source_of(event)]
            found.append(self.timer(compiled.rule.name, cluster, where, due_ms, kept))
        return found

    def timer(self, rule: str, cluster: str, where: Where, due_ms: int, kept: bytes) -> Timer:
        """Have a beat looked at by then."""
        what = encode_due(SILENCE, rule, where, msgspec.msgpack.encode((due_ms, kept)))
        return Timer(due_ms, cluster, what, CLOCK)

    def ranges(self, compiled: CompiledRule, event: AuditEvent) -> tuple[Range, Range]:
        """What is to be known of a beat: the beats of its source, and when the others were last heard of."""
        group = _group(compiled, event)
        return (
            Range(f"{group}/beats", event["cluster"]["id"], *ALL_TIME, group),
            Range(_OTHERS, EVERYWHERE, *ALL_TIME, _OTHERS),
        )


def read_due(event: bytes) -> tuple[int, bytes]:
    """When a timer was due, and its event. Raises ValueError."""
    return msgspec.msgpack.decode(event, type=tuple[int, bytes])


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a source is silent since a beat: `told` says so; `later_ms`: to be looked at again by then."""

    told: str = ""
    later_ms: int = 0


def judge(quiet: Quiet, beats: StateReply, others: StateReply, now_ms: int) -> Verdict:
    """What the beats say."""
    event = quiet.match.event
    at_ms, given = event["time"] // 1000, quiet.given
    times = sorted(int(member) for member in members.of(beats))
    before = [time for time in times if time <= at_ms]
    if len(before) < LEAST_BEATS or at_ms - before[0] < given.learning_s * 1000:
        return Verdict()
    gaps = sorted(later - earlier for earlier, later in pairwise(before))
    usual_ms = gaps[max(0, math.ceil(USUAL * len(gaps)) - 1)]
    wait_ms = max(given.least_s * 1000, given.times * usual_ms)
    until_ms = at_ms + wait_ms + MINUTE_MS  # a minute has one beat, its first event
    if any(at_ms < time <= until_ms for time in times):
        return Verdict()
    due_ms = until_ms + LATENESS_MS[source_of(event)]
    if now_ms < due_ms:
        return Verdict(later_ms=due_ms)
    own = f"{event['cluster']['id']}\x1f{source_of(event)}".encode("utf-8", "surrogatepass")
    going_on = [place for place, time in _last_of(others) if place != own and time > at_ms + MINUTE_MS]
    if not going_on:
        return Verdict()
    return Verdict(
        f"nothing for {wait_ms // MINUTE_MS} minutes and more; usually something comes every "
        f"{-(-usual_ms // 1000)} s; {len(going_on)} other sources go on"
    )


def silent(event: AuditEvent) -> AuditEvent:
    """The last event of a log as what it stands for: nobody did it, and to nothing."""
    actor = {**event["actor"], "name": WHO, "class": "unknown", "groups": [], "namespace": "", "service_account": ""}
    more = {"actor": actor, "action": WHAT, "verb": "", "objectRef": NO_REF, "requestURI": "", "userAgent": ""}
    return cast("AuditEvent", {**event, **more, "src_endpoint": {**event["src_endpoint"], "ip": "", "public": False}})


def anchor(event: AuditEvent) -> tuple[str, str]:
    """What the alert's id hangs on: the source, and the minute of its last beat."""
    return source_of(event), str(event["time"] // 1000 // MINUTE_MS)


def _group(compiled: CompiledRule, event: AuditEvent) -> str:
    return f"silence/{compiled.rule.name}.{source_of(event)}"


def _last_of(reply: StateReply) -> list[tuple[bytes, int]]:
    found = []
    for member in members.of(reply):
        try:
            found.append(msgspec.msgpack.decode(member, type=tuple[bytes, int]))
        except msgspec.MsgspecError:
            continue
    return found
