"""What other sensors saw (Falco, GuardDuty, Security Command Center), as events.

Correlations join them with requests by cluster, pod, person and time.

A signal is no request: its verb is empty, its action is `SENSOR:NAME`, and `facts.signal` holds what the sensor said.
The pod that it was seen in stands in objectRef, so that it meets the requests that reached into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from leadsman_common.events import NO_REF, AuditEvent, Cluster, ObjectRef, SignalFacts, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of
from leadsman_normalizer.calls import NOBODY, Call, assemble_call, outcome_of
from leadsman_normalizer.redact import mask

MAX_TEXT = 2048
MAX_NAME = 253
MAX_TAGS = 50
_SPACES = re.compile(r"\s+")


@dataclass(slots=True)
class Signal:
    """A finding as its source read it. `identity` are the words that one delivery shares with its repeats."""

    sensor: str
    rule: str
    time: int  # microseconds
    cluster: Cluster
    identity: tuple[str, ...]
    severity: str = ""
    level: str = ""
    title: str = ""
    finding: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    container: str = ""
    image: str = ""
    process: str = ""
    command_line: str = ""
    parent: str = ""
    inside_user: str = ""
    node: str = ""
    tags: list[str] = field(default_factory=list)
    count: int = 0
    who: User = field(default_factory=lambda: NOBODY)  # of the cluster, where the sensor knows
    ip: str = ""
    user_agent: str = ""
    http: int = 0
    reasons: list[str] = field(default_factory=list)


def assemble_signal(raw: RawEvent, signal: Signal) -> AuditEvent:
    """The event of a signal."""
    facts: SignalFacts = {
        "sensor": signal.sensor,
        "rule": signal.rule[:MAX_NAME],
        "severity": signal.severity[:MAX_NAME],
        "level": signal.level,
        "title": mask(signal.title[:MAX_TEXT]),
        "finding": signal.finding[:MAX_NAME],
        "kind": signal.kind[:MAX_NAME],
        "container": signal.container[:MAX_NAME],
        "image": signal.image[:MAX_TEXT],
        "process": signal.process[:MAX_TEXT],
        "command_line": mask(signal.command_line[:MAX_TEXT]),
        "parent": signal.parent[:MAX_TEXT],
        "user": signal.inside_user[:MAX_NAME],
        "node": signal.node[:MAX_NAME],
        "tags": [tag[:MAX_NAME] for tag in signal.tags[:MAX_TAGS]],
        "count": signal.count,
    }
    event = assemble_call(
        Call(
            raw=raw,
            format=signal.sensor,
            id=event_id(
                signal.cluster["id"], signal.sensor, str(signal.time), signal.rule, "", "/".join(signal.identity)
            ),
            action=f"{signal.sensor}:{_SPACES.sub('-', signal.rule.strip())[:MAX_NAME]}",
            time=signal.time,
            cluster=signal.cluster,
            actor=actor_of(signal.who, None, signal.cluster["provider"], refused=False),
            # what was seen happened; a request that was refused was an attempt
            outcome=outcome_of("none", effective=signal.http < 400, http=signal.http),
            call_id=signal.finding[:MAX_NAME],
            user=signal.who,
            user_agent=signal.user_agent,
            ip=signal.ip,
            facts={"signal": facts},
            reasons=signal.reasons,
        )
    )
    event["objectRef"] = _ref(signal)
    return event


def text(value: Any) -> str:
    """A value as text; empty for what is absent, as Falco's `<NA>`, and for what is neither text nor number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    found = str(value)
    return "" if found in ("<NA>", "null") else found


def inside(tree: Any, *path: str) -> Any:
    """What stands at a path of a tree; None where it leads nowhere."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def first(found: Any) -> Any:
    """The first of a list, or nothing."""
    return found[0] if isinstance(found, list) and found else None


def _ref(signal: Signal) -> ObjectRef:
    if not signal.kind and not signal.name:
        return NO_REF
    return {
        **NO_REF,
        "resource": signal.kind[:MAX_NAME],
        "namespace": signal.namespace[:MAX_NAME],
        "name": signal.name[:MAX_NAME],
    }
