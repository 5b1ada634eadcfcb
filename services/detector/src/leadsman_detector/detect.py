"""The detector's core in two pure steps, with the state's exchange between them.

    plan = detector.plan(records)              routing, decoding, rules; what the state is asked
    replies = await state.exchange(plan.requests)
    claims = detector.conclude(plan, replies, now)   alerts that want to be raised, each with its claim
    replies = await state.exchange(claims.requests)
    alerts = claims.granted(replies)

A shell around it reads, exchanges and sends (handler.py for the stream, the command line's scan for files).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from leadsman_common.alerts import Alert
from leadsman_common.avro import audit_event_codec, read_routing, routing_slice
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_detector import history, known, members
from leadsman_detector.alert import Where, alert_of, rank_of
from leadsman_detector.correlate import JOINS, Member, RoleUse
from leadsman_detector.match import CompiledRule, Match, Route, RuleSet, Sieve
from leadsman_detector.routing import ALL_FLAGS, has_no_facts, known_fields
from leadsman_detector.state import Claim, Put, Range, StateReply, StateRequest

CLAIM_TTL_MS = 7 * 24 * 60 * 60 * 1000
WRITES = ("create", "update", "patch")
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
    def value(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that wants to be raised, and what it claims."""

    alert: Alert
    rank: int
    holder: str
    ttl_ms: int = CLAIM_TTL_MS
    part: str = ""  # what of the alert is claimed; empty: the alert as a whole


@dataclass(frozen=True, slots=True)
class Joining:
    """A part of a correlation; its replies begin at `first`."""

    join: RoleUse
    member: Member
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Writing:
    """A version of an object, or what a child of it shows, and where the replies of its series stand."""

    version: history.Version
    child: bytes  # the child's member; empty for the object itself
    own: int
    children: int


@dataclass(frozen=True, slots=True)
class Asking:
    """A request on a pod, for rules that want to know what is known of it; the reply stands at `first`."""

    event: AuditEvent
    where: Where
    rules: tuple[CompiledRule, ...]
    first: int


@dataclass(slots=True)
class Plan:
    """What came of a batch so far. `dead` holds (index in the batch, reason)."""

    requests: list[StateRequest] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    raised: list[Raised] = field(default_factory=list)
    joining: list[Joining] = field(default_factory=list)
    writing: list[Writing] = field(default_factory=list)
    asking: list[Asking] = field(default_factory=list)
    asked: dict[Range, int] = field(default_factory=dict)  # where each series' reply stands
    decoded: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to conclude."""
        return not self.raised and not self.requests


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
        self._asks = any(r.uses_known for r in rules.rules)
        self._sieves: dict[tuple[str, int, int], Sieve | None] = {}
        self._decided: dict[tuple[str, int, int], Route | None] = {}
        self._routes: dict[bytes, Route | None] = {}

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
            self._decided[key] = found if found or self._keeps(action) else None
        return self._decided[key]

    def sieve(self, action: str, flags: int, known_flags: int, told: Callable[[str], bool]) -> Sieve | None:
        """How to tell by the fields that a head has whether an event on its route need be built; None: it must be."""
        key = (action, flags, known_flags)
        if key not in self._sieves:
            if len(self._sieves) >= MAX_ROUTES:
                self._sieves.clear()
            route, fields = self.route(*key), known_fields(*key)
            must = route is None or self._keeps(action) or (route.changed and not has_no_facts(fields))
            self._sieves[key] = None if must or route is None else self.rules.sieve(route, fields, told)
        return self._sieves[key]

    def _keeps(self, action: str) -> bool:
        """Whether an event is looked at though no rule may meet it."""
        return history.ends_an_object(action, self.rules) or (self._asks and known.leaves_trace(action))

    def plan(self, records: Sequence[AuditRecord], now_us: int = 0) -> Plan:
        """Route each record, decode those that a rule can match, and match them."""
        plan = Plan()
        routes, header = self._routes, self._codec.header
        for index, record in enumerate(records):
            data = record.value
            candidates: Route | None = None
            if data[:10] == header and (key := routing_slice(data)) is not None:
                try:
                    candidates = routes[key]
                except KeyError:
                    candidates = self._route(key)
                if candidates is None:
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
        candidates: Route | None = None,
    ) -> None:
        """Match one event and add what comes of it to the plan."""
        route = self.rules.candidates(event["action"], event["flags"]) if candidates is None else candidates
        rules = route.find(event)
        question = known.question(event) if self._asks else None
        asking = tuple(r for r in rules if r.uses_known) if question is not None else ()
        matches = self.rules.match(event, [r for r in rules if r not in asking])
        key = history.object_key(event)
        alerts: dict[str, Alert] = {}
        versioned = key is not None and event["outcome"]["effective"] and not event["dryRun"]
        for match in matches:
            if match.rule.alert:
                alert = alert_of(match, key, where, self.rules.digest, now_us)
                # what shows no fact of the object (a namespace by its name) has no versions to compare
                if versioned and match.rule.changed and match.properties:
                    alerts[match.rule.id] = alert
                else:
                    plan.raised.append(Raised(alert, rank_of(match), event["id"]))
            if match.rule.name in self.rules.fed and match.fresh:
                self._join(plan, match, where)
        # a read shows nothing of the object here, and is no version of it; nor is a write without facts, as a lease's
        shows = route.changed and event["verb"] in WRITES and (event["facts"] is not None or bool(alerts))
        if key is not None and versioned and (event["verb"] == "delete" or shows):
            found = {m.rule.id: m.properties for m in matches if m.rule.id in alerts}
            if key.child:  # a label of a child tells nothing new of its owner
                asked = {rule: {p: True for p, touched in shown.items() if touched} for rule, shown in found.items()}
                found = {rule: shown for rule, shown in asked.items() if shown}
            self._write(plan, key, event, found, alerts)
        if self._asks:
            plan.requests += known.puts(event)
            if question is not None and asking:
                plan.asking.append(Asking(event, where, asking, len(plan.requests)))
                plan.requests.append(question)

    def conclude(self, plan: Plan, replies: Sequence[StateReply], now_us: int = 0) -> Claims:
        """Complete the correlations and the objects' stories with the state's replies, and claim every alert."""
        raised = list(plan.raised)
        for part in plan.joining:
            found = part.join.complete(part.member, replies[part.first : part.end], self.rules.digest, now_us)
            raised += [Raised(f.alert, f.rank, f.holder) for f in found]
        for writing in plan.writing:
            own, children = members.of(replies[writing.own]), members.of(replies[writing.children])
            raised += [
                Raised({**told.alert, "detected_time": now_us}, 0, writing.version.event_id, history.TTL_MS, told.key)
                for told in history.told(own, children, writing.version, writing.child)
            ]
        for asked in plan.asking:
            event = known.answered(asked.event, members.of(replies[asked.first]))
            raised += [
                Raised(alert_of(m, None, asked.where, self.rules.digest, now_us), rank_of(m), event["id"])
                for m in self.rules.match(event, asked.rules)
                if m.rule.alert
            ]
        claims: list[StateRequest] = [
            Claim(f"{r.alert['id']}/{r.part}" if r.part else r.alert["id"], r.alert["cluster"]["id"], *_claimed(r))
            for r in raised
        ]
        return Claims([r.alert for r in raised], claims)

    def _join(self, plan: Plan, match: Match, where: Where) -> None:
        for join in self._joins:
            member = join.member(match, where) if join.takes(match) else None
            if member is not None:
                first = len(plan.requests)
                plan.requests += join.requests(member)
                plan.joining.append(Joining(join, member, first, len(plan.requests)))

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
        child = history.encode_child(found) if key.child else b""
        cluster, at = event["cluster"]["id"], event["time"] // 1000
        series, member = (key.children, child) if key.child else (key.series, history.encode(version))
        plan.requests.append(Put(series, cluster, at, member, history.TTL_MS, history.MAX_VERSIONS))
        own, children = (
            self._ask(plan, Range(name, cluster, *history.ALL_TIME_MS)) for name in (key.series, key.children)
        )
        plan.writing.append(Writing(version, child, own, children))

    def _ask(self, plan: Plan, question: Range) -> int:
        """Ask for a series once a batch; gives where the reply stands."""
        if question not in plan.asked:
            plan.asked[question] = len(plan.requests)
            plan.requests.append(question)
        return plan.asked[question]

    def _route(self, key: bytes) -> Route | None:
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        found = self._routes[key] = self.route(*read_routing(key))
        return found


def _claimed(raised: Raised) -> tuple[int, str, int]:
    return raised.rank, raised.holder, raised.ttl_ms
