"""What is done with a batch: the core's pure steps, the state's exchanges between them, and what is sent.

It returns when Kafka has acknowledged every alert and dead letter of the batch, and raises otherwise.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog
from redis.exceptions import RedisError

from leadsman_common import canary, metrics, traces
from leadsman_common.alert_stream import alert_record
from leadsman_common.alerts import Alert
from leadsman_common.kafka import MAX_MESSAGE_BYTES, AckedProducer, BadRecordCap, DeadLetter, Outgoing, dead_letter
from leadsman_common.ledger import DEAD, PASSED, Ledger
from leadsman_common.metrics import (
    ALERTS,
    BATCH_SECONDS,
    DEAD_LETTERED,
    GAPS,
    PRODUCED,
    RECEIVED,
    ROUTED,
    SHADOWED,
    STATE_TROUBLES,
    SUPPRESSED,
)
from leadsman_common.wire import Wire
from leadsman_detector import members
from leadsman_detector.detect import Detector
from leadsman_detector.digests import Digests
from leadsman_detector.guard import Guard, StateUnavailable
from leadsman_detector.match import RuleSet
from leadsman_detector.plan import Plan
from leadsman_detector.positions import Positions
from leadsman_detector.runner import Record
from leadsman_detector.state import DAY_MS, HOUR_MS, Done, Due, Put, StateReply, StateRequest, settle
from leadsman_detector.state_redis import Exchanged, Span, StateGap
from leadsman_detector.state_topic import Topics, outlives_a_day
from leadsman_detector.state_topic import outgoing as outgoing_state
from leadsman_detector.timers import Place, clamped, reached
from leadsman_detector.tracing import NONE, Taken, take, traced

SERVICE = "detector"
STAGE = "detect"
LOGGED_EVENTS = 10
AROUND_MS = 2_000  # how often timers and the other workers' rules are looked at
MOST_AT_ONCE = 1 << 20  # records that are judged together, while the state bears it
DUE_AT_ONCE = 200  # sources that are asked for timers at once, and timers that are looked at
_HEADROOM = 16 * 1024  # key, headers and the batch's own header

_log = structlog.get_logger()


class Reader(Protocol):
    """How far the whole consumer group is; asked on a thread of its own."""

    def all_handled(self, now_ms: int) -> bool:
        """Whether all is handled that the topic held a while ago."""
        ...


class BatchHandler:
    """A Handler and its Tick (see runner.py)."""

    def __init__(
        self,
        detector: Detector,
        guard: Guard,
        producer: AckedProducer,
        topics: Topics,
        wire: Wire[Alert],
        cap: BadRecordCap,
        *,
        bounds: Callable[[int], tuple[int, int]],
        reader: Reader,
        ledger: Ledger,
        name: str,
        group: str = "",
        rules_reload_s: float = 10.0,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        new_rules: Callable[[], RuleSet | None] | None = None,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        `new_rules` gives rules to be put in force from this batch on, asked before each; `bounds` tells the first
        offset that a partition of audit.events still has and the one that is committed; `reader` tells how far the
        whole group is; `name` is this worker's, unlike any other's; `renew` writes to the topic `state` again what
        still holds, and may take long: one worker does it once a day.
        """
        self._detector = detector
        self._new_rules = new_rules
        self._guard = guard
        self._producer = producer
        self._topics = topics
        self._wire = wire
        self._cap = cap
        self._bounds = bounds
        self._clock_us = clock_us
        self._positions = Positions()
        self._reader = reader
        self._ledger = ledger
        self._name = name
        self._group = group
        self._progress: dict[Place, int] = {}
        self._timers_due_ms = 0
        self._digests = Digests(rules_reload_s)
        self._renew = renew
        self._renewal_due_ms = 0
        self._at_once = MOST_AT_ONCE

    @property
    def digest(self) -> str:
        """Of the rules in force."""
        return self._detector.rules.digest

    async def __call__(self, records: list[Record]) -> bool:
        """Handle a batch. Raises TooManyBadRecords past the cap, and what a broken Kafka raises.

        False where the state could not be asked: what needs no state was raised, and the batch must come again. It may
        have asked too much at once, as a storm does of a slow Redis, so it is judged in parts then, half as large.
        """
        if self._new_rules is not None and (rules := self._new_rules()) is not None:
            self._detector = self._detector.anew(rules)
        spans, size = self._positions.spans(records), self._at_once
        for at in range(0, len(records), size):
            if not await self._handle(records[at : at + size]):
                break
        else:
            self._at_once = min(2 * size, MOST_AT_ONCE)
            return True
        await self._judge_alone(records[at:])
        self._at_once = max(1, min(size, len(records)) // 2)
        for span in spans:  # the parts before as well: what a runner holds back is released by being read again
            self._positions.missed(span.partition, span.first)
        return False

    async def _handle(self, records: Sequence[Record]) -> bool:
        """Handle a part of a batch; False where the state could not be asked."""
        with BATCH_SECONDS.labels(SERVICE).time(), traces.hop() as hop:
            taken = NONE if hop is None else take(hop, records, self._group)
            now_us = self._clock_us()
            plan = self._detector.plan(records, now_us)
            if (found := await self._judge(plan, records, now_us)) is None:
                return False
            alerts, kept = found
            self._came_to(plan, now_us)
            dead = [(records[index], reason) for index, reason in plan.dead]
            self._count(records, dict(plan.dead))
            if alerts or dead or kept:
                await self._send(alerts, dead, kept, taken)
        self._note(records, dict(plan.dead), alerts)
        topic = records[0].topic
        RECEIVED.labels(SERVICE, topic).inc(len(records))
        metrics.LAST_RECEIVED.labels(SERVICE, topic).set_to_current_time()
        metrics.hop("detect", topic, min(record.timestamp_ms for record in records), time.time() * 1000)
        _observe_canaries(alerts, records)
        ROUTED.labels("decoded").inc(plan.decoded)
        ROUTED.labels("passed").inc(len(records) - plan.decoded - len(plan.dead))
        return True

    async def accounted(self) -> None:
        """See runner.BeforeCommit: have the ledger's pages of what was handled acknowledged by Kafka."""
        if pages := self._ledger.pages():
            await asyncio.to_thread(self._producer.send, pages)

    def _note(self, records: Sequence[Record], dead: Mapping[int, str], alerts: Sequence[Alert]) -> None:
        """Note in the ledger what became of a batch."""
        first, last = records[0], records[-1]
        if not dead and first.partition == last.partition and last.offset - first.offset == len(records) - 1:
            self._ledger.note_run(first.topic, first.partition, first.offset, len(records), PASSED)
        else:
            for index, record in enumerate(records):
                outcome = f"{DEAD}:{dead[index].partition(':')[0]}" if index in dead else PASSED
                self._ledger.note(record.topic, record.partition, record.offset, outcome)
        if alerts:
            self._ledger.made(alert["id"] for alert in alerts)

    async def tick(self) -> Mapping[int, int]:
        """See runner.Tick: ask the state how it is, and give what must come again once it is well."""
        untold = self._positions.untold()
        try:
            if not await self._guard.check(untold):
                return {}
        except StateGap as gap:
            self._missed(gap.partition, gap.stored, *await asyncio.to_thread(self._bounds, gap.partition))
            return self._positions.again() if self._guard.good else {}
        self._positions.handled(untold, told=True)
        again = self._positions.again()
        if not again:  # else there is more to be handled before anything is late
            await self._look_around()
        return again

    def _came_to(self, plan: Plan, now_us: int) -> None:
        """Note how far sources have come, by what is handled."""
        for place, at_ms in plan.progress.items():
            reached_ms = clamped(at_ms, now_us // 1000)
            self._progress[place] = max(reached_ms, self._progress.get(place, reached_ms))

    async def _look_around(self) -> None:
        """Every few seconds: tell how far sources are and which rules are in force, and look at what is due."""
        now_ms = self._clock_us() // 1000
        if now_ms < self._timers_due_ms:
            return
        self._timers_due_ms = now_ms + AROUND_MS
        told, self._progress = self._progress, {}
        state = self._guard.state
        try:
            self._digests.look(await state.tell("rules", self._name, self.digest), self.digest, now_ms)
            progress = await state.progress(told)
            await self._renew_daily(now_ms)
            places = await state.timed()
            if not places or not await state.lock("timers", self._name, 5 * AROUND_MS):
                return
        except (RedisError, OSError):  # the next tick says it
            self._progress = {**told, **self._progress}
            return
        if await asyncio.to_thread(self._reader.all_handled, now_ms):
            upto = [(*place, reached(place[1], progress.get(place), now_ms)) for place in places]
            asked = [Due(cluster, source, at_ms, DUE_AT_ONCE) for cluster, source, at_ms in upto if at_ms is not None]
            with suppress(StateUnavailable, StateGap):
                for n in range(0, len(asked), DUE_AT_ONCE):
                    await self._look_at(asked[n : n + DUE_AT_ONCE])

    async def _renew_daily(self, now_ms: int) -> None:
        """Have what still holds renewed, where no other worker did within a day. Raises RedisError."""
        if now_ms < self._renewal_due_ms:
            return
        leads = await self._guard.state.lock("renewal", self._name, DAY_MS)
        self._renewal_due_ms = now_ms + (DAY_MS if leads else HOUR_MS)
        if leads:
            threading.Thread(target=self._renew, name="state-renewal", daemon=True).start()

    async def _look_at(self, asked: Sequence[Due]) -> None:
        """Look again at what of these is due; what came of it is safe before its timers are taken away."""
        replies = (await self._guard.exchange(asked)).replies
        found = [
            Done(one.cluster, one.source, what)
            for one, due in zip(asked, replies, strict=True)
            for what in members.of(due)
        ]
        for n in range(0, len(found), DUE_AT_ONCE):
            some, plan = found[n : n + DUE_AT_ONCE], Plan()
            for done in some:
                self._detector.due(plan, done.what)
            kept: list[Outgoing] = []
            alerts = await settle(self._detector.evaluate(plan, self._clock_us()), partial(self._keeping, kept))
            if alerts or kept:
                await self._send(alerts, [], kept)
            await self._guard.exchange(some)

    async def _keeping(self, kept: list[Outgoing], requests: Sequence[StateRequest]) -> list[StateReply]:
        """An exchange that belongs to no record, and what of it goes to the topic `state`."""
        done = await self._guard.exchange(requests)
        kept += (outgoing_state(self._topics.state, r) for r in requests if isinstance(r, Put) and outlives_a_day(r))
        return done.replies

    async def _judge(
        self, plan: Plan, records: Sequence[Record], now_us: int
    ) -> tuple[list[Alert], list[Outgoing]] | None:
        """The alerts, and what goes to the topic `state`; None where the state cannot be asked."""
        spans = self._positions.spans(records)
        kept: list[Outgoing] = []
        told = again = False

        async def exchange(requests: Sequence[StateRequest]) -> list[StateReply]:
            nonlocal told, again
            done = await self._exchange(requests, () if told else spans)
            told, again = True, again or done.again  # delivered again: it may have died before it wrote to the topic
            kept.extend(
                outgoing_state(self._topics.state, request)
                for place, request in enumerate(requests)
                if isinstance(request, Put) and outlives_a_day(request) and (again or place in done.changed)
            )
            return done.replies

        try:
            alerts = await settle(self._detector.evaluate(plan, now_us), exchange)
        except StateUnavailable:
            return None
        self._positions.handled(spans, told=told)
        return alerts, kept

    async def _judge_alone(self, records: Sequence[Record]) -> None:
        """Raise what needs no state. The detector starts afresh: it may remember what the state never got."""
        with traces.hop() as hop:
            taken = NONE if hop is None else take(hop, records, self._group)
            plan = self._detector.plan(records, self._clock_us())
            if alone := list({raised.alert["id"]: raised.alert for raised in plan.raised}.values()):
                await self._send(alone, [], [], taken)
        self._detector = self._detector.anew(self._detector.rules)

    async def _exchange(self, requests: Sequence[StateRequest], spans: Sequence[Span]) -> Exchanged:
        """Ask the state. Records that it has not seen and nobody can read any more are passed over, loudly."""
        while True:
            try:
                with metrics.STATE_SECONDS.labels(SERVICE).time():
                    return await self._guard.exchange(requests, spans)
            except StateGap as gap:
                partition, stored = gap.partition, gap.stored
            earliest, committed = await asyncio.to_thread(self._bounds, partition)
            first = next(span.first for span in spans if span.partition == partition)
            if first > earliest:
                self._missed(partition, stored, earliest, committed)
                raise StateUnavailable
            GAPS.labels(SERVICE, self._topics.events).inc()
            _log.error(
                "records are gone that were never judged",
                partition=partition,
                from_offset=stored,
                to_offset=first,
                count=first - stored,
            )
            spans = [span._replace(take=True) if span.partition == partition else span for span in spans]

    def _missed(self, partition: int, stored: int, earliest: int, committed: int) -> None:
        """Have a partition read again from where the state ends, or from its beginning.

        Never from behind what is committed: a rebuild puts records that nobody has judged yet.
        """
        STATE_TROUBLES.labels("gap").inc()
        _log.info("the state has not seen these records", partition=partition, stored=stored, earliest=earliest)
        self._positions.missed(partition, max(min(stored, committed), earliest))

    def _count(self, records: Sequence[Record], dead: dict[int, str]) -> None:
        """Count bad records in a row, before any is written: past the cap the batch is left as it is."""
        if not dead:
            self._cap.good()
            return
        for index in range(len(records)):
            if index in dead:
                self._cap.bad(dead[index])
            else:
                self._cap.good()

    async def _send(
        self, alerts: list[Alert], dead: list[tuple[Record, str]], kept: list[Outgoing], taken: Taken = NONE
    ) -> None:
        with traces.hop() as hop:
            sent = (outgoing(self._topics.of(alert), alert, self._wire) for alert in alerts)
            out = [*kept, *(sent if hop is None else traced(hop, sent, alerts, taken))]
            await self._produce(out, dead, taken)
        for alert in alerts:
            (SHADOWED if alert.get("shadow") else ALERTS).labels(alert["rule"]["name"], alert["level"]).inc()
            PRODUCED.labels(SERVICE, self._topics.of(alert)).inc()
            if why := alert.get("suppressed"):
                SUPPRESSED.labels(alert["rule"]["name"], why["by"]).inc()
            _log.info("alert", **described(alert))
        if kept:
            PRODUCED.labels(SERVICE, self._topics.state).inc(len(kept))
        if dead:
            topic = dead[0][0].topic + ".dlq"
            PRODUCED.labels(SERVICE, topic).inc(len(dead))
            DEAD_LETTERED.labels(SERVICE, topic).inc(len(dead))

    async def _produce(self, out: list[Outgoing], dead: list[tuple[Record, str]], taken: Taken) -> None:
        """Have Kafka acknowledge these, and the dead letters."""
        for record, reason in dead:
            if span := taken.get((record.topic, record.partition, record.offset)):
                span.failed("InvalidEvent", reason)
            _log.error(
                "record dead-lettered",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=reason,
            )
            bad = DeadLetter(
                record.topic,
                record.partition,
                record.offset,
                record.key,
                record.value,
                record.headers,
                reason,
                STAGE,
            )
            out.append(dead_letter(bad))
        await asyncio.to_thread(self._producer.send, out)


def _observe_canaries(alerts: Sequence[Alert], records: Sequence[Record]) -> None:
    """How long the canaries of a batch took from audit.events to alerts."""
    if found := [a for a in alerts if a["rule"]["name"] == canary.RULE]:
        came = {(r.partition, r.offset): r.timestamp_ms for r in records}
        for alert in found:
            event = alert["evidence"][-1]
            came_ms = came.get((event["partition"], event["offset"]), 0)
            metrics.canary("detect", alert["cluster"]["id"], came_ms, time.time() * 1000)


def described(alert: Alert) -> dict[str, object]:
    """What a log line says of an alert: its id, and its events with their ids and offsets, the first few of many."""
    evidence = alert["evidence"]
    return {
        "alert_id": alert["id"],
        "revision": alert["revision"],
        "rule": alert["rule"]["name"],
        "alert_level": alert["level"],
        **({"shadow": True} if alert.get("shadow") else {}),
        "cluster": alert["cluster"]["id"],
        "events": [
            {"event_id": e["event_id"], "topic": e["topic"], "partition": e["partition"], "offset": e["offset"]}
            for e in evidence[:LOGGED_EVENTS]
        ],
        "events_in_all": len(evidence),
    }


def outgoing(topic: str, alert: Alert, wire: Wire[Alert]) -> Outgoing:
    """The record of an alert (leadsman_common.alert_stream)."""
    return alert_record(topic, alert, _fitting(alert, wire), SERVICE)


def _fitting(alert: Alert, wire: Wire[Alert]) -> bytes:
    """The alert's bytes, with evidence out of the middle left out where the topic would not take it."""
    value = wire.encode(alert)
    evidence = alert["evidence"]
    while len(value) > MAX_MESSAGE_BYTES - _HEADROOM and len(evidence) > 1:
        kept = len(evidence) // 2
        evidence = evidence[: (kept + 1) // 2] + evidence[len(evidence) - kept // 2 :]
        _log.warning("alert too large, evidence left out", id=alert["id"], bytes=len(value), kept=len(evidence))
        value = wire.encode({**alert, "evidence": evidence})
    return value
