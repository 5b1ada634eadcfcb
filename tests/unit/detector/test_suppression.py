"""Suppressions: filters that keep people from being told, with an owner, a reason and an end, and still feed."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest
from test_rules import write

from leadsman_cli.__main__ import main
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import to_json
from leadsman_common.avro import alert_codec
from leadsman_common.raw import RawEvent
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir

NOW = int(datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp() * 1_000_000)
FILTER = """\
title: Our agent until it is replaced
id: 8e0b7a52-2f6c-4a55-9a52-9d7a3c1f0b11
logsource: {product: kubernetes, service: audit}
filter:
    rules: [privileged-container]
    place: {objectRef.namespace: shop, actor.name: alice}
    image: {facts.pod.containers.image_repo: platform/agent}
    condition: not (place and image)
leadsman:
    every: facts.pod.containers
    suppress: {owner: platform team, reason: "to be replaced, OPS-17", expires: 2026-11-30}
"""


def pod(at="09:00:00", image="docker.io/platform/agent:1", verb="create", more=(), name="web", version="1"):
    containers = [
        {"name": f"c{n}", "image": i, "securityContext": {"privileged": True}} for n, i in enumerate((image, *more))
    ]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "spec": {"containers": containers},
    }
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": f"{at}{verb}",
        "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/shop/pods", "verb": verb,
        "user": {"username": "alice", "groups": ["system:authenticated"]}, "userAgent": "kubectl",
        "sourceIPs": ["198.51.100.10"],
        "objectRef": {"resource": "pods", "namespace": "shop", "name": name, "apiVersion": "v1"},
        "responseStatus": {"code": 201 if verb == "create" else 200}, "requestObject": body, "responseObject": body,
        "requestReceivedTimestamp": f"2026-11-02T{at}.000000Z", "stageTimestamp": f"2026-11-02T{at}.000001Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }  # fmt: skip


def entered(at="09:10:00"):
    event = pod(at, verb="create")
    del event["requestObject"], event["responseObject"]
    return {
        **event, "auditID": "exec", "user": {"username": "mallory", "groups": ["system:authenticated"]},
        "requestURI": "/api/v1/namespaces/shop/pods/web/exec?command=sh",
        "objectRef": {**event["objectRef"], "subresource": "exec"}, "responseStatus": {"code": 101},
    }  # fmt: skip


@pytest.fixture
def shipped(tmp_path):
    """Of the rules that come with Leadsman those of one correlation: all of them take seconds."""
    shutil.copytree(default_rules_dir() / "lists", tmp_path / "lists")
    for name in ("privileged-container", "host-network-pod", "sensitive-volume", "known-malicious-pod", "pod-entered"):
        shutil.copy(default_rules_dir() / "kubernetes" / f"{name}.yml", tmp_path)
    shutil.copy(default_rules_dir() / "correlations" / "dangerous-pod-entered.yml", tmp_path)
    return tmp_path


@pytest.fixture
def rules(shipped):
    def with_filter(text=FILTER, now_us=NOW):
        (shipped / "ours.yml").write_text(text)
        return load([shipped], now_us)

    return with_filter


def found(rules, *events):
    scanner = Scanner(rules)
    scanner.take(RawEvent(value=json.dumps(event).encode(), format="k8s-audit", cluster="prod") for event in events)
    scanner.finish()
    assert scanner.found.bad == []
    return scanner.found


def alerts_of(scanned, slug="privileged-container"):
    return [a for a in scanned.alerts.values() if a["rule"]["name"] == slug]


def test_it_is_raised_and_says_why_nobody_is_told(rules):
    (alert,) = alerts_of(found(rules(), pod()))
    assert alert["suppressed"] == {
        "by": "Our agent until it is replaced",
        "owner": "platform team",
        "reason": "to be replaced, OPS-17",
        "until": int(datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1_000_000),
    }
    assert alert_codec().decode(alert_codec().encode(alert)) == alert
    assert to_json(alert)["suppressed"]["until"] == "2026-12-01T00:00:00.000000Z"


def test_its_id_is_what_it_would_be_without(rules, shipped):
    with_it = alerts_of(found(rules(), pod()))
    (shipped / "ours.yml").unlink()
    assert [a["id"] for a in with_it] == [a["id"] for a in alerts_of(found(load([shipped], NOW), pod()))]


def test_it_feeds_correlations_and_what_they_raise_is_told(rules):
    scanned = found(rules(), pod(), entered())
    (alert,) = alerts_of(scanned, "dangerous-pod-entered")
    assert not alert["suppressed"]
    assert [item["rule"] for item in alert["evidence"]] == ["privileged-container", "pod-entered"]
    assert "privileged-container" not in {a["rule"]["name"] for a in scanned.above("informational")}
    assert "privileged-container" in {a["rule"]["name"] for a in scanned.above("informational", suppressed=True)}


@pytest.mark.parametrize(
    "other",
    [pod(image="docker.io/evil/agent:1"), pod(more=("docker.io/evil/x:1",)), {**pod(), "user": {"username": "eve"}}],
    ids=["another image", "a second container", "another actor"],
)
def test_what_is_not_quite_it_is_told(rules, other):
    (alert,) = alerts_of(found(rules(), other))
    assert not alert["suppressed"]


def test_it_ends_by_the_time_of_the_event(rules):
    loaded = rules(FILTER.replace("2026-11-30", "'2026-11-02T10:00:00Z'"), now_us=NOW - 10 * 3600 * 1_000_000)
    assert loaded.problems == ()
    before, after = alerts_of(found(loaded, pod("09:59:59", name="a"), pod("10:00:00", name="b")))
    assert before["suppressed"]
    assert not after["suppressed"]


def test_an_expired_one_is_a_problem_that_names_its_owner(rules):
    loaded = rules(FILTER.replace("2026-11-30", "2026-11-01"))
    (problem,) = loaded.problems
    assert not problem.fatal
    assert "ours.yml:1" in str(problem)
    assert "expired at 2026-11-02T00:00:00Z: platform team renews or removes it" in problem.reason
    (alert,) = alerts_of(found(loaded, pod()))
    assert not alert["suppressed"]


def test_a_replay_of_what_it_held_for_says_the_same_after_its_end(rules):
    """It ends by the time of the events, not by the clock of whoever loads the rules."""
    text = FILTER.replace("2026-11-30", "'2026-11-02T10:00:00Z'")
    events = pod("09:59:59", name="a"), pod("10:00:00", name="b")
    then, later = (found(rules(text, now_us=now), *events) for now in (0, NOW + 86_400_000_000))
    assert [bool(a["suppressed"]) for a in alerts_of(then)] == [True, False]
    assert {k: a["suppressed"] for k, a in then.alerts.items()} == {k: a["suppressed"] for k, a in later.alerts.items()}


def test_an_image_that_is_exchanged_is_told_although_the_pod_was_privileged_before(rules):
    (alert,) = alerts_of(found(rules(), pod(), pod("09:05:00", "docker.io/evil/x:1", verb="update", version="2")))
    assert not alert["suppressed"]
    assert alert["revision"] > 0


def test_the_same_again_after_its_end_is_told(rules):
    loaded = rules(FILTER.replace("2026-11-30", "'2026-11-02T09:30:00Z'"), now_us=0)
    (alert,) = alerts_of(
        found(loaded, pod(), pod("09:20:00", verb="update", version="2"), pod("09:40:00", verb="update", version="3"))
    )
    assert not alert["suppressed"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("suppress: {owner: a, reason: b}", "says expires, owner, reason"),
        ("suppress: {owner: a, reason: b, expires: 2027-01-01, why: c}", "says expires, owner, reason"),
        ("suppress: true", "says expires, owner, reason"),
        ("suppress: {owner: '', reason: b, expires: 2027-01-01}", "owner is a text"),
        ("suppress: {owner: a, reason: 7, expires: 2027-01-01}", "reason is a text"),
        ("suppress: {owner: a, reason: b, expires: never}", "expires is a date"),
        ("suppress: {owner: a, reason: b, expires: 2027}", "expires is a date"),
        ("level: low\n    suppress: {owner: a, reason: b, expires: 2027-01-01}", "suppress or level, not both"),
    ],
)
def test_what_is_wrong_with_some(rules, given, reason):
    text = FILTER[: FILTER.index("    suppress:")] + f"    {given}\n"
    (problem,) = rules(text).problems
    assert problem.fatal
    assert reason in problem.reason
    assert problem.line >= 10


def test_a_scan_leaves_them_out_and_counts_them(tmp_path, capfd):
    (tmp_path / "rules").mkdir()
    write(tmp_path / "rules", "privileged-container", "a: {facts.pod.containers.privileged: true}\ncondition: a")
    (tmp_path / "rules" / "ours.yml").write_text(FILTER.replace("2026-11-30", "2999-01-01"))
    (tmp_path / "audit.log").write_text(json.dumps(pod()))
    arguments = ["scan", "-o", "jsonl", "-r", str(tmp_path / "rules"), str(tmp_path / "audit.log")]
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    assert (out, "0 alerts and 1 suppressed" in err) == ("", True)
    assert main([*arguments, "--suppressed"]) == 0
    assert json.loads(capfd.readouterr().out)["suppressed"]["owner"] == "platform team"
    assert main([*arguments, "--explain", "privileged-container"]) == 0
    assert "nobody is told until 2999-01-02" in capfd.readouterr().out


# --- correlations -----------------------------------------------------------------------------------------------

CHAIN = """\
title: Our pod is entered until it is replaced
id: 8e0b7a52-2f6c-4a55-9a52-9d7a3c1f0b13
logsource: {product: kubernetes, service: audit}
filter:
    rules: [dangerous-pod-entered]
    who: {actor.name: [alice, mallory], objectRef.namespace: shop}
    condition: not who
leadsman:
    suppress: {owner: platform team, reason: "to be replaced, OPS-17", expires: 2026-11-30}
"""


def test_a_correlation_is_suppressed_and_its_events_are_told(rules):
    scanned = found(rules(CHAIN), pod(), entered())
    (chain,), (single,) = alerts_of(scanned, "dangerous-pod-entered"), alerts_of(scanned)
    assert (chain["suppressed"]["by"], chain["suppressed"]["owner"]) == (
        "Our pod is entered until it is replaced",
        "platform team",
    )
    assert not single["suppressed"]
    assert chain["members"] == [single["id"]]


def test_one_event_that_it_does_not_mean_and_the_chain_is_told(rules):
    for text in (CHAIN.replace("mallory", "bob"), CHAIN.replace("alice", "bob")):
        (chain,) = alerts_of(found(rules(text), pod(), entered()), "dangerous-pod-entered")
        assert not chain["suppressed"]


@pytest.mark.parametrize(("end", "hidden"), [("09:10:01", True), ("09:10:00", False)])
def test_a_suppressed_chain_ends_by_the_time_of_its_events(rules, end, hidden):
    loaded = rules(CHAIN.replace("2026-11-30", f"'2026-11-02T{end}Z'"), now_us=0)
    (chain,) = alerts_of(found(loaded, pod(), entered()), "dangerous-pod-entered")
    assert bool(chain["suppressed"]) is hidden


def test_what_is_suppressed_feeds_the_correlations_above(rules, shipped):
    (shipped / "above.yml").write_text(
        "title: above\nname: above\nlevel: high\ncorrelation: {type: event_count, rules: [dangerous-pod-entered], "
        "group-by: [objectRef.namespace], timespan: 1h, condition: {gte: 1}, generate: true}\n"
    )
    scanned = found(rules(CHAIN), pod(), entered())
    (chain,), (above,) = alerts_of(scanned, "dangerous-pod-entered"), alerts_of(scanned, "above")
    assert chain["suppressed"]
    assert not above["suppressed"]
    assert above["members"] == [chain["id"]]


def test_a_chain_of_the_special_join(tmp_path):
    for name in ("cluster-role-exec", "role-bound", "pod-exec"):
        shutil.copy(default_rules_dir() / "kubernetes" / f"{name}.yml", tmp_path)
    shutil.copytree(default_rules_dir() / "lists", tmp_path / "lists")
    shutil.copy(default_rules_dir() / "correlations" / "exec-by-new-role.yml", tmp_path)
    place = "cluster.name: prod"
    ours = CHAIN.replace("dangerous-pod-entered", "exec-by-new-role").replace("objectRef.namespace: shop", place)
    (tmp_path / "ours.yml").write_text(ours)
    grants = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}]
    body = {"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": grants}
    ref = {"resource": "clusterroles", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1", "name": "r"}
    uri = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    role = {**pod(), "requestURI": uri, "requestObject": body, "responseObject": body, "objectRef": ref}
    loaded = load([tmp_path], NOW)
    assert not loaded.problems
    scanned = found(loaded, role, {**entered(), "user": {"username": "alice", "groups": []}})
    (chain,) = alerts_of(scanned, "exec-by-new-role")
    assert chain["suppressed"]["owner"] == "platform team"
    assert chain["members"] == [alerts_of(scanned, "cluster-role-exec")[0]["id"]]
    bob = {"username": "bob", "groups": []}
    (chain,) = alerts_of(found(loaded, {**role, "user": bob}, {**entered(), "user": bob}), "exec-by-new-role")
    assert not chain["suppressed"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[dangerous-pod-entered]", "[no-such]", "no such rule: no-such"),
        ('suppress: {owner: platform team, reason: "to be replaced, OPS-17", expires: 2026-11-30}', "level: low",
         "a filter can suppress a correlation, no more"),
        ("actor.name", "actor.shoe", "no such field: actor.shoe"),
    ],
)  # fmt: skip
def test_bad_input_for_a_correlation(rules, old, new, reason):
    (problem,) = rules(CHAIN.replace(old, new)).problems
    assert reason in problem.reason


def test_an_expired_suppression_of_a_correlation_is_not_used(rules):
    loaded = rules(CHAIN.replace("2026-11-30", "2026-11-01"))
    (problem,) = loaded.problems
    assert "platform team renews or removes it" in problem.reason
    (chain,) = alerts_of(found(loaded, pod(), entered()), "dangerous-pod-entered")
    assert not chain["suppressed"]
