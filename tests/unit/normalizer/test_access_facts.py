"""Facts of certificate requests, admission webhooks and the aws-auth ConfigMap, from whole objects and from patches."""

import base64
import json

import pytest

from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.facts.certificates import subject_of
from leadsman_normalizer.normalize import normalize

# openssl req -new -subj "/O=system:masters/O=ops/CN=kubernetes-admin"
MASTERS_CSR = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIOU1JR2tBZ0VBTUVJeEZ6QVZCZ05WQkFvTURuTjVjM1JsYlRwdFlYTjBaWEp6"
    "TVF3d0NnWURWUVFLREFOdgpjSE14R1RBWEJnTlZCQU1NRUd0MVltVnlibVYwWlhNdFlXUnRhVzR3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPClBR"
    "TUJCd05DQUFSS2JhU0REQ1FsRWJLUm5DTlFFemNEc1BIU1diMVJsUkcrS25mYXJCQWNVUzZhRXZRaSs1aTgKOExVMllQc2M0UW5DVXVJblBlcXJ1"
    "TlA2VVhTTGdiNS9vQUF3Q2dZSUtvWkl6ajBFQXdJRFNBQXdSUUlnV3JLNQo2ZG9DVER6d0VFbG9FY2R1dTNaWldCcUFkQ2duN29XdGVndDRJM3ND"
    "SVFDYmFpQ2wvSkc5bnFNbDBZSTY3WEd1CkNwbnA5T1UyelpDVEhjbnAzNHgwYnc9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"
)
# openssl req -new -utf8 -subj "/CN=søren"
UTF8_CSR = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITU1ITUNBUUF3RVRFUE1BMEdBMVVFQXd3R2M4TzRjbVZ1TUZrd0V3WUhLb1pJ"
    "emowQ0FRWUlLb1pJemowRApBUWNEUWdBRXBEdHVYMGhOSWZKQURNSlNKdEY2WmNQdEp3SHRoTC90SmdINzE0U201S3V1aE5KSFlNUkRNQzF5ClQz"
    "ZytzWnVhbERGRDhxeXMrNTVTSHJwazdBTVljNkFBTUFvR0NDcUdTTTQ5QkFNQ0Ewa0FNRVlDSVFET09sZGYKdWtKK1F3QXJ6TVdwcUYvWHNmd1Za"
    "cmpTUlk0LzZRTnNCa3lpTFFJaEFQRHh4NjZVZFdTeWdYUG1Cc3FzcmV6SApwaVFYS3hiUUd6MzBlTVQ5YVY5RAotLS0tLUVORCBDRVJUSUZJQ0FU"
    "RSBSRVFVRVNULS0tLS0K"
)
MAP_ROLES = """- rolearn: arn:aws:iam::111122223333:role/node
  username: system:node:{{EC2PrivateDNSName}}
  groups: [system:bootstrappers, system:nodes]
- rolearn: arn:aws:iam::111122223333:role/mallory
  username: mallory
  groups: [system:masters]
"""


def event(verb, resource, group="", name="x", sub="", namespace="", request=None, response=None, code=201):
    record = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "a",
        "stage": "ResponseComplete",
        "requestURI": "/x",
        "verb": verb,
        "user": {"username": "alice", "groups": ["system:authenticated"]},
        "sourceIPs": ["203.0.113.7"],
        "objectRef": {
            "resource": resource,
            "apiGroup": group,
            "name": name,
            "subresource": sub,
            "namespace": namespace,
        },
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    if request is not None:
        record["requestObject"] = request
    if response is not None:
        record["responseObject"] = response
    return normalize(RawEvent(value=json.dumps(record).encode(), format="k8s-audit"))


# --- certificate requests ---------------------------------------------------------------------------------------


def csr(**status):
    return {
        "kind": "CertificateSigningRequest",
        "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"name": "evil"},
        "spec": {
            "request": MASTERS_CSR,
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "expirationSeconds": 86400,
            "username": "alice",
        },
        "status": status,
    }


def test_a_certificate_request_says_who_it_would_be():
    found = event("create", "certificatesigningrequests", "certificates.k8s.io", "evil", request=csr(), response=csr())
    assert found["flags"] & Flag.HAS_CSR
    assert found["facts"]["touched"] == ["*"]
    assert found["facts"]["csr"] == {
        "name": "evil",
        "signer": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "cn": "kubernetes-admin",
        "o": ["system:masters", "ops"],
        "requestor": "alice",
        "approved_by": "",
        "conditions": [],
        "expiration_seconds": 86400,
    }


@pytest.mark.parametrize(
    ("sub", "condition", "approver"),
    [("approval", "Approved", "alice"), ("approval", "Denied", ""), ("status", "Approved", None)],
)
def test_an_approval_names_the_approver(sub, condition, approver):
    body = csr(conditions=[{"type": condition, "status": "True", "reason": "KubectlApprove"}])
    found = event(
        "update",
        "certificatesigningrequests",
        "certificates.k8s.io",
        "evil",
        sub,
        request=body,
        response=body,
        code=200,
    )
    if approver is None:  # the signer stores the certificate: no decision
        assert found["facts"] is None
    else:
        assert found["facts"]["csr"]["approved_by"] == approver
        assert found["facts"]["csr"]["conditions"] == [condition]


def test_a_subject_in_utf8():
    assert subject_of(UTF8_CSR) == ("søren", ())


def _wrapped(der):
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.b64encode(der) + b"\n-----END CERTIFICATE REQUEST-----\n"
    return base64.b64encode(pem).decode()


@pytest.mark.parametrize(
    "request_text",
    ["x", "****", base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAA\n").decode(), "A" * 100_000, "é"]
    + [_wrapped(der) for der in (b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"\x30\x02\x30\x00")],
)
def test_what_is_no_certificate_request_is_a_reason(request_text):
    with pytest.raises(ValueError, match=r"malformed|no |cut|large|ASCII"):
        subject_of(request_text)
    body = {"spec": {"request": request_text, "signerName": "s"}}
    found = event("create", "certificatesigningrequests", "certificates.k8s.io", request=body)
    assert found["facts"]["csr"]["cn"] == ""
    assert any(reason.startswith("spec.request: ") for reason in found["coverage"]["reasons"])


def test_every_cut_of_a_certificate_request_is_only_that():
    der = base64.b64decode("".join(base64.b64decode(MASTERS_CSR).decode().splitlines()[1:-1]))
    for size in range(len(der)):
        with pytest.raises(ValueError, match=r"cut|no certificate"):
            subject_of(_wrapped(der[:size]))


# --- webhooks ---------------------------------------------------------------------------------------------------

WEBHOOK = {
    "name": "steal.example.com",
    "clientConfig": {"url": "https://198.51.100.9/mutate?token=hunter2", "caBundle": "Q0E="},
    "rules": [{"operations": ["CREATE"], "apiGroups": [""], "resources": ["secrets"], "scope": "Namespaced"}],
    "failurePolicy": "Ignore",
    "namespaceSelector": {"matchLabels": {"a": "b"}},
}


def test_a_webhook_says_whom_and_for_what():
    body = {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "w"}, "webhooks": [WEBHOOK]}
    found = event("create", "mutatingwebhookconfigurations", "admissionregistration.k8s.io", "w", request=body)
    assert found["flags"] & Flag.HAS_WEBHOOK
    (config,) = found["facts"]["webhook"]["configs"]
    assert found["facts"]["webhook"]["kind"] == "MutatingWebhookConfiguration"
    assert config == {
        "name": "steal.example.com",
        "url": "https://198.51.100.9/mutate",
        "service": "",
        "failure_policy": "Ignore",
        "namespace_selector": '{"matchLabels":{"a":"b"}}',
        "object_selector": "",
        "rules": [{"operations": ["CREATE"], "groups": [""], "resources": ["secrets"], "scope": "Namespaced"}],
    }
    assert "hunter2" not in json.dumps(found["facts"])


def test_a_patch_of_a_webhook_touches_its_configs_and_a_label_does_not():
    kind = ("validatingwebhookconfigurations", "admissionregistration.k8s.io", "w")
    service = {"name": "v", "clientConfig": {"service": {"namespace": "kube-system", "name": "guard"}}}
    found = event("patch", *kind, request={"webhooks": [service]}, code=200)
    assert found["facts"]["touched"] == ["webhook.configs"]
    assert found["facts"]["webhook"]["configs"][0]["service"] == "kube-system/guard"
    found = event("patch", *kind, request=[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}])
    assert found["facts"]["touched"] == ["webhook.configs"]
    found = event("patch", *kind, request={"metadata": {"labels": {"a": "b"}}}, code=200)
    assert found["facts"]["touched"] == []


# --- aws-auth ---------------------------------------------------------------------------------------------------


def aws_auth(data, verb="update", name="aws-auth", namespace="kube-system"):
    body = {"kind": "ConfigMap", "metadata": {"name": "aws-auth", "namespace": "kube-system"}, "data": data}
    return event(verb, "configmaps", "", name, "", namespace, request=body, code=200)


def test_aws_auth_says_who_may_enter():
    users = "- {userarn: 'arn:aws:iam::111122223333:user/bob', username: bob, groups: [dev]}"
    found = aws_auth({"mapRoles": MAP_ROLES, "mapUsers": users, "mapAccounts": '- "111122223333"'})
    facts = found["facts"]["config_map"]
    assert found["flags"] & Flag.HAS_CONFIG_MAP
    assert [role["arn"] for role in facts["roles"]] == [
        "arn:aws:iam::111122223333:role/node",
        "arn:aws:iam::111122223333:role/mallory",
    ]
    assert facts["roles"][1] == {
        "arn": "arn:aws:iam::111122223333:role/mallory",
        "username": "mallory",
        "groups": ["system:masters"],
    }
    assert facts["users"] == [{"arn": "arn:aws:iam::111122223333:user/bob", "username": "bob", "groups": ["dev"]}]
    assert facts["accounts"] == ["111122223333"]


def test_a_patch_of_aws_auth_touches_what_it_sets():
    for request in (
        {"data": {"mapRoles": MAP_ROLES}},
        [{"op": "replace", "path": "/data/mapRoles", "value": MAP_ROLES}],
    ):
        found = event("patch", "configmaps", "", "aws-auth", "", "kube-system", request=request, code=200)
        assert found["facts"]["touched"] == ["config_map.roles"]
        assert len(found["facts"]["config_map"]["roles"]) == 2


@pytest.mark.parametrize(
    ("name", "namespace", "has"),
    [("aws-auth", "kube-system", True), ("aws-auth", "shop", False), ("other", "kube-system", False)],
)
def test_only_aws_auth_of_kube_system_has_facts(name, namespace, has):
    assert (aws_auth({"mapRoles": MAP_ROLES}, name=name, namespace=namespace)["facts"] is not None) is has


def test_a_post_has_its_name_in_the_body():
    assert aws_auth({"mapRoles": MAP_ROLES}, verb="create", name="")["facts"]["config_map"]["roles"]


def test_aws_auth_without_a_body_says_so():
    found = event("create", "configmaps", "", "aws-auth", "", "kube-system")
    assert found["facts"] is None
    assert found["coverage"] == {
        "body": "none",
        "truncated": False,
        "reasons": ["create configmaps: the log holds no body"],
    }


BOMB = "- &a [x, x, x]\n" + "\n".join(f"- &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20))


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (BOMB, "mapRoles: YAML aliases are not read"),
        ("[" * 50_000, "mapRoles: nested too deep"),
        ("- a\n" * 100_000, "mapRoles: too large to parse"),
        ("key: value", "mapRoles: no list"),
        ("- {", "mapRoles: while parsing a flow node"),
        ("!!python/object/apply:os.system [id]", "mapRoles: could not determine a constructor for the tag"),
        ("- 0x", ""),
        ("- rolearn: 5", "rolearn: no text"),
        ("- 2001-99-99", "mapRoles: month must be in 1..12"),
    ],
)
def test_yaml_of_an_attacker_is_a_reason(document, reason):
    found = aws_auth({"mapRoles": document})
    assert found["facts"]["config_map"]["users"] == []
    reasons = found["coverage"]["reasons"]
    assert any(r.startswith(reason) for r in reasons) if reason else not reasons


# --- ConfigMaps that hold credentials -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"DB_PASSWORD": "hunter2", "DB_HOST": "db"}, ["DB_PASSWORD"]),
        ({"application.properties": "spring.datasource.password=hunter2\n"}, ["application.properties"]),
        ({"config": "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}, ["config"]),
        ({"url": "postgres://shop:hunter2@db/shop"}, ["url"]),
        ({"id_rsa": "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"}, ["id_rsa"]),
        ({"ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, []),
        ({"DB_PASSWORD": "", "nginx.conf": "worker_processes 1;", "n": 5}, []),
        ("x", []),
    ],
)
def test_a_config_map_that_holds_credentials_tells_their_keys(data, found):
    body = {"kind": "ConfigMap", "metadata": {"name": "app"}, "data": data}
    made = event("create", "configmaps", "", "app", "", "web", request=body)
    if not found:
        assert made["facts"] is None
        return
    assert made["flags"] & Flag.HAS_CONFIG_MAP
    assert made["facts"]["config_map"] == {"roles": [], "users": [], "accounts": [], "credentials": found}
    assert made["facts"]["touched"] == ["*"]
    told = json.dumps(made)
    assert "hunter2" not in told
    assert "wJalr" not in told
    assert made["requestObject"] == made["responseObject"] == ""


@pytest.mark.parametrize(
    ("request_body", "touched"),
    [
        ({"data": {"PASSWORD": "hunter2"}}, ["config_map"]),
        ([{"op": "add", "path": "/data/PASSWORD", "value": "hunter2"}], ["config_map"]),
        ({"metadata": {"labels": {"a": "b"}}}, []),
    ],
)
def test_a_patch_of_a_config_map_touches_its_data(request_body, touched):
    stored = {"kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"PASSWORD": "hunter2"}}
    made = event("patch", "configmaps", "", "app", "", "web", request=request_body, response=stored, code=200)
    assert made["facts"]["config_map"]["credentials"] == ["PASSWORD"]
    assert made["facts"]["touched"] == touched


# --- namespaces -----------------------------------------------------------------------------------------------------

LEVEL = "pod-security.kubernetes.io/"


def namespace(**labels):
    return {"kind": "Namespace", "metadata": {"name": "web", "labels": labels}}


def test_a_namespace_says_its_pod_security_levels():
    labels = {f"{LEVEL}enforce": "privileged", f"{LEVEL}enforce-version": "latest", f"{LEVEL}warn": "baseline"}
    made = event("create", "namespaces", name="web", request=namespace(**labels, team="shop"))
    assert made["flags"] & Flag.HAS_NAMESPACE
    assert made["facts"]["touched"] == ["*"]
    assert made["facts"]["namespace"] == {
        "enforce": "privileged",
        "enforce_version": "latest",
        "audit": "",
        "warn": "baseline",
        "labels": {**labels, "team": "shop"},
    }
    assert "privileged" in made["requestObject"], "its body still travels"


@pytest.mark.parametrize(
    ("request_body", "touched"),
    [
        ({"metadata": {"labels": {f"{LEVEL}enforce": None}}}, ["namespace.enforce", "namespace.labels"]),
        ([{"op": "remove", "path": f"/metadata/labels/{LEVEL.replace('/', '~1')}enforce"}], None),
        ({"metadata": {"labels": {"team": "shop"}}}, ["namespace.labels"]),
        ({"metadata": {"labels": None}}, None),
        ([{"op": "remove", "path": "/metadata/labels"}], None),
        ({"metadata": {"annotations": {"a": "b"}}}, []),
    ],
)
def test_a_patch_of_a_namespace_touches_the_labels_it_sets(request_body, touched):
    made = event("patch", "namespaces", "", "web", "", "web", request=request_body, response=namespace(), code=200)
    assert made["facts"]["namespace"]["enforce"] == ""
    if touched is None:
        assert {"namespace.enforce", "namespace.labels"} <= set(made["facts"]["touched"])
    else:
        assert made["facts"]["touched"] == touched


def test_a_namespace_of_wrong_shapes_is_a_reason():
    made = event("create", "namespaces", name="web", request={"metadata": {"labels": ["x"]}})
    assert made["facts"]["namespace"]["labels"] == {}
    assert "labels: no object" in made["coverage"]["reasons"]
    assert event("update", "namespaces", name="web", sub="finalize", request=namespace())["facts"] is None
