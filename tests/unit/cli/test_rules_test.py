"""`leadsman rules test`: what a case file may say, what becomes of it on each cloud, and when the run fails."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
import yaml

from leadsman_cli.__main__ import main
from leadsman_cli.cases import CaseError, Request, load_cases
from leadsman_cli.cloud_policies import level_of, log_of
from leadsman_cli.described import events_of
from leadsman_cli.envelopes import ENVELOPES

RULE = """\
title: Pod in shop
name: pod-in-shop
id: 5f8f5d39-6f2e-4f8e-9f0a-1b8a52b5c001
level: medium
logsource: {product: kubernetes, service: audit}
leadsman:
    levels: [{when: loud, level: high}]
detection:
    pod: {facts.pod.containers.image_repo|contains: shop, outcome.effective: true}
    loud: {facts.pod.host_network: true}
    condition: pod
"""
POD = {"spec": {"containers": [{"name": "a", "image": "shop"}]}}
LOUD = {"spec": {"hostNetwork": True, **POD["spec"]}}


def request(**more):
    return {"verb": "create", "resource": "pods", "namespace": "ns", "name": "web", "body": POD, **more}


def run(tmp_path, cases, *arguments, text=""):
    (tmp_path / "rules").mkdir(exist_ok=True)
    (tmp_path / "rules" / "pod-in-shop.yml").write_text(RULE)
    (tmp_path / "cases").mkdir(exist_ok=True)
    content = text or yaml.safe_dump({"rule": "pod-in-shop", "cases": cases}, sort_keys=False)
    (tmp_path / "cases" / "pod-in-shop.yml").write_text(content)
    return main(["rules", "test", str(tmp_path / "cases"), "-r", str(tmp_path / "rules"), *arguments])


def test_all_as_expected(tmp_path, capsys):
    cases = [
        {"name": "fires", "expect": "medium", "request": request()},
        {"name": "louder", "expect": "high", "request": request(body=LOUD), "clouds": ["native", "eks", "gke", "aks"]},
        {"name": "refused", "expect": "none", "request": request(decision="forbid")},
        {"name": "of two, the second", "expect": "medium", "requests": [request(body={}), request(name="b")]},
    ]
    assert run(tmp_path, cases) == 0
    assert "4 cases, 13 runs: 13 passed, 0 failed, 0 blind" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"expect": "high", "request": request()}, "expected high, got medium"),
        ({"expect": "none", "request": request()}, "expected none, got medium"),
        ({"expect": "below-medium", "request": request()}, "expected below-medium, got medium"),
        ({"expect": "medium", "request": request(decision="forbid")}, "expected medium, got none"),
        ({"expect": "medium", "alerts": 2, "request": request()}, "expected 2 alerts, got 1"),
        ({"expect": "medium", "also": {"pod-in-shop": "high"}, "request": request()}, "pod-in-shop"),
        ({"expect": {"native": "high"}, "clouds": ["native"], "request": request()}, "expected high, got medium"),
    ],
)
def test_what_fails_ends_with_1(tmp_path, capsys, case, reason):
    assert run(tmp_path, [{"name": "it", **case}]) == 1
    out = capsys.readouterr().out
    assert "pod-in-shop.yml:3: it [native]: " in out
    assert reason in out


def test_what_a_cloud_keeps_back_is_blind_and_fails_nothing(tmp_path, capsys):
    workflow = request(resource="workflows.argoproj.io", version="v1alpha1")
    assert run(tmp_path, [{"name": "custom", "expect": "medium", "request": workflow}]) == 0
    out = capsys.readouterr().out
    assert "blind: EKS logs create workflows.argoproj.io without bodies" in out
    assert "blind: GKE logs create workflows.argoproj.io without bodies" in out
    assert "1 passed, 0 failed, 2 blind" in out


def test_what_would_not_fire_anywhere_is_no_blind_spot(tmp_path, capsys):
    workflow = request(resource="workflows.argoproj.io", version="v1alpha1", body={"spec": {}})
    assert run(tmp_path, [{"name": "custom", "expect": "medium", "request": workflow, "clouds": ["eks"]}]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "expected medium, got none; and so it is with all that the cloud keeps back" in out


def test_a_table_by_rule_or_by_case(tmp_path, capsys):
    workflow = request(resource="workflows.argoproj.io", version="v1alpha1")
    cases = [
        {"name": "fires", "expect": "medium", "request": request()},
        {"name": "custom", "expect": "medium", "request": workflow},
        {"name": "wrong", "expect": "high", "request": request(), "clouds": ["native"]},
    ]
    run(tmp_path, cases)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[:2]]
    assert rows[0] == ["rule", "cases", "native", "eks", "gke"]
    assert " ".join(rows[1]) == "pod-in-shop 3 2 passed, 1 failed 1 passed, 1 blind 1 passed, 1 blind"
    run(tmp_path, cases, "-v")
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == [
        ["fires", "ok", "ok", "ok"],
        ["custom", "ok", "blind", "blind"],
        ["wrong", "FAILED", "medium", "-", "-"],
    ]


def test_records_by_hand(tmp_path, capsys):
    folder = tmp_path / "cases" / "records"
    folder.mkdir(parents=True)
    (event,) = events_of("x", [Request("create", resource="pods", namespace="ns", name="web", body=POD)])
    (folder / "pod.json").write_text(json.dumps(event, indent=2))
    assert run(tmp_path, [{"name": "by hand", "expect": "medium", "records": {"gke": "pod.json"}}]) == 0
    assert "1 cases, 1 runs: 1 passed" in capsys.readouterr().out


def test_only_one_rule_or_cloud(tmp_path, capsys):
    cases = [{"name": "fires", "expect": "medium", "request": request()}]
    assert run(tmp_path, cases, "--cloud", "gke", "--rule", "pod-in-shop") == 0
    assert "1 cases, 1 runs" in capsys.readouterr().out
    assert run(tmp_path, cases, "--rule", "other") == 1


def test_junit(tmp_path):
    cases = [
        {"name": "fires", "expect": "medium", "request": request()},
        {"name": "does not", "expect": "high", "request": request(), "clouds": ["native"]},
    ]
    path = tmp_path / "junit.xml"
    assert run(tmp_path, cases, "--junit", str(path)) == 1
    (suite,) = ET.parse(path).getroot()  # noqa: S314 - written a line above
    assert {k: suite.get(k) for k in ("name", "tests", "failures", "skipped", "errors")} == {
        "name": "pod-in-shop",
        "tests": "4",
        "failures": "1",
        "skipped": "0",
        "errors": "0",
    }
    (failed,) = [case for case in suite if len(case)]
    assert failed.get("name") == "does not [native]"
    assert failed[0].get("message") == "expected high, got medium"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("rule: pod-in-shop\ncases: []\n", 2, "length >= 1"),
        ("cases:\n  - {name: a, expect: none, request: {verb: get, resource: pods}}\n", 1, "rule"),
        ("rule: x\ncases:\n  - name: a\n    expect: loud\n    request: {verb: get, resource: pods}\n", 4, "loud"),
        (
            "rule: x\ncases:\n  - name: a\n    expect: none\n    request:\n      verb: get\n      colour: red\n",
            6,
            "colour",
        ),
        ("rule: x\ncases:\n  - name: a\n    expect: none\n", 3, "one of request, requests or records"),
        ("rule: x\ncases:\n  - {name: a, expect: none, request: {verb: get}}\n", 3, "a resource or a path"),
        ("rule: x\ncases:\n  - {name: a, expect: none, records: {gke: no.json}}\n", 3, "no such file"),
        ("rule: x\ncases:\n  - name: a\n    name: b\n", 4, "name stands twice"),
        (
            (
                "rule: x\ncases:\n"
                "  - {name: a, expect: none, request: {verb: get, path: /}}\n"
                "  - {name: a, expect: none, request: {verb: get, path: /}}\n"
            ),
            3,
            "two cases",
        ),
        (
            "rule: x\ncases:\n  - {name: a, expect: {native: none}, request: {verb: get, path: /}}\n",
            3,
            "nothing of eks",
        ),
        ("rule: [\n", 2, ""),
        ("- a\n", 1, "a map"),
        (
            "rule: x\ncases:\n  - &a {name: a, expect: none, request: {verb: get, path: /, body: {a: *a}}}\n",
            1,
            "itself",
        ),
        ("rule: x\ncases: !!python/name:os.system x\n", 2, "constructor"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, capsys, text, line, reason):
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(CaseError, match=rf"bad\.yml:{line}: .*{reason}"):
        load_cases(path)
    assert run(tmp_path, [], text=text) == 1
    assert f"pod-in-shop.yml:{line}: " in capsys.readouterr().err


def test_a_case_of_no_rule_is_an_error(tmp_path, capsys):
    text = "rule: other\ncases:\n  - {name: a, expect: none, request: {verb: get, path: /}}\n"
    assert run(tmp_path, [], text=text) == 1
    assert "no such rule: other" in capsys.readouterr().err


def test_no_case_at_all_is_no_success(tmp_path):
    (tmp_path / "empty").mkdir()
    assert main(["rules", "test", str(tmp_path / "empty")]) == 1
    assert main(["rules", "test", str(tmp_path / "absent")]) == 1


def event(**more):
    found = events_of(
        "x", [Request(**{"verb": "create", "resource": "pods", "namespace": "ns", "name": "web", **more})]
    )
    return found[-1]


@pytest.mark.parametrize(
    ("described", "level"),
    [
        ({}, "RequestResponse"),
        ({"verb": "get", "resource": "pods/exec"}, "Request"),
        ({"resource": "pods/exec"}, "RequestResponse"),
        ({"resource": "secrets"}, "Metadata"),
        ({"resource": "configmaps"}, "Metadata"),
        (
            {"verb": "patch", "resource": "configmaps", "namespace": "kube-system", "name": "aws-auth"},
            "RequestResponse",
        ),
        ({"resource": "configmaps", "namespace": "kube-system", "name": "aws-auth"}, "Metadata"),
        ({"resource": "serviceaccounts/token"}, "Request"),
        ({"resource": "workflows.argoproj.io"}, "Metadata"),
        ({"resource": "gateways.gateway.networking.k8s.io"}, "Metadata"),
        ({"resource": "clusterroles.rbac.authorization.k8s.io"}, "RequestResponse"),
        ({"resource": "events"}, "None"),
        ({"resource": "", "path": "/version", "verb": "get"}, "None"),
        ({"resource": "", "path": "/healthz/ping", "verb": "get"}, "None"),
        ({"resource": "", "path": "/readyz", "verb": "get"}, "Metadata"),
        ({"verb": "get", "resource": "nodes", "user": "system:node:n1"}, "None"),
    ],
)
def test_levels_of_eks(described, level):
    assert level_of(event(**described), "eks") == level


@pytest.mark.parametrize(
    ("described", "log"),
    [
        ({}, "Admin Activity"),
        ({"verb": "get"}, "Data Access"),
        ({"verb": "get", "resource": "pods/exec"}, "Admin Activity"),
        ({"verb": "get", "resource": "pods/attach"}, "Data Access"),
        ({"resource": "pods/attach"}, "Admin Activity"),
    ],
)
def test_logs_of_gke(described, log):
    found = event(**described)
    assert log_of(found, "gke") == log
    name = json.loads(ENVELOPES["gke"]([found]).data)["logName"].rpartition("%2F")[2]
    assert name == {"Admin Activity": "activity", "Data Access": "data_access"}[log]


@pytest.mark.parametrize(
    ("described", "method", "name"),
    [
        ({}, "io.k8s.core.v1.pods.create", "core/v1/namespaces/ns/pods/web"),
        (
            {"resource": "clusterroles.rbac.authorization.k8s.io", "namespace": "", "verb": "patch"},
            "io.k8s.authorization.rbac.v1.clusterroles.patch",
            "rbac.authorization.k8s.io/v1/clusterroles/web",
        ),
        (
            {"resource": "deployments.apps"},
            "io.k8s.apps.v1.deployments.create",
            "apps/v1/namespaces/ns/deployments/web",
        ),
        (
            {"resource": "certificatesigningrequests.certificates.k8s.io/approval", "namespace": "", "verb": "update"},
            "io.k8s.certificates.v1.certificatesigningrequests.approval.update",
            "certificates.k8s.io/v1/certificatesigningrequests/web/approval",
        ),
        (
            {"resource": "etcdbackups.etcd.database.coreos.com", "version": "v1beta2"},
            "com.coreos.database.etcd.v1beta2.etcdbackups.create",
            "etcd.database.coreos.com/v1beta2/namespaces/ns/etcdbackups/web",
        ),
        ({"resource": "pods/exec"}, "io.k8s.core.v1.pods.exec.create", "core/v1/namespaces/ns/pods/web/exec"),
        (
            {"resource": "nodes/proxy", "namespace": "", "name": "n1", "path": "run/ns/p/c"},
            "io.k8s.core.v1.nodes.proxy.create",
            "core/v1/nodes/n1/proxy/run/ns/p/c",
        ),
        ({"resource": "", "path": "/readyz", "verb": "get"}, "io.k8s.get", "readyz"),
    ],
)
def test_names_of_gke(described, method, name):
    payload = json.loads(ENVELOPES["gke"]([event(**described)]).data)["protoPayload"]
    assert (payload["methodName"], payload["resourceName"]) == (method, name)


def test_a_stream_of_gke_is_two_entries_and_its_command_a_label():
    found = events_of(
        "x", [Request("create", resource="pods/exec", namespace="ns", name="p", query="command=a&command=b")]
    )
    first, last = [json.loads(line) for line in ENVELOPES["gke"](found).data.splitlines()]
    assert first["operation"]["id"] == last["operation"]["id"]
    assert ("last" in first["operation"], "first" in last["operation"]) == (False, False)
    assert (first["protoPayload"]["status"], last["protoPayload"]["status"]["code"]) == ({}, 2)
    assert first["labels"]["command.gke.io/command"] == "a b"


def test_a_forbidden_request_has_no_body_on_any_cloud():
    found = [event(body=POD, decision="forbid")]
    assert "requestObject" not in found[0]
    payload = json.loads(ENVELOPES["gke"](found).data)["protoPayload"]
    assert payload["status"]["code"] == 7
    assert "granted" not in payload["authorizationInfo"][0]
    assert not {"request", "response"} & set(payload)
