"""From a match to an alert: its id, its title and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from leadsman_common.alerts import Alert, Evidence, MatchedFact, Modifier, Suppressed, alert_id
from leadsman_common.events import Actor, AuditEvent, Cluster, Flag, ObjectRef, touches
from leadsman_detector.context import context_of
from leadsman_detector.form import Correlation, Filter, Rule
from leadsman_detector.history import ObjectKey
from leadsman_detector.match import Match

MAX_VALUE = 512
_LAST_MS = (1 << 43) - 1  # in the year 2248
_LAST_RANK = (1 << 45) - 1
_FACTS_BITS = 7
MAX_MATCHED = 100  # facts told of one event
MAX_MEMBERS = 100  # alerts of its events that a chain names


class Where(NamedTuple):
    """Where an AuditEvent stands on its topic; empty in a scan."""

    topic: str = ""
    partition: int = 0
    offset: int = 0


def id_of(match: Match, key: ObjectKey | None) -> str:
    """The alert's id: the request's own, or for `anchor: owner` one of the outermost object that is at stake.

    A workload and its children share it, and so do requests that are told as one (repeats.py). Who is refused again and
    again on one object is one alert as well.
    """
    event = match.event
    cluster = event["cluster"]["id"]
    if match.group:
        return alert_id(match.rule.id, cluster, "repeats", *match.group)
    if key is None or not is_of_object(match):
        return alert_id(match.rule.id, cluster, event["id"])
    attempt = ("attempt", event["actor"]["name"]) if match.attempt else ()
    return alert_id(match.rule.id, cluster, key.namespace, key.resource, key.name, *attempt)


def is_of_object(match: Match) -> bool:
    """Whether all writes of one object share the alert's id."""
    return match.rule.changed or match.rule.anchor == "owner"


def revision_of(match: Match, facts: int = 0) -> int:
    """The better the event explains its alert the higher, and then the more facts of others it was judged by.

    Of an alert that no other event shares it says only how much more was known than at first. It is below 2^52, as what
    the versions of an object tell is above (`history.Known.revision`).
    """
    if not is_of_object(match):
        return facts
    return _LAST_RANK - rank_of(match) << _FACTS_BITS | min(facts, (1 << _FACTS_BITS) - 1)


def rank_of(match: Match) -> int:
    """How well an event explains its alert: lower is better. A person comes before the controllers that follow.

    A dry run explains nothing that was done. A controller of kube-system is a service account as any other: what it
    makes is known by its owner. Then the first event comes before those that follow.
    """
    facts = match.event["facts"]
    follows = facts is not None and facts["pod"] is not None and bool(facts["pod"]["owners"])
    follows = follows or match.event["actor"]["class"] in {"control_plane", "node"}
    return match.event["dryRun"] << 44 | follows << 43 | min(max(match.event["time"] // 1000, 0), _LAST_MS)


def alert_of(match: Match, key: ObjectKey | None, where: Where, digest: str, now_us: int) -> Alert:
    """The alert of a single event; `key` is the object that it writes, if it does."""
    event = match.event
    return build(
        match.rule,
        alert_id=id_of(match, key),
        level=match.level,
        title=_title(match.rule.title, event, match.attempt),
        time=event["time"],
        cluster=event["cluster"],
        actor=event["actor"],
        object_ref=event["objectRef"],
        evidence=[evidence_of(match, where)],
        attempt=match.attempt,
        joins=[],
        modifiers=match.modifiers,
        digest=digest,
        now_us=now_us,
        suppressed=told_of(match.suppressed),
        shadow=match.shadow,
    )


def told_of(found: Filter | None) -> Suppressed | None:
    """What an alert says of the filter by which nobody is told of it."""
    if found is None or found.suppress is None:
        return None
    return {
        "by": found.name,
        "owner": found.suppress.owner,
        "reason": found.suppress.reason,
        "until": found.suppress.until,
    }


def build(
    rule: Rule | Correlation,
    *,
    alert_id: str,
    level: str,
    title: str,
    time: int,
    cluster: Cluster,
    actor: Actor,
    object_ref: ObjectRef,
    evidence: list[Evidence],
    attempt: bool,
    joins: list[str],
    modifiers: Sequence[Modifier] = (),
    digest: str,
    now_us: int,
    suppressed: Suppressed | None = None,
    members: Sequence[str] = (),
    shadow: bool = False,
) -> Alert:
    """An alert out of its parts, for rules and correlations alike."""
    return {
        "id": alert_id,
        "level": level,
        "rule": {
            "id": rule.id,
            "name": rule.name,
            "title": rule.title,
            "level": rule.level,
            "author": rule.author,
            "license": rule.license,
            "origin": rule.origin,
        },
        "title": title,
        "time": time,
        "detected_time": now_us,
        "cluster": cluster,
        "actor": actor,
        "objectRef": object_ref,
        "tags": list(rule.tags),
        "references": list(rule.references),
        "attempt": attempt,
        "joins": joins,
        "modifiers": list(modifiers),
        "rules_digest": digest,
        "evidence": evidence,
        "revision": 0,
        "suppressed": suppressed,
        "members": list(dict.fromkeys(filter(None, members)))[:MAX_MEMBERS],
        "shadow": shadow,
    }


def evidence_of(match: Match, where: Where) -> Evidence:
    """What one event contributes to an alert's chain."""
    event = match.event
    return {
        "event_id": event["id"],
        "time": event["time"],
        "action": event["action"],
        "actor": event["actor"]["name"],
        "actor_class": event["actor"]["class"],
        "object": object_text(event),
        "summary": f"{event['actor']['name'] or 'nobody'} {event['action']} {object_text(event)}".strip(),
        "source_ip": event["src_endpoint"]["ip"],
        "user_agent": event["userAgent"][:MAX_VALUE],
        "http": event["outcome"]["http"],
        "reason": event["outcome"]["reason"],
        "audit_id": event["auditID"],
        "rule": match.rule.name,
        "clause": clause_of(match),
        "matched": matched_of(match),
        "source": event["source"],
        "topic": where.topic,
        "partition": where.partition,
        "offset": where.offset,
        "alert": match.alert,
    }


def object_text(event: AuditEvent) -> str:
    """`namespace/name`, `name`, or the path of a non-resource request."""
    ref = event["objectRef"]
    if not ref["resource"]:
        return event["requestURI"].partition("?")[0]
    return "/".join(part for part in (ref["namespace"], ref["name"]) if part)


def clause_of(match: Match) -> str:
    """The parts of the rule that held."""
    return ", ".join(dict.fromkeys([m.leaf.clause for m in match.leaves if m.leaf.clause]))


def matched_of(match: Match) -> list[MatchedFact]:
    """What of the event met the rule, and what a reader needs beside it."""
    pairs = dict.fromkeys([(m.leaf.path, _text(m.value)) for m in match.leaves])
    if match.event["facts"] is None:  # then there is nothing beside, and nothing that was changed
        return [{"field": path, "value": value, "changed": False} for path, value in list(pairs)[:MAX_MATCHED]]
    context = context_of(match.event, ((m.leaf.path, m.value) for m in match.leaves if isinstance(m.value, str)))
    pairs |= dict.fromkeys((path, _text(text)) for path, text in context)
    made_so = _made_so(match.event)
    return [{"field": path, "value": value, "changed": made_so(path)} for path, value in list(pairs)[:MAX_MATCHED]]


def _made_so(event: AuditEvent) -> Callable[[str], bool]:
    """Which facts an event has changed: those that its request set, where it took effect."""
    facts = event["facts"]
    writes = event["verb"] in ("create", "update", "patch") or event["flags"] & Flag.CLOUD_CALL
    if facts is None or not writes or not event["outcome"]["effective"] or event["dryRun"]:
        return lambda _: False
    touched = facts["touched"]
    # who opens a session or takes a credential changes nothing
    return lambda path: (
        path.startswith("facts.")
        and not path.startswith(("facts.exec", "facts.token", "facts.cloud_assume"))
        and touches(touched, path.removeprefix("facts."))
    )


def _text(value: Any) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _title(title: str, event: AuditEvent, attempt: bool) -> str:
    tried = " (attempt)" if attempt else ""
    where = object_text(event)
    return f"{title}{tried}: {event['actor']['name'] or 'nobody'}" + (f" on {where}" if where else "")


def chain_title(title: str, evidence: Sequence[Evidence]) -> str:
    """A correlation's title: who began and who ended it."""
    first, last = evidence[0]["actor"], evidence[-1]["actor"]
    return f"{title}: {first}" + (f", then {last}" if last != first else "")
