"""The detector's own small form of a rule: what stands between pySigma's parser and the compiled closures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Op: TypeAlias = Literal["equals", "pattern", "regex", "cidr", "exists", "null", "compare", "fieldref"]
ANYWHERE = "*"  # the path of a keyword: every text of the event


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field compared with one value. `clause` is the name of the detection it stands in, `line` where in its file.

    value by op: equals str | int | float | bool; pattern a Sigma string with wildcards as a tuple of parts (None is
    `*`, "?" stands as the int 1); regex the pattern; cidr the network; exists bool; compare (operator, number);
    fieldref (the other field, equals | startswith | endswith | contains).
    """

    path: str
    op: Op
    value: Any
    clause: str = ""
    cased: bool = False
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not this."""

    part: Node


Node: TypeAlias = Leaf | And | Or | Not
Where: TypeAlias = bool | Node  # in every cluster, in none, or in those of which this holds (within.py)


@dataclass(frozen=True, slots=True)
class LevelStep:
    """The alert's level where `when` holds; the first that holds decides, else the rule's own level does."""

    when: Node
    level: str


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """Holds where these values were not seen in the window before.

    Not while the cluster has been watched for less than the learning period. `again`: only where they had been seen
    before that window. With `every_s` there is no window: it holds for the first event of each such part of the time.
    """

    fields: tuple[str, ...]
    window_s: int
    learning_s: int
    again: bool = False
    every_s: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """Holds for the last event of a source that others of it should have followed (silence.py).

    They should within `times` the usual gap between them, and `least_s` at the least, once it was watched for
    `learning_s`.
    """

    least_s: int
    times: int
    learning_s: int


@dataclass(frozen=True, slots=True)
class Modifier:
    """Where `when` holds, `by` levels are added to what the level steps gave; `why` stands in the alert."""

    when: Node | FirstSeen
    by: int
    why: str


@dataclass(frozen=True, slots=True)
class Repeats:
    """Matches with the same values of `group_by` within one span are one alert, where `when` holds or is not given."""

    group_by: tuple[str, ...]
    timespan_s: int
    when: Node | None = None


@dataclass(frozen=True, slots=True)
class Regression:
    """A setting that was secure and is not any more: `insecure` after `secure`.

    `by` are the fields whose values tell settings apart where an event is insecure, `secure_by` where it is secure.
    """

    insecure: Node
    secure: Node
    by: tuple[str, ...] = ()
    secure_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement:
    """Requests that must be in the audit log, and at which level, for the rule to see `what` (requires.py).

    `kind`: sight, detail, aside or fallback. `user`: authenticated or unauthenticated. `rule`: in a correlation, the
    rule whose coverage counts, in place of all the rest. `log`: `cloud` where it is no matter of the audit policy.
    """

    what: str
    kind: str = "sight"
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    level: str = "Metadata"
    user: str = "authenticated"
    rule: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A Sigma rule with Leadsman's additions (the attributes under `leadsman:`, docs/writing-rules.md)."""

    id: str
    name: str
    title: str
    level: str
    condition: Node
    file: str = ""
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    levels: tuple[LevelStep, ...] = ()
    modifiers: tuple[Modifier, ...] = ()
    each: str = ""  # the array whose elements the detection is evaluated on, one by one
    changed: bool = False  # only where the request itself set what the rule looks at
    anchor: Literal["request", "owner"] = "request"  # what the alert's id hangs on
    repeats: Repeats | None = None  # what is one alert, although it is many requests
    alert: bool = True  # False: it only feeds correlations
    first_seen: FirstSeen | None = None  # beside the condition
    regression: Regression | None = None  # the condition is then what says either
    silence: Silence | None = None  # what the condition speaks of is missed, not met
    versions: Literal["", "skew", "support"] = ""  # what the condition speaks of is a version that is not as it may be
    requires: tuple[Requirement, ...] = ()  # what the audit policy must log
    author: str = ""
    license: str = ""
    origin: str = ""  # FOLDER/FILE, and those that changed it
    shadow: Where = False  # where nobody is told of its alerts
    enabled: Where = True
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why nobody is told of an alert, who answers for that, and until when: microseconds since the epoch."""

    owner: str
    reason: str
    until: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A finding that a person has looked at (risk.py). `until`: microseconds since the epoch, 0 for no end."""

    fingerprint: str
    by: str
    reason: str
    until: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """A Sigma filter: an alert of its rules stays only where `condition` holds.

    `every` names a list: what the condition takes away must be so for each of its elements. `level` caps the alert in
    place of taking it away; `suppress` keeps it, and feeds correlations with it, but nobody is told.
    """

    name: str
    condition: Node
    rules: tuple[str, ...] = ()  # names
    every: str = ""
    level: str = ""
    file: str = ""
    line: int = field(default=0, compare=False)
    suppress: Suppression | None = None
    correlations: tuple[str, ...] = ()  # names; it suppresses them where all of their events are what it means


@dataclass(frozen=True, slots=True)
class AllOf:
    """A correlation's condition: all of them."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Any of them."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Not this."""

    part: Expression


Expression: TypeAlias = str | AllOf | AnyOf | NoneOf  # a str is a rule's name


@dataclass(frozen=True, slots=True)
class RaisedBy:
    """The alert has at least this level where `when` holds of the rules that its events met, or from `count` on."""

    level: str
    when: Expression | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Absence:
    """An alert for each event of `after` that none of `rules` follows within the time."""

    after: str
    rules: tuple[str, ...]
    within_s: int


@dataclass(frozen=True, slots=True)
class Correlation:
    """A Sigma correlation. `join` names the way its events belong together where group-by cannot say it."""

    id: str
    name: str
    title: str
    level: str
    type: str
    rules: tuple[str, ...]  # names
    timespan_s: int
    file: str = ""
    group_by: tuple[str, ...] = ()
    join: str = ""
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()  # of its rules; those that none speaks of are sights
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)  # alias -> rule -> field
    op: str = "gte"
    threshold: float = 0
    fields: tuple[str, ...] = ()  # whose values are counted or summed
    percentile: int = 50
    condition: Expression | None = None  # in place of the threshold
    incident_s: int = 0  # hot windows within one are one alert; a multiple of the timespan
    anchor: str = ""  # a rule: an alert for each of its events that takes part, in place of incidents
    scope: str = "cluster"  # what is never mixed
    attempts: tuple[str, ...] = ()  # rules of which refused requests count too
    levels: tuple[RaisedBy, ...] = ()
    absence: Absence | None = None
    alert: bool = True  # False: it only feeds other correlations
    author: str = ""  # and those of its rules
    license: str = ""
    origin: str = ""  # FOLDER/FILE, and those that changed it
    shadow: Where = False  # where nobody is told of its alerts
    enabled: Where = True
    shift: int = 0  # levels that a join's own are moved by
    moves: tuple[tuple[Node, int], ...] = ()  # levels that an alert is moved by in some clusters; the last one decides
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a rule file: fatal ones keep the rule out."""

    file: str
    rule: str
    reason: str
    line: int = 0
    fatal: bool = True

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.rule}: {self.reason}" if self.rule else f"{where}: {self.reason}"
