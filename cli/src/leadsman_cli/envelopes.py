"""Native audit events as each cloud hands them over: one function a cloud, events in and a file's bytes out.

They come at the levels of the cloud's own audit policy (cloud_policies.py). Nothing is made up: what a cloud leaves out
is left out here, and where it leaves out what a rule may need, a note says so. `withheld` marks the notes that excuse a
rule's silence; described.py makes the events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from leadsman_cli.cases import Cloud
from leadsman_cli.cloud_policies import log_of, logged
from leadsman_cli.described import STREAMS, Event

CLUSTER = "harbour"
ACCOUNT = "111122223333"
REGION = "eu-west-1"
PROJECT = "example-shipyard"
_STREAM = "kube-apiserver-audit-0123456789abcdef0123456789abcdef"
_READS = ("get", "list", "watch")
_DECISION, _REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
# google.rpc.Code by HTTP code: https://cloud.google.com/apis/design/errors
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 410: 9, 422: 3, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
_GRPC_MESSAGES = {3: "INVALID_ARGUMENT", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED", 10: "ABORTED"}


@dataclass(frozen=True, slots=True)
class Enveloped:
    """A file as a cloud would have written it. `withheld`: what the cloud keeps back; `notes`: what else to know."""

    data: bytes
    withheld: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def native(events: Sequence[Event], _cluster: str = CLUSTER) -> Enveloped:
    """A self-managed API server's log file: one event a line."""
    return Enveloped(_lines(events))


def eks(events: Sequence[Event], cluster: str = CLUSTER) -> Enveloped:
    """A CloudWatch Logs subscription document of the stream kube-apiserver-audit.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
    """
    found = logged(events, "eks", "EKS")
    messages = [_with_iam(event) for event in found.events]
    document = {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": f"/aws/eks/{cluster}/cluster",
        "logStream": _STREAM,
        "subscriptionFilters": ["leadsman"],
        "logEvents": [
            {"id": f"{index:056}", "timestamp": _ms(message["stageTimestamp"]), "message": _text(message)}
            for index, message in enumerate(messages)
        ],
    }
    return Enveloped(_lines([document]), found.withheld)


def gke(events: Sequence[Event], cluster: str = CLUSTER) -> Enveloped:
    """LogEntries of Cloud Audit Logs, one a line (https://cloud.google.com/kubernetes-engine/docs/how-to/audit-logging).

    Shapes as in entries of real clusters: what stands in no entry (groups, URI, HTTP code, level) is not there.
    """
    found = logged(events, "gke", "GKE")
    withheld = list(found.withheld)
    notes: list[str] = []
    entries = [_entry(event, cluster, withheld, notes) for event in found.events]
    return Enveloped(_lines(entries), tuple(dict.fromkeys(withheld)), tuple(dict.fromkeys(notes)))


def aks(events: Sequence[Event], cluster: str = CLUSTER) -> Enveloped:
    """Records of the diagnostic category kube-audit: the event as text in properties.log.

    https://learn.microsoft.com/en-us/azure/aks/monitor-aks-reference. The API server sees an inner address last.
    """
    resource = (
        "/SUBSCRIPTIONS/00000000-0000-4000-8000-000000000001/RESOURCEGROUPS/DOCK"
        "/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/" + cluster.upper()
    )
    found = logged(events, "aks", "AKS")
    records = [
        {
            "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
            "category": "kube-audit",
            "ccpNamespace": "65a0000000000000000000aa",
            "resourceId": resource,
            "properties": {
                "log": _text({**event, "sourceIPs": [*event["sourceIPs"], "172.31.52.37"]}) + "\n",
                "stream": "stdout",
                "pod": "kube-apiserver-6d5b6c7d8-abcde",
            },
            "time": event["stageTimestamp"],
            "Cloud": "AzureCloud",
            "Environment": "prod",
        }
        for event in found.events
    ]
    return Enveloped(_lines(records), found.withheld)


ENVELOPES: Mapping[Cloud, Callable[..., Enveloped]] = {
    "native": native,
    "eks": eks,
    "gke": gke,
    "aks": aks,
}


def _with_iam(event: Event) -> Event:
    """The IAM role behind a person's name, as the authenticator of EKS adds it to user.extra (FORMATS 2.4)."""
    user = event["user"]
    name = user.get("username", "")
    if not name or name.startswith(("system:", "eks:")) or user.get("extra"):
        return event
    session = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    extra = {
        "accessKeyId": ["ASIAEXAMPLEEXAMPLE00"],
        "arn": [f"arn:aws:sts::{ACCOUNT}:assumed-role/Deployers/{session}"],
        "canonicalArn": [f"arn:aws:iam::{ACCOUNT}:role/Deployers"],
        "principalId": ["AROAEXAMPLEEXAMPLE000"],
        "sessionName": [session],
    }
    uid = f"aws-iam-authenticator:{ACCOUNT}:AROAEXAMPLEEXAMPLE000"
    return {**event, "user": {"uid": uid, **user, "extra": extra}}


def _entry(event: Event, cluster: str, withheld: list[str], notes: list[str]) -> dict[str, Any]:
    ref = event.get("objectRef")
    verb, code = event["verb"], event["responseStatus"]["code"]
    method, name = _method(event, ref), _resource_name(event, ref)
    streaming = ref is not None and ref.get("subresource") in STREAMS
    annotations = dict(event["annotations"])
    decision = annotations.get(_DECISION, "")
    payload: dict[str, Any] = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "k8s.io",
        "methodName": method,
        "resourceName": name,
        "authenticationInfo": _authentication(event),
        "requestMetadata": {"callerIp": event["sourceIPs"][-1], "callerSuppliedUserAgent": event["userAgent"]},
        "status": _rpc(event, code, streaming=streaming, verb=verb),
    }
    if decision:
        granted = {"granted": True} if decision == "allow" else {}  # proto3 leaves false out
        payload["authorizationInfo"] = [{**granted, "permission": method, "resource": name}]
    payload |= _gke_bodies(event, ref, withheld, notes)
    query = parse_qs(event["requestURI"].partition("?")[2], keep_blank_values=True)
    if streaming and ref is not None and ref["subresource"] == "exec" and "command" in query:
        annotations["command.gke.io/command"] = " ".join(query["command"])
    if query.get("dryRun") == ["All"]:
        annotations["command.gke.io/dryRun"] = "All"
    started = event["stage"] == "ResponseStarted"
    log = "data_access" if log_of(event, "gke") == "Data Access" else "activity"
    if log == "data_access":
        notes.append("GKE logs reads only where Data Access logs are on")
    operation = {"id": event["auditID"], "producer": "k8s.io"}
    operation |= {} if streaming and code == 101 and not started else {"first": True}
    operation |= {} if started else {"last": True}
    return {
        "insertId": event["auditID"],
        "labels": annotations,
        "logName": f"projects/{PROJECT}/logs/cloudaudit.googleapis.com%2F{log}",
        "operation": operation,
        "protoPayload": payload,
        "receiveTimestamp": event["stageTimestamp"],
        "resource": {
            "type": "k8s_cluster",
            "labels": {"cluster_name": cluster, "location": "europe-west4", "project_id": PROJECT},
        },
        "timestamp": event["requestReceivedTimestamp"],
    }


def _authentication(event: Event) -> dict[str, str]:
    """The principal and whom it acts as. Groups, uid and extra stand in no entry."""
    found = {"principalEmail": event["user"].get("username", ""), "authoritySelector": ""}
    if "impersonatedUser" in event:
        found["authoritySelector"] = event["impersonatedUser"]["username"]
    return {k: v for k, v in found.items() if v}


def _rpc(event: Event, code: int, *, streaming: bool, verb: str) -> dict[str, Any]:
    """google.rpc.Status; streams of real clusters end with 2, UNKNOWN, although they were opened."""
    if streaming and code == 101:
        return {} if event["stage"] == "ResponseStarted" else {"code": 2, "message": "UNKNOWN"}
    if code < 400:
        return {}
    rpc = 6 if code == 409 and verb == "create" else _GRPC.get(code, 2)
    return {"code": rpc, "message": _GRPC_MESSAGES.get(rpc) or event["responseStatus"].get("message", "")}


def _method(event: Event, ref: dict[str, Any] | None) -> str:
    """io.k8s.GROUP.VERSION.RESOURCE[.SUBRESOURCE].VERB; io.k8s.VERB for a path (FORMATS 3.2)."""
    if ref is None:
        return f"io.k8s.{event['verb']}"
    group, version = ref.get("apiGroup", ""), ref["apiVersion"]
    if group == "rbac.authorization.k8s.io":
        head = "io.k8s.authorization.rbac"
    elif not group or "." not in group or group.endswith(".k8s.io"):
        head = f"io.k8s.{group.removesuffix('.k8s.io') or 'core'}"
    else:  # custom resources: the domain backwards
        head = ".".join(reversed(group.split(".")))
    parts = (head, version, ref["resource"], ref.get("subresource", ""), event["verb"])
    return ".".join(part for part in parts if part)


def _resource_name(event: Event, ref: dict[str, Any] | None) -> str:
    """GROUP/VERSION/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE[/REST]]]; a path without its first slash."""
    path = event["requestURI"].partition("?")[0]
    if ref is None:
        return str(path.lstrip("/"))
    parts = [ref.get("apiGroup") or "core", ref["apiVersion"]]
    if ref.get("namespace") and ref["resource"] != "namespaces":
        parts += ["namespaces", ref["namespace"]]
    parts += [ref["resource"], ref.get("name", ""), ref.get("subresource", "")]
    if ref.get("subresource") == "proxy":
        parts.append(path.partition("/proxy")[2].strip("/"))
    return "/".join(part for part in parts if part)


def _gke_bodies(
    event: Event, ref: dict[str, Any] | None, withheld: list[str], notes: list[str]
) -> dict[str, dict[str, Any]]:
    if ref is None or event["verb"] in _READS:
        return {}
    sent, stored = event.get("requestObject"), event.get("responseObject")
    found: dict[str, dict[str, Any]] = {}
    if isinstance(sent, list):
        withheld.append("how GKE shows a JSON Patch is not known, so the request is left out")
    elif sent is not None:
        found["request"] = {"@type": "k8s.io/Patch" if event["verb"] == "patch" else _type(sent), **sent}
        if event["verb"] == "patch" and stored is None:
            notes.append("GKE logs the merged object of a patch too; the case describes none")
    if stored is not None:
        found["response"] = {"@type": _type(stored), **stored}
    return found


def _type(found: dict[str, Any]) -> str:
    """core.k8s.io/v1.Pod, extensions.k8s.io/v1beta1.Deployment, rbac.authorization.k8s.io/v1.ClusterRole."""
    group, _, version = str(found.get("apiVersion", "v1")).rpartition("/")
    group = group or "core"
    return f"{group if '.' in group else f'{group}.k8s.io'}/{version}.{found.get('kind', '')}"


def _ms(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1000)


def _text(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def _lines(documents: Sequence[Any]) -> bytes:
    return b"".join(msgspec.json.encode(document) + b"\n" for document in documents)
