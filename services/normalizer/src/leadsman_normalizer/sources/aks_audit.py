"""AKS: one record of a diagnostic setting, as Event Hubs, storage and Log Analytics carry it (FORMATS 4).

`properties.log` is a native audit event as text (categories kube-audit and kube-audit-admin), or a line of the guard,
the webhook that asks Entra ID and Azure RBAC. https://learn.microsoft.com/en-us/azure/aks/monitor-aks-reference. The
tables AKSAudit and AKSAuditAdmin have the event's fields as columns instead (aks_tables.py).
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec
from msgspec.structs import replace

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, is_public
from leadsman_common.raw import RawEvent
from leadsman_normalizer.assemble import cluster_of, endpoint
from leadsman_normalizer.lenient import Truncated, decode
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.salvage import complete_fields
from leadsman_normalizer.sources.aks_tables import event_of, is_row, read_row
from leadsman_normalizer.sources.eks_components import MAX_LINE_BYTES, from_line, from_text
from leadsman_normalizer.sources.k8s_audit import from_event, read_event
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "aks-audit"
_AUDIT = frozenset({"kube-audit", "kube-audit-admin"})
_GUARD = "guard"
# fields of an audit event; a review of the guard has none of them
_OF_AUDIT = (b'"auditID"', b'"requestURI"', b'"objectRef"')
_RESOURCE = re.compile(
    r"/subscriptions/([^/]+)/(?:.*/)?(?:managedclusters|connectedclusters)/([^/]+)", re.IGNORECASE | re.DOTALL
)
# where the text of the audit event begins in a record that is cut inside of it
_LOG = re.compile(rb'"(?:log|log_s)"\s*:\s*"')
_INSIDE = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_HALF_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{0,3}\Z")


class Properties(msgspec.Struct, gc=False):
    """properties of a record of a diagnostic setting."""

    log: str = ""


class Record(msgspec.Struct, gc=False):
    """A record; the second half are the names that the Log Analytics table AzureDiagnostics gives the same."""

    category: str = ""
    resourceId: str = ""
    time: str = ""
    properties: Properties | None = None
    Category: str = ""
    ResourceId: str = ""
    resource_id: str = msgspec.field(name="_ResourceId", default="")
    TimeGenerated: str = ""
    log_s: str = ""


def normalize_aks(raw: RawEvent) -> AuditEvent | Dropped:
    """One record. Dropped for another category; raises InvalidEvent where it holds no log, or no audit event."""
    reasons: list[str] = []
    if is_row(raw.value):
        row = read_row(raw.value, reasons)
        return _from_audit(_inside(raw, event_of(row), row.resource_id), raw, reasons)
    try:
        record, cut = decode(Record, raw.value, reasons), False
    except Truncated:
        record, cut = _salvaged(raw.value, reasons), True
    log = record.properties.log if record.properties is not None else record.log_s
    category = record.category or record.Category
    if not log:
        raise InvalidEvent("an AKS record without properties.log")
    if category not in _AUDIT and category != _GUARD and not (cut and not category):
        return Dropped(f"not ours: AKS category {category[:64]}")
    resource_id = record.resourceId or record.ResourceId or record.resource_id
    inner = _inside(raw, log.strip().encode("utf-8", "replace"), resource_id)
    if category == _GUARD and sum(name in inner.value for name in _OF_AUDIT) < 2:
        return _from_guard(inner, micros(record.time or record.TimeGenerated) // 1000 or raw.received_ms)
    return _from_audit(inner, raw, reasons)


def _from_guard(inner: RawEvent, time_ms: int) -> AuditEvent:
    """What the guard says: klog lines, and in other forms the reviews that it is asked for and answers."""
    text = inner.value[:MAX_LINE_BYTES].decode("utf-8", "replace")
    cluster = cluster_of(inner, "azure")
    found = from_line(inner, text, _GUARD, cluster, FORMAT, time_ms)
    return from_text(inner, text, _GUARD, cluster, FORMAT, time_ms) if isinstance(found, Dropped) else found


def _inside(raw: RawEvent, value: bytes, resource_id: str) -> RawEvent:
    """What a record holds, with what its transport and its resource id say of the cluster."""
    account, name = cluster_of_id(resource_id)
    return replace(
        raw,
        value=value,
        provider=raw.provider or "azure",
        account=raw.account or account,
        cluster=raw.cluster or name,
    )


def _from_audit(inner: RawEvent, raw: RawEvent, reasons: list[str]) -> AuditEvent | Dropped:
    """The event of a native event; `inner` holds its text."""
    event, truncated = read_event(inner.value, reasons)
    if event.stage == "RequestReceived":
        return Dropped("stage RequestReceived")
    found = from_event(inner, event, raw.format or FORMAT, truncated=truncated, reasons=reasons)
    ip = source_of(found["sourceIPs"])
    found["src_endpoint"] = endpoint(ip)
    return found


def cluster_of_id(resource_id: str) -> tuple[str, str]:
    """Subscription and cluster in an Azure resource id, in lower case: its letter case differs by log."""
    found = _RESOURCE.match(resource_id[:2048])
    return (found[1].lower(), found[2].lower()) if found is not None else ("", "")


def source_of(ips: list[str]) -> str:
    """The address to trust: the last one is AKS's own front end, and it wrote the one before it (DETECTIONS 1.11)."""
    if not ips:
        return ""
    return ips[-2] if len(ips) > 1 and not is_public(ips[-1]) else ips[-1]


def _salvaged(value: bytes, reasons: list[str]) -> Record:
    """The complete fields of a cut record, and the beginning of the log where it was cut inside of that."""
    record = decode(Record, complete_fields(value), reasons)
    start = _LOG.search(value)
    if record.properties is not None or record.log_s or start is None:
        return record
    found = _INSIDE.match(value[start.end() :].decode("utf-8", "ignore"))
    text = _HALF_ESCAPE.sub("", found.group()) if found is not None else ""
    try:
        record.log_s = str(json.loads(f'"{text}"', strict=False))
    except ValueError as error:
        raise InvalidEvent(f"truncated AKS record: {error}") from error
    return record
