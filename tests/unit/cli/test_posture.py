"""`leadsman posture`: settings, who changed them, what regressed, and which versions may run."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
import yaml

from leadsman_cli.__main__ import main
from leadsman_detector.versions import minor_of, out_of_support, read_support, skews

REPO = Path(__file__).parents[3]
RECORDS = REPO / "tests" / "rules" / "records"
EKS = "aws/111122223333/eu-west-1/harbour"
GKE = "gcp/example-shipyard/europe-west4/shipyard"
VALUES = yaml.safe_load((REPO / "rules" / "lists" / "kubernetes-versions.yml").read_text())["values"]
TODAY = date(2026, 11, 28)


@pytest.fixture
def posture(capsys):
    """Give what runs the command: exit code, stdout, stderr."""

    def run(*arguments):
        return main(["posture", *map(str, arguments)]), *capsys.readouterr()

    return run


def of(out, cluster):
    (found,) = [one for one in map(json.loads, out.splitlines()) if one["cluster"] == cluster]
    return found


def settings(found):
    return {
        s["name"]: (s["value"], s["since"][:10], s["by"].rpartition("role/")[2], s["before"]) for s in found["settings"]
    }


def test_settings_with_when_and_by_whom_each_changed(posture):
    code, out, _ = posture("--from", RECORDS / "posture-life-eks.json", "-o", "json")
    assert code == 0
    found = of(out, EKS)
    admins = "Admins/session"
    assert settings(found) == {
        "authentication.mode": ("API", "2025-01-10", admins, ""),
        "endpoint.networks": ("203.0.113.0/24", "2026-06-02", admins, "0.0.0.0/0"),
        "endpoint.private": ("yes", "2025-01-10", admins, ""),
        "endpoint.public": ("no", "2026-06-02", admins, "yes"),
        "logging/api": ("on", "2025-01-10", admins, ""),
        "logging/audit": ("on", "2026-02-02", admins, "off"),
        "logging/authenticator": ("on", "2025-01-10", admins, ""),
        "logging/controllerManager": ("on", "2025-01-10", admins, ""),
        "logging/scheduler": ("on", "2026-02-02", admins, "off"),
        "secrets-encryption": ("yes", "2025-01-10", admins, ""),
        "version": ("1.33", "2025-07-01", admins, "1.32"),
    }
    assert found["regressed"] == []


def test_what_regressed_and_still_is_so(posture, tmp_path):
    lines = (RECORDS / "posture-life-gke.json").read_text().splitlines(keepends=True)
    (tmp_path / "log.json").write_text("".join(lines[:3]))
    code, out, _ = posture("--from", tmp_path, "-o", "json")
    assert code == 0
    (one,) = of(out, GKE)["regressed"]
    told = (one["rule"], one["level"], one["since"][:10], one["by"])
    assert told == ("posture-regression-legacy-abac", "high", "2025-03-01", "eve@example.com")


def test_for_people(posture):
    code, out, _ = posture("--from", RECORDS / "posture-life-gke.json", "shipyard")
    assert code == 0
    assert "authorization.legacy-abac  " in out
    code, out, _ = posture("--from", RECORDS / "posture-life-gke.json")
    assert [line.split()[:2] for line in out.splitlines() if line.startswith(GKE)] == [[GKE, "1.33.4-gke.1134000"]]


def test_flags_that_never_changed_are_shown_where_asked_for(posture):
    _, out, _ = posture("--from", RECORDS / "posture-life-flags.json", "harbour")
    assert "flag/kube-apiserver/anonymous-auth" in out
    assert "etcd-servers" not in out
    _, out, _ = posture("--from", RECORDS / "posture-life-flags.json", "harbour", "--all")
    assert "flag/kube-apiserver/etcd-servers" in out


NODE = "system:node:ip-10-0-0-{n}.eu-west-1.compute.internal"


def audit(n, verb, resource, user, agent, body, at="2026-11-02T09:00:00Z", **ref):
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": f"id-{n}",
        "stage": "ResponseComplete", "requestURI": f"/apis/x/{resource}/{n}", "verb": verb,
        "user": {"username": user, "groups": ["system:nodes", "system:authenticated"]}, "userAgent": agent,
        "objectRef": {"resource": resource, "apiVersion": "v1", **ref}, "responseStatus": {"code": 200},
        "requestReceivedTimestamp": at, "stageTimestamp": at, "requestObject": body, "responseObject": body,
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }  # fmt: skip


def test_what_the_cluster_itself_tells(posture, tmp_path):
    labels = {"metadata": {"name": "shop", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    events = [
        audit(n, "update", "leases", NODE.format(n=n), f"kubelet/v1.{33 + n}.1 (linux/amd64) kubernetes/0", {},
              apiGroup="coordination.k8s.io", namespace="kube-node-lease", name=f"ip-10-0-0-{n}")
        for n in (0, 1)
    ]  # fmt: skip
    events.append(
        audit(5, "create", "namespaces", "alice", "kubectl/v1.37.2", {"kind": "Namespace", **labels}, name="shop")
    )
    (tmp_path / "log").write_text("".join(json.dumps(e) + "\n" for e in events))
    _, out, _ = posture("--from", tmp_path / "log", "-o", "json")
    (found,) = map(json.loads, out.splitlines())
    assert [(c["name"], c["version"]) for c in found["components"]] == [("kubelet", "v1.33.1"), ("kubelet", "v1.34.1")]
    assert settings(found)["pod-security/shop"][0] == "enforce restricted"


def test_nothing_known(posture):
    code, _, err = posture("--from", RECORDS / "posture-life-eks.json", "elsewhere")
    assert code == 1
    assert "nothing is known of elsewhere" in err


def test_what_cannot_be_read_is_told(posture, tmp_path):
    (tmp_path / "log").write_text('{"kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": 5}\n{{{\n')
    code, _, err = posture("--from", tmp_path / "log")
    assert code == 3
    assert "could not be read" in err


@pytest.mark.parametrize(
    ("version", "minor"),
    [
        ("1.33", 33),
        ("v1.9.11", 9),
        ("1.30.5-gke.1014001", 30),
        ("v1.33.1-eks-0a1b", 33),
        ("2.1", None),
        ("", None),
        ("v1", None),
    ],
)
def test_minors(version, minor):
    assert minor_of(version) == minor


@pytest.mark.parametrize(
    ("provider", "version", "said", "bad"),
    [
        ("aws", "1.34", "", False),
        ("aws", "1.33", "extended support since 2026-07-29, until 2027-07-29", False),
        ("aws", "1.31", "out of support since 2026-11-26", True),
        ("aws", "1.17", "long been out of support", True),
        ("gcp", "1.34.1-gke.1", "out of support since 2026-10-01", True),
        ("gcp", "1.35.2-gke.1", "", False),
        ("azure", "1.33.2", "out of support since 2026-06-28", True),
        ("k8s", "v1.35.0", "", False),
        ("k8s", "v1.40.0", "", False),
        ("aws", "unknown", "", False),
    ],
)
def test_support_by_the_dated_list(provider, version, said, bad):
    found = out_of_support(read_support(VALUES), provider, version, TODAY)
    assert (found is not None) == bool(said)
    assert found is None or (said in found[0] and found[1] == bad)


def test_the_rules_list_is_what_the_dated_one_comes_to():
    """What is called old, nobody supports on the day of that list; others somebody."""
    path = REPO / "rules" / "lists" / "versions-out-of-support.yml"
    old = {v.removeprefix("v") for v in yaml.safe_load(path.read_text())["values"] if "." in v and not v.endswith(".*")}
    support = read_support(VALUES)
    for minor in range(20, 40):
        named = any(
            len(v) == len(f"1.{minor}") and all(a in ("?", b) for a, b in zip(v, f"1.{minor}", strict=True))
            for v in old
        )
        ends = [s.paid_until for (_, m), s in support.items() if m == minor]
        assert named == (all(end < TODAY for end in ends) if ends else minor < 28), minor


@pytest.mark.parametrize(
    ("components", "count"),
    [
        ([("kubelet", "v1.33.1")], 0),
        ([("kubelet", "v1.30.1")], 0),
        ([("kubelet", "v1.29.1")], 1),
        ([("kubelet", "v1.34.0")], 1),
        ([("kube-scheduler", "v1.32.0")], 0),
        ([("kube-scheduler", "v1.31.0")], 1),
        ([("cluster-autoscaler", "v1.20.0"), ("kubelet", "unknown")], 0),
    ],
)
def test_skew(components, count):
    assert len(list(skews(["v1.33.4-eks-1"], components))) == count
    assert list(skews([""], components)) == []


@pytest.mark.parametrize("value", ["aws 1.30", "aws x 2026-01-01", "aws 1.30 tomorrow", ""])
def test_a_list_that_says_nothing_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        read_support([value])
