"""Mutants of each attack, as a real API server accepts them, all fire; `--golden-write` keeps them for CI."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
from pathlib import Path

import mutants
import pytest
import recordings
import typed

HERE = Path(__file__).parents[1] / "fixtures" / "metamorphic"
SEED, WANTED = 20261123, 110
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    resources: [{group: "", resources: [namespaces, secrets]}, {group: apiextensions.k8s.io}]
  - level: None
    verbs: [get, list, watch]
  - level: RequestResponse
    users: [alice@example.com]
  - level: None
"""
ROLLOUTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rollouts.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "listKind": "RolloutList"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


class Wire:
    """Raw HTTP as a person with a client certificate."""

    def __init__(self, server, user):
        pki = server.home / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=60)

    def send(self, method, path, body, content_type="application/json", audit_id=""):
        headers = {"Content-Type": content_type, "Accept": "application/json", "User-Agent": "mutants/1"}
        if audit_id:
            headers["Audit-ID"] = audit_id
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.fixture(scope="module")
def sent(api_server, tmp_path_factory):
    """The mutants that the server accepted as they were meant, and its log; the others by reason."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    accepted, refused, by_hand = [], [], []
    with api_server(policy) as server:
        wire = Wire(server, "alice")
        server.kubectl("apply", "-f", "-", send=json.dumps(ROLLOUTS))
        server.kubectl("wait", "--for=condition=Established", "crd/rollouts.argoproj.io")
        start = server.audit_size()
        for mutant in mutants.generate(SEED, WANTED):
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": mutant.namespace}}
            wire.send("POST", "/api/v1/namespaces", json.dumps(space))
            status, answer = 0, {}
            for number, step in enumerate(mutant.steps):
                body = mutants.wire(step, mutant, answer)
                # a pod's service account is made a moment after its namespace
                for _ in range(50):
                    name = f"{mutant.id}-{number}"
                    status, answer = wire.send(step.method, step.path, body, step.content_type, name)
                    if "serviceaccount" not in str(answer.get("message", "")):
                        break
                if status >= 300:
                    break
            if status < 300 and mutant.held(answer):
                accepted.append(mutant)
            else:
                refused.append((mutant, status, str(answer.get("message", "stored without it"))[:200]))
        for number, command in enumerate(typed.typed()):
            namespace = f"typed-{number:02}"
            server.kubectl("create", "namespace", namespace)
            for arguments, send in command.commands:
                given = [a.replace("{ns}", namespace) for a in arguments]
                size = server.audit_size()
                type_it(server, ["-n", namespace, *given], send and send.replace("{ns}", namespace))
                made = [e["auditID"] for e in server.audit_events(size)]
            by_hand.append((command, namespace, made))
        events = server.audit_events(start)
    return accepted, refused, events, by_hand


def type_it(server, arguments, send):
    """Type a kubectl command as alice; a new namespace's service account may take a moment."""
    command = [str(server.home / "bin" / "kubectl"), "--kubeconfig", str(server.kubeconfig("alice")), *arguments]
    for _ in range(20):
        done = subprocess.run(command, input=send, capture_output=True, text=True, timeout=60, check=False)
        if not done.returncode:
            return
        if "serviceaccount" not in done.stderr:
            break
        time.sleep(0.2)
    raise AssertionError(f"{arguments}: {done.stderr}")


def test_every_mutant_fires(sent, request, capsys):
    accepted, refused, events, by_hand = sent
    refused_ids = {m.id for m, _, _ in refused}
    events = [e for e in events if e["auditID"].rsplit("-", 1)[0] not in refused_ids]
    listed = [{"id": m.id, "rule": m.rule, **m.what, "audits": [f"{m.id}-{len(m.steps) - 1}"]} for m in accepted]
    listed += [
        {"id": name, "rule": c.rule, "kind": "kubectl", "list": "", "way": c.way, "spelling": "", "audits": made}
        for c, name, made in by_hand
    ]
    if request.config.getoption("--golden-write"):
        recordings.store(HERE / "recorded.ndjson.gz", events)
        (HERE / "mutants.json").write_text("[\n" + ",\n".join(json.dumps(m) for m in listed) + "\n]\n")
    with capsys.disabled():
        say = request.config.get_terminal_writer().line
        say(f"\n{len(accepted)} mutants accepted, {len(refused)} refused by the server, {len(by_hand)} typed")
        for mutant, status, why in refused:
            say(f"refused: {mutant.rule} {mutant.what} {status} {why}")
    assert len(accepted) > 800
    lines = [json.dumps(e).encode() for e in events]
    assert mutants.unfired(recordings.scanned(lines), listed) == []
