"""docs/events.md: every field of an event with its meaning, and where it comes from on each cloud.

Meanings are those of schemas/avro/audit-event.avsc; where a field comes from stands here. `.venv/bin/python docs/events.py`
writes the page; a test holds the page to what this makes, and this to the schema.
"""  # noqa: INP001 - a script, no package
# ruff: noqa: E501 - cells of a table

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from leadsman_common.events import Flag
from leadsman_common.schemas import load_avsc, records_of

PAGE = Path(__file__).resolve().parent / "events.md"
NO = "not said"
SAME = "likewise"
# path -> a native event (self-managed; EKS and AKS where they differ) | GKE's LogEntry | a cloud API call
SOURCES: dict[str, tuple[str, str, str]] = {
    "action": ("verb and objectRef", "methodName's verb and resourceName", "service:eventName, service:methodName"),
    "flags": ("from the fields below", SAME, SAME),
    "id": (
        "hash of cluster, auditID, requestReceivedTimestamp, verb, requestURI, user",
        "hash of cluster, operation.id, timestamp (a stream's command instead), methodName, resourceName, principal",
        "hash of cluster and eventID; operation.id; correlationId",
    ),
    "time": ("requestReceivedTimestamp", "timestamp", "eventTime; timestamp; time"),
    "loggedTime": ("stageTimestamp", "receiveTimestamp", "receiveTimestamp on Google Cloud, else as time"),
    "auditID": ("auditID", "operation.id, else insertId", "eventID; operation.id; correlationId"),
    "stage": (
        "stage; RequestReceived is dropped",
        "ResponseStarted for the first entry of a stream, else ResponseComplete",
        "ResponseComplete",
    ),
    "level": (
        "level. EKS: Metadata for Secrets, ConfigMaps and custom resources",
        "inferred from the bodies that are there",
        NO,
    ),
    "verb": ("verb", "last word of methodName", NO),
    "requestURI": ("requestURI", "only for paths and proxies, made from resourceName; no query", NO),
    "userAgent": ("userAgent", "requestMetadata.callerSuppliedUserAgent", "userAgent; not said on Azure"),
    "user.username": (
        "user.username. EKS: the mapped name. AKS: masterclient is a person with the local admin's kubeconfig",
        "principalEmail, else principalSubject",
        "ARN, or the service account of a web identity; principalEmail; the UPN or application id",
    ),
    "user.uid": ("user.uid", NO, "principalId; not said on Google Cloud; object id on Azure"),
    "user.groups": ("user.groups", "only those that follow from a service account's or the anonymous name", NO),
    "user.extra": ("user.extra. EKS: arn, canonicalArn, sessionName, accessKeyId", NO, NO),
    "impersonatedUser": ("impersonatedUser", "authoritySelector beside a principal; its groups are not said", NO),
    "sourceIPs": (
        "sourceIPs",
        "callerIp alone",
        "sourceIPAddress, which may be a service's name; callerIp; callerIpAddress",
    ),
    "objectRef.resource": ("objectRef.resource", "resourceName", NO),
    "objectRef.namespace": ("objectRef.namespace", "resourceName", NO),
    "objectRef.name": (
        "objectRef.name, else the response's metadata.name (a POST has none)",
        "resourceName, else the response's metadata.name",
        NO,
    ),
    "objectRef.uid": ("objectRef.uid, else the response's", "the response's", NO),
    "objectRef.apiGroup": ("objectRef.apiGroup", "resourceName; core is the empty group", NO),
    "objectRef.apiVersion": ("objectRef.apiVersion", "resourceName", NO),
    "objectRef.resourceVersion": ("the response's, else objectRef's", "the response's", NO),
    "objectRef.subresource": ("objectRef.subresource", "resourceName", NO),
    "responseStatus.code": (
        "responseStatus.code",
        "the response's Status, else mapped from the gRPC code",
        "mapped from the gRPC code on Google Cloud; resultSignature on Azure where it is a number; not said on AWS",
    ),
    "responseStatus.status": (
        "responseStatus.status",
        "the response's Status; Failure where the gRPC code is not 0",
        "Failure where it failed",
    ),
    "responseStatus.reason": ("responseStatus.reason", "the response's Status", "errorCode; not said on Google Cloud"),
    "responseStatus.message": (
        "responseStatus.message",
        "the response's Status, else status.message",
        "errorMessage; status.message; resultDescription",
    ),
    "annotations": ("annotations, without the patches of webhooks and latencies", "labels", NO),
    "dryRun": ("dryRun=All in requestURI", "the label command.gke.io/dryRun", NO),
    "cluster.id": ("from the parts below", SAME, SAME),
    "cluster.name": (
        "the transport: EKS: the log group; AKS: resourceId; else the ingest's setting",
        "resource.labels.cluster_name",
        "parameters, session tags or the log group; resource labels or resourceName; resourceId; empty where the call is about an account",
    ),
    "cluster.provider": ("the transport", "gcp", "aws; gcp; azure"),
    "cluster.account": (
        "EKS: owner; AKS: the subscription in resourceId; else the transport",
        "resource.labels.project_id",
        "recipientAccountId; project; subscription",
    ),
    "cluster.region": (
        "the transport; not said on AKS",
        "resource.labels.location",
        "awsRegion; location; not said on Azure, so that ids agree with AKS",
    ),
    "actor.name": ("the impersonated user, else user.username", SAME, "user.username"),
    "actor.class": (
        "from name, groups and extra",
        "from the name alone",
        "from the identity's type and session; a person and a role cannot be told apart",
    ),
    "actor.authenticated": ("user.username", SAME, SAME),
    "actor.impersonating": ("impersonatedUser is there", "authoritySelector beside a principal", "never"),
    "actor.unauthenticated": (
        "system:anonymous or system:unauthenticated, not impersonated",
        "likewise, or no principal",
        "AWS: ANONYMOUS_PRINCIPAL",
    ),
    "actor.groups": ("groups of that user", "as user.groups", NO),
    "actor.namespace": ("from a service account's name", SAME, "likewise (web identity)"),
    "actor.service_account": ("from a service account's name", SAME, "likewise (web identity)"),
    "actor.pod": (
        "user.extra authentication.kubernetes.io/pod-name",
        NO,
        "not said; facts.cloud_assume.pod for Pod Identity",
    ),
    "actor.node": (
        "user.extra authentication.kubernetes.io/node-name, or the node's own name",
        "the node's own name",
        NO,
    ),
    "actor.credential_id": ("user.extra authentication.kubernetes.io/credential-id", NO, NO),
    "src_endpoint.ip": (
        "the last of sourceIPs. AKS: the one before it where the last is internal",
        "callerIp",
        "as sourceIPs",
    ),
    "src_endpoint.public": ("from the address", SAME, SAME),
    "outcome.authz": (
        "annotation authorization.k8s.io/decision; error where only the reason is there",
        "the label of that name, else authorizationInfo[].granted, else the gRPC code; forbid in the Policy Denied log",
        "by the error code",
    ),
    "outcome.reason": ("annotation authorization.k8s.io/reason", "the label of that name", NO),
    "outcome.binding": ("parsed from the reason", SAME, NO),
    "outcome.binding_kind": ("parsed from the reason", SAME, NO),
    "outcome.binding_namespace": ("parsed from the reason", SAME, NO),
    "outcome.role": ("parsed from the reason", SAME, NO),
    "outcome.role_kind": ("parsed from the reason", SAME, NO),
    "outcome.subject": ("parsed from the reason", SAME, NO),
    "outcome.subject_kind": ("parsed from the reason", SAME, NO),
    "outcome.http": ("responseStatus.code", "as responseStatus.code", "as responseStatus.code"),
    "outcome.grpc": ("-1", "status.code", "status.code on Google Cloud, else -1"),
    "outcome.effective": (
        "not forbidden, and 2xx, 101 or no code told",
        "likewise; 2 counts as 101 for a stream",
        "no error",
    ),
    "cloud.service": ("empty", "empty", "eventSource; serviceName; the resource provider"),
    "cloud.operation": ("empty", "empty", "eventName; methodName; the operation without its provider"),
    "cloud.principal": (
        "EKS: user.extra arn; else the record is null",
        "principalEmail where it is an e-mail or a federated principal",
        "ARN; principal; UPN",
    ),
    "cloud.canonical_arn": ("EKS: user.extra canonicalArn", NO, "AWS: the session's role"),
    "cloud.session": ("EKS: user.extra sessionName", NO, "AWS: the session's name"),
    "cloud.access_key_id": ("EKS: user.extra accessKeyId", NO, "AWS: accessKeyId"),
    "cloud.principal_id": ("EKS: user.extra principalId", NO, "principalId; object id on Azure"),
    "cloud.error": ("empty", "empty", "errorCode; the gRPC code; resultSignature"),
    "cloud.parameters": ("empty", "empty", "requestParameters; request; requestbody"),
    "facts": (
        "bodies and requestURI: see Facts",
        "request, response, label command.gke.io/command",
        "parameters and answer",
    ),
    "coverage.body": ("which body the facts were read from", SAME, "request where there are facts"),
    "coverage.truncated": (
        "the record was cut",
        "never: a cut LogEntry is dead-lettered",
        "never: a cut record is dead-lettered",
    ),
    "coverage.reasons": ("what was missing or of a wrong type", SAME, SAME),
    "source.format": ("the transport's header, else by its looks", SAME, SAME),
    "source.topic": ("the transport", SAME, SAME),
    "source.partition": ("the transport", SAME, SAME),
    "source.offset": ("the transport", SAME, SAME),
    "source.source_id": ("the transport: the CloudWatch event's id", "the Pub/Sub message's id", "the transport"),
    "source.file": ("a scan's file", SAME, SAME),
    "source.line": ("a scan's line", SAME, SAME),
    "source.received_ms": ("the transport", SAME, SAME),
    "requestObject": ("requestObject, redacted, of kinds that rules read", "request, likewise", NO),
    "responseObject": ("responseObject, likewise", "response, likewise", NO),
}
# facts -> what carries them | what a cloud cannot say
FACTS: dict[str, tuple[str, str]] = {
    "pod": (
        "bodies of pods, workloads, PodTemplates, ephemeral containers and custom resources that hold a pod spec",
        "EKS logs custom resources without bodies; at level Metadata only the Pod Security annotation speaks",
    ),
    "role": ("bodies of Roles and ClusterRoles", ""),
    "binding": ("bodies of RoleBindings and ClusterRoleBindings", ""),
    "service": ("bodies of Services", ""),
    "ingress": (
        "bodies of Ingresses, Gateways and Routes",
        "EKS logs gateways and routes, being custom resources, without bodies",
    ),
    "exec": (
        "requestURI; the label command.gke.io/command on GKE; runCommand in Azure's Activity Log",
        "GKE: no container, stdin, tty; no command on old clusters. AKS: kube-audit-admin leaves out GET, and with it exec over WebSockets; runCommand is often logged without its body",
    ),
    "token": ("body and annotations of a TokenRequest", "GKE: no body, no id of the issued token"),
    "service_account": ("annotations of ServiceAccounts", ""),
    "pv": ("bodies of PersistentVolumes", ""),
    "touched": ("the request's own body", "empty where a patch's body is not logged"),
    "csr": ("bodies of CertificateSigningRequests and of their approval", ""),
    "webhook": ("bodies of webhook configurations", ""),
    "config_map": (
        "body of kube-system/aws-auth; bodies of other ConfigMaps for the names of keys that hold credentials",
        "EKS logs update and patch of aws-auth with bodies, its creation and all other ConfigMaps without; GKE none",
    ),
    "cloud_access": (
        "CloudTrail: eks access entries and access policies; Azure: role assignments on a cluster",
        "no like on GKE: who may enter is IAM's own",
    ),
    "cloud_assume": (
        "CloudTrail: AssumeRoleWithWebIdentity, AssumeRole by pods.eks.amazonaws.com, AssumeRoleForPodIdentity; Google Cloud: GenerateAccessToken by a Kubernetes service account",
        "AssumeRoleForPodIdentity names cluster and node, not the service account; no like on AKS",
    ),
    "control_plane": (
        "CloudTrail: cluster and log group calls; Google Cloud: ClusterManager, sinks, exclusions, Data Access settings; Azure: diagnostic settings, a cluster written; EKS: lines of the components' logs; versions: user agents of the control plane and the nodes",
        "GKE and AKS do not show the API server's flags",
    ),
    "cloud_link": (
        "CloudTrail: Pod Identity associations, trust policies, OIDC providers; Google Cloud: SetIamPolicy of Workload Identity",
        "no like on AKS: federated credentials are Entra ID's",
    ),
    "namespace": ("bodies of Namespaces", ""),
    "signal": (
        "what Falco, GuardDuty or Security Command Center saw (sources/signals.md); the event is no request",
        "GuardDuty watches EKS, Security Command Center GKE",
    ),
    "cloud_grant": (
        "CloudTrail: policies attached to roles and written into them, permission boundaries, trust policies; Google Cloud: SetIamPolicy of projects, folders and service accounts, by its delta",
        "what a customer's own managed policy holds is not in the call that attaches it; no like on AKS",
    ),
}


def page() -> str:
    """The whole page."""
    schema = load_avsc("audit-event")
    records = records_of(schema)
    facts = records["Facts"]["fields"]
    parts = [
        "# Events",
        "<!-- made by docs/events.py from schemas/avro/audit-event.avsc: do not edit -->",
        f"{schema['doc']} Rules, filters and alerts read these fields; absent text is empty, an absent number 0.",
        "## Fields and where they come from",
        "A cell with several sources names AWS (CloudTrail), Google Cloud and Azure (Activity Log) in that order.",
        _table(
            ("field", "type", "meaning", "native event, EKS, AKS", "GKE", "cloud API call"),
            _field_rows(schema),
        ),
        "## Facts",
        "`facts` is null where the request has none. `facts.touched` says what the request itself set.",
        _table(
            ("fact", "meaning", "read from", "what cannot be said"),
            [(f"`facts.{f['name']}`", f["doc"], *FACTS[f["name"]]) for f in facts],
        ),
    ]
    for name, record in records_of({"type": "record", "name": "", "fields": facts}).items():
        if name:
            rows = [(f"`{f['name']}`", _type(f["type"]), f["doc"]) for f in record["fields"]]
            parts += [f"### {name}", record["doc"], _table(("field", "type", "meaning"), rows)]
    parts += [
        "## Flags",
        "Bits of `flags`, by which a reader routes without decoding the rest. A bit is never used again.",
        _table(
            ("bit", "name"),
            [(str(flag.value.bit_length() - 1), f"`{name}`") for name, flag in Flag.__members__.items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def leaves(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of an event by their path, facts and the second user as one each."""
    records = records_of(schema)
    found: dict[str, dict[str, Any]] = {}
    for field in schema["fields"]:
        name = _record_of(field["type"])
        if name is None or field["name"] in ("facts", "impersonatedUser"):
            found[field["name"]] = field
        else:
            found |= {f"{field['name']}.{inner['name']}": inner for inner in records[name]["fields"]}
    return found


def _field_rows(schema: dict[str, Any]) -> list[tuple[str, ...]]:
    return [(f"`{path}`", _type(field["type"]), field["doc"], *SOURCES[path]) for path, field in leaves(schema).items()]


def _record_of(kind: Any) -> str | None:
    """The name of the record that a type is, null or not."""
    if isinstance(kind, list):
        return _record_of(kind[1])
    if isinstance(kind, dict):
        return kind["name"] if kind["type"] == "record" else None
    return kind if kind[0].isupper() else None


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        return f"{_type(kind[1])} or null"
    if isinstance(kind, dict):
        if kind["type"] == "record":
            return str(kind["name"])
        inner = _type(kind.get("items", kind.get("values")))
        return f"list of {inner}" if kind["type"] == "array" else f"map of {inner}"
    return str(kind)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
