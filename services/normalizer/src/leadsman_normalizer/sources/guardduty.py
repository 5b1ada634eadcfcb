"""GuardDuty: one finding about an EKS cluster, as EventBridge hands it over, or the finding alone.

https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings_eventbridge.html,
https://docs.aws.amazon.com/guardduty/latest/APIReference/API_Finding.html. A finding is told again as it recurs, with
the same id, a higher count and a later `eventLastSeen`: each is a signal at that time. Others are dropped.
"""

from __future__ import annotations

from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, User
from leadsman_common.raw import RawEvent
from leadsman_normalizer.assemble import cluster
from leadsman_normalizer.calls import NOBODY
from leadsman_normalizer.lenient import load_whole
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.signals import Signal, assemble_signal, first, inside, text
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "guardduty"
# https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings-severity.html
_LEVELS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (1.0, "low"))


def normalize_guardduty(raw: RawEvent) -> AuditEvent | Dropped:
    """One finding. Raises InvalidEvent where it is none."""
    reasons: list[str] = []
    tree = load_whole(raw.value, reasons, "GuardDuty finding")
    detail = inside(tree, "detail")
    finding = detail if isinstance(detail, dict) else tree
    if not isinstance(finding, dict) or not text(finding.get("type")) or not text(finding.get("id")):
        raise InvalidEvent("a GuardDuty finding without type and id")
    name = _cluster_name(finding)
    if not name:
        return Dropped("not ours: a finding about no EKS cluster")
    service = finding.get("service")
    call = inside(service, "action", "kubernetesApiCallAction")
    workload = inside(finding, "resource", "kubernetesDetails", "kubernetesWorkloadDetails")
    process = inside(service, "runtimeDetails", "process")
    container = first(inside(workload, "containers")) or inside(finding, "resource", "containerDetails")
    about = workload if text(inside(workload, "name")) else None
    severity = finding.get("severity")
    seen = text(inside(service, "eventLastSeen")) or text(finding.get("updatedAt")) or text(finding.get("createdAt"))
    count = inside(service, "count")
    status = inside(call, "statusCode")
    return assemble_signal(
        raw,
        Signal(
            sensor=FORMAT,
            rule=text(finding["type"]),
            time=micros(seen),
            cluster=cluster(
                "aws", text(finding.get("accountId")) or raw.account, text(finding.get("region")) or raw.region, name
            ),
            identity=(text(finding["id"]), seen, text(count)),
            severity=text(severity),
            level=_level(severity),
            title=text(finding.get("title")) or text(finding.get("description")),
            finding=text(finding["id"]),
            kind=text(inside(about, "type")) or text(inside(call, "resource")) or "",
            namespace=text(inside(about, "namespace")) or text(inside(call, "namespace")),
            name=text(inside(about, "name")) or text(inside(call, "resourceName")),
            container=text(inside(container, "name")),
            image=text(inside(container, "image")),
            process=text(inside(process, "executablePath")) or text(inside(process, "name")),
            command_line=text(inside(service, "runtimeDetails", "context", "commandLineExample")),
            parent=text(inside(first(inside(process, "lineage")), "executablePath")),
            inside_user=text(inside(process, "user")),
            node=text(inside(finding, "resource", "instanceDetails", "instanceId")),
            tags=[],
            count=count if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 1 << 31 else 0,
            who=_who(inside(finding, "resource", "kubernetesDetails", "kubernetesUserDetails")),
            ip=text(inside(call, "remoteIpDetails", "ipAddressV4"))
            or text(first(inside(call, "sourceIPs")) or first(inside(call, "sourceIps"))),
            user_agent=text(inside(call, "userAgent")),
            http=status if isinstance(status, int) and 100 <= status < 600 else 0,
            reasons=reasons,
        ),
    )


def _cluster_name(finding: dict[str, Any]) -> str:
    """The EKS cluster's name; of an attack sequence that of the first cluster among its resources."""
    name = text(inside(finding, "resource", "eksClusterDetails", "name"))
    resources = inside(finding, "service", "detection", "sequence", "resources")
    for resource in resources if isinstance(resources, list) and not name else ():
        arn = text(inside(resource, "uid"))
        if ":eks:" in arn and ":cluster/" in arn:
            return arn.partition(":cluster/")[2].partition("/")[0]
    return name


def _level(severity: Any) -> str:
    if not isinstance(severity, int | float) or isinstance(severity, bool):
        return ""
    return next((level for least, level in _LEVELS if severity >= least), "informational")


def _who(details: Any) -> User:
    name, groups = text(inside(details, "username")), inside(details, "groups")
    if not name:
        return NOBODY
    named = [g for g in groups if isinstance(g, str)] if isinstance(groups, list) else []
    return {"username": name, "uid": text(inside(details, "uid")), "groups": named, "extra": {}}
