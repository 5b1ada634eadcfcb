"""What a batch asks of the state, and what waits for the answer: the detector's steps hand it on to one another."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from leadsman_common.alerts import Alert
from leadsman_common.events import AuditEvent
from leadsman_detector import history
from leadsman_detector.alert import Where
from leadsman_detector.correlate import Member, RoleUse
from leadsman_detector.correlate_sigma import Arrival, Over
from leadsman_detector.first_seen import Asked, Key, Watch
from leadsman_detector.form import Modifier as FormModifier
from leadsman_detector.match import CompiledRule, Match
from leadsman_detector.risk import Weighing
from leadsman_detector.silence import Quiet
from leadsman_detector.state import Put, Range, StateRequest, is_kept_instead
from leadsman_detector.statements import Statement, Thing
from leadsman_detector.versioned import Versioning

CLAIM_TTL_MS = 7 * 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that wants to be raised, and what it claims.

    `holder` is the event whose arrival it comes of, or all of them (state.Claim): another batch may bring them again.
    """

    alert: Alert
    rank: int
    holder: str
    ttl_ms: int = CLAIM_TTL_MS
    part: str = ""  # what of the alert is claimed; empty: the alert as a whole
    order: bytes = b""  # among equal ranks; see Claim
    cluster: str = ""  # the state's name of the place where it is claimed; empty: the alert's cluster

    @property
    def place(self) -> tuple[int, int, bytes]:
        """Where it stands among the forms of its alert, the best first."""
        return -self.alert["revision"], self.rank, self.order


@dataclass(frozen=True, slots=True)
class Joining:
    """A part of a correlation, where the replies stand, and what was found before; `last`: there is no further look."""

    join: RoleUse
    member: Member
    places: tuple[int, ...]
    found: list[Member]
    last: bool


@dataclass(frozen=True, slots=True)
class Writing:
    """A version of an object, or of a child of it, and where the replies stand that it is judged by.

    These are the series of the object and of its children, and since when the cluster is watched (-1: not asked).
    """

    key: history.ObjectKey
    version: history.Version
    cluster: str
    own: int
    children: int
    start: int


@dataclass(frozen=True, slots=True)
class Reporting:
    """A cluster's first hours are over: where the reply stands that has what seemed to stand there before."""

    cluster: str
    found: int


@dataclass(frozen=True, slots=True)
class Reviewing:
    """All of that, judged again for the report."""

    cluster: str
    writings: list[Writing]


@dataclass(slots=True)
class Asking:
    """An event of which rules want to know what is known, and where by kind the replies stand.

    Once it is answered, the event holds what is known. `late` is the id of an event that told something after this
    one had asked.
    """

    event: AuditEvent
    where: Where
    rules: tuple[CompiledRule, ...]
    places: dict[str, list[int]] = field(default_factory=dict)
    late: str = ""


@dataclass(frozen=True, slots=True)
class Telling:
    """A fact that is put, and where the reply stands that has the events which asked and are later."""

    put: Put
    event_id: str
    place: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """An event of a rule with first_seen, and where the replies stand that say whether it is the first.

    `late_ms`: how much earlier an event may still come that changes the verdict.
    """

    match: Match
    where: Where
    watch: Watch
    asked: tuple[Asked, ...]
    late_ms: int


@dataclass(frozen=True, slots=True)
class Pending:
    """An event with matches of which the level hangs on what is first seen."""

    event: AuditEvent
    where: Where
    matches: list[Match]
    changed: bool  # whether some rule that could meet it asks for change
    watching: list[tuple[int, Watch, FormModifier, tuple[Asked, ...]]]  # of which match


@dataclass(frozen=True, slots=True)
class Stating:
    """What an event says of a thing, and where the replies stand that have all that was said of it.

    `rule` is the id of the rule of which regressions are told; empty: none are.
    """

    thing: Thing
    said: Statement
    places: tuple[int, int]
    rule: str = ""


class Arriving(msgspec.Struct, frozen=True):
    """Events on their way into one cell of a group, and where the replies of the cells around it stand."""

    arrivals: list[Arrival]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Closing:
    """A cell that is over, and where the replies stand to judge it by."""

    over: Over
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Repeating:
    """Requests that share an alert, and where the replies stand that have all of them.

    `alert` is the worst of those that the batch brought, None where a timer asks how many they have become; `brought`
    are their events.
    """

    alert: Alert | None
    brought: tuple[str, ...]
    timespan_s: int
    counted: int
    told: int


@dataclass(slots=True)
class Plan:
    """What is asked of the state and what waits for the answer. `dead` holds (index in the batch, reason).

    `keeping`: nothing is to be raised, so what would only be asked for an alert is left out.
    """

    keeping: bool = False
    requests: list[StateRequest] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    raised: list[Raised] = field(default_factory=list)
    joining: list[Joining] = field(default_factory=list)
    writing: list[Writing] = field(default_factory=list)
    reporting: list[Reporting] = field(default_factory=list)
    reviewing: list[Reviewing] = field(default_factory=list)
    asking: list[Asking] = field(default_factory=list)
    arriving: list[Arriving] = field(default_factory=list)
    closing: list[Closing] = field(default_factory=list)
    repeating: dict[str, Repeating] = field(default_factory=dict)  # by alert id
    telling: list[Telling] = field(default_factory=list)
    sighting: list[Sighting] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    quiet: list[Quiet] = field(default_factory=list)
    weighing: list[Weighing] = field(default_factory=list)  # alerts that are looked at again
    stating: list[Stating] = field(default_factory=list)
    versioning: list[Versioning] = field(default_factory=list)
    days: list[tuple[Key, int]] = field(default_factory=list)  # of a cluster's history, that are put
    progress: dict[tuple[str, str], int] = field(default_factory=dict)  # (cluster, source) -> the latest time, ms
    asked: dict[Range, int] = field(default_factory=dict)  # where each series' reply stands
    cells: dict[tuple[str, str, int], Arriving] = field(default_factory=dict)  # what is in `arriving`
    put: dict[tuple[str, str, bytes], int] = field(default_factory=dict)  # where the Put of a name of a series stands
    decoded: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to evaluate."""
        return not self.raised and not self.requests and not self.weighing

    def ask(self, question: Range) -> int:
        """Ask for a series once; gives where the reply stands."""
        place = self.asked.setdefault(question, len(self.requests))
        if place == len(self.requests):
            self.requests.append(question)
        return place

    def state(self, thing: Thing, said: Statement, rule: str = "") -> None:
        """Keep what an event says of a thing, and look at what was said of it before and after."""
        self.requests.append(thing.recent(said))
        if not self.keeping:
            recent, heads = (self.ask(span) for span in thing.ranges())
            self.stating.append(Stating(thing, said, (recent, heads), rule))

    def _put(self, put: Put) -> None:
        """Add a Put; of those of one name only the one that the series would keep."""
        key = (put.cluster, put.series, put.name)
        place = self.put.setdefault(key, len(self.requests))
        if place == len(self.requests):
            self.requests.append(put)
            return
        before = self.requests[place]
        if isinstance(before, Put) and is_kept_instead(
            put.keep, put.time_ms, put.member, before.time_ms, before.member
        ):
            self.requests[place] = put

    def arrive(self, arrival: Arrival) -> None:
        """Put an event into its group and have the cells around it looked at, each once a batch."""
        correlation = arrival.correlation
        for put in correlation.puts(arrival):
            self._put(put)
        if correlation.closed:
            if (timer := correlation.timer(arrival)) is not None:
                self.requests.append(timer)
            return
        if self.keeping and not correlation.above:
            return
        cell = (arrival.cluster, arrival.group, arrival.cell)
        if (arriving := self.cells.get(cell)) is not None:
            arriving.arrivals.append(arrival)
            return
        arriving = self.cells[cell] = Arriving([arrival], tuple(map(self.ask, correlation.ranges(arrival))))
        self.arriving.append(arriving)
