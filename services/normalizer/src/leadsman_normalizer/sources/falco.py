"""Falco: one alert as JSON (`json_output: true`), as http_output, falcosidekick and its Kafka output send it.

https://falco.org/docs/concepts/outputs/formatting/, https://falco.org/docs/reference/rules/supported-fields/. Falco
does not name its cluster: the transport does, or else a field `cluster` that append_output or falcosidekick's
customfields add, a name or PROVIDER/ACCOUNT/REGION/NAME. Fields that Falco could not tell are `<NA>`.
"""

from __future__ import annotations

from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cluster, User
from leadsman_common.raw import RawEvent
from leadsman_normalizer.assemble import cluster, cluster_of
from leadsman_normalizer.calls import NOBODY
from leadsman_normalizer.lenient import load_whole, note
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.signals import Signal, assemble_signal, text
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "falco"
# https://falco.org/docs/concepts/rules/basic-elements/#priority
LEVELS: Final = {
    "emergency": "critical",
    "alert": "critical",
    "critical": "critical",
    "error": "high",
    "warning": "medium",
    "notice": "low",
    "informational": "informational",
    "info": "informational",
    "debug": "informational",
}


def normalize_falco(raw: RawEvent) -> AuditEvent | Dropped:
    """One alert. Raises InvalidEvent where it is none."""
    reasons: list[str] = []
    alert = load_whole(raw.value, reasons, "Falco alert")
    if not isinstance(alert, dict) or not text(alert.get("rule")) or not text(alert.get("priority")):
        raise InvalidEvent("a Falco alert without rule and priority")
    fields = alert.get("output_fields")
    if not isinstance(fields, dict):
        if fields is not None:
            note(reasons, "output_fields: no object")
        fields = {}

    def of(*names: str) -> str:
        return next((found for name in names if (found := text(fields.get(name)))), "")

    time = micros(text(alert.get("time"))) or _nanoseconds(fields.get("evt.time"))
    name = of("k8s.pod.name", "k8smeta.pod.name", "ka.target.pod.name")
    audited = of("ka.target.name")
    image, tag = of("container.image.repository", "ka.req.pod.containers.image.repository"), of("container.image.tag")
    tags = alert.get("tags")
    return assemble_signal(
        raw,
        Signal(
            sensor=FORMAT,
            rule=text(alert["rule"]),
            time=time,
            cluster=_cluster(raw, of("cluster")),
            identity=(text(alert.get("uuid")), text(alert.get("output")), text(alert.get("hostname"))),
            severity=text(alert["priority"]),
            level=LEVELS.get(text(alert["priority"]).lower(), ""),
            title=text(alert.get("output")),
            finding=text(alert.get("uuid")),
            kind="pods" if name else of("ka.target.resource"),
            namespace=of("k8s.ns.name", "k8smeta.ns.name", "ka.target.namespace"),
            name=name or audited,
            container=of("container.name", "container.id"),
            image=f"{image}:{tag}" if image and tag else image,
            process=of("proc.name", "proc.exepath"),
            command_line=of("proc.cmdline"),
            parent=of("proc.pname"),
            inside_user=of("user.name"),
            node=text(alert.get("hostname")),
            tags=[t for t in tags if isinstance(t, str)] if isinstance(tags, list) else [],
            who=_who(of("ka.user.name")),  # of its plugin for audit logs; what runs in a pod has no user of the cluster
            reasons=reasons,
        ),
    )


def _cluster(raw: RawEvent, named: str) -> Cluster:
    if raw.cluster or not named:
        return cluster_of(raw, "")
    parts = named.split("/")
    if len(parts) == 4 and parts[3]:
        return cluster(*parts)
    return cluster(raw.provider, raw.account, raw.region, named)


def _who(name: str) -> User:
    return {**NOBODY, "username": name} if name else NOBODY


def _nanoseconds(value: Any) -> int:
    plain = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 62
    return value // 1000 if plain else 0
