"""Change, not state: what the versions of one object say a rule should alert on, and when (DETECTIONS 1.7, 1.8).

A rule with `changed: true` finds properties on an object: the fact leaves it matched. Each write of the object is a
version with the properties it shows. A property is introduced where it was not there before; what controllers make of
the object (its children) adds only what nobody has seen on it yet. Everything here is a function of the set of
versions, whatever order they arrived in; docs/decisions/005 says why it is built so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_WORKLOADS = ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob", "ReplicationController")
_PLURALS = {"Ingress": "ingresses", "GatewayClass": "gatewayclasses"}


@dataclass(frozen=True, slots=True)
class ObjectKey:
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
    """What is to be raised of one rule and object. `key` stands for the introductions it is made of and is claimed.

    So a story of other introductions is raised again, whatever has aged out of the state since.
    """

    alert: Alert
    key: str


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


def story(versions: Sequence[Version], rule_id: str, arrived: Version, until_us: int = 0) -> tuple[Story | None, bool]:
    """What the arrival of a version of the object itself makes of a rule's alert; None where it changes nothing.

    And whether some of what it shows stood there before the cluster was watched.
    """
    every = list(shown(versions, rule_id, arrived.digest, until_us))
    found = [s for s in every if s.new]
    stood = any(s.stood for s in every if s.version.event_id == arrived.event_id)
    late = any(v.position > arrived.position for v in versions)
    if not found or not (late or any(s.version.event_id == arrived.event_id for s in found)):
        return None, stood
    told_by = [s.version.alerts[rule_id] for s in found]
    return Story(_told(told_by), _key(s.version.event_id for s in found)), stood


def child_story(
    versions: Sequence[Version],
    others: Sequence[Mapping[str, list[str]]],
    rule_id: str,
    properties: Properties,
    arrived: Version,
    until_us: int = 0,
) -> tuple[Story | None, bool, bool]:
    """What a child adds: None where its owner introduced, or another child showed more than, all of it.

    Children that show the same claim the same key, so one of them speaks. In a cluster's first hours an owner of which
    nothing is known was there before, and so was what its children show: the second says so. The third says that the
    verdict hangs on what of the owner stood there before, which may come to be seen otherwise.
    """
    every = list(shown(versions, rule_id, arrived.digest, until_us))
    found = [s for s in every if s.new]
    own = {p for s in every for p in s.new | s.stood}
    new = set(properties) - own
    hangs = any(p in s.stood for s in every for p in properties)
    if not new:
        return None, False, hangs
    if arrived.time < until_us and all(s.version.partial for s in every):
        return None, True, False
    if any(set(other.get(rule_id, ())) - own > new for other in others):
        return None, False, hangs
    alert = _told([*(s.version.alerts[rule_id] for s in found), arrived.alerts[rule_id]])
    if not found:  # the owner's own events tell more, should they come, and are older: the highest revision is kept
        alert["revision"] = len(others)
    return Story(alert, _key(("child", *sorted(new)))), False, False


def told(
    own: Sequence[bytes], children: Sequence[bytes], arrived: Version, child: bytes, until_us: int = 0
) -> tuple[list[Story], Stood, bool]:
    """The stories that a version has changed, or what a child shows where `child` is its member.

    Then the rules of which it shows what stood there before the cluster was watched, which is until `until_us`; and
    whether it must be judged again once that is sure.
    """
    versions = {v.event_id: v for v in members.read_all(_VERSION, own)}
    if not child:
        versions[arrived.event_id] = arrived  # later ones of its own batch may have taken its place
        rules = sorted({rule for v in versions.values() for rule in v.found if v.digest == arrived.digest})
        judged = {rule: (*story(list(versions.values()), rule, arrived, until_us), False) for rule in rules}
    else:
        others = [shows for m in children if m != child and (shows := members.read(_CHILD, m)) is not None]
        judged = {
            rule: child_story(list(versions.values()), others, rule, shows, arrived, until_us)
            for rule, shows in arrived.found.items()
        }
    stories = [s for s, _, _ in judged.values() if s is not None]
    stood = [rule for rule, (_, before, _) in judged.items() if before]
    return stories, stood, bool(stood) or any(hangs for _, _, hangs in judged.values())


def encode(version: Version) -> bytes:
    """A version as a member of its series."""
    return msgspec.json.encode(version)


def decode(member: bytes) -> Version | None:
    """The inverse; None for what another release wrote otherwise."""
    return members.read(_VERSION, member)


def encode_child(found: Mapping[str, Properties]) -> bytes:
    """What a child shows, as a member: children that show the same are one."""
    return msgspec.json.encode({rule: sorted(shown) for rule, shown in sorted(found.items())})


_VERSION: msgspec.json.Decoder[Version] = msgspec.json.Decoder(Version)
_CHILD: msgspec.json.Decoder[dict[str, list[str]]] = msgspec.json.Decoder(dict[str, list[str]])


def _key(parts: Iterable[str]) -> str:
    return hashlib.blake2b("/".join(parts).encode(), digest_size=8).hexdigest()


def _told(alerts: Sequence[Alert]) -> Alert:
    """One alert out of those of the introductions: the last one speaks, all are evidence, the worst level stays."""
    last = alerts[-1]
    worst = max(alerts, key=lambda a: level_rank(a["level"]))
    evidence = [e for a in alerts for e in a["evidence"]]
    if len(evidence) > MAX_EVIDENCE:
        evidence = evidence[: MAX_EVIDENCE // 2] + evidence[-(MAX_EVIDENCE // 2) :]
    return {
        **last,
        "level": worst["level"],
        "modifiers": worst["modifiers"],
        "evidence": evidence,
        "revision": max(a["time"] for a in alerts) // 1000,
    }
