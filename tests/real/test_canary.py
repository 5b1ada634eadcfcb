"""`leadsman canary` before a real API server, as the account that the chart makes: it comes back from the real log."""

import io
import json
import subprocess
import sys

import chart
import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.canary import told_by

NAMESPACE, NAME = "default", "rel-leadsman-canary"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"
POLICY = chart.REPO / "deploy" / "audit-policy.yaml"


@pytest.fixture(scope="module")
def server(api_server, tmp_path_factory):
    """A server with the canary's objects of the chart; `.token` is a file with its account's token."""
    objects = chart.template("-f", str(chart.SETS["canary"]))
    own = [o for o in objects if o["metadata"]["name"] == NAME and o["kind"] != "NetworkPolicy"]
    with api_server(POLICY) as running:
        running.kubectl("apply", "-f", "-", send=json.dumps({"apiVersion": "v1", "kind": "List", "items": own}))
        token = tmp_path_factory.mktemp("canary") / "token"
        token.write_text(running.kubectl("create", "token", NAME))
        yield running, token


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


def options(server):
    running, token = server
    where = ["--server", running.url, "--token-file", str(token), "--ca-file", str(running.home / "pki" / "ca.crt")]
    return [*where, "--namespace", NAMESPACE, "--name", NAME]


def alerts(server, start, rules):
    """What a scan of the log since then finds of the canary's account."""
    scanner, log = Scanner(rules), io.BytesIO(b"\n".join(server[0].audit_lines(start)) + b"\n")
    scanner.take(read("audit.log", log, "k8s-audit", Identity(cluster="real"), lambda _: None))
    return [a for a in scanner.found.alerts.values() if a["actor"]["name"] == ACCOUNT]


@pytest.mark.parametrize(
    ("more", "every_s", "said"), [(["--every", "10m"], 600, "canary sent="), (["--retire"], 0, "the last canary")]
)
def test_it_comes_back_as_a_test_alert_and_nothing_else(server, rules, more, every_s, said):
    running, _ = server
    start = running.audit_size()
    command = [sys.executable, "-m", "leadsman_cli.canary", *options(server), *more]  # as the chart has it
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr
    assert done.stdout.startswith(said)
    (alert,) = alerts(server, start, rules)
    assert (alert["rule"]["name"], alert["level"]) == ("canary", "informational")
    (event,) = alert["evidence"]
    told = told_by(event["user_agent"])
    assert told.every_s == every_s
    assert f"sent={told.sent_ms}" in done.stdout
    assert (event["http"], event["object"]) == (200, f"{NAMESPACE}/{NAME}")
    written = json.loads(running.kubectl("get", "configmap", NAME, "-o", "json"))
    assert written["data"] == {"sent": str(told.sent_ms)}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--name", "another"), "403: it needs the right to patch this ConfigMap"),
        (("--namespace", "kube-system"), "403: it needs the right"),
        (("--server", "https://127.0.0.1:1"), "does not answer"),
        (("--server", "http://127.0.0.1:6443"), "https://HOST:PORT is due"),
        (("--token-file", "/nowhere"), "--token-file and --ca-file are due"),
        (("--token-file", str(POLICY)), "does not answer"),  # no token: nothing that a header can hold
        (("--every", "soon"), "is no span"),
        (("--every", "0s"), "is no span"),
    ],
)
def test_what_goes_wrong_is_said(server, rules, capfd, more, said):
    start = server[0].audit_size()
    assert main(["canary", *options(server), *more]) == 1
    assert said in capfd.readouterr().err
    assert [a for a in alerts(server, start, rules) if a["rule"]["name"] == "canary"] == []


def test_a_token_that_is_none_and_an_object_that_is_gone(server, tmp_path, capfd):
    (tmp_path / "token").write_text("e30.e30.e30")
    assert main(["canary", *options(server), "--token-file", str(tmp_path / "token")]) == 1
    assert "401: the token is not valid" in capfd.readouterr().err
    server[0].kubectl("delete", "configmap", NAME)
    assert main(["canary", *options(server)]) == 1
    assert f"404: make it: kubectl -n {NAMESPACE} create configmap {NAME}" in capfd.readouterr().err


def test_its_account_may_do_nothing_else(server):
    def may(account):
        said = server[0].kubectl("auth", "can-i", "--list", "-n", NAMESPACE, f"--as={account}", "--no-headers")
        return {tuple(line.split()) for line in said.splitlines()}

    anybody = may(f"system:serviceaccount:{NAMESPACE}:default")
    assert may(ACCOUNT) - anybody == {("configmaps", "[]", f"[{NAME}]", "[patch]")}
