"""Events that belong together over time. Here: `role-use`, a role that gains a power and then is used.

A correlation is a function of the set of events, not of their order: each arriving event is put into its series and
the other series are read back around its time, so whichever part comes last completes the story. Series are kept by
the state (state.py), one for each thing that a part can be found by (a role, a binding, a subject, a creator): what an
event costs does not grow with the other roles of its cluster. From a role to its uses it is two looks: to its
bindings, and to those whom they name. The joining is plain Python and the same for Redis and memory.

role-use joins a `role` event (a role gained the power), an optional `binding` to it and a `use`, in three ways
(DESIGN 5):
  reason   the API server's own reason names the role, or a binding to it;
  binding  a binding to the role names the user, one of its groups or its service account;
  creator  whoever made the role uses the power within an hour.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import msgspec

from leadsman_common.alerts import Alert, Evidence, alert_id
from leadsman_common.events import Actor, AuditEvent, Cluster, ObjectRef
from leadsman_detector import members
from leadsman_detector.alert import Where, build, chain_title, evidence_of
from leadsman_detector.correlate_views import revision_of
from leadsman_detector.form import Correlation
from leadsman_detector.match import Match
from leadsman_detector.overlays import shifted
from leadsman_detector.state import Put, Range, StateReply
from leadsman_detector.suppressing import NOBODY, Suppressing
from leadsman_detector.within import Standing

Part: TypeAlias = Literal["role", "binding", "use"]
RoleKey: TypeAlias = tuple[str, str, str]  # kind, namespace, name

CREATOR_MS = 60 * 60 * 1000
LATENESS_MS = 2 * 60 * 60 * 1000
MAX_MEMBERS = 500  # of a series; the state counts what falls out
MAX_THINGS = 500  # that one event is found by: subjects of a binding, groups of an actor
LEVELS: Mapping[str, tuple[str, int]] = {"reason": ("critical", 0), "binding": ("critical", 0), "creator": ("high", 1)}


@dataclass(frozen=True, slots=True)
class Member:
    """What a series remembers of an event: enough to join it and to show it."""

    part: Part
    time_ms: int
    role: RoleKey  # role: itself; binding: the role it names; use: the role of the authoriser's reason
    binding: RoleKey  # binding: itself; use: the binding of the authoriser's reason
    subjects: list[tuple[str, str, str]]  # binding: (kind, namespace, name)
    actor: Actor
    cluster: Cluster
    objectRef: ObjectRef
    evidence: Evidence
    held: list[str] = field(default_factory=list)  # suppressions of correlations that mean it

    @property
    def event_id(self) -> str:
        """The event's id."""
        return self.evidence["event_id"]


@dataclass(frozen=True, slots=True)
class Found:
    """A completed story. `holder` is the event whose arrival completed it, `order` what is best of equal revisions."""

    alert: Alert
    order: bytes
    holder: str


class RoleUse:
    """The join `role-use` of one correlation: its rules are, in order, role, binding and use."""

    def __init__(self, correlation: Correlation, suppressing: Suppressing = NOBODY) -> None:
        if len(correlation.rules) != 3:
            raise ValueError("role-use joins three rules: role, binding, use")
        self.correlation = correlation
        self._suppressing = suppressing
        self._standing = Standing(correlation)
        self._window_ms = correlation.timespan_s * 1000
        role, binding, use = correlation.rules
        self._parts: dict[str, Part] = {role: "role", binding: "binding", use: "use"}

    def takes(self, match: Match) -> bool:
        """Whether the match is a part of this correlation: only what took effect counts."""
        if match.rule.name not in self._parts or match.attempt:
            return False
        return self._standing.takes(match.event["cluster"], shadow=match.shadow)

    def member(self, match: Match, where: Where) -> Member | None:
        """The match as a member of its series; None where its facts are not there."""
        part = self._parts[match.rule.name]
        event = match.event
        facts = event["facts"]
        role: RoleKey = ("", "", "")
        binding: RoleKey = ("", "", "")
        subjects: list[tuple[str, str, str]] = []
        if part == "role":
            found = facts["role"] if facts else None
            if found is None:
                return None
            role = (found["kind"], found["namespace"], found["name"])
        elif part == "binding":
            bound = facts["binding"] if facts else None
            if bound is None:
                return None
            role = (bound["role_kind"], bound["namespace"] if bound["role_kind"] == "Role" else "", bound["role_name"])
            binding = (bound["kind"], bound["namespace"], bound["name"])
            subjects = [(s["kind"], s["namespace"], s["name"]) for s in bound["subjects"]]
        else:
            role, binding = _of_reason(event)
        return Member(
            part,
            event["time"] // 1000,
            role,
            binding,
            subjects,
            event["actor"],
            event["cluster"],
            event["objectRef"],
            evidence_of(match, where),
            list(match.held),
        )

    def puts(self, member: Member) -> list[Put]:
        """The member in each of its series."""
        return [self._put(member, thing) for thing in self._found_by(member)]

    def ranges(self, member: Member) -> list[Range]:
        """What is looked at first: what names the same things as the member."""
        if member.part == "role":
            return self._looks(member, [("binding", _role(member.role)), *self._uses_of(member)])
        if member.part == "binding":
            return self._looks(member, [("role", _role(member.role)), *self._uses_of(member)])
        named: list[tuple[Part, str]] = [("binding", thing) for thing in _subjects_of(member.actor)]
        reason: list[tuple[Part, str]] = [("role", _role(member.role)), ("binding", _binding(member.binding))]
        return self._looks(member, [*reason, ("role", _creator(member.actor)), *named])

    def further(self, member: Member, found: Sequence[Member]) -> list[Range]:
        """What is looked at next, by what was found: the uses of a role's bindings, the roles of a user's bindings."""
        bindings = [m for m in found if m.part == "binding"]
        if member.part == "role":
            return self._looks(member, [place for binding in bindings for place in self._uses_of(binding)])
        if member.part == "use":
            return self._looks(member, [("role", _role(binding.role)) for binding in bindings])
        return []

    def read(self, replies: Sequence[StateReply]) -> list[Member]:
        """The members that Ranges were answered with."""
        return [m for reply in replies for m in members.read_all(_DECODER, members.of(reply))]

    def _found_by(self, member: Member) -> list[str]:
        """What a member is found by."""
        if member.part == "role":
            return [_role(member.role), _creator(member.actor)]
        if member.part == "binding":
            return [_role(member.role), _binding(member.binding), *map(_subject, member.subjects[:MAX_THINGS])]
        reason = [_role(member.role), _binding(member.binding)] if member.role[2] or member.binding[2] else []
        return [*reason, *_subjects_of(member.actor)]

    def _uses_of(self, member: Member) -> list[tuple[Part, str]]:
        """Where the uses stand that a role or a binding may have allowed."""
        if member.part == "role":
            named = [_role(member.role), _subject(("User", "", member.actor["name"]))]
        else:
            named = [_binding(member.binding), *map(_subject, member.subjects[:MAX_THINGS])]
        return [("use", thing) for thing in named]

    def _put(self, member: Member, thing: str) -> Put:
        series, group = self._series(member.part, thing)
        if member.part == "binding" and not thing.startswith(
            "role "
        ):  # found by one of its subjects, it need say no other
            member = replace(member, subjects=[s for s in member.subjects if _subject(s) == thing])
        ttl_ms = 2 * self._window_ms + LATENESS_MS
        name = member.event_id.encode()
        return Put(series, member.cluster["id"], member.time_ms, _encode(member), ttl_ms, MAX_MEMBERS, group, name=name)

    def _looks(self, member: Member, places: Sequence[tuple[Part, str]]) -> list[Range]:
        at, window = member.time_ms, self._window_ms
        spans: dict[Part, tuple[int, int]] = {
            "role": (at - 2 * window, at + window),
            "binding": (at - window, at + window),
            "use": (at, at + 2 * window),
        }
        found = []
        for part, thing in dict.fromkeys(places):
            series, group = self._series(part, thing)
            found.append(Range(series, member.cluster["id"], *spans[part], group))
        return found

    def _series(self, part: Part, thing: str) -> tuple[str, str]:
        digest = hashlib.blake2b(thing.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        group = f"{self.correlation.name}/{digest}"
        return f"{group}/{part}", group

    def complete(self, member: Member, found: Sequence[Member], digest: str, now_us: int) -> list[Found]:
        """The stories that this member is part of, with all that was found."""
        series: dict[Part, list[Member]] = {"role": [], "binding": [], "use": []}
        for one in _united(found):
            if one.part != member.part:
                series[one.part].append(one)
        series[member.part] = [member]
        best: dict[str, tuple[int, bytes, Alert]] = {}
        for role, binding, use, join in self._stories(series, member):
            if binding is None and member.part == "binding":
                continue  # not this member's story
            chain = [role, *([binding] if binding else []), use]
            key = alert_id(self.correlation.id, member.cluster["id"], role.event_id, use.actor["name"])
            alert = self._alert(key, join, chain, digest, now_us)
            order = _order(chain)
            if key not in best or (-alert["revision"], order) < best[key][:2]:
                best[key] = (-alert["revision"], order, alert)
        return [Found(alert, order, member.event_id) for _, order, alert in best.values()]

    def _stories(
        self, series: Mapping[Part, list[Member]], arrived: Member
    ) -> Iterator[tuple[Member, Member | None, Member, str]]:
        # by role first: whoever makes thousands of roles and bindings must not make every exec a walk over all pairs
        by_role: defaultdict[RoleKey, list[Member]] = defaultdict(list)
        for binding in series["binding"]:
            by_role[binding.role].append(binding)
        for role in series["role"]:
            if arrived.part == "binding" and role.role != arrived.role:
                continue
            bindings = [b for b in by_role.get(role.role, ()) if abs(b.time_ms - role.time_ms) <= self._window_ms]
            for use in series["use"]:
                if use.time_ms < role.time_ms or use.event_id == role.event_id:
                    continue
                yield from self._join(role, bindings, use)

    def _join(
        self, role: Member, bindings: list[Member], use: Member
    ) -> Iterator[tuple[Member, Member | None, Member, str]]:
        since_role = use.time_ms - role.time_ms
        in_time = [
            b
            for b in bindings
            if b.time_ms <= use.time_ms and use.time_ms - max(b.time_ms, role.time_ms) <= self._window_ms
        ]
        named = next((b for b in in_time if b.binding == use.binding), None)
        if named is not None or (use.role == role.role and since_role <= self._window_ms):
            yield role, named, use, "reason"
        bound = next((b for b in in_time if names(b.subjects, use.actor)), None)
        if bound is not None:
            yield role, bound, use, "binding"
        if since_role <= CREATOR_MS and role.actor["name"] and role.actor["name"] == use.actor["name"]:
            yield role, None, use, "creator"

    def _alert(self, key: str, join: str, chain: list[Member], digest: str, now_us: int) -> Alert:
        use = chain[-1]
        evidence = [m.evidence for m in sorted(chain, key=lambda m: (m.evidence["time"], m.event_id))]
        alert = build(
            self.correlation,
            alert_id=key,
            level=self._standing.level(shifted(LEVELS[join][0], self.correlation.shift), use.cluster),
            title=chain_title(self.correlation.title, evidence),
            time=use.evidence["time"],
            cluster=use.cluster,
            actor=use.actor,
            object_ref=use.objectRef,
            evidence=evidence,
            attempt=False,
            joins=[join],
            digest=digest,
            now_us=now_us,
            suppressed=self._suppressing.of(self.correlation.name, [(m.held, m.time_ms) for m in chain]),
            members=[item.get("alert", "") for item in evidence],
            shadow=self._standing.shadow(use.cluster),
        )
        # whatever somebody is told of comes before what nobody is, then the surest join, then the first use
        hidden = bool(alert["suppressed"] or alert["shadow"])
        alert["revision"] = revision_of(not hidden, len(LEVELS) - LEVELS[join][1], use.time_ms)
        return alert


JOINS: Mapping[str, type[RoleUse]] = {"role-use": RoleUse}


def names(subjects: Sequence[tuple[str, str, str]], actor: Actor) -> bool:
    """Whether a binding's subjects name this actor: itself, one of its groups, or its service account."""
    for kind, namespace, name in subjects:
        if kind == "ServiceAccount":
            if actor["class"] == "service_account" and (namespace, name) == (
                actor["namespace"],
                actor["service_account"],
            ):
                return True
        elif kind == "Group":
            if name in actor["groups"]:
                return True
        elif name == actor["name"]:
            return True
    return False


def _role(role: RoleKey) -> str:
    return "role " + "/".join(role)


def _binding(binding: RoleKey) -> str:
    return "binding " + "/".join(binding)


def _subject(subject: tuple[str, str, str]) -> str:
    kind, namespace, name = subject
    return f"{kind} {namespace}/{name}" if kind == "ServiceAccount" else f"{kind if kind == 'Group' else 'User'} {name}"


def _creator(actor: Actor) -> str:
    return f"creator {actor['name']}"


def _subjects_of(actor: Actor) -> list[str]:
    """An actor as the subjects that `names` knows it by."""
    found = [_subject(("User", "", actor["name"]))]
    if actor["class"] == "service_account":
        found.append(_subject(("ServiceAccount", actor["namespace"], actor["service_account"])))
    return [*found, *(_subject(("Group", "", group)) for group in actor["groups"][:MAX_THINGS])]


def _united(found: Sequence[Member]) -> list[Member]:
    """Each event once, by time; a binding that was found by several of its subjects names them all."""
    united: dict[tuple[str, str], Member] = {}
    for one in found:
        key = (one.part, one.event_id)
        other = united.get(key)
        if other is not None and one.part == "binding":
            subjects = list(dict.fromkeys([*other.subjects, *one.subjects]))
            united[key] = replace(one, subjects=subjects)
        else:
            united[key] = one
    return sorted(united.values(), key=lambda m: (m.time_ms, m.event_id))


def _of_reason(event: AuditEvent) -> tuple[RoleKey, RoleKey]:
    """The role and the binding that the authoriser says allowed the request."""
    outcome = event["outcome"]
    namespace = outcome["binding_namespace"] or event["objectRef"]["namespace"]
    role = (outcome["role_kind"], namespace if outcome["role_kind"] == "Role" else "", outcome["role"])
    binding_namespace = namespace if outcome["binding_kind"] == "RoleBinding" else ""
    return role, (outcome["binding_kind"], binding_namespace, outcome["binding"])


def _order(chain: Sequence[Member]) -> bytes:
    """What sorts before: the first use, then a chain that names the binding, the first one."""
    role, *binding, use = (f"{m.time_ms + (1 << 60):020d} {m.event_id}" for m in chain)
    return "\0".join((use, *(binding or ["~"]), role)).encode("utf-8", "replace")


def _encode(member: Member) -> bytes:
    return msgspec.json.encode(member)


_DECODER: msgspec.json.Decoder[Member] = msgspec.json.Decoder(Member)
