"""Change, not state: what the versions of one object say a rule should alert on, and when (DETECTIONS 1.7, 1.8).

A rule with `changed: true` finds properties on an object: the fact leaves it matched. Each write of the object is a
version with the properties it shows. A property is introduced where it was not there before; what controllers make of
the object (its children) adds only what nobody has seen on it yet. Everything here is a function of the set of
versions, whatever order they arrived in; docs/decisions/005 says why it is built so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import msgspec

from leadsman_common.alerts import Alert, level_rank
from leadsman_common.events import AuditEvent, Flag, action_of, parse_action
from leadsman_detector import members
from leadsman_detector.match import RuleSet
from leadsman_detector.routing import ALL_FLAGS

TTL_MS = 30 * 24 * 60 * 60 * 1000
MAX_VERSIONS = 64  # of one object; the latest are kept
MAX_EVIDENCE = 20
ALL_TIME_MS = (-(1 << 54), 1 << 54)  # beyond what microseconds in 64 bits can say
_FACTS_ONLY = ALL_FLAGS & ~(Flag.DRY_RUN | Flag.UNAUTHENTICATED | Flag.IMPERSONATING | Flag.TRUNCATED)

Properties: TypeAlias = dict[str, bool]  # a property -> whether the request itself set it
Stood: TypeAlias = list[str]  # rules of which something stood there before the cluster was watched
_LAST_MS = (1 << 42) - 1  # in the year 2109: revisions are below 2^53
_OF_VERSIONS = 1 << 52
_WORKLOADS = ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob", "ReplicationController")
_PLURALS = {"Ingress": "ingresses", "GatewayClass": "gatewayclasses"}


class ObjectKey(msgspec.Struct, frozen=True, gc=False):
    """The object that an event writes, or the owner that a child belongs to."""

    namespace: str
    resource: str
    name: str
    child: bool  # the event is of something that a controller made of the object

    @property
    def series(self) -> str:
        """The name of its versions in the state."""
        return f"versions:{self.namespace}/{self.resource}/{self.name}"

    @property
    def children(self) -> str:
        """The name of what its children showed."""
        return f"children:{self.namespace}/{self.resource}/{self.name}"

    @property
    def group(self) -> str:
        """The state's group of both."""
        return f"versions/{self.namespace}/{self.resource}/{self.name}"


@dataclass(frozen=True, slots=True)
class Version:
    """One write of an object: by rule id the properties it shows, and the alert it would raise."""

    event_id: str
    time: int  # microseconds
    order: int  # resourceVersion, 0 where there is none
    digest: str = ""  # of the rules that judged it
    made: bool = False  # it made the object: whatever was of that name before is gone
    partial: bool = False  # a patch of which the log has no answer: what it does not show may still be there
    whole: bool = False  # an update: the request wrote all of the object anew, and says not what it changes
    found: dict[str, Properties] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)

    @property
    def position(self) -> tuple[int, int, str]:
        """Where it stands among the versions of its object."""
        return self.time, self.order, self.event_id


@dataclass(frozen=True, slots=True)
class Story:
    """What is to be raised of one rule and object. `order`: where it stands among others of its revision."""

    alert: Alert
    order: bytes


def object_key(event: AuditEvent) -> ObjectKey | None:
    """The object of a write; None where it is no write of a whole object or the object has no name."""
    ref = event["objectRef"]
    if ref["subresource"] not in ("", "ephemeralcontainers") or not ref["resource"]:
        return None
    facts = event["facts"]
    pod = facts["pod"] if facts else None
    if pod is not None and pod["owners"] and _owner_made_it(event, pod["owner_kind"]):
        return ObjectKey(ref["namespace"], plural(pod["owner_kind"]), pod["owner_name"], child=True)
    return ObjectKey(ref["namespace"], ref["resource"], ref["name"], child=False) if ref["name"] else None


def _owner_made_it(event: AuditEvent, owner_kind: str) -> bool:
    """Whether ownerReferences can be believed: anyone may write them, to hide behind what is known of the owner.

    What the API server's own workloads own is written by its controllers; what other kinds own, by some operator.
    """
    actor = event["actor"]["class"]
    return actor in ("control_plane", "managed_cloud") or (actor == "service_account" and owner_kind not in _WORKLOADS)


def ends_an_object(action: str, rules: RuleSet) -> bool:
    """Whether it deletes an object whose versions are kept: one that a rule with `changed` could meet when written."""
    verb, resource, group, subresource, _ = parse_action(action)
    if verb != "delete" or subresource or not resource:
        return False
    written = rules.candidates(action_of("update", resource, group), ALL_FLAGS, _FACTS_ONLY)
    return written.changed


def version_of(event: AuditEvent, digest: str, found: dict[str, Properties], alerts: dict[str, Alert]) -> Version:
    """An event as a version of its object; delivered again it is the same member, so when it was judged is left out."""
    order = event["objectRef"]["resourceVersion"]
    plain = order.isascii() and order.isdecimal() and len(order) < 19
    verb = event["verb"]
    return Version(
        event["id"],
        event["time"],
        int(order) if plain else 0,
        digest,
        verb == "create" or (verb == "patch" and event["outcome"]["http"] == 201),
        verb == "patch" and not event["responseObject"],
        verb == "update",
        found,
        {rule: cast("Alert", {**alert, "detected_time": 0}) for rule, alert in alerts.items()},
    )


def plural(kind: str) -> str:
    """The resource of a kind, as the API server's own kinds spell theirs."""
    if kind in _PLURALS:
        return _PLURALS[kind]
    lower = kind.lower()
    if lower.endswith("y") and not lower.endswith(("ay", "ey", "oy")):
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith(("s", "x", "ch")) else f"{lower}s"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a version shows of a rule's properties that was not known before: `new` on it, or what stood there."""

    version: Version
    new: frozenset[str]
    stood: frozenset[str]


def introductions(
    versions: Iterable[Version], rule_id: str, digest: str = "", until_us: int = 0
) -> list[tuple[Version, frozenset[str]]]:
    """The versions that introduced properties, in order, each with what was new on it."""
    return [(s.version, s.new) for s in shown(versions, rule_id, digest, until_us) if s.new]


def shown(versions: Iterable[Version], rule_id: str, digest: str = "", until_us: int = 0) -> Iterator[Shown]:
    """What each version shows, in order.

    Before the first version that shows the whole object nothing is known: what it and those before it show is new only
    where a request set it; else the property becomes new with the first later request that sets it. A version that
    other rules judged tells nothing by what it does not show.

    Until `until_us` the cluster's beginning is not known either: what an update shows of an object of which nothing is
    known stood there, and so did what a patch shows and did not set; later updates bring nothing new by it.
    """
    judged = [v for v in versions if v.digest == digest or rule_id in v.found]
    before: dict[str, bool] = {}
    credited: set[str] = set()  # there before and introduced
    unasked: set[str] = set()  # there since the first version and never set by a request
    standing: set[str] = set()  # there since before the cluster was watched
    known = False  # whether a version has shown the whole object
    for version in sorted(judged, key=lambda v: v.position):
        found = version.found.get(rule_id, {})
        if version.made:
            credited, unasked, standing, before, known = set(), set(), set(), {}, True
        if version.partial:
            found = {**dict.fromkeys(before, False), **found}
        stood: set[str] = set()
        if not known and version.time < until_us:
            stood = {p for p, touched in found.items() if version.whole or not touched} - credited - standing
        standing = {p for p in found if p in standing or p in stood}
        old = {p for p, touched in found.items() if not touched and (not known or p in unasked)}
        old |= standing if version.whole else {p for p in standing if not found[p]}
        new = frozenset(p for p in found if p not in credited and p not in old)
        yield Shown(version, new, frozenset(stood))
        credited = {p for p in found if p in credited or p in new}
        unasked, before, known = old, found, known or not version.partial


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an object when it is judged: its versions, and what its children showed."""

    versions: list[Version]
    children: list[Version]  # of each set of properties the first child that showed it
    digest: str
    until_us: int = 0

    @property
    def revision(self) -> int:
        """The more is known the higher, below 2^53: later versions, more of them, and more of its children.

        Always higher than of what is no version, such as a dry run.
        """
        last_ms = max((min(max(v.time, 0) // 1000, _LAST_MS) for v in self.versions), default=0)
        number = last_ms << 9 | min(len(self.versions), 63) << 3 | min(len(self.children), 7)
        return _OF_VERSIONS | number << 1

    @property
    def order(self) -> bytes:
        """What sorts before where more is known of the same: versions as old are gone, and earlier children came."""
        children = sorted((_shows(v), v.time, v.event_id) for v in self.children)
        text = f"{(1 << 80) - sum(v.time for v in self.versions):030d} " + " ".join(
            f"{at + (1 << 60):020d} {event_id}" for _, at, event_id in children
        )
        return text.encode("utf-8", "surrogatepass")


def story(known: Known, rule_id: str, arrived: Version, *, child: bool) -> tuple[Story | None, bool, bool]:
    """What is told of a rule's alert now that a version of the object has come, or one of a child; None: nothing new.

    All that introduced is told, then what children add that neither it nor another child has shown. The owner's last
    event speaks; where it brought nothing, the first child. The second says whether something of what has arrived stood
    there before the cluster was watched, the third whether the verdict hangs on that.
    """
    every = list(shown(known.versions, rule_id, known.digest, known.until_us))
    found = [s for s in every if s.new]
    own = {p for s in every for p in s.new | s.stood}
    unknown = all(s.version.partial for s in every)
    added = {} if unknown and not child and not found else _added(known, rule_id, own, unknown=unknown)
    told = [s.version for s in found] + sorted(added.values(), key=lambda v: v.position)
    if child:
        properties = arrived.found[rule_id]
        stood = bool(set(properties) - own) and arrived.time < known.until_us and unknown
        hangs = not stood and any(p in s.stood for s in every for p in properties)
        changes = any(v.event_id == arrived.event_id for v in added.values())
    else:
        stood, hangs = any(s.stood for s in every if s.version.event_id == arrived.event_id), False
        late = any(v.position > arrived.position for v in known.versions)
        changes = late or any(s.version.event_id == arrived.event_id for s in found)
    if not changes or not told:
        return None, stood, hangs
    speaks = found[-1].version if found else told[0]
    alert = _told([v.alerts[rule_id] for v in told], speaks.alerts[rule_id])
    alert["revision"] = known.revision
    return Story(alert, known.order), stood, hangs


def _added(known: Known, rule_id: str, own: set[str], *, unknown: bool) -> dict[frozenset[str], Version]:
    """What children add, each by the first that shows it, but for what another shows more than."""
    added: dict[frozenset[str], Version] = {}
    for version in sorted(known.children, key=lambda v: v.position, reverse=True):
        stands = unknown and version.time < known.until_us
        if not stands and (new := frozenset(version.found.get(rule_id, ())) - own):
            added[new] = version
    return {new: v for new, v in added.items() if rule_id in v.alerts and not any(other > new for other in added)}


def told(
    own: Sequence[bytes], children: Sequence[bytes], arrived: Version, *, child: bool, until_us: int = 0
) -> tuple[list[Story], Stood, bool]:
    """The stories that a version has changed, or one of a child.

    Then the rules of which it shows what stood there before the cluster was watched, which is until `until_us`; and
    whether it must be judged again once that is sure.
    """
    versions = {v.event_id: v for v in members.read_all(_VERSION, own)}
    if not child:
        versions[arrived.event_id] = arrived  # later ones of its own batch may have taken its place
    known = Known(list(versions.values()), members.read_all(_VERSION, children), arrived.digest, until_us)
    shows = [arrived] if child else versions.values()
    rules = sorted({rule for v in shows for rule in v.found if child or v.digest == arrived.digest})
    judged = {rule: story(known, rule, arrived, child=child) for rule in rules}
    stories = [s for s, _, _ in judged.values() if s is not None]
    stood = [rule for rule, (_, before, _) in judged.items() if before]
    return stories, stood, bool(stood) or any(hangs for _, _, hangs in judged.values())


def encode(version: Version) -> bytes:
    """A version as a member of its series."""
    return msgspec.json.encode(version)


def decode(member: bytes) -> Version | None:
    """The inverse; None for what another release wrote otherwise."""
    return members.read(_VERSION, member)


def child_name(version: Version) -> bytes:
    """What children that show the same share: the first of them is kept."""
    return hashlib.blake2b(_shows(version), digest_size=12).hexdigest().encode()


def _shows(version: Version) -> bytes:
    return msgspec.json.encode({rule: sorted(shown) for rule, shown in sorted(version.found.items())})


_VERSION: msgspec.json.Decoder[Version] = msgspec.json.Decoder(Version)


def _told(alerts: Sequence[Alert], speaks: Alert) -> Alert:
    """One alert out of those of what introduced: one speaks, all are evidence, the worst level stays."""
    worst = max(alerts, key=lambda a: level_rank(a["level"]))
    evidence = [e for a in alerts for e in a["evidence"]]
    if len(evidence) > MAX_EVIDENCE:
        evidence = evidence[: MAX_EVIDENCE // 2] + evidence[-(MAX_EVIDENCE // 2) :]
    return {**speaks, "level": worst["level"], "modifiers": worst["modifiers"], "evidence": evidence}
