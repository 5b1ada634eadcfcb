"""What leaves the detector: an alert with its evidence, and the one JSON form of it.

The truth is schemas/avro/alert.avsc, which documents every field; a test holds the two together.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict

from leadsman_common.events import NO_ACTOR, NO_REF, Actor, Cluster, ObjectRef, Source

LEVELS = ("informational", "low", "medium", "high", "critical")


class RuleRef(TypedDict):
    """The rule that fired."""

    id: str
    name: str
    title: str
    level: str
    author: NotRequired[str]  # alerts of older releases lie in the state
    license: NotRequired[str]
    origin: NotRequired[str]


class Modifier(TypedDict):
    """Why the alert's level is not the rule's."""

    by: int
    why: str


class Suppressed(TypedDict):
    """Why nobody is told."""

    by: str
    owner: str
    reason: str
    until: int


class MatchedFact(TypedDict):
    """A field that a rule's clause met."""

    field: str
    value: str
    changed: NotRequired[bool]  # alerts of older releases lie in the state


class Evidence(TypedDict):
    """One event of the alert's chain."""

    event_id: str
    time: int
    action: str
    actor: str
    actor_class: str
    object: str
    summary: str
    source_ip: str
    user_agent: str
    http: int
    reason: str
    audit_id: str
    rule: str
    clause: str
    matched: list[MatchedFact]
    source: Source
    topic: str
    partition: int
    offset: int
    alert: NotRequired[str]  # alerts of older releases lie in the state


class Alert(TypedDict):
    """A rule or a correlation that fired.

    The same id may come again: a repetition, or a revision that tells more (`revision` is higher then).
    """

    id: str
    level: str
    rule: RuleRef
    title: str
    time: int
    detected_time: int
    cluster: Cluster
    actor: Actor
    objectRef: ObjectRef
    tags: list[str]
    references: list[str]
    attempt: bool
    joins: list[str]
    modifiers: list[Modifier]
    rules_digest: str
    evidence: list[Evidence]
    revision: int
    suppressed: NotRequired[Suppressed | None]  # alerts of older releases lie in the state
    members: NotRequired[list[str]]
    shadow: NotRequired[bool]


def own_alert(
    id_: str, rule: RuleRef, level: str, title: str, now_us: int, cluster: Cluster, revision: int = 0
) -> Alert:
    """An alert of a service about what it sees itself: of no event, by nobody, about no object."""
    return {
        "id": id_,
        "level": level,
        "rule": rule,
        "title": title,
        "time": now_us,
        "detected_time": now_us,
        "cluster": cluster,
        "actor": {**NO_ACTOR, "class": ""},
        "objectRef": NO_REF,
        "tags": [],
        "references": [],
        "attempt": False,
        "joins": [],
        "modifiers": [],
        "rules_digest": "",
        "evidence": [],
        "revision": revision,
    }


def level_at_least(level: str, minimum: str) -> bool:
    """Whether `level` is `minimum` or above; `info` is short for informational."""
    return level_rank(level) >= level_rank(minimum)


def level_rank(level: str) -> int:
    """0 for informational up to 4 for critical; raises ValueError for anything else."""
    return LEVELS.index("informational" if level == "info" else level)


def alert_id(rule_id: str, cluster_id: str, *anchor: str) -> str:
    """Hash of rule, cluster and anchor; marked local where no transport named the cluster."""
    text = "\x1f".join((rule_id, cluster_id, *anchor))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return digest if cluster_id else f"local-{digest}"


def fingerprint(alert: Alert) -> str:
    """What a finding is, whenever it is raised: rule, cluster, actor, object and the facts that met the rule.

    A person acknowledges it by this (docs/writing-rules.md). Of a chain the last event speaks.
    """
    ref = alert["objectRef"]
    matched = alert["evidence"][-1]["matched"] if alert["evidence"] else []
    facts = sorted({f"{m['field']}={m['value']}" for m in matched if m["field"].startswith("facts.")})
    what = (ref["apiGroup"], ref["resource"], ref["subresource"], ref["namespace"], ref["name"])
    text = "\x1f".join((alert["rule"]["id"], alert["cluster"]["id"], alert["actor"]["name"], *what, *facts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def iso_time(micros: int) -> str:
    """RFC 3339 in UTC with microseconds, as the API server writes it; empty for 0."""
    if not micros:
        return ""
    seconds, rest = divmod(micros, 1_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
    except (OverflowError, ValueError, OSError):
        return f"{micros}us"


def to_json(alert: Alert) -> dict[str, Any]:
    """The JSON form: the Avro fields as they are, times as RFC 3339, an evidence's two sources as one.

    Each item of evidence has `source` {file, line} in a scan, or {topic, partition, offset} of the audit event
    in the stream, beside `raw`, the record that it was read from.
    """
    evidence = []
    for item in alert["evidence"]:
        raw = item["source"]
        where: dict[str, Any] = (
            {"file": raw["file"], "line": raw["line"]}
            if raw["file"]
            else {"topic": item["topic"], "partition": item["partition"], "offset": item["offset"]}
        )
        plain = {k: v for k, v in item.items() if k not in ("topic", "partition", "offset", "source")}
        evidence.append({**plain, "time": iso_time(item["time"]), "source": where, "raw": raw})
    return {
        **alert,
        "time": iso_time(alert["time"]),
        "detected_time": iso_time(alert["detected_time"]),
        "evidence": evidence,
        "suppressed": {**why, "until": iso_time(why["until"])} if (why := alert.get("suppressed")) else None,
    }
