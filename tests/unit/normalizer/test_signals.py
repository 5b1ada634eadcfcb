"""Falco, GuardDuty and Security Command Center as signals: the vendors' shapes, and what is none of them."""

import copy
import json
from pathlib import Path

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import detect, normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.falco import LEVELS

RECORDS = Path(__file__).parents[2] / "rules" / "records"
NAMES = {"falco": "falco-shell-native", "guardduty": "guardduty-binding-eks", "scc": "scc-binding-gke"}


def record(sensor):
    return json.loads((RECORDS / f"{NAMES[sensor]}.json").read_text(encoding="utf-8"))


def made(sensor, document, **more):
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return normalize(RawEvent(value=value, format=sensor, **more))


def changed(sensor, path, value):
    """The record with another value at a path; None takes it away."""
    document = copy.deepcopy(record(sensor))
    at = document
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return document


@pytest.mark.parametrize("sensor", NAMES)
def test_a_signal_is_told_from_a_request(sensor):
    event = made(sensor, record(sensor), cluster="shop")
    assert event["action"].startswith(f"{sensor}:")
    assert " " not in event["action"]
    assert event["verb"] == ""
    assert event["flags"] & Flag.HAS_SIGNAL
    assert not event["flags"] & Flag.CLOUD_CALL
    assert event["outcome"]["effective"]
    assert event["source"]["format"] == sensor
    assert event["time"] // 1_000_000 == {"falco": 1793610020, "guardduty": 1793610005, "scc": 1793610005}[sensor]


@pytest.mark.parametrize("sensor", NAMES)
def test_it_is_known_by_its_looks(sensor):
    assert detect(json.dumps(record(sensor)).encode()) == sensor
    assert detect(json.dumps(record(sensor), indent=2).encode()) == sensor


def test_a_finding_without_the_envelope_of_eventbridge():
    finding = record("guardduty")["detail"]
    assert detect(json.dumps(finding).encode()) == "guardduty"
    assert made("guardduty", finding)["id"] == made("guardduty", record("guardduty"))["id"]


def test_security_command_centers_notifications_come_through_pubsub_as_well():
    assert made("gke-logentry", record("scc"))["action"].startswith("scc:")


def test_falco_says_where_and_what():
    event = made("falco", record("falco"), cluster="shop")
    assert (event["objectRef"]["resource"], event["objectRef"]["namespace"], event["objectRef"]["name"]) == (
        "pods", "shop", "web",
    )  # fmt: skip
    signal = event["facts"]["signal"]
    assert signal["rule"] == "Terminal shell in container"
    assert event["action"] == "falco:Terminal-shell-in-container"
    assert (signal["process"], signal["command_line"], signal["parent"]) == ("bash", "bash -i", "containerd-shim")
    assert (signal["container"], signal["image"], signal["node"]) == (
        "app", "registry.example.com/shop/web:1.4.2", "node-7",
    )  # fmt: skip
    assert (signal["severity"], signal["level"]) == ("Notice", "low")
    assert event["actor"]["name"] == ""  # root inside a container is nobody in the cluster
    assert signal["user"] == "root"
    assert event["cluster"]["id"] == "///shop"


@pytest.mark.parametrize(
    ("transport", "field", "expected"),
    [
        ("shop", "", "///shop"),
        ("shop", "aws/1/eu-west-1/other", "///shop"),
        ("", "aws/1/eu-west-1/shop", "aws/1/eu-west-1/shop"),
        ("", "shop", "///shop"),
        ("", "", ""),
    ],
)
def test_the_cluster_is_the_transports_or_a_field_that_was_added(transport, field, expected):
    document = changed("falco", ("output_fields", "cluster"), field)
    assert made("falco", document, cluster=transport)["cluster"]["id"] == expected


@pytest.mark.parametrize(
    "priority", ["Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"]
)
def test_every_priority_has_a_level(priority):
    assert (
        made("falco", changed("falco", ("priority",), priority))["facts"]["signal"]["level"] == LEVELS[priority.lower()]
    )


def test_what_falco_could_not_tell_is_absent():
    document = changed("falco", ("output_fields", "k8s.pod.name"), "<NA>")
    document["output_fields"]["k8s.ns.name"] = None
    event = made("falco", document)
    assert event["objectRef"]["name"] == event["objectRef"]["namespace"] == event["objectRef"]["resource"] == ""


def test_falcos_audit_plugin_names_the_user():
    fields = {
        "ka.user.name": "mallory",
        "ka.target.namespace": "shop",
        "ka.target.name": "web",
        "ka.target.resource": "pods",
    }
    event = made("falco", changed("falco", ("output_fields",), fields))
    assert event["actor"]["name"] == "mallory"
    assert event["objectRef"]["name"] == "web"


def test_secrets_on_a_command_line_do_not_travel():
    document = changed("falco", ("output_fields", "proc.cmdline"), "mysql --password=hunter2 -h db")
    document["output"] = "a shell (command=mysql --password=hunter2 -h db)"
    assert "hunter2" not in json.dumps(made("falco", document))


def test_guardduty_names_the_cluster_the_person_and_the_request():
    event = made("guardduty", record("guardduty"))
    assert event["cluster"]["id"] == "aws/111122223333/eu-west-1/harbour"
    assert (event["actor"]["name"], event["user"]["groups"]) == ("mallory", ["system:authenticated"])
    assert (event["objectRef"]["resource"], event["objectRef"]["name"]) == ("clusterrolebindings", "backdoor")
    assert event["src_endpoint"] == {"ip": "198.51.100.10", "public": False}
    assert event["facts"]["signal"]["level"] == "high"


def test_a_finding_of_runtime_monitoring_names_the_pod_and_the_process():
    document = record("guardduty")
    document["detail"]["type"] = "Execution:Runtime/ReverseShell"
    document["detail"]["resource"]["kubernetesDetails"] = {
        "kubernetesWorkloadDetails": {
            "name": "web", "type": "pods", "namespace": "shop",
            "containers": [{"name": "app", "image": "registry.example.com/shop/web:1"}],
        }
    }  # fmt: skip
    process = {
        "name": "bash",
        "executablePath": "/bin/bash",
        "user": "root",
        "lineage": [{"executablePath": "/bin/sh"}],
    }
    document["detail"]["service"] = {
        "serviceName": "guardduty", "eventLastSeen": "2026-11-02T09:00:05Z", "runtimeDetails": {"process": process},
    }  # fmt: skip
    event = made("guardduty", document)
    assert (event["objectRef"]["resource"], event["objectRef"]["namespace"], event["objectRef"]["name"]) == (
        "pods", "shop", "web",
    )  # fmt: skip
    signal = event["facts"]["signal"]
    assert (signal["process"], signal["parent"], signal["container"]) == ("/bin/bash", "/bin/sh", "app")


def test_a_finding_that_recurs_is_another_signal():
    again = changed("guardduty", ("detail", "service", "eventLastSeen"), "2026-11-02T10:00:05.000Z")
    assert made("guardduty", again)["id"] != made("guardduty", record("guardduty"))["id"]
    assert made("guardduty", record("guardduty"))["id"] == made("guardduty", record("guardduty"))["id"]


def test_an_attack_sequence_names_its_cluster_by_arn():
    document = record("guardduty")
    document["detail"]["resource"] = {"resourceType": "AttackSequence"}
    resources = [
        {"uid": "AKIA"},
        {"uid": "arn:aws:eks:eu-west-1:111122223333:cluster/harbour", "resourceType": "EKS_CLUSTER"},
    ]
    document["detail"]["service"]["detection"] = {"sequence": {"resources": resources}}
    assert made("guardduty", document)["cluster"]["name"] == "harbour"


def test_a_call_that_was_refused_was_an_attempt():
    path = ("detail", "service", "action", "kubernetesApiCallAction", "statusCode")
    assert not made("guardduty", changed("guardduty", path, 403))["outcome"]["effective"]


@pytest.mark.parametrize(
    ("severity", "level"), [(9.1, "critical"), (8, "high"), (5.5, "medium"), (2, "low"), ("8", ""), (True, "")]
)
def test_guardduty_severities(severity, level):
    assert (
        made("guardduty", changed("guardduty", ("detail", "severity"), severity))["facts"]["signal"]["level"] == level
    )


def test_security_command_center_names_the_cluster_and_the_principal():
    event = made("scc", record("scc"))
    assert event["cluster"]["id"] == "gcp/example-shipyard/europe-west4/harbour"
    assert event["actor"]["name"] == "mallory"
    signal = event["facts"]["signal"]
    assert (signal["level"], signal["finding"]) == ("high", "0f6a7c")
    assert signal["tags"] == ["PRIVILEGE_ESCALATION", "VALID_ACCOUNTS"]


def test_a_threat_in_a_container():
    document = record("scc")
    document["finding"]["kubernetes"] = {
        "pods": [{"ns": "shop", "name": "web", "containers": [{"name": "app", "uri": "x/y@sha256:1"}]}]
    }
    document["finding"]["processes"] = [{"name": "bash", "binary": {"path": "/bin/bash"}, "args": ["bash", "-i"]}]
    event = made("scc", document)
    assert (event["objectRef"]["resource"], event["objectRef"]["name"]) == ("pods", "web")
    assert event["facts"]["signal"]["command_line"] == "bash -i"


@pytest.mark.parametrize(
    ("sensor", "path", "value", "reason"),
    [
        ("guardduty", ("detail", "resource"), {"resourceType": "AccessKey"}, "a finding about no EKS cluster"),
        ("scc", ("finding", "findingClass"), "MISCONFIGURATION", "a finding of class MISCONFIGURATION"),
        ("scc", ("finding", "state"), "INACTIVE", "a finding that is closed"),
    ],
)
def test_what_is_not_ours(sensor, path, value, reason):
    assert made(sensor, changed(sensor, path, value)) == Dropped(f"not ours: {reason}")


def test_a_threat_outside_any_cluster_is_not_ours():
    document = record("scc")
    document["resource"]["name"] = document["finding"]["resourceName"] = (
        "//compute.googleapis.com/projects/x/zones/y/instances/1"
    )
    assert made("scc", document) == Dropped("not ours: a finding about no GKE cluster")


@pytest.mark.parametrize("sensor", NAMES)
@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"7", b'"x"', b"{not json", b'{"rule": 1}', b"\xff\xfe"])
def test_bad_data_is_a_dead_letter(sensor, value):
    with pytest.raises(InvalidEvent):
        made(sensor, value)


@pytest.mark.parametrize("sensor", NAMES)
def test_cut_at_every_byte_and_odd_types_everywhere_it_never_crashes(sensor):
    whole = json.dumps(record(sensor)).encode()
    for at in range(0, len(whole), 37):
        with pytest.raises(InvalidEvent):
            made(sensor, whole[:at])

    def spoiled(value, odd):
        if isinstance(value, dict):
            return {key: odd if key not in KEPT else spoiled(item, odd) for key, item in value.items()}
        return value

    for odd in (7, [], {}, "x", None, True, [[1]], {"a": {"b": 1}}, "9" * 400):
        try:
            made(sensor, spoiled(record(sensor), odd), cluster="shop")
        except InvalidEvent:
            continue


KEPT = {"rule", "priority", "detail", "type", "id", "finding", "category", "name", "resource", "eksClusterDetails"}
