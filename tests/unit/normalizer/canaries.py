"""Where a secret may stand: a table of places, each in every form that a record can have, each with its own canary."""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from records import RAW_OF, native

from leadsman_common.raw import RawEvent

_LETTERS = string.ascii_letters + string.digits
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
JWT_HEAD = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ."


def canary(place: str, letters: str = _LETTERS, size: int = 24) -> str:
    """A text that no other place has and that looks as random as a secret does."""
    digest = hashlib.shake_256(place.encode()).digest(size)
    return "".join(letters[byte % len(letters)] for byte in digest)


def shadows(secret: str) -> set[bytes]:
    """The canary, and the part of its base64 that is the same whatever stands around it, at each of three offsets."""
    data = secret.encode()
    found = {data}
    for offset in range(3):
        size = len(data) - (3 - offset) % 3
        whole = base64.b64encode(b"\0" * offset + data)
        start = 4 if offset else 0
        found.add(whole[start : start + size // 3 * 4 - 4])
    return found


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a Kubernetes API that holds a canary, in no cloud's form yet."""

    verb: str
    resource: str
    request: Any = None
    response: Any = None
    group: str = ""
    sub: str = ""
    uri: str = ""
    argv: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


def secret(verb: str, body: Any = None, response: Any = None) -> Asked:
    def whole(part: Any) -> Any:
        return {"kind": "Secret", "metadata": {"name": "x"}, **part} if isinstance(part, dict) else part

    return Asked(verb, "secrets", whole(body), whole(response))


def pod(container: dict[str, Any], which: str = "containers") -> dict[str, Any]:
    made = {"name": "a", "image": "nginx", **container}
    spec: dict[str, Any] = {"containers": [{"name": "b", "image": "nginx"}]}
    spec[which] = [made]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": spec}


def env(value: str, which: str = "containers") -> dict[str, Any]:
    reference = {"name": "B", "valueFrom": {"secretKeyRef": {"name": "kept-name", "key": "kept-key"}}}
    return pod({"env": [{"name": "A", "value": value}, reference]}, which)


def workload(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {}, "spec": spec}
    inner: dict[str, Any] = {"template": template}
    if kind == "CronJob":
        inner = {"jobTemplate": {"spec": inner}}
    body = {"kind": kind, "metadata": {"name": "x"}}
    return {**body, "template": template} if kind == "PodTemplate" else {**body, "spec": inner}


def args(*words: str) -> Asked:
    return Asked("create", "pods", pod({"args": list(words)}))


def shell(script: str) -> Asked:
    return Asked("create", "pods", pod({"command": ["sh", "-c", script]}))


def handler(where: str, words: list[str]) -> Asked:
    probe = {"exec": {"command": words}}
    held = {"lifecycle": {where: probe}} if where in ("preStop", "postStart") else {where: probe}
    return Asked("create", "pods", pod(held))


def exec_(*argv: str) -> Asked:
    return Asked("create", "pods", sub="exec", argv=argv)


def get(uri: str) -> Asked:
    return Asked("get", "services", sub="proxy", uri=uri)


def annotated(key: str, value: str) -> Asked:
    body = pod({})
    body["metadata"]["annotations"] = {key: value}
    return Asked("create", "pods", body)


def json_patch(resource: str, group: str, path: str, value: Any) -> Asked:
    return Asked("patch", resource, [{"op": "add", "path": path, "value": value}], group=group)


APPS = {"Deployment": "deployments", "DaemonSet": "daemonsets", "StatefulSet": "statefulsets"}
KINDS = {
    **{kind: (plural, "apps") for kind, plural in APPS.items()},
    "ReplicaSet": ("replicasets", "apps"),
    "Job": ("jobs", "batch"),
    "CronJob": ("cronjobs", "batch"),
    "ReplicationController": ("replicationcontrollers", ""),
    "PodTemplate": ("podtemplates", ""),
}
LISTS = ("containers", "initContainers", "ephemeralContainers")
_DEPLOYED = "/spec/template/spec/containers/0"

REQUESTS: dict[str, Callable[[str], Asked]] = {
    # Secrets, whatever way they are written or read
    "secret data": lambda c: secret("create", {"data": {"a": b64(c)}}),
    "secret stringData": lambda c: secret("create", {"stringData": {"a": c}}),
    "secret created, response": lambda c: secret("create", None, {"data": {"a": b64(c)}}),
    "secret updated": lambda c: secret("update", {"data": {"a": b64(c)}}, {"data": {"a": b64(c)}}),
    "secret merge patch": lambda c: Asked("patch", "secrets", {"data": {"a": b64(c)}}),
    "secret JSON Patch": lambda c: json_patch("secrets", "", "/data/a", b64(c)),
    "secret JSON Patch, whole": lambda c: json_patch("secrets", "", "", {"stringData": {"a": c}}),
    "secret applied": lambda c: secret("patch", {"stringData": {"a": c}}, {"data": {"a": b64(c)}}),
    "secret read": lambda c: secret("get", None, {"data": {"a": b64(c)}}),
    "secrets listed": lambda c: Asked("list", "secrets", None, {"kind": "SecretList", "items": [{"data": {"a": c}}]}),
    "secret deleted": lambda c: secret("delete", None, {"data": {"a": b64(c)}}),
    "dockerconfigjson": lambda c: secret(
        "create", {"data": {".dockerconfigjson": b64(json.dumps({"auths": {"r": {"username": "a", "password": c}}}))}}
    ),
    "dockerconfigjson, auth": lambda c: secret(
        "create", {"stringData": {".dockerconfigjson": json.dumps({"auths": {"r": {"auth": b64("a:" + c)}}})}}
    ),
    "bootstrap token secret": lambda c: secret(
        "create", {"stringData": {"token-id": "abcdef", "token-secret": c.lower()[:16]}}
    ),
    "secret last applied": lambda c: secret(
        "create", {"metadata": {"annotations": {LAST_APPLIED: json.dumps({"stringData": {"a": c}})}}}
    ),
    "secret patched with last applied": lambda c: Asked(
        "patch", "secrets", {"metadata": {"annotations": {LAST_APPLIED: json.dumps({"data": {"a": b64(c)}})}}}
    ),
    "config map": lambda c: Asked("create", "configmaps", {"kind": "ConfigMap", "data": {"a": c}}),
    "token request": lambda c: Asked(
        "create", "serviceaccounts", {}, {"kind": "TokenRequest", "status": {"token": c}}, sub="token"
    ),
    "token request, JWT": lambda c: Asked(
        "create", "serviceaccounts", {}, {"kind": "TokenRequest", "status": {"token": JWT_HEAD + c}}, sub="token"
    ),
    "token review": lambda c: Asked(
        "create", "tokenreviews", {"kind": "TokenReview", "spec": {"token": c}}, group="authentication.k8s.io"
    ),
    # environments
    **{f"env of {which}": lambda c, which=which: Asked("create", "pods", env(c, which)) for which in LISTS},
    "env of a debug container": lambda c: Asked(
        "patch", "pods", env(c, LISTS[2]), env(c, LISTS[2]), sub=LISTS[2].lower()
    ),
    **{
        f"env of {which} of a {kind}": lambda c, kind=kind, which=which: Asked(
            "create", KINDS[kind][0], workload(kind, env(c, which)["spec"]), group=KINDS[kind][1]
        )
        for kind in KINDS
        for which in LISTS[:2]
    },
    "env strategic patch": lambda c: Asked(
        "patch", "deployments", workload("Deployment", env(c)["spec"]), workload("Deployment", env(c)["spec"]), "apps"
    ),
    "env JSON Patch, value": lambda c: json_patch("deployments", "apps", f"{_DEPLOYED}/env/0/value", c),
    "env JSON Patch, entry": lambda c: json_patch(
        "deployments", "apps", f"{_DEPLOYED}/env/-", {"name": "A", "value": c}
    ),
    "env JSON Patch, list": lambda c: json_patch(
        "deployments", "apps", f"{_DEPLOYED}/env", [{"name": "A", "value": c}]
    ),
    "env JSON Patch, container": lambda c: json_patch(
        "deployments", "apps", "/spec/template/spec/containers/-", env(c)["spec"]["containers"][0]
    ),
    "env JSON Patch, spec": lambda c: json_patch("deployments", "apps", "/spec/template/spec", env(c)["spec"]),
    "env of a custom resource": lambda c: Asked(
        "create", "rollouts", workload("Rollout", env(c)["spec"]), group="argoproj.io"
    ),
    "env expanded in a command": lambda c: Asked(
        "create", "pods", pod({"command": ["x", "$(A)"], "env": [{"name": "A", "value": c}]})
    ),
    "last applied with env": lambda c: annotated(LAST_APPLIED, json.dumps(env(c))),
    "rancher's last applied": lambda c: annotated("objectset.rio.cattle.io/applied", b64(json.dumps(env(c)))),
    "last applied, JSON Patch": lambda c: json_patch(
        "deployments", "apps", "/metadata/annotations/" + LAST_APPLIED.replace("/", "~1"), json.dumps(env(c))
    ),
    "last applied, JSON Patch of all annotations": lambda c: json_patch(
        "deployments", "apps", "/metadata/annotations", {LAST_APPLIED: json.dumps(env(c))}
    ),
    "annotation": lambda c: annotated("example.com/note", f"token={c}"),
    "annotation, JSON": lambda c: annotated("example.com/note", json.dumps({"password": c})),
    "annotation, ingress snippet": lambda c: annotated("x/snippet", f'proxy_set_header Authorization "Bearer {c}";'),
    # commands and arguments
    "args --password=": lambda c: args(f"--password={c}"),
    "args --token X": lambda c: args("--token", c),
    "args -p X after login": lambda c: args("docker", "login", "-u", "ada", "-p", c, "r.example.com"),
    "args basic auth in a URL": lambda c: args(f"--repo=https://ada:{c}@git.example.com/x"),
    "args connection string": lambda c: args(f"Server=db;User Id=a;Password={c};"),
    "args AccountKey": lambda c: args(f"AccountName=a;AccountKey={c};EndpointSuffix=x"),
    "curl bearer": lambda c: shell(f"curl -H 'Authorization: Bearer {c}' https://x"),
    "curl basic": lambda c: shell(f"curl -H 'Authorization: Basic {b64('ada:' + c)}' https://x"),
    "curl Authorization bare": lambda c: shell(f"curl -H 'Authorization: {c}' https://x"),
    "curl Authorization other scheme": lambda c: shell(f'curl -H "Authorization: ApiKey {c}" https://x'),
    "curl X-Api-Key": lambda c: shell(f"curl -H 'X-Api-Key: {c}' https://x"),
    "curl cookie": lambda c: shell(f"curl -H 'Cookie: session={c}' https://x"),
    "curl -u": lambda c: shell(f"curl -u ada:{c} https://x"),
    "curl JSON": lambda c: shell(f"""curl -d '{{"user":"a","password":"{c}"}}' https://x"""),
    "curl JSON, quoted twice": lambda c: shell(f'curl -d "{{\\"password\\": \\"{c}\\"}}" https://x'),
    "curl form": lambda c: shell(f"curl -d 'user=a&password={c}' https://x"),
    "curl URL token": lambda c: shell(f"curl 'https://x/?a=b&token={c}'"),
    "curl signed URL": lambda c: shell(f"curl 'https://x.s3.amazonaws.com/y?X-Amz-Date=1&X-Amz-Signature={c}'"),
    "curl SAS URL": lambda c: shell(f"curl 'https://x.blob.core.windows.net/y?sv=1&sig={c}'"),
    "mysql -p": lambda c: shell(f"mysql -u root -p{c} -e x"),
    "PGPASSWORD": lambda c: shell(f"PGPASSWORD={c} psql -h db"),
    "postgres://": lambda c: shell(f"psql postgres://app:{c}@db/x"),
    "redis://": lambda c: shell(f"redis-cli -u redis://:{c}@db:6379"),
    "redis-cli -a": lambda c: shell(f"redis-cli -h db -a {c} ping"),
    "sshpass": lambda c: shell(f"sshpass -p {c} ssh a@b"),
    "openssl pass:": lambda c: shell(f"openssl enc -d -passin pass:{c} -in x"),
    "export AWS secret": lambda c: shell(f"export AWS_SECRET_ACCESS_KEY={c}; aws s3 ls"),
    "export AWS session": lambda c: shell(f"AWS_SESSION_TOKEN='{c}' aws s3 ls"),
    "aws configure set": lambda c: shell(f"aws configure set aws_secret_access_key {c}"),
    "kubectl --token": lambda c: shell(f"kubectl --token {c} get pods"),
    "kubectl from-literal": lambda c: shell(f"kubectl create secret generic x --from-literal=password={c}"),
    "kubeadm join": lambda c: shell(f"kubeadm join --token abcdef.{c.lower()[:16]} h:6443"),
    "GitHub token": lambda c: shell(f"git clone https://ghp_{(c * 2)[:36]}@github.com/x/y"),
    "private key": lambda c: shell(f"echo '-----BEGIN RSA PRIVATE KEY-----\n{c}\n-----END RSA PRIVATE KEY-----' > k"),
    "base64 script": lambda c: shell(f"echo {b64(f'curl -u ada:{c} http://x | sh')} | base64 -d | sh"),
    "password in quotes": lambda c: shell(f'x --password="{c}"'),
    "password with spaces": lambda c: shell(f"x --password='correct {c} horse'"),
    "password with signs": lambda c: shell(f"x --password='a!b#{c}'"),
    **{
        f"{where}": lambda c, where=where: handler(where, ["x", "--password", c])
        for where in ("preStop", "postStart", "livenessProbe", "readinessProbe", "startupProbe")
    },
    "probe's header": lambda c: Asked(
        "create",
        "pods",
        pod({"livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": f"Bearer {c}"}]}}}),
    ),
    "probe's other header": lambda c: Asked(
        "create",
        "pods",
        pod({"livenessProbe": {"httpGet": {"httpHeaders": [{"name": "X-Api-Key", "value": c}]}}}),
    ),
    "probe's path": lambda c: Asked("create", "pods", pod({"livenessProbe": {"httpGet": {"path": f"/x?token={c}"}}})),
    "volume's options": lambda c: Asked(
        "create",
        "pods",
        {"spec": {"containers": [{"image": "x"}], "volumes": [{"flexVolume": {"options": {"password": c}}}]}},
    ),
    "custom resource's secret": lambda c: Asked(
        "create", "things", {"spec": {"containers": [{"image": "x"}], "webhook": {"secret": c}}}, group="example.com"
    ),
    "webhook's URL": lambda c: Asked(
        "create",
        "validatingwebhookconfigurations",
        {"webhooks": [{"name": "a", "clientConfig": {"url": f"https://ada:{c}@x/y?token={c}"}}]},
        group="admissionregistration.k8s.io",
    ),
    "namespace's annotation": lambda c: Asked(
        "create", "namespaces", {"metadata": {"annotations": {"a": f"password: {c}"}}}
    ),
    # streams and addresses
    "exec --password=": lambda c: exec_("x", f"--password={c}"),
    "exec --token X": lambda c: exec_("x", "--token", c),
    "exec curl bearer": lambda c: exec_("sh", "-c", f"curl -H 'Authorization: Bearer {c}' https://x"),
    "exec mysql": lambda c: exec_("mysql", "-uroot", f"-p{c}"),
    "exec curl -u": lambda c: exec_("curl", "-u", f"ada:{c}", "https://x"),
    "exec env": lambda c: exec_("env", f"DB_PASSWORD={c}", "x"),
    "proxied ?token=": lambda c: get(f"/api/v1/namespaces/web/services/x/proxy/y?token={c}"),
    "proxied ?password=": lambda c: get(f"/api/v1/namespaces/web/services/x/proxy/y?a=1&password={c}"),
    "proxied ?access_token=": lambda c: get(f"/api/v1/namespaces/web/services/x/proxy/y?access_token={c}"),
    "proxied bearer": lambda c: get(f"/api/v1/namespaces/web/services/x/proxy/y?h=Bearer%20{c}"),
    "message": lambda c: Asked("create", "pods", more={"responseStatus": {"code": 422, "message": f"password={c}"}}),
    "audit annotation": lambda c: Asked("create", "pods", more={"annotations": {"x": f"token={c}"}}),
    "webhook's patch": lambda c: Asked(
        "create",
        "pods",
        more={"annotations": {"patch.webhook.admission.k8s.io/round_0_index_0": f'{{"patch":["{c}"]}}'}},
    ),
}


def as_native(asked: Asked) -> dict[str, Any]:
    base = f"/apis/{asked.group}/v1" if asked.group else "/api/v1"
    uri = asked.uri or f"{base}/namespaces/web/{asked.resource}/x/{asked.sub}"
    if asked.argv:
        uri += "?" + "&".join(f"command={quote_plus(word)}" for word in asked.argv)
    bodies = {"requestObject": asked.request, "responseObject": asked.response}
    more = {key: value for key, value in bodies.items() if value is not None}
    ref = {"subresource": asked.sub}
    return native(asked.verb, asked.resource, group=asked.group, ref=ref, requestURI=uri, **more, **asked.more)


def as_gke(asked: Asked) -> dict[str, Any]:
    sub = f".{asked.sub}" if asked.sub else ""
    group = asked.group or "core"
    payload: dict[str, Any] = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "k8s.io",
        "methodName": f"io.k8s.{group}.v1.{asked.resource}{sub}.{asked.verb}",
        "resourceName": f"{group}/v1/namespaces/web/{asked.resource}/x{'/' + asked.sub if asked.sub else ''}",
        "authenticationInfo": {"principalEmail": "ada@example.com"},
        "status": {},
    }
    if asked.uri:
        payload["status"] = {"code": 3, "message": f"no such thing: {asked.uri}"}  # its own log has no query
    if asked.request is not None:
        payload["request"] = asked.request
    if asked.response is not None:
        payload["response"] = asked.response
    if "responseStatus" in asked.more:
        payload["status"] = {"code": 3, "message": asked.more["responseStatus"]["message"]}
    labels = dict(asked.more.get("annotations", {}))
    if asked.argv:
        labels["command.gke.io/command"] = " ".join(f"'{w}'" if " " in w and "'" not in w else w for w in asked.argv)
    return {
        "insertId": "1",
        "timestamp": "2026-11-02T09:00:00Z",
        "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
        "labels": labels,
        "resource": {"type": "k8s_cluster", "labels": {"project_id": "p", "location": "l", "cluster_name": "c"}},
        "protoPayload": payload,
    }


def as_aks(asked: Asked) -> dict[str, Any]:
    return {
        "category": "kube-audit",
        "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/HARBOUR",
        "time": "2026-11-02T09:00:00Z",
        "properties": {"log": json.dumps(as_native(asked))},
    }


def as_row(asked: Asked) -> dict[str, Any]:
    """A row of AKSAudit: dynamic columns as JSON text."""
    event = as_native(asked)
    row = {name[0].upper() + name[1:]: value for name, value in event.items()}
    row |= {"AuditId": row.pop("AuditID"), "RequestUri": row.pop("RequestURI"), "SourceIps": row.pop("SourceIPs")}
    row["RequestReceivedTime"] = row.pop("RequestReceivedTimestamp")
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}


FORMS = {"native": as_native, "eks": as_native, "gke": as_gke, "aks": as_aks, "aks-row": as_row}


def guard(line: str) -> str:
    return json.dumps({"category": "guard", "time": "2026-11-02T09:00:00Z", "properties": {"log": line}})


def trail(source: str, name: str, asked: Any = None, answered: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "eventID": "0b1f2c3d-0000-4000-8000-000000000002",
        "eventTime": "2026-11-23T10:01:00Z",
        "awsRegion": "eu-west-1",
        "recipientAccountId": "111122223333",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": "arn:aws:sts::111122223333:assumed-role/cart/cart-1",
            "accessKeyId": "ASIAEXAMPLE",
            "accountId": "111122223333",
        },
        "requestParameters": asked,
        "responseElements": answered,
        **more,
    }


def irsa(asked: dict[str, Any], answered: dict[str, Any]) -> dict[str, Any]:
    role = {"roleArn": "arn:aws:iam::111122223333:role/cart", "roleSessionName": "cart-1"}
    issuer = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
    return trail(
        "sts",
        "AssumeRoleWithWebIdentity",
        {**role, **asked},
        {"credentials": {"accessKeyId": "ASIAEXAMPLE2", **answered}, "subjectFromWebIdentityToken": "s"},
        userIdentity={
            "type": "WebIdentityUser",
            "userName": "system:serviceaccount:shop:cart",
            "identityProvider": issuer,
        },
    )


CLOUDTRAIL: dict[str, Callable[[str], dict[str, Any]]] = {
    "session token": lambda c: irsa({}, {"sessionToken": c}),
    "secret access key": lambda c: irsa({}, {"secretAccessKey": c}),
    "web identity token": lambda c: irsa({"webIdentityToken": c}, {}),
    "pod identity, token": lambda c: trail("eks-auth", "AssumeRoleForPodIdentity", {"clusterName": "a", "token": c}),
    "pod identity, credentials": lambda c: trail(
        "eks-auth", "AssumeRoleForPodIdentity", {"clusterName": "a"}, {"credentials": {"secretAccessKey": c}}
    ),
    "pod identity, AssumeRole": lambda c: trail(
        "sts",
        "AssumeRole",
        {
            "roleArn": "arn:aws:iam::111122223333:role/cart",
            "principalTags": {
                "kubernetes-namespace": "shop",
                "kubernetes-service-account": "cart",
                "eks-cluster-arn": "arn:aws:eks:eu-west-1:111122223333:cluster/harbour",
            },
        },
        {"credentials": {"accessKeyId": "ASIAEXAMPLE3", "sessionToken": c, "secretAccessKey": c}},
        userIdentity={"type": "AWSService", "invokedBy": "pods.eks.amazonaws.com"},
    ),
    "access key created": lambda c: trail(
        "iam", "CreateAccessKey", {"userName": "a"}, {"accessKey": {"accessKeyId": "AKIAEXAMPLE", "secretAccessKey": c}}
    ),
    "login profile": lambda c: trail("iam", "CreateLoginProfile", {"userName": "a", "password": c}),
    "secret put": lambda c: trail("secretsmanager", "PutSecretValue", {"secretId": "a", "secretString": c}),
    "secret read": lambda c: trail("secretsmanager", "GetSecretValue", {"secretId": "a"}, {"secretString": c}),
    "function's environment": lambda c: trail(
        "lambda", "CreateFunction20150331", {"environment": {"variables": {"A": c}}}
    ),
    "command": lambda c: trail("ssm", "SendCommand", {"parameters": {"commands": [f"x --password={c}"]}}),
    "cluster's tags": lambda c: trail("eks", "TagResource", {"tags": {"a": f"password={c}"}}),
    "error": lambda c: trail(
        "eks", "DescribeCluster", {"name": "a"}, errorCode="InvalidParameter", errorMessage=f"bad token: {c}"
    ),
    "database's password": lambda c: trail("rds", "CreateDBInstance", {"masterUserPassword": c}),
    "add-on's configuration": lambda c: trail(
        "eks", "CreateAddon", {"name": "a", "configurationValues": json.dumps({"db": {"password": c}})}
    ),
}


def activity(operation: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "time": "2026-11-23T10:05:00Z",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/HARBOUR",
        "operationName": f"MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/{operation}",
        "category": "Administrative",
        "resultType": "Success",
        "correlationId": "00000000-0000-4000-8000-000000000009",
        "properties": properties,
        **more,
    }


def kubeconfigs(secret: str) -> str:
    return json.dumps(
        {"kubeconfigs": [{"name": "clusterAdmin", "value": b64(f"users:\n- user:\n    token: {secret}\n")}]}
    )


LIST_ADMIN = "LISTCLUSTERADMINCREDENTIAL/ACTION"
ACTIVITY: dict[str, Callable[[str], dict[str, Any]]] = {
    "kubeconfig": lambda c: activity(LIST_ADMIN, {"responseBody": kubeconfigs(c)}),
    "kubeconfig, object": lambda c: activity(LIST_ADMIN, {"responseBody": json.loads(kubeconfigs(c))}),
    "kubeconfig, requestbody": lambda c: activity(LIST_ADMIN, {"requestbody": kubeconfigs(c)}),
    "run command": lambda c: activity("RUNCOMMAND/ACTION", {"requestbody": json.dumps({"command": f"x --token {c}"})}),
    "run command's token": lambda c: activity("RUNCOMMAND/ACTION", {"requestbody": json.dumps({"clusterToken": c})}),
    "service principal": lambda c: activity(
        "WRITE",
        {"requestbody": json.dumps({"properties": {"servicePrincipalProfile": {"clientId": "a", "secret": c}}})},
    ),
    "administrator's password": lambda c: activity(
        "WRITE", {"requestbody": json.dumps({"properties": {"windowsProfile": {"adminPassword": c}}})}
    ),
    "description": lambda c: activity("WRITE", {}, resultDescription=f"password={c}", resultType="Failure"),
}
LINES: dict[str, Callable[[str], tuple[str, str]]] = {
    "flag": lambda c: ("eks-api", f'I1102 09:00:00.123456      10 flags.go:64] FLAG: --etcd-password="{c}"'),
    "URL": lambda c: ("eks-api", f'W1102 09:00:00.123456      10 x.go:1] "Get" url="https://a:{c}@x/?token={c}"'),
    "bearer": lambda c: ("eks-scheduler", f"E1102 09:00:00.123456      10 x.go:1] Authorization: Bearer {c}"),
    "bootstrap": lambda c: (
        "eks-controller-manager",
        f"I1102 09:00:00.123456      10 x.go:1] token abcdef.{c.lower()[:16]}",
    ),
    "token review": lambda c: (
        "aks-audit",
        guard(json.dumps({"kind": "TokenReview", "spec": {"token": c}, "status": {"authenticated": True}})),
    ),
    "guard's line": lambda c: (
        "aks-audit",
        guard(f'time="2026-11-02T09:00:00Z" level=info msg="Authorization: Bearer {c}"'),
    ),
    "signed URL": lambda c: (
        "eks-authenticator",
        f'time="2026-11-02T09:00:00Z" msg="access denied" error="Get https://x/?X-Amz-Date=1&X-Amz-Signature={c}: no"',
    ),
}


def planted() -> Iterator[tuple[str, str, RawEvent]]:
    """Each canary: where it stands, its text, and the record that holds it."""
    for place, make in REQUESTS.items():
        for form, wrap in FORMS.items():
            name = f"{form}: {place}"
            text = canary(name)
            yield name, text, RawEvent(json.dumps(wrap(make(text))).encode(), **RAW_OF[form.partition("-")[0]])
    for source_format, provider, places in (("cloudtrail", "aws", CLOUDTRAIL), ("azure-activity", "azure", ACTIVITY)):
        for place, calls in places.items():
            name = f"{source_format}: {place}"
            text = canary(name)
            value = json.dumps(calls(text)).encode()
            yield name, text, RawEvent(value, format=source_format, provider=provider)
    for place, line in LINES.items():
        text = canary(place)
        source_format, value = line(text)
        yield f"{source_format}: {place}", text, RawEvent(value.encode(), format=source_format, received_ms=1)


def marks(name: str, text: str) -> set[bytes]:
    """What must not be found of a canary; of a bootstrap token, its secret half."""
    return shadows(text.lower()[:16]) if "bootstrap" in name or "kubeadm" in name else shadows(text)
