"""The detector's core in two pure steps, with the state's exchange between them.

    plan = detector.plan(records)              routing, decoding, rules; what the state is asked
    replies = await state.exchange(plan.requests)
    claims = detector.conclude(plan, replies, now)   alerts that want to be raised, each with its claim
    replies = await state.exchange(claims.requests)
    alerts = claims.granted(replies)

A shell around it reads, exchanges and sends (handler.py for the stream, the command line's scan for files).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from leadsman_common.alerts import Alert
from leadsman_common.avro import audit_event_codec, read_routing, routing_slice
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_detector.alert import Where, alert_of, rank_of
from leadsman_detector.correlate import JOINS, Found, Member, RoleUse
from leadsman_detector.match import CompiledRule, RuleSet
from leadsman_detector.state import Claim, StateReply, StateRequest

CLAIM_TTL_MS = 7 * 24 * 60 * 60 * 1000


class AuditRecord(Protocol):
    """What the core reads of a record of audit.events."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes: ...


@dataclass(slots=True)
class Plan:
    """What came of a batch so far. `dead` holds (index in the batch, reason)."""

    requests: list[StateRequest] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    raised: list[tuple[Alert, int, str]] = field(default_factory=list)  # alert, rank, holder
    waiting: list[tuple[RoleUse, Member, int, int]] = field(default_factory=list)  # span of its requests
    decoded: int = 0


@dataclass(slots=True)
class Claims:
    """Alerts that want to be raised, and what the state must grant."""

    alerts: list[Alert]
    requests: list[StateRequest]

    def granted(self, replies: Sequence[StateReply]) -> list[Alert]:
        """The alerts whose claim was granted, one an id: the last one, which is the best explained."""
        return list({a["id"]: a for a, ok in zip(self.alerts, replies, strict=True) if ok}.values())


class Detector:
    """Rules and correlations over events; holds nothing but its compiled rules."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._codec = audit_event_codec()
        self._joins = [JOINS[c.join](c) for c in rules.correlations if c.join in JOINS]
        self._routes: dict[bytes, tuple[CompiledRule, ...]] = {}

    def plan(self, records: Sequence[AuditRecord], now_us: int = 0) -> Plan:
        """Route each record, decode those that a rule can match, and match them."""
        plan = Plan()
        routes, header = self._routes, self._codec.header
        for index, record in enumerate(records):
            data = record.value
            candidates: tuple[CompiledRule, ...] | None = None
            if data[:10] == header and (key := routing_slice(data)) is not None:
                candidates = routes.get(key)
                if candidates is None:
                    candidates = self._route(key)
                if not candidates:
                    continue
            try:
                event = self._codec.decode(data)
            except InvalidEvent as error:
                plan.dead.append((index, error.reason))
                continue
            plan.decoded += 1
            self.judge(plan, event, Where(record.topic, record.partition, record.offset), now_us, candidates)
        return plan

    def judge(
        self,
        plan: Plan,
        event: AuditEvent,
        where: Where,
        now_us: int = 0,
        candidates: tuple[CompiledRule, ...] | None = None,
    ) -> None:
        """Match one event and add what comes of it to the plan."""
        for match in self.rules.match(event, candidates):
            if match.rule.alert:
                alert = alert_of(match, where, self.rules.digest, now_us)
                plan.raised.append((alert, rank_of(match), event["id"]))
            if match.rule.name in self.rules.fed:
                for join in self._joins:
                    member = join.member(match, where) if join.takes(match) else None
                    if member is not None:
                        first = len(plan.requests)
                        plan.requests += join.requests(member)
                        plan.waiting.append((join, member, first, len(plan.requests)))

    def conclude(self, plan: Plan, replies: Sequence[StateReply], now_us: int = 0) -> Claims:
        """Complete the correlations with the state's replies, and claim every alert."""
        raised = list(plan.raised)
        for join, member, first, end in plan.waiting:
            found: list[Found] = join.complete(member, replies[first:end], self.rules.digest, now_us)
            raised += [(f.alert, f.rank, f.holder) for f in found]
        alerts = [alert for alert, _, _ in raised]
        claims: list[StateRequest] = [
            Claim(alert["id"], alert["cluster"]["id"], rank, holder, CLAIM_TTL_MS) for alert, rank, holder in raised
        ]
        return Claims(alerts, claims)

    def _route(self, key: bytes) -> tuple[CompiledRule, ...]:
        if len(self._routes) >= 50_000:
            self._routes.clear()
        found = self._routes[key] = self.rules.candidates(*read_routing(key))
        return found
