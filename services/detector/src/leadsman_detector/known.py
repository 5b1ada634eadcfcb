"""What is known of a pod when somebody reaches into it: the fields `known.pod.*` of a rule.

Pods that matter leave a trace when they are made (privileged, on the host, waiting on stdin) and when an ephemeral
container is put into them. A request on a pod asks for those traces before the rules that look at them decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from leadsman_common.events import AuditEvent, PodFacts, parse_action
from leadsman_detector import members
from leadsman_detector.state import Put, Range

TTL_MS = 30 * 24 * 60 * 60 * 1000
BEGINNING_MS = -(1 << 53)
MAX_TRACES = 16  # of one pod; the latest are kept
_REACHING = frozenset({"exec", "attach", "portforward", "ephemeralcontainers", "proxy"})


@dataclass(frozen=True, slots=True)
class Trace:
    """What one event told of a pod. `made` says that it made the pod; else it put the ephemeral containers in."""

    event_id: str
    time_ms: int
    actor: str
    made: bool
    privileged: bool = False
    host: bool = False
    stdin: bool = False
    ephemeral: list[str] = field(default_factory=list)


def leaves_trace(action: str) -> bool:
    """Whether an event with this action may say something of a pod that is worth keeping."""
    verb, resource, group, subresource, _ = parse_action(action)
    if resource != "pods" or group:
        return False
    return (verb == "create" and not subresource) or (
        verb in ("update", "patch") and subresource == "ephemeralcontainers"
    )


def puts(event: AuditEvent) -> list[Put]:
    """The traces that an event leaves."""
    facts, ref = event["facts"], event["objectRef"]
    pod = facts["pod"] if facts else None
    if pod is None or not ref["name"] or not event["outcome"]["effective"] or event["dryRun"]:
        return []
    if not leaves_trace(event["action"]):
        return []
    made = not ref["subresource"]
    trace = Trace(
        event["id"],
        event["time"] // 1000,
        event["actor"]["name"],
        made,
        any(c["privileged"] or c["host_process"] for c in pod["containers"]),
        _on_host(pod),
        pod["stdin"],
        [] if made else [c["name"] for c in pod["containers"] if c["list"] == "ephemeral"],
    )
    if not (trace.privileged or trace.host or trace.stdin or trace.ephemeral):
        return []
    member = msgspec.json.encode(trace)
    series = _series(ref["namespace"], ref["name"])
    return [Put(series, event["cluster"]["id"], trace.time_ms, member, TTL_MS, MAX_TRACES, _group(series))]


def question(event: AuditEvent) -> Range | None:
    """What to ask for a request that reaches into a pod, through the API server or the kubelet."""
    ref, facts = event["objectRef"], event["facts"]
    opened = facts["exec"] if facts else None
    if ref["subresource"] not in _REACHING:
        return None
    namespace, name = (
        (opened["namespace"], opened["pod"]) if opened and opened["pod"] else (ref["namespace"], ref["name"])
    )
    series = _series(namespace, name)
    return Range(series, event["cluster"]["id"], BEGINNING_MS, event["time"] // 1000, _group(series))


def answered(event: AuditEvent, traces_of_pod: Sequence[bytes]) -> AuditEvent:
    """The event with what is known of its pod; without any trace it stays as it is."""
    traces = [t for t in members.read_all(_TRACE, traces_of_pod) if t.event_id != event["id"]]
    if not traces:
        return event
    facts = event["facts"]
    opened = facts["exec"] if facts else None
    made = next((t for t in reversed(traces) if t.made), None)
    pod: dict[str, Any] = {
        "privileged": any(t.privileged for t in traces),
        "host": any(t.host for t in traces),
        "ephemeral": opened is not None and any(opened["container"] in t.ephemeral for t in traces),
    }
    if made is not None:
        pod["stdin"] = made.stdin
        pod["created_by_same_actor"] = made.actor == event["actor"]["name"]
        pod["age_s"] = event["time"] // 1_000_000 - made.time_ms // 1000
    return cast("AuditEvent", {**event, "known": {"pod": pod}})


def _on_host(pod: PodFacts) -> bool:
    """Whether it shares the node's namespaces or mounts a path that sensitive-volume calls sensitive."""
    if pod["host_network"] or pod["host_pid"] or pod["host_ipc"]:
        return True
    return any(v["tier"] in ("high", "medium") for v in pod["volumes"])


def _series(namespace: str, name: str) -> str:
    return f"pod:{namespace}/{name}"


def _group(series: str) -> str:
    return f"known/{series}"


_TRACE: msgspec.json.Decoder[Trace] = msgspec.json.Decoder(Trace)
