"""Security Command Center: one notification of a finding about a GKE cluster, or the finding alone.

https://docs.cloud.google.com/security-command-center/docs/how-to-notifications,
https://docs.cloud.google.com/security-command-center/docs/reference/rest/v1/organizations.sources.findings. Threats
alone are signals; misconfigurations and vulnerabilities are states, and findings that are closed are past: dropped.
"""

from __future__ import annotations

import re
from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cluster
from leadsman_common.raw import RawEvent
from leadsman_normalizer.assemble import cluster
from leadsman_normalizer.calls import NOBODY
from leadsman_normalizer.lenient import load_whole
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.signals import Signal, assemble_signal, first, inside, text
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "scc"
_LEVELS = {"CRITICAL": "critical", "HIGH": "high", "MEDIUM": "medium", "LOW": "low"}
# //container.googleapis.com/projects/P/locations/L/clusters/C, and what lies below it
_CLUSTER = re.compile(
    r"//container\.googleapis\.com/projects/([^/]+)/(?:locations|zones|regions)/([^/]+)/clusters/([^/]+)"
)
# in a cluster: .../clusters/C/k8s/namespaces/NS/pods/P
_POD = re.compile(r"/k8s/namespaces/([^/]+)/pods/([^/]+)")


def normalize_scc(raw: RawEvent) -> AuditEvent | Dropped:
    """One finding. Raises InvalidEvent where it is none."""
    reasons: list[str] = []
    tree = load_whole(raw.value, reasons, "Security Command Center notification")
    finding = inside(tree, "finding")
    finding = finding if isinstance(finding, dict) else tree
    if not isinstance(finding, dict) or not text(finding.get("category")) or not text(finding.get("name")):
        raise InvalidEvent("a Security Command Center finding without category and name")
    kind, state = text(finding.get("findingClass")), text(finding.get("state"))
    if kind not in ("THREAT", ""):
        return Dropped(f"not ours: a finding of class {kind[:64]}")
    if state not in ("ACTIVE", ""):
        return Dropped("not ours: a finding that is closed")
    where = _cluster(raw, tree, finding)
    if where is None:
        return Dropped("not ours: a finding about no GKE cluster")
    pod = first(inside(finding, "kubernetes", "pods"))
    thing = first(inside(finding, "kubernetes", "objects"))
    place = _POD.search(text(finding.get("resourceName")))
    namespace, name = text(inside(pod, "ns")), text(inside(pod, "name"))
    if not name and place:
        namespace, name = place[1], place[2]
    process = first(finding.get("processes"))
    container = first(inside(pod, "containers")) or first(finding.get("containers"))
    arguments = inside(process, "args")
    words = [a for a in arguments if isinstance(a, str)] if isinstance(arguments, list) else []
    access = finding.get("access")
    who = text(inside(access, "principalEmail")) or text(inside(access, "principalSubject"))
    severity = text(finding.get("severity"))
    seen = text(finding.get("eventTime")) or text(finding.get("createTime"))
    return assemble_signal(
        raw,
        Signal(
            sensor=FORMAT,
            rule=text(finding["category"]),
            time=micros(seen),
            cluster=where,
            identity=(text(finding["name"]), seen),
            severity=severity,
            level=_LEVELS.get(severity, ""),
            title=text(finding.get("description")) or text(finding["category"]),
            finding=text(finding["name"]).rpartition("/")[2],
            kind="pods" if name else text(inside(thing, "kind")),
            namespace=namespace or text(inside(thing, "ns")),
            name=name or text(inside(thing, "name")),
            container=text(inside(container, "name")),
            image=text(inside(container, "uri")),
            process=text(inside(process, "binary", "path")) or text(inside(process, "name")),
            command_line=" ".join(words),
            node=text(inside(first(inside(finding, "kubernetes", "nodes")), "name")).rpartition("/")[2],
            tags=_techniques(finding.get("mitreAttack")),
            who={**NOBODY, "username": who} if who else NOBODY,
            ip=text(inside(access, "callerIp")),
            user_agent=text(inside(access, "userAgent")),
            reasons=reasons,
        ),
    )


def _cluster(raw: RawEvent, tree: Any, finding: dict[str, Any]) -> Cluster | None:
    """The cluster that a resource's full name leads to; else the one that the transport named."""
    for name in (text(finding.get("resourceName")), text(inside(tree, "resource", "name"))):
        if found := _CLUSTER.match(name):
            return cluster("gcp", found[1], found[2], found[3])
    return cluster(raw.provider or "gcp", raw.account, raw.region, raw.cluster) if raw.cluster else None


def _techniques(attack: Any) -> list[str]:
    found = [inside(attack, "primaryTactic"), *(inside(attack, "primaryTechniques") or [])]
    return [word for word in found if isinstance(word, str)]
