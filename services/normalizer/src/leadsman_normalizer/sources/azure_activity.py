"""Azure's Activity Log: calls to Azure Resource Manager about AKS and Arc clusters (FORMATS 4).

https://learn.microsoft.com/en-us/azure/azure-monitor/platform/activity-log-schema: the records of a diagnostic setting,
and those of the REST API, which spell some fields as objects. An admin credential listed, a command run, logs off.
"""

from __future__ import annotations

from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cloud, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of
from leadsman_normalizer.assemble import cluster, status_of
from leadsman_normalizer.calls import Call, assemble_call, is_refusal, outcome_of, parameters_text
from leadsman_normalizer.facts.azure_calls import azure_facts
from leadsman_normalizer.facts.values import Tree, mapping
from leadsman_normalizer.lenient import Truncated, load, load_whole
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.aks_audit import cluster_of_id
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "azure-activity"
# operations by their name in lower case: the log spells them in capitals, the documentation does not
OPERATIONS: Final = {
    name.lower(): name
    for name in (
        "Microsoft.ContainerService/managedClusters/read",
        "Microsoft.ContainerService/managedClusters/write",
        "Microsoft.ContainerService/managedClusters/delete",
        "Microsoft.ContainerService/managedClusters/start/action",
        "Microsoft.ContainerService/managedClusters/stop/action",
        "Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action",
        "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action",
        "Microsoft.ContainerService/managedClusters/listClusterMonitoringUserCredential/action",
        "Microsoft.ContainerService/managedClusters/accessProfiles/listCredential/action",
        "Microsoft.ContainerService/managedClusters/runCommand/action",
        "Microsoft.ContainerService/managedClusters/commandResults/read",
        "Microsoft.ContainerService/managedClusters/resetAADProfile/action",
        "Microsoft.ContainerService/managedClusters/resetServicePrincipalProfile/action",
        "Microsoft.ContainerService/managedClusters/rotateClusterCertificates/action",
        "Microsoft.ContainerService/managedClusters/agentPools/write",
        "Microsoft.ContainerService/managedClusters/agentPools/delete",
        "Microsoft.Kubernetes/connectedClusters/listClusterUserCredential/action",
        "Microsoft.Kubernetes/connectedClusters/write",
        "Microsoft.Kubernetes/connectedClusters/delete",
        "Microsoft.Insights/diagnosticSettings/write",
        "Microsoft.Insights/diagnosticSettings/delete",
        "Microsoft.Authorization/roleAssignments/write",
        "Microsoft.Authorization/roleAssignments/delete",
    )
}
_OID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
_UPN = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
_STARTED = frozenset({"start", "started"})
_FAILED = frozenset({"failure", "failed"})


def normalize_activity(raw: RawEvent) -> AuditEvent | Dropped:
    """One record. Dropped where it is about no cluster, or only says that a call began."""
    reasons: list[str] = []
    record = _record(raw.value, reasons)
    operation = _name(record, "operationName")
    if not operation:
        raise InvalidEvent("an Activity Log record without operationName")
    resource_id = _text(record, "resourceId")
    subscription, name = cluster_of_id(resource_id)
    if not name:
        return Dropped("not ours: an Azure operation on no cluster")
    result = (_text(record, "resultType") or _name(record, "status")).lower()
    if result in _STARTED:
        return Dropped("the start of an Azure operation, whose end is an event")
    provider, _, rest = OPERATIONS.get(operation.lower(), operation.lower()).partition("/")
    claims = _claims(record, reasons)
    properties = _properties(record, reasons)
    error = _error(record, properties) if result in _FAILED else ""
    failed = result in _FAILED
    user: User = {"username": _caller(record, claims), "uid": _first(claims, _OID, "oid"), "groups": [], "extra": {}}
    # without the record's location: the cluster's own records do not have it, and both must give one id
    in_cluster = cluster("azure", raw.account or subscription, raw.region, raw.cluster or name)
    time = _text(record, "time") or _text(record, "eventTimestamp")
    correlation = _text(record, "correlationId")
    cloud: Cloud = {
        "service": provider.lower(),
        "operation": rest,
        "principal": user["username"],
        "canonical_arn": "",
        "session": "",
        "access_key_id": "",
        "principal_id": user["uid"],
        "error": error,
        "parameters": parameters_text(_body(properties, "requestbody", reasons), reasons),
    }
    return assemble_call(
        Call(
            raw=raw,
            format=raw.format or FORMAT,
            # an accepted call and its end share the correlation; without one the time tells calls apart
            id=event_id(
                in_cluster["id"], correlation, "" if correlation else time, operation.lower(), resource_id.lower(), ""
            ),
            call_id=correlation,
            action=f"{provider.lower()}:{rest}",
            time=micros(time),
            cluster=in_cluster,
            user=user,
            actor=actor_of(user, None, "azure", refused=False),
            ip=_text(record, "callerIpAddress") or _first(claims, "ipaddr"),
            status=status_of(_code(record), "Failure" if failed else "", error, _text(record, "resultDescription")),
            outcome=outcome_of(
                "allow" if not failed else "forbid" if is_refusal(error) else "none",
                effective=not failed,
                http=_code(record),
            ),
            cloud=cloud,
            facts=azure_facts(
                rest,
                resource_id,
                _body(properties, "requestbody", reasons),
                _body(properties, "responseBody", reasons),
                reasons,
            ),
            failed=failed,
            reasons=reasons,
        )
    )


def _record(value: bytes, reasons: list[str]) -> Tree:
    found = load_whole(value, reasons, "Activity Log record")
    if not isinstance(found, dict):
        raise InvalidEvent("not a JSON object")
    return found


def _text(record: Tree, key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _name(record: Tree, key: str) -> str:
    """A field that is text in one form of the record and {value, localizedValue} in the other."""
    value = record.get(key)
    return _text(value, "value") if isinstance(value, dict) else _text(record, key)


def _claims(record: Tree, reasons: list[str]) -> Tree:
    return mapping(mapping(record, "identity", reasons), "claims", reasons) or mapping(record, "claims", reasons)


def _caller(record: Tree, claims: Tree) -> str:
    """Who called: the user's name, else the id of the application."""
    return _text(record, "caller") or _first(claims, _UPN, "upn", "unique_name", "appid", _OID)


def _first(claims: Tree, *keys: str) -> str:
    return next((value for key in keys if (value := _text(claims, key))), "")


def _properties(record: Tree, reasons: list[str]) -> Tree:
    """properties, an object or the text of one."""
    value = record.get("properties")
    return _parsed(value, reasons) if isinstance(value, str) else mapping(record, "properties", reasons)


def _body(properties: Tree, key: str, reasons: list[str]) -> Tree:
    value = properties.get(key)
    return _parsed(value, reasons) if isinstance(value, str) else value if isinstance(value, dict) else {}


def _parsed(text: str, reasons: list[str]) -> Tree:
    try:
        found: Any = load(text.encode("utf-8", "replace"), reasons)
    except (Truncated, InvalidEvent):
        return {}
    return found if isinstance(found, dict) else {}


def _code(record: Tree) -> int:
    """ResultSignature is an HTTP code in some records, a word in others: Succeeded.OK."""
    text = _text(record, "resultSignature")
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0


def _error(record: Tree, properties: Tree) -> str:
    """What went wrong, where the record says: Failed.Forbidden, AuthorizationFailed."""
    said = _text(record, "resultSignature") or _name(record, "subStatus") or _text(properties, "statusCode")
    if said in ("401", "403"):
        return "Forbidden" if said == "403" else "Unauthorized"
    return said or "Failure"
