"""EKS: the logs of the control plane's components, klog text, one line a record (FORMATS 2.1, 6).

Streams kube-apiserver-*, kube-controller-manager-* and kube-scheduler-*; each line is kept as a control-plane event.
https://kubernetes.io/docs/concepts/cluster-administration/system-logs/#klog. At its start the API server prints every
flag (component-base/cli/flag PrintFlags): what it was really started with.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Actor, AuditEvent, Cluster, ControlPlaneFacts, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of
from leadsman_normalizer.assemble import cluster_of
from leadsman_normalizer.calls import NOBODY, Call, assemble_call, outcome_of
from leadsman_normalizer.facts.control_plane import control_plane
from leadsman_normalizer.lenient import note
from leadsman_normalizer.redact import flag_value, mask
from leadsman_normalizer.result import Dropped

COMPONENTS: Final = {
    "eks-api": "kube-apiserver",
    "eks-controller-manager": "kube-controller-manager",
    "eks-scheduler": "kube-scheduler",
}
MAX_LINE_BYTES = 16 * 1024
# Lmmdd hh:mm:ss.uuuuuu threadid file:line] text; some runtimes print more digits, and then no thread
KLOG = re.compile(
    r"([IWEF])(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6})\d{0,3}\s+(?:\d+\s+)?([\w./-]+:\d+)\] ?(.*)\Z", re.DOTALL
)
_SEVERITIES = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}
_FLAG = re.compile(r'FLAG: --([a-z0-9][a-z0-9.-]*)="(.*)"\s*\Z', re.DOTALL)
_VERSION = re.compile(r'"?(?i:version)(?: info)?"?:? *(?:version=)?"?(v\d+\.\d+\.\d+[\w.+-]*)')
# logrus, as text and as JSON
_LEVEL = re.compile(r'(?:^|[\s,{])"?level"?[=:]\s?"?([A-Za-z]{1,10})\b')
_HEAD_CHARS = 1024
_DAY = timedelta(days=1)
_LAST_MS = 100_000_000_000_000  # the year 5138: what is later is no time


def normalize_component_line(raw: RawEvent) -> AuditEvent | Dropped:
    """One line of a component's log. Dropped where it is no klog line: the rest of a stack, a warning to stderr."""
    text = raw.value[:MAX_LINE_BYTES].decode("utf-8", "replace").strip()
    if not text:
        raise InvalidEvent("an empty line")
    component = COMPONENTS.get(raw.format, "")
    return from_line(raw, text, component, cluster_of(raw, "aws"), raw.format or "eks-unknown", raw.received_ms)


def from_line(
    raw: RawEvent, text: str, component: str, cluster: Cluster, source_format: str, near_ms: int
) -> AuditEvent | Dropped:
    """The event of a klog line. `near_ms`: a time shortly after the line's (Unix ms), since klog writes no year."""
    found = KLOG.match(text)
    if found is None:
        return Dropped(f"{source_format}: no klog line")
    reasons: list[str] = []
    severity, location, message = found[1], found[8], found[9]
    facts = _facts(component, _SEVERITIES[severity], location, message)
    time = _micros([int(part) for part in found.groups()[1:7]], near_ms)
    if not time:
        note(reasons, "time: klog writes no year, and when the line was received is not known")
    return _event(raw, text, component, cluster, source_format, time, facts, reasons)


def from_text(
    raw: RawEvent, text: str, component: str, cluster: Cluster, source_format: str, time_ms: int
) -> AuditEvent:
    """The event of a line in another form: all of it is the message, and its time the record's (Unix ms)."""
    found = _LEVEL.search(text[:_HEAD_CHARS])
    facts = _facts(component, found[1].lower() if found else "", "", text)
    return _event(raw, text, component, cluster, source_format, time_ms * 1000, facts, [])


def _event(
    raw: RawEvent,
    text: str,
    component: str,
    cluster: Cluster,
    source_format: str,
    time: int,
    facts: ControlPlaneFacts,
    reasons: list[str],
) -> AuditEvent:
    return assemble_call(
        Call(
            raw=raw,
            format=source_format,
            id=event_id(cluster["id"], "", text, component, "", ""),
            action=f"control-plane/{component or 'unknown'}",
            time=time,
            cluster=cluster,
            actor=_component_actor(),
            outcome=outcome_of("none", effective=False),
            facts={"control_plane": facts},
            reasons=reasons,
        )
    )


def _component_actor() -> Actor:
    """Nobody asked for anything: the component speaks of itself."""
    return {**actor_of(NOBODY, None, "", refused=False), "class": "control_plane"}


def _facts(component: str, severity: str, location: str, message: str) -> ControlPlaneFacts:
    told: dict[str, Any] = {}
    if flag := _FLAG.match(message):
        told = _flag_facts(flag[1], flag_value(flag[1], flag[2]))
    elif version := _VERSION.match(message):
        told = {"version": version[1]}
    return control_plane(component=component, severity=severity, location=location, message=mask(message), **told)


def _flag_facts(name: str, value: str) -> dict[str, Any]:
    told: dict[str, Any] = {"flags": {name: value}}
    match name:
        case "anonymous-auth":
            told["anonymous_auth"] = {"true": True, "false": False}.get(value.lower())
        case "authorization-mode":
            told["authorization_modes"] = [mode for mode in re.split(r"[\[\], ]+", value) if mode]
        case "audit-policy-file":
            told["audit_policy"] = value
    return told


def _micros(parts: list[int], near_ms: int) -> int:
    """Month, day, hour, minute, second and microsecond as a time not after `near_ms`; 0 where that is not known."""
    if not 0 < near_ms < _LAST_MS:
        return 0
    near = datetime.fromtimestamp(near_ms / 1000, UTC)
    month, day, hour, minute, second, micro = parts
    for year in (near.year, near.year - 1):  # a line of December is received in January
        try:
            time = datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
        except ValueError:  # 29 February, or no date at all
            continue
        if time <= near + _DAY:
            return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return 0
