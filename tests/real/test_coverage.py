"""Each attack of tests/fixtures/coverage/attacks.yml under each policy there: the server logs what the recordings hold.

With --golden-write the recordings are made anew; tests/rules/test_coverage.py judges them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from leadsman_cli.named_policies import FOLDER

FIXTURES = Path(__file__).parents[1] / "fixtures" / "coverage"
GIVEN = yaml.safe_load((FIXTURES / "attacks.yml").read_text())
ATTACKS = GIVEN["attacks"]
POLICIES = sorted(p.name for p in FIXTURES.iterdir() if p.is_dir())
USERS = {"alice": "alice@example.com", "mallory": "mallory@example.com", "anonymous": "system:anonymous"}
STREAMS = {"exec", "attach"}


def namespace_of(attack):
    return attack.get("namespace") or attack["rule"] + ("-audited" if attack.get("audited") else "")


def prepare(server):
    """Namespaces, and in each what attacks need to be there; returns once the pods run."""
    audited = {namespace_of(a): bool(a.get("audited")) for a in ATTACKS}
    mode = {"pod-security.kubernetes.io/audit": "baseline"}
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": mode if audits else {}}}
        for name, audits in audited.items()
    ]
    create(server, spaces + GIVEN["setup"]["cluster"])
    until(lambda: len(listed(server, "serviceaccounts", "metadata.name=default")) >= len(audited))
    objects = [
        {**item, "metadata": {**item["metadata"], "namespace": name}}
        for name in audited
        for item in GIVEN["setup"]["namespaced"]
    ]
    create(server, objects)
    until(lambda: len(listed(server, "pods", "status.phase=Running")) >= len(audited))


def create(server, items):
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    server.kubectl("create", "--validate=false", "-f", "-", send=manifest, timeout_s=180)


def listed(server, resource, selector):
    return server.kubectl("get", resource, "-A", "-o", "name", f"--field-selector={selector}").split()


def until(reached):
    end = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < end
        time.sleep(1)


def carry_out(server, attack, step, user):
    namespace = namespace_of(attack)
    if "raw" in step:
        raw = step["raw"]
        path = raw["path"].format(namespace=namespace)
        assert server.request(raw.get("method", "GET"), path, raw.get("upgrade", "")) in {101, 200}
    for verb in {"create", "replace"} & set(step):
        send = json.dumps(step[verb])
        server.kubectl(verb, "-n", namespace, "--validate=false", "-f", "-", user=user, send=send)
    if "kubectl" in step:
        server.kubectl("-n", namespace, *step["kubectl"], user=user, env=step.get("env"))


def record(server, attack):
    """The lines that the server wrote of the attack's actors while it went on."""
    start = server.audit_size()
    user = attack.get("user", "alice")
    carry_out(server, attack, attack, user)
    for step in attack.get("then", []):
        carry_out(server, attack, step, step.get("user", user))
    time.sleep(0.4)  # the end of a stream is logged after the client has gone
    actors = {USERS[s.get("user", user)] for s in (attack, *attack.get("then", []))}
    return [line for line in server.audit_lines(start) if _kept(json.loads(line), actors)]


def _kept(event, actors):
    """What an actor asked of objects; of paths only what came without credentials, for kubectl asks for many."""
    who = event["user"].get("username")
    return who in actors and ("objectRef" in event or who == "system:anonymous")


def shape(lines):
    """What must be the same in every recording: of writes and streams, what was logged and how much of it."""
    found = []
    for event in map(json.loads, lines):
        ref = event.get("objectRef", {})
        sub = ref.get("subresource", "")
        if event["verb"] in {"get", "list", "watch"} and sub not in STREAMS and "anonymous" not in str(event["user"]):
            continue
        bodies = [b for b in ("requestObject", "responseObject") if b in event]
        code = event.get("responseStatus", {}).get("code")
        found.append((event["verb"], ref.get("resource", ""), sub, event["level"], event["stage"], code, *bodies))
    return sorted(found, key=str)


@pytest.mark.parametrize("name", POLICIES)
def test_the_server_logs_what_was_recorded(api_server, request, name):
    folder, write = FIXTURES / name, request.config.getoption("--golden-write")
    if write and name == "eks":  # the policy that AWS publishes
        policy = yaml.safe_load((FOLDER / "eks.yaml").read_text())["policy"]
        (folder / "policy.yaml").write_text("# cli/src/leadsman_cli/policies/eks.yaml\n" + yaml.safe_dump(policy))
    recorded = {}
    with api_server(folder / "policy.yaml") as server:
        prepare(server)
        for attack in ATTACKS:
            recorded[f"{attack['rule']}--{attack['name']}.ndjson"] = record(server, attack)
    if write:
        for old in folder.glob("*.ndjson"):
            old.unlink()
        for file, lines in recorded.items():
            (folder / file).write_bytes(b"".join(line + b"\n" for line in lines))
        return
    assert {p.name for p in folder.glob("*.ndjson")} == set(recorded)
    for file, lines in recorded.items():
        assert shape(lines) == shape((folder / file).read_bytes().splitlines()), file
