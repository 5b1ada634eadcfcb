"""From the description of requests (cases.py) to the audit.k8s.io/v1 Events that the API server would write of them.

https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/. What the description leaves out is filled in as
the server does; what the server does not log is not made up.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import UNSET

from leadsman_cli.cases import Request, User
from leadsman_normalizer.facts.kinds import KINDS

Event = dict[str, Any]
STREAMS = frozenset({"exec", "attach", "portforward"})
START = datetime(2026, 11, 2, 9, tzinfo=UTC)
STEP_S = 10
_SPACE = uuid.UUID("3f0c7d0e-5a55-4a1a-9d8f-1d0f0a4f7c11")
_WRITES = ("create", "update", "patch")
_KINDS_OF_SUBRESOURCES = {"token": "TokenRequest", "eviction": "Eviction", "binding": "Binding", "scale": "Scale"}
_KINDS = {
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "networkpolicies": "NetworkPolicy",
    "workflowtemplates": "WorkflowTemplate",
    "cronworkflows": "CronWorkflow",
    "customresourcedefinitions": "CustomResourceDefinition",
    "selfsubjectaccessreviews": "SelfSubjectAccessReview",
    "selfsubjectrulesreviews": "SelfSubjectRulesReview",
    "tokenreviews": "TokenReview",
    "endpoints": "Endpoints",
    "ingressclasses": "IngressClass",
    "storageclasses": "StorageClass",
    "taskruns": "TaskRun",
    "pipelineruns": "PipelineRun",
}
_GROUPS_OF_OWNERS = {"Job": "batch/v1", "CronJob": "batch/v1", "Node": "v1", "ReplicationController": "v1"}
_HTTP_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    422: "Invalid",
    500: "InternalError",
}


def events_of(name: str, requests: Sequence[Request]) -> list[Event]:
    """The events of a case's requests, in order of arrival. `name` keeps ids apart from those of other cases."""
    return [event for _, found in runs_of(name, requests) for event in found]


def runs_of(name: str, requests: Sequence[Request]) -> list[tuple[str, list[Event]]]:
    """The same with the cluster that they come from (empty: the case's own), a run for each change of it.

    A stream that was opened (exec, attach, portforward with code 101) gives two, ResponseStarted and
    ResponseComplete, as the server writes them.
    """
    runs: list[tuple[str, list[Event]]] = []
    at = -float(STEP_S)
    for index, request in enumerate(requests):
        at = at + STEP_S if request.at is None else request.at
        event = _event(name, index, request, START + timedelta(seconds=at))
        events = [event]
        if (event.get("objectRef") or {}).get("subresource") in STREAMS and event["responseStatus"]["code"] == 101:
            events.insert(0, {**event, "stage": "ResponseStarted"})
        if not runs or runs[-1][0] != request.cluster:
            runs.append((request.cluster, []))
        runs[-1][1].extend(events * (1 + request.again))
    return runs


def _event(name: str, index: int, request: Request, when: datetime) -> Event:
    resource, group, subresource = _resource_of(request.resource)
    user = user_of(request.user)
    code = _code(request, subresource, authenticated=bool(user))
    forbidden = request.decision == "forbid"
    sent, stored = _bodies(name, index, request, code, when) if not forbidden and user else (None, None)
    event: Event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": request.level,
        "auditID": str(uuid.uuid5(_SPACE, f"{name}/{index}")),
        "stage": "ResponseComplete",
        "requestURI": _uri(request, resource, group, subresource),
        "verb": request.verb,
        "user": user,
        "sourceIPs": [request.source_ip] if isinstance(request.source_ip, str) else request.source_ip,
        "userAgent": request.user_agent,
        "responseStatus": _status(code, request, user),
        "requestReceivedTimestamp": _stamp(when),
        "stageTimestamp": _stamp(when + timedelta(milliseconds=7)),
        "annotations": {**_decision(request, user, code), **request.annotations},
    }
    if request.as_ is not None:
        event["impersonatedUser"] = user_of(request.as_)
    if resource:
        ref = {
            "resource": resource,
            "namespace": request.namespace,
            "name": request.name,
            "apiGroup": group,
            "apiVersion": request.version.rpartition("/")[2],
            "subresource": subresource,
        }
        event["objectRef"] = {k: v for k, v in ref.items() if v}
    if sent is not None and request.level != "Metadata":
        event["requestObject"] = sent
    if stored is not None and request.level == "RequestResponse":
        event["responseObject"] = stored
    return event


def user_of(given: str | User) -> dict[str, Any]:
    """A user with the groups that the server gives to such a name; {} for none, as after a failed authentication."""
    user = User(username=given) if isinstance(given, str) else given
    if not user.username:
        return {}
    found: dict[str, Any] = {"username": user.username, "groups": user.groups}
    if user.groups is None:
        found["groups"] = _groups(user.username)
    if user.uid:
        found["uid"] = user.uid
    if user.extra:
        found["extra"] = user.extra
    return found


def _groups(name: str) -> list[str]:
    if name == "system:anonymous":
        return ["system:unauthenticated"]
    if name.startswith("system:serviceaccount:"):
        namespace = name.split(":")[2]
        return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    if name.startswith("system:node:"):
        return ["system:nodes", "system:authenticated"]
    return ["system:authenticated"]


def _resource_of(text: str) -> tuple[str, str, str]:
    """`RESOURCE[.GROUP][/SUBRESOURCE]` as (resource, group, subresource)."""
    whole, _, subresource = text.partition("/")
    resource, _, group = whole.partition(".")
    return resource, group, subresource


def _uri(request: Request, resource: str, group: str, subresource: str) -> str:
    if resource:
        version = request.version.rpartition("/")[2]
        parts = ["apis", group, version] if group else ["api", version]
        if request.namespace and resource != "namespaces":
            parts += ["namespaces", request.namespace]
        parts.append(resource)
        # a POST of an object goes to its collection; one of a subresource names the object
        if request.name and (request.verb != "create" or subresource):
            parts.append(request.name)
        parts += [part for part in (subresource, request.path.strip("/")) if part]
        path = "/" + "/".join(parts)
    else:
        path = "/" + request.path.lstrip("/")
    queries = [request.query] if request.query else []
    if request.verb == "watch" and "watch=" not in request.query:
        queries.append("watch=true")
    if request.dry_run:
        queries.append("dryRun=All")
    if not queries:
        return path
    return path + ("&" if "?" in path else "?") + "&".join(queries)


def _code(request: Request, subresource: str, *, authenticated: bool) -> int:
    if request.code:
        return request.code
    if not authenticated:
        return 401
    if request.decision == "forbid":
        return 403
    if subresource in STREAMS:
        return 101
    return 201 if request.verb == "create" else 200


def _decision(request: Request, user: dict[str, Any], code: int) -> dict[str, str]:
    if not user or code == 401:
        return {}
    reason = request.reason
    if reason is None:
        acting = user if request.as_ is None else user_of(request.as_)
        reason = _reason(acting) if request.decision == "allow" else ""
    return {"authorization.k8s.io/decision": request.decision, "authorization.k8s.io/reason": reason}


def _reason(user: dict[str, Any]) -> str:
    name = user.get("username", "")
    subject = f'User "{name}"'
    if name == "system:anonymous":
        subject = 'Group "system:unauthenticated"'
    elif name.startswith("system:serviceaccount:") and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        subject = f'ServiceAccount "{account}/{namespace}"'
    return f'RBAC: allowed by ClusterRoleBinding "at-work" of ClusterRole "at-work" to {subject}'


def _status(code: int, request: Request, user: dict[str, Any]) -> dict[str, Any]:
    if code < 400:
        return {"metadata": {}, "code": code}
    reason = _HTTP_REASONS.get(code, "InternalError")
    if code == 409 and request.verb != "create":
        reason = "Conflict"
    message = f"{request.resource or request.path}: {reason}"
    if code == 401 and not user:
        message = "Authentication failed, attempted: bearer"
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


def _bodies(name: str, index: int, request: Request, code: int, when: datetime) -> tuple[Any, Any]:
    """The bodies (requestObject, responseObject), None where there is none."""
    resource, group, subresource = _resource_of(request.resource)
    body = copy.deepcopy(request.body)
    whole = isinstance(body, dict) and (request.verb in ("create", "update") or request.patch == "apply")
    if isinstance(body, dict) and whole and request.verb in _WRITES:
        body = _filled(name, request, body, resource, group, subresource)
    if code >= 400:
        status = {"kind": "Status", "apiVersion": "v1", **_status(code, request, user_of(request.user))}
        return body, status if request.response is UNSET else request.response
    stored: Any = None
    if request.response is not UNSET:
        stored = copy.deepcopy(request.response)
        if stored is not None:
            stored = _filled(name, request, stored, resource, group, subresource)
    elif isinstance(body, dict) and request.verb in ("create", "update"):
        stored = copy.deepcopy(body)
    if isinstance(stored, dict) and stored.get("kind") != "Status":
        _store(name, index, request, stored, when)
    return body, stored


def _filled(
    name: str, request: Request, given: dict[str, Any], resource: str, group: str, subresource: str
) -> dict[str, Any]:
    """An object with apiVersion, kind and metadata; what the description gives stands."""
    version = request.version.rpartition("/")[2]
    metadata: dict[str, Any] = {}
    if request.name and not (given.get("metadata") or {}).get("generateName"):
        metadata["name"] = request.name
    if request.namespace:
        metadata["namespace"] = request.namespace
    if request.labels:
        metadata["labels"] = dict(request.labels)
    if request.object_annotations:
        metadata["annotations"] = dict(request.object_annotations)
    if request.owner is not None:
        owner = request.owner
        uid = _uid(name, request.namespace, owner.kind, owner.name)
        group_of_owner = _GROUPS_OF_OWNERS.get(owner.kind, "apps/v1")
        metadata["ownerReferences"] = [
            {"apiVersion": group_of_owner, "kind": owner.kind, "name": owner.name, "uid": uid, "controller": True}
        ]
    kind = _kind(group, resource, subresource)
    return {
        "kind": kind,
        "apiVersion": f"{group}/{version}" if group else version,
        **given,
        "metadata": {**metadata, **(given.get("metadata") or {})},
    }


def _store(name: str, index: int, request: Request, stored: dict[str, Any], when: datetime) -> None:
    """What the server adds to an object that it keeps."""
    metadata = stored.setdefault("metadata", {})
    if metadata.get("generateName") and not metadata.get("name"):
        metadata["name"] = f"{metadata['generateName']}x7k2p"
    uid = _uid(name, request.namespace, str(stored.get("kind", "")), str(metadata.get("name", "")))
    metadata.setdefault("uid", uid)
    metadata.setdefault("resourceVersion", str(1000 + index))
    made = when if request.verb == "create" else START - timedelta(days=1)
    metadata.setdefault("creationTimestamp", made.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _uid(name: str, namespace: str, kind: str, of: str) -> str:
    """One uid for an object in all of a case's requests."""
    return str(uuid.uuid5(_SPACE, f"{name}/{namespace}/{kind}/{of}"))


def _kind(group: str, resource: str, subresource: str) -> str:
    if subresource in _KINDS_OF_SUBRESOURCES:
        return _KINDS_OF_SUBRESOURCES[subresource]
    found = KINDS.get((group, resource))
    return found.kind if found is not None else _KINDS.get(resource, resource.removesuffix("s").capitalize())


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
