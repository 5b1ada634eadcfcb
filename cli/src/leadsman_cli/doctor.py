"""What arrives of a cluster, how late, at which levels; what is missing, and the next step. Pure.

`Sighting` adds up the events of one cluster, `examine` says what is wrong with what was seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from leadsman_cli.audit_policy import GroupResources, Policy, PolicyRule
from leadsman_cli.audited import Audit
from leadsman_common.clusters import ClusterSettings
from leadsman_common.events import AuditEvent
from leadsman_common.sightings import AUDIT
from leadsman_common.since import span_text

READS = frozenset({"get", "list", "watch"})
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
PAGES = {"aws": "aws", "gcp": "gcp", "azure": "azure"}
LATE_S = 900.0
_SAMPLE = 4096
Severity = Literal["broken", "weak", "note"]


@dataclass(slots=True)
class SourceSeen:
    """One source of a cluster. Times are in milliseconds; `delays_ms` are a sample, from the event to ingest."""

    events: int = 0
    newest_ms: int = 0
    delays_ms: list[int] = field(default_factory=list)

    def delay_s(self, share: float) -> float:
        """The delay that this share of the events did not exceed; 0 where none is known."""
        found = sorted(self.delays_ms)
        return found[min(len(found) - 1, int(share * len(found)))] / 1000 if found else 0.0


@dataclass(slots=True)
class Sighting:
    """What was seen of one cluster in a span of time."""

    provider: str = ""
    sources: dict[str, SourceSeen] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)  # by level
    writes: Counter[str] = field(default_factory=Counter)
    truncated: int = 0

    def add(self, event: AuditEvent) -> None:
        """Count an event."""
        self.provider = event["cluster"]["provider"] or self.provider
        source = self.sources.setdefault(event["source"]["format"], SourceSeen())
        source.events += 1
        source.newest_ms = max(source.newest_ms, event["time"] // 1000)
        received, logged = event["source"]["received_ms"], event["loggedTime"] // 1000
        if received and logged:
            if len(source.delays_ms) < _SAMPLE:
                source.delays_ms.append(max(0, received - logged))
            else:  # every event of a long span has the same chance to stand for the others, near enough
                source.delays_ms[source.events * 2654435761 % _SAMPLE] = max(0, received - logged)
        if event["level"] and event["objectRef"]["resource"]:
            (self.reads if event["verb"] in READS else self.writes)[event["level"]] += 1
        self.truncated += bool(event["coverage"] and event["coverage"]["truncated"])


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and what to do about it."""

    severity: Severity
    what: str
    next_step: str


def examine(
    sighting: Sighting, settings: ClusterSettings, *, registry: bool, now_ms: int, span_s: float
) -> list[Finding]:
    """What is wrong with a cluster, the worst first. `registry`: whether there is one to be claimed by."""
    page = PAGES.get(sighting.provider, "kubernetes")
    found: list[Finding] = []
    if not sighting.sources:
        found.append(
            Finding(
                "broken", f"nothing arrived within {span_text(span_s)}", f"docs/sources/{page}.md: what to switch on"
            )
        )
    elif not any(name in sighting.sources for name in AUDIT):
        found.append(Finding("broken", "no audit log among what arrives", f"docs/sources/{page}.md: the audit log"))
    for name, silence_s in settings.expects.items():
        seen = sighting.sources.get(name)
        silent_s = span_s if seen is None else (now_ms - seen.newest_ms) / 1000
        if silent_s >= silence_s:
            what = f"{name}: expected within {span_text(silence_s)}, silent for {span_text(silent_s)}"
            found.append(Finding("broken", what, f"docs/sources/{page}.md: how to see that it works"))
    if registry and not settings.claimed:
        found.append(Finding("weak", "stands in no entry of the registry", "docs/clusters.md: add it to clusters.yaml"))
    for name, seen in sighting.sources.items():
        if (late_s := seen.delay_s(0.95)) > LATE_S and name in AUDIT:
            found.append(
                Finding(
                    "weak", f"{name}: one event in twenty is later than {span_text(late_s)}", "look at ingest's lag"
                )
            )
    if sighting.truncated:
        found.append(
            Finding("note", f"{sighting.truncated} events were cut by the cloud", "nothing: they are salvaged")
        )
    if sighting.writes and sighting.writes.keys() <= {"Metadata"}:
        found.append(
            Finding(
                "weak",
                "writes are logged without their bodies (Metadata)",
                "deploy/audit-policy.yaml, where it is yours",
            )
        )
    return sorted(found, key=lambda one: ("broken", "weak", "note").index(one.severity))


def observed(sighting: Sighting) -> Audit:
    """The audit policy as far as the events show it: the highest level that writes and reads were seen at."""
    rules = [
        PolicyRule(level=_highest(sighting.reads), verbs=tuple(sorted(READS)), resources=(GroupResources(group="*"),)),
        PolicyRule(level=_highest(sighting.writes), resources=(GroupResources(group="*"),)),
        PolicyRule(level=_highest(sighting.reads), non_resource_urls=("*",)),
    ]
    return Audit(Policy(rules=tuple(rules)))


def vendor_policy(sighting: Sighting) -> str:
    """The name of the managed service's own policy; empty where the cluster's owner writes it."""
    if "gke-logentry" in sighting.sources:
        return "gke-data-access" if sighting.reads else "gke"
    if "aks-audit" in sighting.sources:
        return "aks" if sighting.reads else "aks-admin"
    return "eks" if "eks-audit" in sighting.sources else ""


def dropped_by_server(text: str) -> dict[str, float]:
    """What an API server's own /metrics say it lost or refused, by plugin; only what is above zero.

    apiserver_audit_error_total counts events that no backend has any more: buffers that were full, tries that were
    used up. https://kubernetes.io/docs/reference/instrumentation/metrics/
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
        if name not in ("apiserver_audit_error_total", "apiserver_audit_requests_rejected_total"):
            continue
        labels, _, value = rest.rpartition(" ")
        try:
            number = float(value)
        except ValueError:
            continue
        label = labels.partition('plugin="')[2].partition('"')[0] or "rejected"
        if number > 0:
            found[label] = found.get(label, 0.0) + number
    return found


def _highest(levels: Counter[str]) -> str:
    return max((level for level in levels if level in LEVELS), key=LEVELS.index, default="None")
