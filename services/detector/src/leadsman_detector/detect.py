"""The detector's core: pure steps, with exchanges with the state between them.

    plan = detector.plan(records)          routing, decoding, rules; what the state is asked first
    alerts = await settle(detector.evaluate(plan, now), state.exchange)

`evaluate` is a generator: it yields the requests of one exchange after the other and is sent the replies. First come
the plan's own; then what follows from them (rules that look at what is known, correlations of correlations); at last
the claim of each alert. A shell around it reads, exchanges and sends (handler.py for the stream, the command line's
scan for files).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from leadsman_common.alerts import Alert, Modifier, alert_id
from leadsman_common.avro import audit_event_codec, glance, read_routing, routing_slice
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_detector import history, known, members, posture, regression, repeats, silence, statements
from leadsman_detector.alert import Where, alert_of, id_of, revision_of
from leadsman_detector.baseline import Baseline, report_of
from leadsman_detector.correlate import JOINS
from leadsman_detector.correlate_members import Member, Once, decode
from leadsman_detector.correlate_sigma import build_all
from leadsman_detector.due import BASELINE, CELL, FIRST_SEEN, REPEATS, RISK, SILENCE, What, decode_due, encode_due
from leadsman_detector.first_seen import Asked, Key, Remembered, Watch, late_ms_of
from leadsman_detector.idle import MAX_REMEMBERED, Idle, idle_of, is_never_idle, is_told_at_a_glance
from leadsman_detector.lateness import LATENESS_MS, source_named, source_of
from leadsman_detector.match import CompiledRule, Match, Route, RuleSet, Sieve
from leadsman_detector.plan import (
    CLAIM_TTL_MS,
    Asking,
    Closing,
    Joining,
    Pending,
    Plan,
    Raised,
    Repeating,
    Reporting,
    Reviewing,
    Sighting,
    Telling,
    Writing,
)
from leadsman_detector.risk import Risk, Weighing, leaves, moved_by, rules_of, weighing_of
from leadsman_detector.risk import source_of as source_of_alert
from leadsman_detector.routing import ALL_FLAGS, has_no_facts, known_fields
from leadsman_detector.state import HOUR_MS, Claim, Exchanges, Put, Range, StateReply, StateRequest, Timer, holders_of
from leadsman_detector.statements import Statement, Thing
from leadsman_detector.suppressing import Suppressing
from leadsman_detector.versioned import Versioned, Versioning

EVER_MS = 1 << 52
WRITES = ("create", "update", "patch")
_PLACES = frozenset({"source", "topic", "partition", "offset"})  # of evidence: an event may come twice
MAX_ROUTES = 50_000  # distinct (action, flags) remembered; a client can make up resources, not memory of ours


class AuditRecord(Protocol):
    """What the core reads of a record of audit.events."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes: ...


class Detector:
    """Rules and correlations over events; holds nothing but its compiled rules."""

    def __init__(
        self,
        rules: RuleSet,
        *,
        patient: bool = False,
        baseline_ms: int = 0,
        watching: bool = True,
        keeping: bool = False,
        posture: bool = False,
    ) -> None:
        """Set up.

        `patient`: events come in any order at all, as files do, so nothing is sure before the end. `baseline_ms`: how
        long what stood in a cluster before is no alert but part of one report (baseline.py). Not `watching`: the events
        tell of things that are there, not that the cluster was watched when they came to be. `keeping`: nothing is
        raised, it is about what events leave in the state; those that leave nothing are passed over. `posture`: keep
        what events say of how clusters are set up.
        """
        self.rules = rules
        self._patient = patient
        self._watching = watching
        self._keeping = keeping
        self._posture = posture
        self._baseline_ms = baseline_ms
        self._baseline = Baseline(baseline_ms) if baseline_ms else None
        self._codec = audit_event_codec()
        self._suppressing = Suppressing(rules.suppressions)
        self._joins = [JOINS[c.join](c, self._suppressing) for c in rules.correlations if c.join in JOINS]
        self._windowed, self._correlations = build_all(rules.correlations, self._suppressing)
        self._minds_outcome = {r.rule.name: r.minds_outcome for r in rules.rules}
        self._kinds = known.kinds_of(path for r in rules.rules for path in r.known_paths)
        self._finding = any(kind.finds for kind in self._kinds)
        self._asked = {id(r): known.kinds_of(r.known_paths) for r in rules.rules if r.known_paths}
        self._knowing_feeds = any(r.known_paths and r.rule.name in rules.fed for r in rules.rules)
        self._by_name = {r.rule.name: r for r in rules.rules}
        self._firsts = {r.rule.name: r.first_seen for r in rules.rules if r.first_seen is not None}
        self._feeding = {name: w for name, w in self._firsts.items() if not self._by_name[name].rule.alert}
        self._first_modifiers = {r.rule.name: r.first_seen_modifiers for r in rules.rules if r.first_seen_modifiers}
        watches = [*self._firsts.values(), *(w for ms in self._first_modifiers.values() for w, _ in ms)]
        self._watches = [watch for watch in watches if watch.learns]
        self._risk = Risk(rules_of(rules.rules), rules.acknowledged)
        if self._risk.raises:
            self._watches.append(self._risk.watch)
        self._beats = silence.Beats([] if patient or not watching else rules.rules)
        self._versioned = Versioned(rules.rules if posture else (), rules.lists)
        self._waiting: dict[tuple[str, str, str], Timer] = {}
        self._remembered_sightings = Remembered()
        self._sieves: dict[tuple[str, int, int], Sieve | None] = {}
        self._decided: dict[tuple[str, int, int], Route | None] = {}
        self._routes: dict[bytes, Route | None] = {}
        self._chatty: set[bytes] = set()  # routes of what components tell all day, and nothing else
        self._glanced: set[bytes] = set()  # routes whose rules look at no more than a glance shows
        self._idle: dict[tuple[bytes, bytes], Idle | None] = {}  # by route and what was shown
        self._heard_lately = Remembered()

    def anew(self, rules: RuleSet) -> Detector:
        """One of these rules that remembers nothing, and else is as this one."""
        return Detector(
            rules,
            patient=self._patient,
            baseline_ms=self._baseline_ms,
            watching=self._watching,
            keeping=self._keeping,
            posture=self._posture,
        )

    def route(self, action: str, flags: int, known_flags: int = ALL_FLAGS) -> Route | None:
        """The rules that an event could meet, by what routing tells; None where it need not be looked at at all.

        No rules at all still want a look where the event ends an object whose versions are kept, or where it leaves a
        trace that rules ask for later.
        """
        key = (action, flags, known_flags)
        if key not in self._decided:
            if len(self._decided) >= MAX_ROUTES:
                self._decided.clear()
            found = self.rules.candidates(action, flags, known_flags)
            looked_at = any(self._leaves(rule, action) for rule in found) if self._keeping else bool(found)
            self._decided[key] = found if looked_at or self._keeps(action, flags | ~known_flags) else None
        return self._decided[key]

    def _leaves(self, compiled: CompiledRule, action: str) -> bool:
        """Whether a match of a rule may leave something in the state."""
        rule = compiled.rule
        if rule.changed or rule.first_seen or rule.repeats or compiled.first_seen_modifiers or compiled.known_paths:
            return True
        if rule.regression:
            return True
        return rule.name in self.rules.fed or (self._finding and action.partition(" ")[0] in WRITES)

    def sieve(self, action: str, flags: int, known_flags: int, told: Callable[[str], bool]) -> Sieve | None:
        """How to tell by the fields that a head has whether an event on its route need be built; None: it must be."""
        key = (action, flags, known_flags)
        if key not in self._sieves:
            if len(self._sieves) >= MAX_ROUTES:
                self._sieves.clear()
            route, fields = self.route(*key), known_fields(*key)
            must = (
                route is None
                or self._keeps(action, flags | ~known_flags)
                or (route.changed and not has_no_facts(fields))
            )
            self._sieves[key] = None if must or route is None else self.rules.sieve(route, fields, told)
        return self._sieves[key]

    def _keeps(self, action: str, flags: int) -> bool:
        """Whether an event is looked at though no rule may meet it."""
        if self._posture and posture.leaves(action, flags):
            return True
        if history.ends_an_object(action, self.rules) or any(kind.leaves(action, flags) for kind in self._kinds):
            return True
        return not self._keeping and self._risk.raises and leaves(action, flags)

    def plan(self, records: Sequence[AuditRecord], now_us: int = 0) -> Plan:
        """Route each record, decode those that a rule can match, and match them."""
        plan = self.new_plan()
        routes, header = self._routes, self._codec.header
        for index, record in enumerate(records):
            data = record.value
            candidates: Route | None = None
            alike: tuple[bytes, bytes] | None = None
            if data[:10] == header and (key := routing_slice(data)) is not None:
                try:
                    candidates = routes[key]
                except KeyError:
                    candidates = self._route(key)
                if candidates is None or (key in self._chatty and self._heard(record.key, now_us)):
                    continue
                if key in self._glanced and (found := glance(data)) is not None:
                    time_us, shown, source_format = found
                    alike = key, shown
                    if self._is_idle(plan, alike, time_us // 1000, source_format):
                        continue
            try:
                event = self._codec.decode(data)
            except InvalidEvent as error:
                plan.dead.append((index, error.reason))
                continue
            plan.decoded += 1
            where = Where(record.topic, record.partition, record.offset)
            met = self.judge(plan, event, where, now_us, candidates)
            if alike is not None and alike not in self._idle and candidates is not None:
                self._remember(alike, event, candidates, met)
        return plan

    def _is_idle(self, plan: Plan, alike: tuple[bytes, bytes], at_ms: int, source_format: str) -> bool:
        """Whether nothing comes of an event but the progress of its source, as judging it would find."""
        idle = self._idle.get(alike)
        if idle is None:
            return False
        before, cluster, source = self._remembered_sightings.before, idle.cluster, source_named(source_format)
        if self._watching and not self._is_watched(cluster, at_ms):
            return False
        if self._beats and not before(self._beats.minute(cluster, source, at_ms), at_ms + 1):
            return False
        for watch, values in idle.sightings:
            if not before(watch.key(cluster, values, at_ms), at_ms):
                return False
        place = (cluster, source)
        plan.progress[place] = max(at_ms, plan.progress.get(place, at_ms))
        return True

    def _is_watched(self, cluster: str, at_ms: int) -> bool:
        """Whether all that learns of a cluster knows that it was watched on this day."""
        days = [watch.day(cluster, at_ms) for watch in self._watches]
        if self._baseline is not None:
            days.append(self._baseline.day(cluster, at_ms))
        return all(self._remembered_sightings.before(day, at_ms + 1) for day in days)

    def _remember(self, alike: tuple[bytes, bytes], event: AuditEvent, route: Route, met: list[Match]) -> None:
        """Remember what comes of events that are like this one in all that their rules look at."""
        if len(self._idle) >= MAX_REMEMBERED:
            self._idle.clear()
        comes_to_more = any(match.rule.name not in self._firsts for match in met)
        self._idle[alike] = (
            None if comes_to_more else idle_of(event, self._kept_of(route.find(event), event["action"]), self._firsts)
        )

    def _kept_of(self, rules: list[CompiledRule], action: str) -> list[CompiledRule]:
        """The rules that matter here."""
        return [rule for rule in rules if self._leaves(rule, action)] if self._keeping else rules

    def new_plan(self) -> Plan:
        """One with nothing in it yet."""
        return Plan(self._keeping)

    def judge(
        self,
        plan: Plan,
        event: AuditEvent,
        where: Where,
        now_us: int = 0,
        candidates: Route | None = None,
    ) -> list[Match]:
        """Match one event and add what comes of it to the plan; gives what it met without asking the state."""
        route = self.rules.candidates(event["action"], event["flags"]) if candidates is None else candidates
        rules = self._kept_of(route.find(event), event["action"])
        place = (event["cluster"]["id"], source_of(event))
        plan.progress[place] = max(event["time"] // 1000, plan.progress.get(place, event["time"] // 1000))
        if self._watching:
            self._watch(plan, event)
        self._note(plan, event)
        if self._beats:
            self._beat(plan, event, where)
        if self._feeding:
            rules = [rule for rule in rules if not self._told_before(rule.rule.name, event)]
        asking = tuple(r for r in rules if r.known_paths) if self._asked else ()
        question = self._question(event, asking) if asking else known.NOTHING
        if not question.ranges:  # it is about nothing that anything could be known of
            asking = ()
        matches = self.rules.match(event, [r for r in rules if r not in asking] if asking else rules)
        self._see(plan, event, where, matches, route.changed, now_us)
        if asking:
            self._ask(plan, Asking(event, where, asking), question)
            plan.requests += known.asked(event, question, self._remembered(event, where))
        if self._posture and posture.leaves(event["action"], event["flags"]):
            self._keep_posture(plan, event, where)
        for put in known.puts(event, self._kinds, matches) if self._kinds else ():
            if put.keep == "earliest":
                key = (put.series, put.cluster, put.name.decode(), 0)
                if not self._is_new(plan, key, put.time_ms):
                    continue
            plan.requests.append(put)
            if not self._keeping or self._knowing_feeds:
                plan.telling.append(Telling(put, put.name.decode(), plan.ask(known.late_for(put))))
        return matches

    def _keep_posture(self, plan: Plan, event: AuditEvent, where: Where) -> None:
        """Keep what an event says of how its cluster is set up; a version that is told all day, once an hour."""
        if posture.is_component(event):
            put = posture.component_put(event)
            key = (posture.COMPONENTS, put.cluster, put.member.decode(), put.time_ms // HOUR_MS)
            if self._is_new(plan, key, put.time_ms):
                plan.requests.append(put)
                self._keep_version(plan, event, where)
            return
        self._keep_version(plan, event, where)
        for thing, said in posture.statements_of(event):
            self._say(plan, thing, said)

    def _keep_version(self, plan: Plan, event: AuditEvent, where: Where) -> None:
        """Have the version that an event tells held against what may be."""
        if not self._versioned:
            return
        plan.requests += self._versioned.puts(event)
        if not self._keeping and (ranges := self._versioned.ranges(event)) is not None:
            heard, told = (plan.ask(span) for span in ranges)
            plan.versioning.append(Versioning(event, where, heard, told))

    def _say(self, plan: Plan, thing: Thing, said: Statement, rule: str = "") -> None:
        """Have a statement kept; one of a picture for long, since nobody will look at what was said around it."""
        if self._watching:
            plan.state(thing, said, rule)
        else:
            plan.requests.append(thing.head(said))

    def _told_before(self, rule: str, event: AuditEvent) -> bool:
        """Whether this worker knows that an event is the first of nothing, so that its rule need not be tried."""
        watch = self._feeding.get(rule)
        if watch is None:
            return False
        cluster, at_ms = event["cluster"]["id"], event["time"] // 1000
        before = self._remembered_sightings.before
        return all(before(watch.key(cluster, values, at_ms), at_ms) for values in watch.values(event))

    def _see(
        self, plan: Plan, event: AuditEvent, where: Where, matches: list[Match], changed: bool, now_us: int
    ) -> None:
        """Have matches told, but for those that hang on what is first seen: these ask the state first."""
        for match in matches:
            if match.rule.name in self._firsts:
                self._look(plan, match, where, EVER_MS if self._patient else late_ms_of(event))
            elif match.rule.regression and statements.tells(event):
                self._state(plan, match, where)
        matches = [m for m in matches if m.rule.name not in self._firsts and not m.rule.regression]
        watching = []
        for n, match in enumerate(matches):
            if match.rule.name not in self._first_modifiers or match.attempt or match.level in ("informational", "low"):
                continue
            for watch, modifier in self._first_modifiers[match.rule.name]:
                if asked := self._sighted(plan, event, watch, watch.values(event), 0):
                    watching.append((n, watch, modifier, asked))
        if watching:
            plan.pending.append(Pending(event, where, matches, changed, watching))
        else:
            self._tell(plan, event, where, matches, changed, now_us)

    def _look(self, plan: Plan, match: Match, where: Where, late_ms: int) -> None:
        """Ask whether an event is the first of its values."""
        watch = self._firsts[match.rule.name]
        asked = self._sighted(plan, match.event, watch, watch.values(match.event), late_ms)
        if asked:
            plan.sighting.append(Sighting(match, where, watch, asked, late_ms))

    def _state(self, plan: Plan, match: Match, where: Where) -> None:
        """Keep what an event says of the settings of a rule with regression."""
        regressing = self._by_name[match.rule.name].regressing
        if regressing is None:
            return
        for setting, value in regressing.said(match.event):
            said = regression.statement_of(match, where, setting, value, self.rules.digest)
            self._say(plan, regressing.thing(setting, match.event["cluster"]["id"]), said, match.rule.id)

    def _sighted(
        self, plan: Plan, event: AuditEvent, watch: Watch, values: Sequence[tuple[str, ...]], late_ms: int
    ) -> tuple[Asked, ...]:
        """Put the sightings and ask what was before, but for those of which this worker knows that something was."""
        cluster, at_ms = event["cluster"]["id"], event["time"] // 1000
        asked = []
        for one in values:
            if self._remembered_sightings.before(watch.key(cluster, one, at_ms), at_ms):
                continue
            plan.requests += watch.puts(cluster, one, at_ms)
            ranges = watch.ranges(cluster, one, at_ms, late_ms, late_ms_of(event))
            asked.append(Asked(one, tuple(plan.ask(span) for span in ranges)))
        return tuple(asked)

    def _beat(self, plan: Plan, event: AuditEvent, where: Where) -> None:
        """Keep that something came of a source in this minute, and have it looked at whether more does."""
        key, at_ms = self._beats.key(event), event["time"] // 1000
        if not self._is_new(plan, key, at_ms):
            return
        found = self._beats.beat(event, where, self._kept(event))
        for request in found:
            if self._keeping and isinstance(request, Timer):
                self._keep_last(request, event)
            else:
                plan.requests.append(request)

    def _keep_last(self, timer: Timer, event: AuditEvent) -> None:
        """Have the last beat of a source alone looked at after a rebuild: others came after the ones before it."""
        place = (decode_due(timer.what).name, timer.cluster, source_of(event))
        waiting = self._waiting.get(place)
        if waiting is None or waiting.due_ms < timer.due_ms:
            self._waiting[place] = timer

    def waiting(self) -> list[Timer]:
        """The timers that what was kept leaves behind, each once, after all of it: nobody else sets them again."""
        return list(self._waiting.values())

    def _note(self, plan: Plan, event: AuditEvent) -> None:
        """Keep who changes which kinds of objects. A rebuild has it from the topic `state`."""
        if self._keeping or (values := self._risk.seen(event)) is None:
            return
        key, at_ms = self._risk.key(event, values), event["time"] // 1000
        if not self._remembered_sightings.before(key, at_ms):
            plan.requests += self._risk.watch.puts(event["cluster"]["id"], values, at_ms)
            plan.days.append((key, at_ms))

    def _is_new(self, plan: Plan, key: Key, at_ms: int) -> bool:
        """Whether this worker does not know that the state has this from then on; once the plan is done, it does."""
        if self._remembered_sightings.before(key, at_ms + 1):
            return False
        plan.days.append((key, at_ms))
        return True

    def _watch(self, plan: Plan, event: AuditEvent) -> None:
        """Keep since when a cluster is watched, for what has to learn first."""
        cluster, at_ms = event["cluster"]["id"], event["time"] // 1000
        for watch in self._watches:
            if self._is_new(plan, watch.day(cluster, at_ms), at_ms):
                plan.requests.append(watch.history(cluster, at_ms))
        if self._baseline is not None and self._is_new(plan, self._baseline.day(cluster, at_ms), at_ms):
            plan.requests.append(self._baseline.watched(cluster, at_ms))

    def _tell(
        self, plan: Plan, event: AuditEvent, where: Where, matches: Sequence[Match], changed: bool, now_us: int
    ) -> None:
        """Raise matches, or keep them as a version of their object, and hand them on to correlations."""
        key = history.object_key(event)
        alerts: dict[str, Alert] = {}
        versioned = key is not None and event["outcome"]["effective"] and not event["dryRun"]
        for match in matches:
            kept = match.group or (versioned and match.rule.changed and match.properties)
            if match.rule.alert and (kept or not self._keeping):
                alert = alert_of(match, key, where, self.rules.digest, now_us)
                # what shows no fact of the object (a namespace by its name) has no versions to compare
                if versioned and match.rule.changed and match.properties:
                    alerts[match.rule.id] = alert
                elif match.group:
                    self._repeat(plan, alert, match)
                else:
                    alert["revision"] = revision_of(match)
                    plan.raised.append(Raised(alert, -alert["revision"], event["id"], order=event["id"].encode()))
            self._feed(plan, match, where)
        # a read shows nothing of the object here, and is no version of it; nor is a write without facts, as a lease's
        shows = changed and event["verb"] in WRITES and (event["facts"] is not None or bool(alerts))
        if key is not None and versioned and (event["verb"] == "delete" or shows):
            found = {m.rule.id: m.properties for m in matches if m.rule.id in alerts}
            if key.child:  # a label of a child tells nothing new of its owner
                asked = {rule: {p: True for p, touched in shown.items() if touched} for rule, shown in found.items()}
                found = {rule: shown for rule, shown in asked.items() if shown}
            self._write(plan, key, event, found, alerts)

    def _repeat(self, plan: Plan, alert: Alert, match: Match) -> None:
        """Add a request to those that share its alert."""
        if match.rule.repeats is None:
            return
        span_s, late_ms = match.rule.repeats.timespan_s, EVER_MS if self._patient else late_ms_of(match.event)
        plan.requests += repeats.puts(alert)
        plan.requests.append(repeats.timer(alert, span_s, source_of(match.event), late_ms))
        if self._keeping:
            return
        counted, told = (plan.ask(question) for question in repeats.questions(alert["cluster"]["id"], alert["id"]))
        others = plan.repeating.get(alert["id"])
        before = others.brought if others is not None else ()
        if others is not None and others.alert is not None:
            alert = max(others.alert, alert, key=repeats.degree)
        plan.repeating[alert["id"]] = Repeating(alert, (*before, match.event["id"]), span_s, counted, told)

    def evaluate(self, plan: Plan, now_us: int = 0) -> Exchanges[list[Alert]]:
        """The alerts of a plan, one an id: the last one, which is the best explained. See the module's text."""
        raised: list[Raised] = []
        again = plan.weighing
        while plan.requests or plan.raised:
            replies = (yield plan.requests) if plan.requests else []
            following = self.new_plan()
            raised += plan.raised
            raised += self._concluded(plan, replies, following, now_us)
            plan = following
        if not (raised or again) or self._keeping:
            return []
        raised, timers = yield from self._weighed(raised, again, now_us)
        claims: list[StateRequest] = []
        for one in raised:
            key = f"{one.alert['id']}/{one.part}" if one.part else one.alert["id"]
            cluster = one.cluster or one.alert["cluster"]["id"]
            group, told = f"claims/{one.alert['id']}", "" if one.part else _told_of(one.alert)
            claims.append(Claim(key, cluster, one.rank, one.holder, one.ttl_ms, group, one.order, told))
        granted = yield [*claims, *timers]
        best: dict[str, Raised] = {}
        for one, ok in zip(raised, granted, strict=False):
            if ok and (one.alert["id"] not in best or one.place <= best[one.alert["id"]].place):
                best[one.alert["id"]] = one
        return [one.alert for one in best.values()]

    def _weighed(
        self, raised: Sequence[Raised], again: Sequence[Weighing], now_us: int
    ) -> Exchanges[tuple[list[Raised], list[Timer]]]:
        """Alerts with the modifiers that hang on what was before, those of `again` where they have changed.

        And the timers of those that a late event could change.
        """
        alerts = [*(one.alert for one in raised), *(one.alert for one in again)]
        questions = [self._risk.question(alert) for alert in alerts]
        requests: list[StateRequest] = []
        places: list[int] = []
        for question in questions:
            if question is not None:
                requests += question.puts
            places.append(len(requests))
            if question is not None:
                requests += question.ranges
        replies = (yield requests) if requests else []
        weighed: list[Raised] = []
        timers: list[Timer] = []
        for n, (alert, question, place) in enumerate(zip(alerts, questions, places, strict=True)):
            first = n < len(raised)
            modifiers: list[Modifier] = []
            if question is not None:
                late_ms = 0 if not first else EVER_MS if self._patient else LATENESS_MS[source_of_alert(alert)]
                answers = replies[place : place + len(question.ranges)]
                modifiers, unsure = self._risk.weigh(alert, question, answers, late_ms)
                if unsure:
                    timers.append(self._risk.timer(alert, modifiers, late_ms))
            if first:
                weighed.append(dataclasses.replace(raised[n], alert=moved_by(alert, modifiers)))
            elif modifiers != again[n - len(raised)].told:
                told: Alert = {**alert, "revision": alert["revision"] + 1, "detected_time": now_us}
                weighed.append(Raised(moved_by(told, modifiers), 0, "risk", part=f"risk/{alert['revision']}"))
        return weighed, timers

    def _concluded(self, plan: Plan, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """What the replies to a plan's requests complete; what must be asked further goes into the following plan."""
        for part in plan.joining:
            found = [*part.found, *part.join.read([replies[place] for place in part.places])]
            if not part.last and (further := part.join.further(part.member, found)):
                places = tuple(following.ask(span) for span in further)
                following.joining.append(Joining(part.join, part.member, places, found, last=True))
                continue
            stories = part.join.complete(part.member, found, self.rules.digest, now_us)
            yield from (Raised(f.alert, -f.alert["revision"], f.holder, order=f.order) for f in stories)
        yield from self._written(plan, replies, following, now_us)
        yield from self._repeated(plan, replies, now_us)
        for asked in plan.asking:
            yield from self._answered(asked, replies, following, now_us)
        knowing = {asked.event["id"] for asked in plan.asking}
        for telling in plan.telling:
            self._late(telling, members.of(replies[telling.place]), knowing, following)
        yield from self._sightings(plan, replies, following, now_us)
        yield from self._stated(plan, replies, following, now_us)
        for one in plan.versioning:
            for match in self._versioned.judge(one, replies[one.heard], replies[one.told]):
                self._look(following, match, one.where, late_ms_of(match.event))
        yield from self._silences(plan, replies, following, now_us)
        yield from self._correlated(plan, replies, following, now_us)

    def _repeated(self, plan: Plan, replies: Sequence[StateReply], now_us: int) -> Iterator[Raised]:
        """What of requests that share their alert is told."""
        for one in plan.repeating.values():
            counted = members.of(replies[one.counted])
            if one.alert is None:
                telling = repeats.is_storm(counted)
            else:
                telling = repeats.is_told(one.alert, counted, len(one.brought))
            shown = members.of(replies[one.told])
            if telling and (alert := repeats.grown(counted, shown, one.timespan_s, now_us)) is not None:
                # a worker may have died that had claimed to tell of as many; its batch is no news when it comes again
                part = f"over/{alert['revision']}" if one.alert is None else ""
                yield Raised(alert, -alert["revision"], holders_of(one.brought or ("timer",)), part=part)

    def _stated(self, plan: Plan, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """What of the things that events speak of has changed, and what of that is a regression."""
        for one in plan.stating:
            every = statements.united([replies[place] for place in one.places], one.said)
            following.requests += (one.thing.head(said) for said in statements.new_heads(every, one.said))
            if one.rule:
                for found in regression.found_by(every, one.said, one.rule, one.thing.cluster, now_us):
                    yield Raised(found.alert, 0, one.said.id, regression.CLAIM_TTL_MS, found.part)

    def _correlated(self, plan: Plan, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """What windows have become hot, or were when they were over."""
        for closing in plan.closing:
            answers = [replies[place] for place in closing.places]
            hot, upwards = closing.over.correlation.judge(closing.over, answers, self.rules.digest, now_us)
            for one in hot:
                holder = f"{closing.over.source}.{closing.over.cell}"
                yield Raised(one.alert, -one.alert["revision"], holder, order=one.order, cluster=closing.over.cluster)
            for up in upwards:
                following.arrive(up)
        decoded: dict[int, list[Member]] = {}
        for arriving in plan.arriving:
            arrival, correlation = arriving.arrivals[0], arriving.arrivals[0].correlation
            if not correlation.perhaps([members.of(replies[place]) for place in arriving.places]):
                continue
            for place in arriving.places:
                if place not in decoded:
                    decoded[place] = decode(members.of(replies[place]))
            kept = [decoded[place] for place in arriving.places]
            hot, upwards = correlation.complete(arriving.arrivals, kept, self.rules.digest, now_us)
            ttl_ms = max(CLAIM_TTL_MS, 2 * correlation.form.incident_s * 1000)
            for one in hot:
                rank, holders = -one.alert["revision"], holders_of(one.by)
                yield Raised(one.alert, rank, holders, ttl_ms, order=one.order, cluster=arrival.cluster)
            for up in upwards:
                following.arrive(up)

    def _written(self, plan: Plan, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """What versions of objects have changed, and the reports of what stood there before."""
        for writing in plan.writing:
            stories, _, again = self._judged(writing, replies, writing.version.time // 1000)
            yield from self._told(writing, stories, now_us)
            if again and self._baseline is not None:
                start_ms = self._baseline.start(members.of(replies[writing.start]))
                following.requests += self._baseline.puts(writing, start_ms)
        for reporting in plan.reporting:
            self._review(reporting, replies, following)
        for reviewing in plan.reviewing:
            yield from self._reviewed(reviewing, replies, now_us)

    def _judged(
        self, writing: Writing, replies: Sequence[StateReply], at_ms: int = 1 << 60
    ) -> tuple[list[history.Story], history.Stood, bool]:
        """What history.told says of a version; see Baseline.until_ms."""
        own, children = members.of(replies[writing.own]), members.of(replies[writing.children])
        until_us = 0
        if self._baseline is not None:
            until_us = self._baseline.until_ms(members.of(replies[writing.start]), at_ms) * 1000
        return history.told(own, children, writing.version, child=writing.key.child, until_us=until_us)

    def _told(self, writing: Writing, stories: Sequence[history.Story], now_us: int) -> Iterator[Raised]:
        for told in stories:
            alert: Alert = {**told.alert, "detected_time": now_us}
            yield Raised(alert, -alert["revision"], writing.version.event_id, history.TTL_MS, order=told.order)

    def _review(self, reporting: Reporting, replies: Sequence[StateReply], following: Plan) -> None:
        """Have all that seemed to stand in a cluster judged again, now that no earlier event can come."""
        if self._baseline is None:
            return
        found = self._baseline.found(members.of(replies[reporting.found]))
        writings = [self._asked_around(following, key, version, reporting.cluster) for key, version in found]
        following.reviewing.append(Reviewing(reporting.cluster, writings))

    def _reviewed(self, reviewing: Reviewing, replies: Sequence[StateReply], now_us: int) -> Iterator[Raised]:
        standing: list[Alert] = []
        for writing in reviewing.writings:
            stories, stood, _ = self._judged(writing, replies)
            yield from self._told(writing, stories, now_us)
            standing += (writing.version.alerts[rule] for rule in stood)
        for shadow in (False, True):
            if found := [alert for alert in standing if bool(alert.get("shadow")) is shadow]:
                yield Raised(report_of(found, self.rules.digest, now_us), 0, "baseline", history.TTL_MS)

    def _question(self, event: AuditEvent, rules: Sequence[CompiledRule]) -> known.Question:
        """What these rules want to know of an event."""
        return known.question(event, list(dict.fromkeys(kind for rule in rules for kind in self._asked[id(rule)])))

    def _ask(self, plan: Plan, asking: Asking, question: known.Question) -> None:
        asking.places = {name: [plan.ask(span) for span in spans] for name, spans in question.ranges.items()}
        plan.asking.append(asking)

    def _answered(self, asked: Asking, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """What the rules make of an event of which they know all that is known."""
        facts = {name: [m for p in places for m in members.of(replies[p])] for name, places in asked.places.items()}
        event = asked.event = known.answered(asked.event, facts)
        number = sum(map(len, facts.values()))
        # told again only where it says something else, and then by whoever knows most
        holder, order = asked.late or event["id"], b"%08d %s" % (99_999_999 - number, event["id"].encode())
        for match in self.rules.match(event, asked.rules):
            if match.rule.alert:
                alert = alert_of(match, history.object_key(event), asked.where, self.rules.digest, now_us)
                alert["revision"] = revision_of(match, number)
                yield Raised(alert, -alert["revision"], holder, order=order)
            self._feed(following, match, asked.where, known_facts=number)

    def _late(self, telling: Telling, waiting: Sequence[bytes], knowing: set[str], following: Plan) -> None:
        """Have the events looked at again that asked before this fact came."""
        for one in known.read_waiting(waiting):
            try:
                event = self._codec.decode(one.event)
            except InvalidEvent:  # of another release
                continue
            rules = tuple(
                r for r in self.rules.candidates(event["action"], event["flags"]).find(event) if r.known_paths
            )
            if event["id"] not in knowing and rules:
                where = Where(one.topic, one.partition, one.offset)
                asking = Asking(event, where, rules, late=telling.event_id)
                self._ask(following, asking, self._question(event, rules))

    def _remembered(self, event: AuditEvent, where: Where) -> bytes:
        """An event as it is kept after it has asked."""
        return known.encode_waiting(known.Waiting(*where, self._kept(event)))

    def _kept(self, event: AuditEvent) -> bytes:
        """An event to be looked at again; one that is too large goes without its bodies."""
        data = self._codec.encode(event)
        if len(data) > known.MAX_BYTES:
            data = self._codec.encode({**event, "requestObject": "", "responseObject": ""})
        return data

    def _sightings(self, plan: Plan, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """What is first seen; what is not sure yet gets a timer."""
        for day, at_ms in plan.days:
            self._remembered_sightings.keep(day, at_ms)
        for sighting in plan.sighting:
            yield from self._sighting(sighting, replies, following, now_us)
        for pending in plan.pending:
            matches = list(pending.matches)
            for n, watch, modifier, asked in pending.watching:
                if any(v == "first" for _, v, _ in self._verdicts(pending.event, watch, asked, 0, replies)):
                    compiled = self._by_name[matches[n].rule.name]
                    matches[n] = compiled.raised(matches[n], [{"by": modifier.by, "why": modifier.why}])
            self._tell(following, pending.event, pending.where, matches, pending.changed, now_us)

    def _silences(self, plan: Plan, replies: Sequence[StateReply], following: Plan, now_us: int) -> Iterator[Raised]:
        """Which sources have fallen silent; what cannot be said yet is looked at again."""
        for quiet in plan.quiet:
            event, rule = quiet.match.event, quiet.match.rule
            verdict = silence.judge(quiet, replies[quiet.beats], replies[quiet.others], now_us // 1000)
            cluster = event["cluster"]["id"]
            if verdict.later_ms > quiet.due_ms:
                kept = self._kept(event)
                following.requests.append(self._beats.timer(rule.name, cluster, quiet.where, verdict.later_ms, kept))
            if not verdict.told:
                continue
            match = replace(quiet.match, event=silence.silent(event), leaves=())
            own = alert_id(rule.id, cluster, *silence.anchor(event))
            if rule.alert:
                alert = alert_of(match, None, quiet.where, self.rules.digest, now_us)
                alert["id"] = own
                alert["evidence"][0]["matched"].append({"field": "silence", "value": verdict.told, "changed": False})
                yield Raised(alert, 0, event["id"])
            self._feed(following, match, quiet.where, own)

    def _sighting(
        self, sighting: Sighting, replies: Sequence[StateReply], following: Plan, now_us: int
    ) -> Iterator[Raised]:
        match, watch = sighting.match, sighting.watch
        event = match.event
        cluster, at_ms = event["cluster"]["id"], event["time"] // 1000
        verdicts = self._verdicts(event, watch, sighting.asked, sighting.late_ms, replies)
        if any(verdict == "later" for _, verdict, _ in verdicts):
            what = encode_due(FIRST_SEEN, match.rule.name, sighting.where, self._kept(event))
            following.requests.append(Timer(at_ms + sighting.late_ms, cluster, what, source_of(event)))
        for values, verdict, answers in verdicts:
            if verdict == "first" and match.rule.alert:
                alert = alert_of(match, None, sighting.where, self.rules.digest, now_us)
                alert["id"] = alert_id(match.rule.id, cluster, *watch.anchor(values, at_ms))
                alert["revision"] = watch.revision(event["time"])
                name, text = watch.told(values, at_ms, late_ms_of(event), answers)
                alert["evidence"][0]["matched"].append({"field": name, "value": text, "changed": False})
                rank, order = -alert["revision"], event["id"].encode()
                yield Raised(alert, rank, event["id"], watch.ttl_ms, order=order)
        first = [values for values, verdict, _ in verdicts if verdict == "first"]
        if first:  # the others of its values are nothing new
            only = {path: frozenset(v[n] for v in first) for n, path in enumerate(watch.given.fields)}
            anchor = alert_id(match.rule.id, cluster, *watch.anchor(first[0], at_ms))
            self._feed(following, replace(match, only=only), sighting.where, anchor)

    def _verdicts(
        self, event: AuditEvent, watch: Watch, asked: Sequence[Asked], late_ms: int, replies: Sequence[StateReply]
    ) -> list[tuple[tuple[str, ...], str, list[StateReply]]]:
        """The verdict on each combination of values, which this worker remembers from now on."""
        cluster, at_ms = event["cluster"]["id"], event["time"] // 1000
        found: list[tuple[tuple[str, ...], str, list[StateReply]]] = []
        for one in asked:
            self._remembered_sightings.keep(watch.key(cluster, one.values, at_ms), at_ms)
            answers = [replies[place] for place in one.places]
            found.append((one.values, watch.verdict(at_ms, late_ms, answers), answers))
        return found

    def restored(self, puts: Sequence[Put]) -> list[StateRequest]:
        """What is to be put beside what is read back of the topic `state`, which holds no timers."""
        return self._baseline.timers(puts) if self._baseline is not None else []

    def due(self, plan: Plan, what: bytes) -> None:
        """Look again at what a timer names, now that its source has come far enough; of another release: nothing."""
        try:
            due = decode_due(what)
            if due.kind == CELL:
                correlation = self._correlations.get(due.name)
                over = correlation.over(due.event) if correlation is not None else None
                if over is not None:
                    places = tuple(plan.ask(span) for span in over.correlation.ranges_over(over))
                    plan.closing.append(Closing(over, places))
                return
            if due.kind == BASELINE:
                if self._baseline is not None:
                    plan.reporting.append(Reporting(due.name, plan.ask(self._baseline.asked(due.name))))
                return
            if due.kind == RISK:
                if (weighing := weighing_of(due.event)) is not None:
                    plan.weighing.append(weighing)
                return
            if due.kind == SILENCE:
                self._listen(plan, due)
                return
            if due.kind == REPEATS:
                self._recount(plan, *repeats.read_due(due.event))
                return
            event = self._codec.decode(due.event)
        except (InvalidEvent, ValueError):
            return
        compiled = self._by_name.get(due.name)
        if due.kind == FIRST_SEEN and due.name in self._firsts and compiled is not None:
            match = compiled.match(event)
            if match is not None:
                self._look(plan, match, due.where, 0)

    def _recount(self, plan: Plan, cluster: str, alert_id: str, timespan_s: int) -> None:
        """Ask how many requests an alert has become."""
        counted, told = (plan.ask(question) for question in repeats.questions(cluster, alert_id))
        plan.repeating[alert_id] = Repeating(None, (), timespan_s, counted, told)

    def _listen(self, plan: Plan, due: What) -> None:
        """Ask what came of a source after a beat. Raises InvalidEvent and ValueError for what another release wrote."""
        due_ms, kept = silence.read_due(due.event)
        event, compiled = self._codec.decode(kept), self._by_name.get(due.name)
        match = compiled.match(event) if compiled is not None else None
        if compiled is None or match is None or compiled.rule.silence is None:
            return
        beats, others = (plan.ask(span) for span in self._beats.ranges(compiled, event))
        plan.quiet.append(silence.Quiet(match, due.where, compiled.rule.silence, due_ms, beats, others))

    def _feed(self, plan: Plan, match: Match, where: Where, own: str = "", *, known_facts: int = 0) -> None:
        """Hand a match on to the correlations that it is a part of.

        `own`: its alert's id, where the match says not; `known_facts`: by how many facts it was judged.
        """
        if match.rule.name not in self.rules.fed or not match.fresh:
            return
        if match.rule.alert:
            match = replace(match, alert=own or id_of(match, history.object_key(match.event)))
        if held := self._suppressing.held(match.event):
            match = replace(match, held=held)
        for join in self._joins:
            part = join.member(match, where) if join.takes(match) else None
            if part is not None:
                plan.requests += join.puts(part)
                if not self._keeping:
                    places = tuple(plan.ask(span) for span in join.ranges(part))
                    plan.joining.append(Joining(join, part, places, [], last=False))
        minds_outcome, member = self._minds_outcome[match.rule.name], Once(match, where, known_facts)
        for correlation in self._windowed.get(match.rule.name, ()):
            for arrival in correlation.arrivals(match, member, minds_outcome):
                plan.arrive(arrival)

    def _write(
        self,
        plan: Plan,
        key: history.ObjectKey,
        event: AuditEvent,
        found: dict[str, history.Properties],
        alerts: dict[str, Alert],
    ) -> None:
        """Keep the version and ask for those around it; a child that shows nothing is not kept."""
        version = history.version_of(event, self.rules.digest, found, alerts)
        if key.child and not found:
            return
        cluster, at, member = event["cluster"]["id"], event["time"] // 1000, history.encode(version)
        put = Put(key.series, cluster, at, member, history.TTL_MS, history.MAX_VERSIONS, key.group)
        if key.child:
            name = history.child_name(version)
            put = replace(put, series=key.children, keep="earliest", name=name)
        plan.requests.append(put)
        if not self._keeping:
            plan.writing.append(self._asked_around(plan, key, version, cluster))

    def _asked_around(self, plan: Plan, key: history.ObjectKey, version: history.Version, cluster: str) -> Writing:
        """Ask for what a version is judged by."""
        own, children = (
            plan.ask(Range(name, cluster, *history.ALL_TIME_MS, key.group)) for name in (key.series, key.children)
        )
        start = plan.ask(self._baseline.beginning(cluster)) if self._baseline is not None else -1
        return Writing(key, version, cluster, own, children, start)

    def _route(self, key: bytes) -> Route | None:
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
            self._chatty.clear()
            self._glanced.clear()
        action, flags = read_routing(key)
        found = self._routes[key] = self.route(action, flags)
        if self._posture and found is not None and not found and posture.is_chatty(action, flags):
            self._chatty.add(key)
        if found is None or self._keeps(action, flags) or not is_told_at_a_glance(found, action, flags):
            return found
        if not is_never_idle(self._kept_of(list(found), action), action, flags):
            self._glanced.add(key)
        return found

    def _heard(self, key: bytes | None, now_us: int) -> bool:
        """Whether what this record is about was looked at within the hour; else it counts as looked at now."""
        hour = now_us // 1000 // HOUR_MS
        about = ("heard", (key or b"").decode("utf-8", "replace"), "", hour)
        if self._heard_lately.before(about, 1):
            return True
        self._heard_lately.keep(about, 0)
        return False


def _told_of(alert: Alert) -> str:
    """What stands for all that people see of an alert: not when it was detected, nor where its events were read."""
    evidence = [{k: v for k, v in item.items() if k not in _PLACES} for item in alert["evidence"]]
    seen = msgspec.json.encode({**alert, "evidence": evidence, "revision": 0, "detected_time": 0})
    return hashlib.blake2b(seen, digest_size=8).hexdigest()
