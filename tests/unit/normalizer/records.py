"""The project's own records (tests/fixtures/records) and small ones made up in tests, as raw events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize

RECORDS = Path(__file__).parents[2] / "fixtures" / "records"
SLUGS = sorted(path.name for path in RECORDS.iterdir())
RAW_OF = {
    "native": {"format": "k8s-audit", "provider": "k8s", "cluster": "harbour", "region": "rack-1"},
    "eks": {
        "format": "eks-audit",
        "provider": "aws",
        "cluster": "harbour",
        "account": "111122223333",
        "region": "eu-west-1",
    },
    "gke": {"format": "gke-logentry", "provider": "gcp"},
    "aks": {"format": "aks-audit", "provider": "azure"},
}


def record(slug: str, cloud: str) -> RawEvent:
    return RawEvent((RECORDS / slug / f"{cloud}.json").read_bytes(), **RAW_OF[cloud])


def native(verb: str = "create", resource: str = "pods", **more: Any) -> dict[str, Any]:
    """A native event as the API server writes it; `more` are its top-level fields."""
    group = more.pop("group", "")
    ref = {"resource": resource, "namespace": "web", "name": "x", "apiVersion": "v1", **more.pop("ref", {})}
    if group:
        ref["apiGroup"] = group
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "6a1c5a9e-0001-4000-8000-000000000001",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/web/{resource}",
        "verb": verb,
        "user": {"username": "ada@example.com", "groups": ["deployers", "system:authenticated"]},
        "sourceIPs": ["203.0.113.24"],
        "userAgent": "kubectl/v1.34.1",
        "objectRef": ref,
        "responseStatus": {"code": 201 if verb == "create" else 200},
        "requestReceivedTimestamp": "2026-11-02T09:00:00.123456Z",
        "stageTimestamp": "2026-11-02T09:00:00.223456Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        **more,
    }


def event_of(found: dict[str, Any], cloud: str = "native") -> AuditEvent:
    """The event of a record that must give one."""
    event = normalize(RawEvent(json.dumps(found).encode(), **RAW_OF[cloud]))
    assert isinstance(event, dict), event
    return event


def facts_of(verb: str, resource: str, body: Any, **more: Any) -> Any:
    """The facts of a request with this body."""
    return event_of(native(verb, resource, requestObject=body, **more))["facts"]
