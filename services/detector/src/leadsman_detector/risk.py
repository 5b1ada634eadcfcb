"""What moves an alert's level by what was before (DETECTIONS 1.12): who is new, and what a person has acknowledged.

    +1  the actor has not written to this kind of object for two weeks, in a cluster watched for two weeks
    -1  a person has acknowledged the finding's fingerprint, and it was raised three times in 30 days before

Seen is whatever a person or a service account changed, and what was raised of them. Both are functions of the set of
events: an alert is told with what holds by then, and looked at again by a timer where a late event could change it. The
ids of alerts do not hang on any of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from leadsman_common.alerts import Alert, Modifier, fingerprint, level_rank
from leadsman_common.events import AuditEvent, Flag, parse_action
from leadsman_detector import members
from leadsman_detector.alert import Where
from leadsman_detector.due import RISK, encode_due
from leadsman_detector.first_seen import Key, Values, Watch
from leadsman_detector.form import Acknowledged, FirstSeen
from leadsman_detector.lateness import AUDIT, LATENESS_MS
from leadsman_detector.match import CompiledRule, moved
from leadsman_detector.state import DAY_MS, Put, Range, StateReply, Timer

FIELDS = ("actor.name", "objectRef.resource")
TWO_WEEKS_S = 14 * 86_400
SEEN_MS = 30 * DAY_MS
TIMES = 3
MAX_SEEN = 16  # times of one fingerprint that are kept
WHO = frozenset({"human", "service_account"})  # nodes and controllers come and go by themselves
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
REACHING = frozenset({"exec", "attach", "portforward", "proxy"})
# written all day, and nothing that a rule of medium or more speaks of
BUSY = frozenset({"leases", "events", "endpoints", "endpointslices", "tokenreviews"})
REVIEW = "reviews"
NEW = Modifier(by=1, why="the first time in two weeks that this actor changes this kind of object")


@dataclass(frozen=True, slots=True)
class Weighing:
    """An alert that is looked at again: as it was before these modifiers, and those that it was told with."""

    alert: Alert
    told: list[Modifier]


@dataclass(frozen=True, slots=True)
class Question:
    """What is put and asked for one alert. `values`: who and what kind, where it matters."""

    puts: list[Put]
    ranges: list[Range]
    values: Values | None
    acknowledged: Acknowledged | None


class Risk:
    """The modifiers that hang on history; `rules` are those that raise alerts, by name."""

    def __init__(self, rules: Mapping[str, CompiledRule], acknowledged: Mapping[str, Acknowledged]) -> None:
        self.watch = Watch("risk", FirstSeen(FIELDS, TWO_WEEKS_S, TWO_WEEKS_S), tells=False)
        self._rules = rules
        self._acknowledged = acknowledged

    @property
    def raises(self) -> bool:
        """Whether there is anything that could be raised."""
        return bool(self._rules)

    def seen(self, event: AuditEvent) -> Values | None:
        """Who did something to what kind of object, where an event shows it."""
        if (
            not self._rules
            or not leaves(event["action"], event["flags"])
            or event["dryRun"]
            or event["actor"]["class"] not in WHO
        ):
            return None
        found = self.watch.values(event)
        return found[0] if found else None

    def key(self, event: AuditEvent, values: Values) -> Key:
        """What a worker remembers it by."""
        return self.watch.key(event["cluster"]["id"], values, event["time"] // 1000)

    def question(self, alert: Alert) -> Question | None:
        """What is to be asked for an alert; None where nothing moves it: attempts, and what is below medium."""
        if alert["attempt"] or level_rank(alert["level"]) < level_rank("medium"):
            return None
        cluster, at_ms = alert["cluster"]["id"], alert["time"] // 1000
        mark = fingerprint(alert)
        group = f"risk/{mark}"
        series = f"{group}/raised"
        name = f"{alert['id']}/{alert['revision']}".encode()
        shadow = alert.get("shadow", False)  # a rule on trial is weighed, and leaves nothing that weighs others
        puts = [] if shadow else [Put(series, cluster, at_ms, name, SEEN_MS + 2 * DAY_MS, MAX_SEEN, group, name=name)]
        ranges: list[Range] = []
        acknowledged = self._acknowledged.get(mark)
        if acknowledged is not None and acknowledged.until and alert["time"] >= acknowledged.until:
            acknowledged = None
        if acknowledged is not None:
            ranges.append(Range(series, cluster, at_ms - SEEN_MS, at_ms - 1, group))
        values = self._values(alert)
        if values is not None:
            puts += [] if shadow else self.watch.puts(cluster, values, at_ms)
            ranges += self.watch.ranges(cluster, values, at_ms, 0)
        return Question(puts, ranges, values, acknowledged)

    def _values(self, alert: Alert) -> Values | None:
        """Who and what kind, where it may be raised: not above the level that a filter keeps its rule at."""
        compiled = self._rules.get(alert["rule"]["name"])
        actor, resource = alert["actor"], alert["objectRef"]["resource"]
        if compiled is None or compiled.first_seen or compiled.first_seen_modifiers or alert["level"] == "critical":
            return None
        if actor["class"] not in WHO or not actor["name"] or not resource:
            return None
        return None if alert["level"] in {f.level for f in compiled.filters} else (actor["name"], resource)

    def weigh(
        self, alert: Alert, question: Question, replies: Sequence[StateReply], late_ms: int
    ) -> tuple[list[Modifier], bool]:
        """The modifiers, and whether a late event could change them."""
        found: list[Modifier] = []
        unsure = False
        left = list(replies)
        if question.acknowledged is not None:
            times = len(members.of(left.pop(0)))
            if times >= TIMES:
                found.append(Modifier(by=-1, why=f"acknowledged by {question.acknowledged.by}, raised before"))
            unsure = times < TIMES
        if question.values is not None:
            at_ms = alert["time"] // 1000
            verdict = self.watch.verdict(at_ms, 0, left)
            if verdict == "first":
                found.append(NEW)
            unsure = unsure or verdict == "first" or self.watch.verdict(at_ms, late_ms, left) == "later"
        return found, unsure and late_ms > 0

    def timer(self, alert: Alert, told: Sequence[Modifier], late_ms: int) -> Timer:
        """Have an alert looked at again once no late event can come."""
        what = msgspec.json.encode(({**alert, "detected_time": 0}, told))
        data = encode_due(RISK, alert["rule"]["name"], Where(), what)
        return Timer(alert["time"] // 1000 + late_ms, alert["cluster"]["id"], data, source_of(alert))


def leaves(action: str, flags: int) -> bool:
    """Whether an event may show that somebody had to do with a kind of object."""
    return bool(flags & Flag.EFFECTIVE) and _changes(action)


def weighing_of(what: bytes) -> Weighing | None:
    """What a timer holds; None for what another release wrote otherwise."""
    try:
        alert, told = msgspec.json.decode(what, type=tuple[Alert, list[Modifier]])
    except msgspec.MsgspecError:
        return None
    return Weighing(alert, told)


def moved_by(alert: Alert, modifiers: Sequence[Modifier]) -> Alert:
    """An alert with further modifiers."""
    if not modifiers:
        return alert
    return {
        **alert,
        "level": moved(alert["level"], modifiers),
        "modifiers": [*alert["modifiers"], *modifiers],
    }


def source_of(alert: Alert) -> str:
    """The source whose progress an alert's events are part of: the slowest of them."""
    formats = {item["source"]["format"] for item in alert["evidence"]} & LATENESS_MS.keys()
    return max(formats, key=lambda source: (LATENESS_MS[source], source), default=AUDIT)


@lru_cache(maxsize=10_000)
def _changes(action: str) -> bool:
    verb, resource, _, subresource, _ = parse_action(action)
    if not resource or resource in BUSY or resource.endswith(REVIEW) or subresource == "status":
        return False
    return verb in WRITES or (verb == "get" and subresource in REACHING)


def rules_of(rules: Collection[CompiledRule]) -> dict[str, CompiledRule]:
    """Those that raise alerts, by name."""
    return {compiled.rule.name: compiled for compiled in rules if compiled.rule.alert}
