"""`leadsman scan --explain RULE`: what of a rule held on each event that it could meet."""

from __future__ import annotations

import json

import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.cases import Request
from leadsman_cli.described import events_of

RULE = """\
title: Privileged container of a shop
name: shop
id: 5f8f5d39-6f2e-4f8e-9f0a-1b8a52b5c001
level: medium
logsource: {product: kubernetes, service: audit}
leadsman:
    each: facts.pod.containers
    changed: true
    anchor: owner
    levels: [{when: loud, level: high}]
    modifiers: [{when: by_hand, by: 1, why: by a person}]
detection:
    writes: {verb: [create, update, patch], outcome.effective: true}
    privileged: {facts.pod.containers.privileged: true}
    image:
        - facts.pod.containers.image_repo|contains: [shop, store]
        - facts.pod.containers.image_repo|re: ^mall
    ours: {objectRef.namespace: ours}
    loud: {facts.pod.host_network: true}
    by_hand: {actor.class: human}
    condition: writes and privileged and image and not ours
"""


FILTER = """\
title: Yard
id: 5f8f5d39-6f2e-4f8e-9f0a-1b8a52b5c002
logsource: {product: kubernetes, service: audit}
leadsman: {every: facts.pod.volumes}
filter:
    rules: [shop]
    place: {objectRef.namespace: yard}
    image: {facts.pod.containers.image_repo: library/shop}
    scratch: {facts.pod.volumes.type: emptyDir}
    condition: not (place and image and scratch)
"""


def container(name, image, *, privileged):
    return {"name": name, "image": image, "securityContext": {"privileged": privileged}}


def pod(**more):
    containers = [container("a", "shop", privileged=True), container("b", "shop", privileged=False)]
    body = {"spec": {"hostNetwork": True, "containers": containers}}
    return {"verb": "create", "resource": "pods", "namespace": "ns", "name": "web", "body": body, **more}


@pytest.fixture
def explained(tmp_path, capsysbinary):
    """Give a function that explains requests and gives exit code and output: documents, or text for -o table."""

    def run(*requests, output="jsonl", filters=False):
        rules = tmp_path / "rules"
        rules.mkdir(exist_ok=True)
        (rules / "shop.yml").write_text(RULE)
        if filters:
            (rules / "yard.yml").write_text(FILTER)
        events = events_of("x", [Request(**r) for r in requests])
        (tmp_path / "audit.log").write_text("".join(json.dumps(e) + "\n" for e in events))
        arguments = ["--explain", "shop", "-o", output, "-r", str(rules), str(tmp_path / "audit.log")]
        code = main(["scan", *arguments])
        out = capsysbinary.readouterr().out.decode()
        return code, [json.loads(line) for line in out.splitlines()] if output == "jsonl" else out

    return run


def fields(part):
    """Every field asked about, as (detection or none, held, values)."""
    if part["kind"] == "field":
        return [(part["test"].split()[0], part["held"], part["values"])]
    return [found for inner in part["parts"] for found in fields(inner)]


def test_each_element_is_told_by_itself(explained):
    code, (found,) = explained(pod())
    assert code == 0
    assert (found["held"], found["level"], found["alerts"][0]["level"]) == (True, "critical", "critical")
    assert (found["line"], found["action"], found["object"], found["actor"]) == (1, "create pods", "ns/web", "alice")
    first, second = found["looked"]
    assert (first["element"], second["element"]) == ("facts.pod.containers[0] a", "facts.pod.containers[1] b")
    assert (first["condition"]["held"], second["condition"]["held"]) == (True, False)
    assert ("facts.pod.containers.privileged", False, [False]) in fields(second["condition"])
    assert [(step["gives"], step["when"]["held"]) for step in first["levels"]] == [("high", True)]
    assert [(step["gives"], step["when"]["held"]) for step in first["modifiers"]] == [("+1 by a person", True)]


def test_the_parts_go_by_the_names_of_their_detections(explained):
    _, (found,) = explained(pod(namespace="ours"))
    assert (found["held"], found["level"], found["alerts"]) == (False, None, [])
    parts = found["looked"][0]["condition"]["parts"]
    named = {p.get("detection") or p["parts"][0].get("detection"): p["held"] for p in parts}
    assert named == {"writes": True, "privileged": True, "image": True, "ours": False}
    assert next(p["kind"] for p in parts if not p["held"]) == "not"


def test_what_a_field_was_asked_names_what_met_it_first(explained):
    request = pod()
    request["body"]["spec"]["containers"][0]["image"] = "store"
    _, (found,) = explained(request)
    image = next(p for p in found["looked"][0]["condition"]["parts"] if p.get("detection") == "image")
    assert image["kind"] == "any"
    assert image["parts"][0]["test"] == "facts.pod.containers.image_repo is like *store* or is like *shop*"
    assert image["parts"][0]["values"] == ["library/store"]
    assert [p["held"] for p in image["parts"]] == [True, False]


def test_only_events_that_the_rule_could_meet_are_told(explained):
    get = {"verb": "get", "resource": "pods", "namespace": "ns", "name": "web"}
    service = {"verb": "create", "resource": "services", "namespace": "ns", "name": "web", "body": {"spec": {}}}
    assert explained(get, service) == (0, [])


def test_a_match_without_an_alert_says_so(explained):
    again = pod(verb="update", at=20)
    _, (first, second) = explained(pod(), again)
    assert (first["alerts"] != [], second["held"], second["alerts"]) == (True, True, [])
    _, text = explained(pod(), again, output="table")
    assert "meets the rule at critical (+1 by a person); alert critical" in text
    assert "meets the rule at critical (+1 by a person); no alert: nothing new" in text


def test_the_engine_s_own_modifiers_are_told(explained):
    _, (found,) = explained(pod(user="system:serviceaccount:ns:bot", source_ip="8.8.8.8"))
    assert found["modifiers"] == [{"by": 1, "why": "a service account used from a public address"}]
    assert found["level"] == "critical"


def test_filters_are_told_with_what_they_do(explained):
    request = pod(namespace="yard")
    request["body"]["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    _, (found,) = explained(request, filters=True)
    assert (found["held"], found["alerts"]) == (False, [])
    first = found["looked"][0]
    assert first["condition"]["held"]
    assert [(f["gives"], f["when"]["held"]) for f in first["filters"]] == [("Yard: taken away", True)]
    _, text = explained(request, output="table", filters=True)
    assert "+ filter Yard: taken away" in text
    assert "place: objectRef.namespace is yard  [yard]" in text

    request["body"]["spec"]["volumes"].append({"name": "root", "hostPath": {"path": "/"}})
    _, (found,) = explained(request, filters=True)
    (told,) = found["looked"][0]["filters"]
    assert (found["held"], told["when"]["held"]) == (True, False)
    assert [part["held"] for part in told["when"]["parts"]] == [True, False]
    assert ("facts.pod.containers.image_repo", True, ["library/shop"]) in fields(told["when"])


def test_a_tree_for_people(explained):
    _, text = explained(pod(), output="table")
    assert "+ shop: all of" in text
    assert "+ privileged: facts.pod.containers.privileged is true  [true]" in text
    assert "- privileged: facts.pod.containers.privileged is true  [false]" in text
    assert "+ not ours: objectRef.namespace is ours  [ns]" in text
    assert "+ level high (loud): facts.pod.host_network is true  [true]" in text


def test_nothing_to_look_at_is_said(explained):
    _, text = explained(pod(body={"spec": {"containers": []}}), output="table")
    assert "facts.pod.containers: none" in text
    assert "does not meet the rule" in text


def test_control_characters_do_not_reach_the_terminal(explained):
    request = pod(user="eve\x1b[2J")
    _, text = explained(request, output="table")
    assert "\x1b" not in text


def test_no_such_rule(tmp_path, capsys):
    (tmp_path / "audit.log").write_text("")
    assert main(["scan", "--explain", "nope", str(tmp_path / "audit.log")]) == 1
    assert "no such rule: nope" in capsys.readouterr().err


def test_what_could_not_be_read_ends_with_3(tmp_path, capsys):
    (tmp_path / "audit.log").write_text('{"kind":"Event","auditID":1}\n')
    assert main(["scan", "--explain", "pod-attach", str(tmp_path / "audit.log")]) == 3
    assert "audit.log:1" in capsys.readouterr().err


def test_a_rule_that_asks_what_is_known_of_a_pod(tmp_path, capsysbinary):
    spec = {"containers": [{"name": "a", "image": "busybox", "stdin": True}]}
    made = {"verb": "create", "resource": "pods", "namespace": "ns", "name": "web", "body": {"spec": spec}}
    attach = {
        "verb": "create", "resource": "pods/attach", "namespace": "ns", "name": "web",
        "query": "container=a&stdin=true&stdout=true&tty=true",
    }  # fmt: skip
    events = events_of("x", [Request(**made), Request(**attach)])
    (tmp_path / "audit.log").write_text("".join(json.dumps(e) + "\n" for e in events))
    assert main(["scan", "--explain", "pod-attach", "-o", "jsonl", str(tmp_path / "audit.log")]) == 0
    stages = [json.loads(line) for line in capsysbinary.readouterr().out.decode().splitlines()]
    assert {(found["held"], found["level"]) for found in stages} == {(True, "informational")}
