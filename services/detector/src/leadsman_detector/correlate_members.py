"""What a correlation remembers of an event: enough to count it, to show it and to hand it on to the next one.

Members are compact, since each group keeps some: a JSON array that begins with the event's id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from leadsman_common.alerts import Evidence
from leadsman_common.events import Actor, AuditEvent, Cluster, ObjectRef
from leadsman_detector import members
from leadsman_detector.alert import Where, clause_of, matched_of, object_text
from leadsman_detector.match import Match

MAX_TEXT = 160
MAX_NAME = 253  # as long as names of Kubernetes are
MAX_MATCHED = 4
MAX_GROUPS = 8
MAX_KNOWN = 64
TELLING = ("facts.", "known.", "cloud.", "signal.")

Pairs: TypeAlias = list[tuple[str, str]]


class Up(msgspec.Struct, array_like=True, frozen=True):
    """How an event stands in a correlation that its own one feeds: the groups, the values, and so on upwards."""

    name: str
    keys: list[list[str]]
    values: list[str]
    ups: list[Up]


class Member(msgspec.Struct, array_like=True, frozen=True, dict=True):
    """One event of a group."""

    id: str
    time: int  # microseconds
    part: str  # the rule or correlation that it stands for
    value: str  # what is counted or summed
    rule: str  # that the event met
    clause: str
    matched: Pairs
    attempt: bool
    action: str
    actor: tuple[
        str, str, str, str, bool, list[str]
    ]  # name, class, namespace, service account, unauthenticated, groups
    ref: tuple[str, str, str, str, str, str]  # resource, group, version, subresource, namespace, name
    text: tuple[str, str, str, str, str]  # object, ip, user agent, reason, audit id
    http: int
    raw: tuple[str, str, int, int, str, str, int, int]
    where: tuple[str, int, int]
    cluster: tuple[str, str, str, str, str]
    ups: list[Up] = []
    changed: int = 0  # a bit for each of `matched` that the event itself made so
    alert: str = ""  # the id of the alert that it raised by itself
    held: list[str] = []  # suppressions of correlations that mean it
    known: int = 0  # by how many facts of others its rule was judged

    @property
    def time_ms(self) -> int:
        """Its time as the state counts it."""
        return self.time // 1000

    @property
    def encoded(self) -> bytes:
        """As the state keeps it: the same to all correlations that take it.

        Of two forms of one event the one that sorts first is kept: blanks sort first, the more the more was known.
        """
        kept: bytes | None = self.__dict__.get("encoded")  # a cached_property takes a lock, and as long again
        if kept is None:
            kept = b" " * min(self.known, MAX_KNOWN) + _ENCODER.encode(self)
            self.__dict__["encoded"] = kept
        return kept


class Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of a member, which tells whether the rest need be read."""

    id: str
    time: int
    part: str
    value: str


def member_of(match: Match, where: Where, value: str = "", known: int = 0) -> Member:
    """A match as a member; the correlation fills in ups."""
    event: AuditEvent = match.event
    # few are kept: facts tell more than the request line, which stands in action and object anyway
    matched = sorted(matched_of(match), key=lambda m: not m["field"].startswith(TELLING))[:MAX_MATCHED]
    actor, ref, cluster, raw = event["actor"], event["objectRef"], event["cluster"], event["source"]
    return Member(
        id=event["id"],
        time=event["time"],
        part=match.rule.name,
        value=value,
        rule=match.rule.name,
        clause=clause_of(match)[:MAX_TEXT],
        matched=[(m["field"], m["value"][:MAX_TEXT]) for m in matched],
        attempt=match.attempt,
        action=event["action"][:MAX_NAME],
        actor=(
            actor["name"][:MAX_NAME],
            actor["class"],
            actor["namespace"][:MAX_NAME],
            actor["service_account"][:MAX_NAME],
            actor["unauthenticated"],
            [group[:MAX_NAME] for group in actor["groups"][:MAX_GROUPS]],
        ),
        ref=(
            ref["resource"][:MAX_NAME],
            ref["apiGroup"][:MAX_NAME],
            ref["apiVersion"][:MAX_NAME],
            ref["subresource"][:MAX_NAME],
            ref["namespace"][:MAX_NAME],
            ref["name"][:MAX_NAME],
        ),
        text=(
            object_text(event)[:MAX_TEXT],
            event["src_endpoint"]["ip"],
            event["userAgent"][:MAX_TEXT],
            event["outcome"]["reason"][:MAX_TEXT],
            event["auditID"],
        ),
        http=event["outcome"]["http"],
        raw=(
            raw["format"],
            raw["topic"],
            raw["partition"],
            raw["offset"],
            raw["source_id"][:MAX_TEXT],
            raw["file"],
            raw["line"],
            raw["received_ms"],
        ),
        where=(where.topic, where.partition, where.offset),
        cluster=(cluster["id"], cluster["name"], cluster["provider"], cluster["account"], cluster["region"]),
        changed=sum([1 << n for n, m in enumerate(matched) if m.get("changed")]),
        alert=match.alert,
        held=list(match.held),
        known=known,
    )


class Once:
    """A match as a member, made when it is first asked for: the same to all correlations that take it."""

    __slots__ = ("_known", "_made", "_match", "_where")

    def __init__(self, match: Match, where: Where, known: int = 0) -> None:
        self._match, self._where, self._known = match, where, known
        self._made: dict[str, Member] = {}

    def __call__(self, value: str = "") -> Member:
        """The member, with the value that it brings to a correlation."""
        found = self._made.get(value)
        if found is None:
            other = next(iter(self._made.values()), None)
            found = self._made[value] = (
                msgspec.structs.replace(other, value=value)
                if other is not None
                else member_of(self._match, self._where, value, self._known)
            )
        return found


def evidence(member: Member) -> Evidence:
    """A member as an alert shows it."""
    name, kind = member.actor[:2]
    thing, ip, agent, reason, audit_id = member.text
    source_format, topic, partition, offset, source_id, file, line, received_ms = member.raw
    return {
        "event_id": member.id,
        "time": member.time,
        "action": member.action,
        "actor": name,
        "actor_class": kind,
        "object": thing,
        "summary": f"{name or 'nobody'} {member.action} {thing}".strip(),
        "source_ip": ip,
        "user_agent": agent,
        "http": member.http,
        "reason": reason,
        "audit_id": audit_id,
        "rule": member.rule,
        "clause": member.clause,
        "matched": [
            {"field": field, "value": value, "changed": bool(member.changed >> n & 1)}
            for n, (field, value) in enumerate(member.matched)
        ],
        "source": {
            "format": source_format,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "source_id": source_id,
            "file": file,
            "line": line,
            "received_ms": received_ms,
        },
        "topic": member.where[0],
        "partition": member.where[1],
        "offset": member.where[2],
        "alert": member.alert,
    }


def actor_of(member: Member) -> Actor:
    """Who it was, as far as it is kept."""
    name, kind, namespace, account, unauthenticated, groups = member.actor
    return {
        "name": name,
        "class": kind,
        "authenticated": "",
        "impersonating": False,
        "unauthenticated": unauthenticated,
        "groups": groups,
        "namespace": namespace,
        "service_account": account,
        "pod": "",
        "node": "",
        "credential_id": "",
    }


def ref_of(member: Member) -> ObjectRef:
    """The object, as far as it is kept."""
    resource, group, version, subresource, namespace, name = member.ref
    return {
        "resource": resource,
        "namespace": namespace,
        "name": name,
        "uid": "",
        "apiGroup": group,
        "apiVersion": version,
        "resourceVersion": "",
        "subresource": subresource,
    }


def cluster_of(member: Member) -> Cluster:
    """The cluster that it happened in."""
    identity, name, provider, account, region = member.cluster
    return {"id": identity, "name": name, "provider": provider, "account": account, "region": region}


def decode(found: Sequence[bytes]) -> list[Member]:
    """Members by time and id, each event once a part."""
    if not found:
        return []
    unique = {(m.id, m.part, m.value): m for m in members.read_all(_DECODER, found)}
    return ordered(unique.values())


def heads(found: Sequence[bytes]) -> list[Head]:
    """The beginnings of members; of some that cannot be read as well."""
    return members.read_all(_HEADS, found)


def ordered(found: Iterable[Member]) -> list[Member]:
    """Members by time, then by id."""
    return sorted(found, key=lambda m: (m.time_ms, m.id, m.part))


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Member] = msgspec.json.Decoder(Member)
_HEADS: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)
