"""One Sigma correlation at work: which groups an event belongs to, what is kept of it, and what is fulfilled.

Three ways of keeping, by what the condition needs (docs/decisions/007):
  count  event_count: the first and the latest events of each cell, as many as the threshold
  value  value_count and temporal: of each value (or rule) the first and the last of a cell
  whole  the rest, and all that feeds another correlation or has an anchor: every event of each rule, up to a quota
What is told of an incident is the first window that fulfilled, at the highest level that any did, and again as it goes
on (correlate_views.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from leadsman_common.alerts import Alert, alert_id, level_rank
from leadsman_common.events import AuditEvent
from leadsman_detector import members as replied
from leadsman_detector.alert import Where, build, chain_title
from leadsman_detector.correlate_fields import Reader, Route
from leadsman_detector.correlate_members import (
    Member,
    Up,
    actor_of,
    cluster_of,
    decode,
    evidence,
    heads,
    ordered,
    ref_of,
)
from leadsman_detector.correlate_views import View, best, by_all, by_cells, by_chain, by_count, by_value, stage_of
from leadsman_detector.correlate_windows import (
    EVER,
    Chain,
    Span,
    by_order,
    by_sum,
    by_values,
    compares,
    ends_by_count,
    ends_by_values,
    holds,
    measured,
)
from leadsman_detector.correlate_windows import (
    by_count as hot_by_count,
)
from leadsman_detector.due import CELL, encode_due
from leadsman_detector.form import Correlation, RaisedBy
from leadsman_detector.lateness import AUDIT
from leadsman_detector.lateness import LATENESS_MS as LATENESS
from leadsman_detector.match import Match
from leadsman_detector.sigma_correlations import chains_of, is_closed, shape_of
from leadsman_detector.state import ALL_TIME, CLOCK, Keep, Put, Range, StateReply, Timer, digest_of
from leadsman_detector.suppressing import NOBODY, Suppressing
from leadsman_detector.within import Standing

LATENESS_MS = 2 * 60 * 60 * 1000
OUTAGE_MS = 6 * 60 * 60 * 1000  # how long a detector may be down before what it was counting is gone
ABSENCE_PARTS = 15
QUOTA = 256  # events of one rule in a cell, where all are kept
PAIR_QUOTA = 32  # where two of them in order are all that matters
MAX_EVIDENCE = 20
Kind: TypeAlias = Literal["count", "value", "whole"]


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into one group of a correlation."""

    correlation: Windowed
    key: tuple[str, ...]
    member: Member
    group: str  # the state's name of it
    cluster: str  # what the state calls the cluster; wider scopes have names that no cluster has
    cell: int  # that it falls into


@dataclass(frozen=True, slots=True)
class Over:
    """A cell of a group that is over, or an event (`event_id`) that something should have followed by now."""

    correlation: Windowed
    cluster: str
    key: tuple[str, ...]
    cell: int
    source: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Told:
    """A hot window that wants to be an alert. `order`: where it stands among others of the same revision.

    `by` are those of the events that arrived that are part of it: whichever of them comes again sees it again.
    """

    alert: Alert
    order: bytes
    by: Sequence[str] = ()


class Windowed:
    """A correlation, ready to be asked. `above` are the correlations that it feeds."""

    def __init__(
        self, form: Correlation, correlations: Mapping[str, Correlation], suppressing: Suppressing = NOBODY
    ) -> None:
        self.form = form
        self._suppressing = suppressing
        self.standing = Standing(form)
        self.name = form.name
        self.window_ms = form.timespan_s * 1000
        self.above: list[Windowed] = []
        self.reader = Reader(form, correlations)
        self._chains = _chains(form)
        self._fewest = min((len(set(chain)) for chain in self._chains), default=0)  # members that make anything hot
        self.closed = is_closed(form)
        self.kind = self._kind(False)
        self._need = _need(form)
        self._sizes = sorted({int(self._threshold), *(step.count for step in form.levels)} - {0})
        self._top = max(level_rank(level) for level in (form.level, *(step.level for step in form.levels)))
        shape = (form.type, form.rules, form.timespan_s, form.group_by, sorted(form.aliases.items()), form.fields)
        self._shape = shape_of(*shape, form.condition, form.op, form.threshold, form.scope, form.absence)

    def feeds(self, above: Windowed) -> None:
        """Have its hot members go to another correlation."""
        self.above.append(above)
        self.kind = self._kind(True)

    def scope_of(self, member: Member) -> str:
        """The cluster's id, or a name for what holds several."""
        if self.form.scope == "cluster":
            return member.cluster[0]
        _, _, provider, account, _ = member.cluster
        return f"account:{provider}/{account}" if self.form.scope == "account" else "all:"

    # --- in --------------------------------------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Whether every event is kept and looked at by itself."""
        return self.kind == "whole"

    def arrivals(self, match: Match, member: Callable[[str], Member], minds_outcome: bool) -> list[Arrival]:
        """A match of one of its rules, in each group that it belongs to; `member` makes it one, with a value.

        A refused request counts where the rule itself looks at the outcome, or the correlation asks for attempts.
        """
        if match.attempt and not (minds_outcome or match.rule.name in self.form.attempts):
            return []
        if not self.standing.takes(match.event["cluster"], shadow=match.shadow):
            return []
        route = (match.rule.name,)
        keys, values = self.reader.read(match.event, route, match.only)
        if not keys or not values:
            return []
        each = [member(value) for value in values]
        if self.above:
            ups = self.ups_of(match.event, route, match.only)
            each = [msgspec.structs.replace(one, ups=ups) for one in each]
        return self.arriving(each, keys)

    def arriving(self, each: Sequence[Member], keys: Sequence[Sequence[str]]) -> list[Arrival]:
        """Members, one a value, in each of their groups."""
        return [self.arrival(key, one) for key in map(tuple, keys) for one in each]

    def arrival(self, key: tuple[str, ...], member: Member) -> Arrival:
        """A member in one of its groups."""
        return Arrival(self, key, member, self.group(key), self.scope_of(member), member.time_ms // self.window_ms)

    def ups_of(self, event: AuditEvent, route: Route, only: Mapping[str, frozenset[str]]) -> list[Up]:
        """How an event that came this way would stand in the correlations above."""
        ups = []
        cluster = event["cluster"]
        shadow = self.standing.shadow(cluster)
        for above in (a for a in self.above if a.standing.takes(cluster, shadow=shadow)):
            way = (self.name, *route)
            keys, values = above.reader.read(event, way, only)
            if keys and values:
                ups.append(Up(above.name, keys, values, above.ups_of(event, way, only)))
        return ups

    # --- the state -------------------------------------------------------------------------------------------

    def group(self, key: tuple[str, ...]) -> str:
        """The state's name of a group."""
        return f"{self.name}/{self._shape}.{digest_of(key)}"

    def puts(self, arrival: Arrival) -> list[Put]:
        """What is kept of an event."""
        member = arrival.member
        data, cell = member.encoded, arrival.cell
        if self.kind == "count":
            return [self._put(arrival, f"{cell}", data, member.id.encode(), "ends", 2 * self._need)]
        if self.kind == "value":
            name = member.value.encode("utf-8", "surrogatepass")
            return [
                self._put(arrival, f"{cell}.first", data, name, "first", self._need),
                self._put(arrival, f"{cell}.last", data, name, "last", self._need),
            ]
        name = f"{member.id}/{member.value}".encode("utf-8", "surrogatepass")
        if self.form.absence is not None and member.part != self.form.absence.after:
            # that something came is enough: one for each part of the time
            name = str(member.time_ms * ABSENCE_PARTS // (self.form.absence.within_s * 1000)).encode()
        return [self._put(arrival, f"{cell}.{member.part}", data, name, "ends", self._quota)]

    def _put(
        self,
        arrival: Arrival,
        series: str,
        data: bytes,
        name: bytes,
        keep: Keep,
        cap: int,
    ) -> Put:
        group = arrival.group
        ttl_ms = 3 * self.window_ms + LATENESS_MS + OUTAGE_MS
        at = arrival.member.time_ms
        return Put(f"{group}/{series}", arrival.cluster, at, data, ttl_ms, cap, group, keep, name)

    def ranges(self, arrival: Arrival) -> list[Range]:
        """What is read back: the cells that windows with this event can touch."""
        group, cell = arrival.group, arrival.cell
        if self.kind == "count":
            names = [f"{cell - 1}", f"{cell}", f"{cell + 1}"]
        elif self.kind == "value":
            names = [f"{cell - 1}.last", f"{cell}.first", f"{cell}.last", f"{cell + 1}.first"]
        else:
            names = [f"{n}.{part}" for n in (cell - 1, cell, cell + 1) for part in self.form.rules]
        from_ms, to_ms = ALL_TIME
        return [Range(f"{group}/{name}", arrival.cluster, from_ms, to_ms, group) for name in names]

    def timer(self, arrival: Arrival) -> Timer | None:
        """When the cell of an event is to be judged, where that waits for its end."""
        member, cell = arrival.member, arrival.cell
        source = member.raw[0] if member.raw[0] in LATENESS else AUDIT
        late_ms = LATENESS[source]
        if self.form.absence is not None:
            if member.part != self.form.absence.after:
                return None
            source, due_ms = CLOCK, member.time_ms + self.form.absence.within_s * 1000 + min(late_ms, LATENESS[AUDIT])
        else:
            due_ms = (cell + 1) * self.window_ms + late_ms
        event_id = member.id if self.form.absence else ""
        what = (self._shape, arrival.cluster, list(arrival.key), cell, source, event_id)
        data = encode_due(CELL, self.name, Where(), msgspec.json.encode(what))
        return Timer(due_ms, arrival.cluster, data, source)

    def over(self, what: bytes) -> Over | None:
        """What a timer of this correlation names; None for one of another shape."""
        try:
            found = msgspec.json.decode(what, type=tuple[str, str, list[str], int, str, str])
        except msgspec.MsgspecError:
            return None
        shape, cluster, key, cell, source, event_id = found
        return Over(self, cluster, tuple(key), cell, source, event_id) if shape == self._shape else None

    def ranges_over(self, over: Over) -> list[Range]:
        """The cells that are read to judge one that is over."""
        group = self.group(over.key)
        cells = (over.cell, over.cell + 1) if self.form.absence else (over.cell - 1, over.cell)
        names = (f"{cell}.{part}" for cell in cells for part in self.form.rules)
        return [Range(f"{group}/{name}", over.cluster, *ALL_TIME, group) for name in names]

    def judge(
        self, over: Over, replies: Sequence[StateReply], digest: str, now_us: int
    ) -> tuple[list[Told], list[Arrival]]:
        """What a cell that is over makes hot."""
        kept = ordered(m for reply in replies for m in decode(replied.of(reply)))
        if self.form.absence is not None:
            return self._absent(over, kept, digest, now_us)
        here = [m for m in kept if m.time_ms // self.window_ms == over.cell]
        sources = {m.raw[0] if m.raw[0] in LATENESS else AUDIT for m in here}
        if not here or over.source != max(sources, key=lambda s: (LATENESS[s], s)):
            return [], []  # the slowest of its sources has a timer of its own
        window: list[Member] = []
        if self.form.type == "temporal":
            for end, found in self.hot(kept):
                if end.time_ms // self.window_ms == over.cell:
                    window = found
        elif compares(self.form.op, measured(self.form.type, here, self.form.percentile), self.form.threshold):
            window = here
        if not window:
            return [], []
        last = ordered(window)[-1]
        arrival = self.arrival(over.key, last)
        view = self._view(last, window)
        told = [self._told(arrival, self._incident(over.cell), view, last, digest, now_us)] if self.form.alert else []
        return told, list(self._upwards(arrival, last))

    def _absent(self, over: Over, kept: Sequence[Member], digest: str, now_us: int) -> tuple[list[Told], list[Arrival]]:
        """An event that nothing followed which should have."""
        absence = self.form.absence
        after = next((m for m in kept if m.id == over.event_id), None)
        if absence is None or after is None:
            return [], []
        until_ms = after.time_ms + absence.within_s * 1000
        if any(m.part in absence.rules and after.time_ms < m.time_ms <= until_ms for m in kept):
            return [], []
        arrival = self.arrival(over.key, after)
        told = self._told(arrival, after.id, self._view(after, [after]), after, digest, now_us)
        return [told] if self.form.alert else [], list(self._upwards(arrival, after))

    # --- out -------------------------------------------------------------------------------------------------

    def perhaps(self, kept: Sequence[Sequence[bytes]]) -> bool:
        """Whether members, as the state keeps them, could make anything hot, wherever they stand in time.

        A quick look at their beginnings: most of what arrives completes nothing.
        """
        if self.form.type == "event_count":
            return sum(map(len, kept)) >= self._threshold
        if self.form.type == "value_sum":
            return True
        if sum(map(len, kept)) < self._fewest:
            return False
        found = [head for some in kept for head in heads(some)]
        if self.form.type == "temporal_ordered":
            parts = {head.part for head in found}
            return any(parts.issuperset(chain) for chain in self._chains)
        return self._fulfils({head.value for head in found})

    def complete(
        self, arrivals: Sequence[Arrival], kept: Sequence[list[Member]], digest: str, now_us: int
    ) -> tuple[list[Told], list[Arrival]]:
        """What events of one cell of a group made hot, as alerts and as members of the correlations above.

        `kept` are the members that `ranges` asked for.
        """
        if self.kind == "whole":
            return self._whole(arrivals, ordered(m for found in kept for m in found), digest, now_us)
        ends: dict[int, Iterator[tuple[Member, list[Member]]]]
        cell = arrivals[0].cell
        if self.kind == "count":
            before, here, after = kept
            ends = {
                at: ends_by_count(own, last, self.window_ms, self._threshold, self._need)
                for at, own, last in ((cell, here, before), (cell + 1, after, here))
            }
        else:
            before, firsts, lasts, after = kept
            ends = {
                at: ends_by_values(own, last, self.window_ms, self._fulfils)
                for at, own, last in ((cell, firsts, before), (cell + 1, after, lasts))
            }
        return self._incidents(arrivals, ends, digest, now_us), []

    def _whole(
        self, arrivals: Sequence[Arrival], kept: list[Member], digest: str, now_us: int
    ) -> tuple[list[Told], list[Arrival]]:
        """As the plain definition says, over all members of three cells."""
        arrival, times = arrivals[0], [a.member.time_ms for a in arrivals]
        hot = list(self.hot(kept, (min(times), max(times) + self.window_ms)))
        ups = [up for member, _ in hot for up in self._upwards(arrival, member)]
        if not self.form.alert:
            return [], ups
        if self.form.anchor:
            return self._anchored(arrivals, kept, hot, digest, now_us), ups
        ends: dict[int, list[tuple[Member, list[Member]]]] = {}
        for member, window in sorted(hot, key=lambda one: (one[0].time_ms, one[0].id)):
            ends.setdefault(member.time_ms // self.window_ms, []).append((member, window))
        return self._incidents(arrivals, ends, digest, now_us), ups

    def _incidents(
        self,
        arrivals: Sequence[Arrival],
        ends: Mapping[int, Iterable[tuple[Member, list[Member]]]],
        digest: str,
        now_us: int,
    ) -> list[Told]:
        """What is told of the incidents of these cells, where what arrived is part of it: else it was told before."""
        told = []
        arrived = {a.member.id for a in arrivals}
        for cell, found in ends.items() if self.form.alert else ():
            view = best((self._view(end, window) for end, window in found), self._top)
            if view is not None and (by := [m.id for m in view.members if m.id in arrived]):
                last = ordered(view.members)[-1]
                told.append(self._told(arrivals[0], self._incident(cell), view, last, digest, now_us, by))
        return told

    def hot(self, kept: Sequence[Member], span: Span = EVER) -> Iterator[tuple[Member, list[Member]]]:
        """The hot members among these within a span of time, each with its window or chain."""
        kind, window = self.form.type, self.window_ms
        if kind == "event_count":
            return hot_by_count(kept, window, self._threshold, span)
        if kind == "temporal_ordered":
            return by_order(kept, window, self._chains, span=span)
        if kind == "value_sum":
            return by_sum(kept, window, self.form.threshold, span, over=self.form.op == "gt")
        return by_values(kept, window, self._fulfils, span)

    def _upwards(self, arrival: Arrival, member: Member) -> Iterator[Arrival]:
        """A hot member on its way into the correlations above, which name the alert that this one raises of it."""
        if self.form.alert:
            anchor = member.id if self.form.absence else self._incident(member.time_ms // self.window_ms)
            own = "" if self.form.anchor else alert_id(self.form.id, arrival.cluster, *arrival.key, anchor)
            member = msgspec.structs.replace(member, alert=own or member.alert)
        for up in member.ups:
            above = next(a for a in self.above if a.name == up.name)
            each = [msgspec.structs.replace(member, part=self.name, ups=up.ups, value=value) for value in up.values]
            yield from above.arriving(each, up.keys)

    def _anchored(
        self,
        arrivals: Sequence[Arrival],
        kept: Sequence[Member],
        hot: Sequence[tuple[Member, list[Member]]],
        digest: str,
        now_us: int,
    ) -> list[Told]:
        """An alert for each event of the anchor's rule that is part of a fulfilled window with what arrived."""
        arrived = {a.member.id for a in arrivals}
        times = [a.member.time_ms for a in arrivals]
        first_ms, last_ms = min(times) - self.window_ms, max(times) + self.window_ms
        told = []
        for anchor in kept:
            if anchor.part != self.form.anchor or not first_ms <= anchor.time_ms <= last_ms:
                continue
            if self.form.type == "temporal_ordered":
                found = by_order(kept, self.window_ms, self._chains, through=anchor)
            else:
                found = (one for one in hot if any((m.id, m.part) == (anchor.id, anchor.part) for m in one[1]))
            views = (self._view(end, window, anchor) for end, window in found)
            view = best(views)
            if view is not None and (by := [m.id for m in view.members if m.id in arrived]):
                told.append(self._told(arrivals[0], anchor.id, view, anchor, digest, now_us, by))
        return told

    def _incident(self, cell: int) -> str:
        return str(cell * self.window_ms // (self.form.incident_s * 1000))

    def _view(self, end: Member, window: Sequence[Member], anchor: Member | None = None) -> View:
        """What is told of a window, and how well it stands for its incident."""
        members, order = self._shown(end, window, anchor)
        cluster = cluster_of(end)
        held = [(m.held, m.time_ms) for m in members]
        hidden = self.standing.shadow(cluster) or self._suppressing.of(self.name, held) is not None
        level = self._level(members)
        goes_on = anchor is None and self.form.absence is None
        passed = end.time_ms % (self.form.incident_s * 1000) // self.window_ms if goes_on else 0
        return View(end, members, level, self.standing.level(level, cluster), hidden, order, stage_of(passed))

    def _shown(self, end: Member, window: Sequence[Member], anchor: Member | None) -> tuple[list[Member], bytes]:
        kind = self.form.type
        if self.closed or kind == "value_sum":
            return by_all(window)
        if kind == "temporal_ordered":
            return by_chain(window)
        if kind == "event_count":
            return by_count(end, window, self._size(len({m.id for m in window})))
        if self.kind == "value":
            cell_ms = end.time_ms // self.window_ms * self.window_ms
            return by_cells(window, cell_ms, self._size(len(window)))
        return by_value(window, anchor)

    def _size(self, number: int) -> int:
        """How many members of a window are told: as many as its level asks for."""
        return max((size for size in self._sizes if size <= number), default=number)

    def _told(
        self,
        arrival: Arrival,
        anchor: str,
        view: View,
        last: Member,
        digest: str,
        now_us: int,
        by: Sequence[str] = (),
    ) -> Told:
        members = ordered({(m.id, m.part): m for m in view.members}.values())
        shown = (
            members if len(members) <= MAX_EVIDENCE else [*members[: MAX_EVIDENCE // 2], *members[-MAX_EVIDENCE // 2 :]]
        )
        proof = [evidence(m) for m in shown]
        title = chain_title(self.form.title, proof)
        if len(members) > len(proof):
            title += f" ({len(members)} events, {len(proof)} shown)"
        alert = build(
            self.form,
            alert_id=alert_id(self.form.id, arrival.cluster, *arrival.key, anchor),
            level=view.told_level,
            title=title,
            time=members[-1].time,
            cluster=cluster_of(last),
            actor=actor_of(last),
            object_ref=ref_of(last),
            evidence=proof,
            attempt=all(m.attempt for m in members),
            joins=[f"{name}={value}" for name, value in zip(self.form.group_by, arrival.key, strict=True)],
            digest=digest,
            now_us=now_us,
            suppressed=self._suppressing.of(self.name, [(m.held, m.time_ms) for m in members]),
            members=[m.alert for m in members],
            shadow=self.standing.shadow(cluster_of(last)),
        )
        alert["revision"] = view.revision
        return Told(alert, view.order, by)

    def _level(self, chain: Sequence[Member]) -> str:
        levels = [self.form.level, *(s.level for s in self.form.levels if self._reaches(s, chain))]
        return max(levels, key=level_rank)

    def _reaches(self, step: RaisedBy, chain: Sequence[Member]) -> bool:
        if step.when is not None and not holds(step.when, {m.part for m in chain}):
            return False
        counted = {m.value for m in chain} if self.form.type == "value_count" else {m.id for m in chain}
        return len(counted) >= step.count

    # --- the condition ---------------------------------------------------------------------------------------

    @property
    def _threshold(self) -> float:
        return math.floor(self.form.threshold) + 1 if self.form.op == "gt" else math.ceil(self.form.threshold)

    def _fulfils(self, values: Collection[str]) -> bool:
        if self.form.condition is not None:
            return holds(self.form.condition, values)
        return len(values) >= self._threshold

    def _kind(self, feeding: bool) -> Kind:
        form = self.form
        if feeding or form.anchor or form.type == "value_sum" or self.closed:
            return "whole"
        if form.type == "event_count":
            return "count"
        return "whole" if form.type == "temporal_ordered" else "value"

    @property
    def _quota(self) -> int:
        pairs = self._chains and all(len(chain) == 2 for chain in self._chains)
        return PAIR_QUOTA if pairs and not self.above and not self.form.anchor else QUOTA


def _chains(form: Correlation) -> list[Chain]:
    if form.type != "temporal_ordered":
        return []
    return chains_of(form.condition) if form.condition is not None else [form.rules]


def _need(form: Correlation) -> int:
    """How many members of a cell the condition can need, and the levels above it."""
    wanted = max([form.threshold + 1, *(step.count for step in form.levels)])
    return int(wanted) if form.type in ("event_count", "value_count") else len(form.rules)


def build_all(
    correlations: Sequence[Correlation], suppressing: Suppressing = NOBODY
) -> tuple[dict[str, list[Windowed]], dict[str, Windowed]]:
    """The windowed correlations: by the rule whose matches they take, and by their own name."""
    forms = {c.name: c for c in correlations}
    made = {c.name: Windowed(c, forms, suppressing) for c in correlations if not c.join}
    by_rule: dict[str, list[Windowed]] = {}
    for correlation in made.values():
        for name in correlation.form.rules:
            if name in made:
                made[name].feeds(correlation)
            else:
                by_rule.setdefault(name, []).append(correlation)
    return by_rule, made
