"""`leadsman except`: from an alert of a scan to an exception that a rules folder takes, with cases that hold."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from leadsman_cli.__main__ import main as command
from leadsman_cli.exceptions import TooWide, check_end, filter_of
from leadsman_cli.rules import load_rules
from leadsman_common.schemas import schemas_dir
from leadsman_detector.match import load

sys.path.append(str(Path(__file__).parents[1] / "detector"))
from test_suppression import entered, pod

HEAD = "level: high\nlogsource: {product: kubernetes, service: audit}\n"
RULES = {
    "privileged": f"""\
title: privileged
name: privileged
{HEAD}leadsman: {{each: facts.pod.containers, changed: true, anchor: owner}}
detection: {{it: {{facts.pod.containers.privileged: true}}, condition: it}}
""",
    "entered": f"title: e\nname: entered\n{HEAD}detection: {{a: {{objectRef.subresource: exec}}, condition: a}}\n",
    "role": f"title: r\nname: role\n{HEAD}detection: {{a: {{objectRef.resource: clusterroles}}, condition: a}}\n",
    "chain": "title: c\nname: chain\nlevel: critical\n"
    "correlation: {type: temporal, rules: [privileged, entered], group-by: [objectRef.name], timespan: 1h}\n",
}
SOON = str(datetime.now(UTC).date() + timedelta(days=30))


def main(arguments):
    """As a process of its own: rules are read once in each."""
    load_rules.cache_clear()
    return command(arguments)


def role(name="r*le?"):
    body = {"kind": "ClusterRole", "metadata": {"name": name}, "rules": []}
    ref = {"resource": "clusterroles", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1", "name": name}
    uri = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    return {
        **pod(),
        "requestURI": uri,
        "requestObject": body,
        "responseObject": body,
        "objectRef": ref,
        "auditID": name,
    }


def by(event, name, groups=("system:authenticated",)):
    return {**event, "user": {"username": name, "groups": list(groups)}, "auditID": f"{event['auditID']}{name}"}


@pytest.fixture
def work(tmp_path, capfd, monkeypatch):
    """A folder with rules and a log; `work(events)` scans it and gives the alerts by rule."""
    monkeypatch.chdir(tmp_path)
    Path("rules").mkdir()
    for name, text in RULES.items():
        Path("rules", f"{name}.yml").write_text(text)

    def scanned(*events, cluster="prod"):
        Path("audit.log").write_text("".join(json.dumps(event) + "\n" for event in events))
        assert main(["scan", "-r", "rules", "--cluster", cluster, "-o", "jsonl", "audit.log"]) == 0
        out = capfd.readouterr().out
        Path("found.jsonl").write_text(out)
        return {a["rule"]["name"]: a for a in map(json.loads, out.splitlines())}

    return scanned


def excepted(alert, *more, reason="until OPS-21 is done", expires=SOON):
    known = ["--from", "found.jsonl", "-r", "rules", "--out", "ours", "--owner", "platform"]
    return main(["except", alert["id"], "--reason", reason, "--expires", expires, *known, *more])


def files():
    return sorted(str(p) for p in Path("ours").rglob("*.yml"))


def remaining(capfd, *events, cluster="prod"):
    Path("again.log").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert main(["scan", "-r", "rules", "-r", "ours/rules", "--cluster", cluster, "-o", "jsonl", "again.log"]) == 0
    return sorted(json.loads(line)["rule"]["name"] for line in capfd.readouterr().out.splitlines())


EXEC_BY_ALICE = by(entered(), "alice")
CASES = {
    "a pod": ("privileged", pod(), [by(pod(), "eve"), pod(image="docker.io/evil/agent:1")], 4),
    "a second container": (
        "privileged",
        pod(more=("docker.io/other/x:1",)),
        [pod(more=("docker.io/evil/x:1",))],
        4,
    ),
    "a session": ("entered", entered(), [EXEC_BY_ALICE], 4),
    "a service account": (
        "entered",
        by(entered(), "system:serviceaccount:ci:runner"),
        [by(entered(), "system:serviceaccount:ci:other"), by(entered(), "system:serviceaccount:cd:runner")],
        4,
    ),
    "an object of the cluster, with Sigma's own signs in its name": (
        "role",
        role(),
        [role("rxle?"), role("r*lex"), by(role(), "eve")],
        3,
    ),
}


@pytest.mark.parametrize(("slug", "event", "others", "count"), CASES.values(), ids=CASES)
def test_it_is_quiet_and_its_neighbours_are_not(work, capfd, slug, event, others, count):
    alert = work(event)[slug]
    assert excepted(alert) == 0
    out = capfd.readouterr().out
    name = f"except-{slug}-{alert['id'][:8].removeprefix('local-')}"
    assert f"{count} cases" in out
    assert f"it would have silenced 1 of 1 alerts of {slug}" in out
    (cases, rule) = files()
    assert Path(cases).parts[:2] == ("ours", "cases")
    assert name[:12] in Path(rule).name
    loaded = load([Path("rules"), Path("ours/rules")])
    assert loaded.problems == ()
    assert slug not in remaining(capfd, event)
    for other in others:
        assert slug in remaining(capfd, other)
    assert slug in remaining(capfd, event, cluster="another")
    assert main(["rules", "test", "ours/cases", "-r", "rules", "-r", "ours/rules"]) == 0
    assert f"{count} cases, {count} runs: {count} passed" in capfd.readouterr().out


def test_without_it_its_cases_fail(work, capfd):
    assert excepted(work(pod())["privileged"]) == 0
    assert main(["rules", "test", "ours/cases", "-r", "rules"]) == 1
    assert "expected none, got high" in capfd.readouterr().out


def test_a_correlation(work, capfd):
    alert = work(pod(), entered())["chain"]
    assert excepted(alert) == 0
    assert "4 cases" in capfd.readouterr().out
    assert main(["rules", "test", "ours/cases", "-r", "rules", "-r", "ours/rules"]) == 0
    capfd.readouterr()
    assert remaining(capfd, pod(), entered()) == ["entered", "privileged"]
    assert "chain" in remaining(capfd, pod(), by(entered(), "eve"))


@pytest.mark.parametrize(
    ("file", "slug", "count"),
    [
        ("raw.gcp/create-daemonset", "net", 4),
        ("raw.gcp/patch-clusterrole", "role", 3),
        ("raw.gcp/set-legacy-abac", "abac", 0),
    ],
)
def test_what_a_cloud_delivered(work, capfd, file, slug, count):  # noqa: ARG001 - work makes the folder
    Path("rules", "net.yml").write_text(
        f"title: n\nname: net\n{HEAD}detection: {{a: {{facts.pod.host_network: true}}, condition: a}}\n"
    )
    Path("rules", "abac.yml").write_text(
        f"title: b\nname: abac\n{HEAD}detection: {{a: {{cloud.operation|contains: Abac}}, condition: a}}\n"
    )
    assert main(["scan", "-r", "rules", "-o", "jsonl", str(schemas_dir() / "examples" / f"{file}.json")]) == 0
    Path("found.jsonl").write_text(capfd.readouterr().out)
    (alert,) = [a for a in map(json.loads, Path("found.jsonl").read_text().splitlines()) if a["rule"]["name"] == slug]
    assert excepted(alert) == 0
    out = capfd.readouterr().out
    assert f"it would have silenced 1 of 1 alerts of {slug}" in out
    if not count:
        assert "no case: it is no request to an API server" in out
        return
    assert f"{count} cases" in out
    assert main(["rules", "test", "ours/cases", "-r", "rules", "-r", "ours/rules"]) == 0
    capfd.readouterr()


def test_what_hangs_on_what_was_before_has_no_case(work, capfd):
    Path("rules", "reached.yml").write_text(
        f"title: r\nname: reached\n{HEAD}detection:\n"
        "    a: {objectRef.subresource: exec, known.pod.findings: privileged}\n    condition: a\n"
    )
    assert excepted(work(pod(), entered())["reached"]) == 0
    assert "no case: its events alone do not raise reached, which hangs on what was before" in capfd.readouterr().out
    assert "reached" not in remaining(capfd, pod(), entered())
    assert "reached" in remaining(capfd, pod(), by(entered(), "eve"))


def test_the_log_is_gone(work, capfd):
    alert = work(entered())["entered"]
    Path("audit.log").unlink()
    assert excepted(alert) == 0
    assert "no case: the events of the alert are no longer to be had" in capfd.readouterr().out
    assert "entered" not in remaining(capfd, entered())


def test_what_it_says(work):
    alert = work(pod())["privileged"]
    assert excepted(alert) == 0
    said = yaml.safe_load(Path(files()[1]).read_text())
    assert said["filter"] == {
        "rules": ["privileged"],
        "who": {"actor.name|cased": "alice"},
        "place": {"cluster.name|cased": "prod", "objectRef.namespace|cased": "shop"},
        "what": {"objectRef.resource": "pods"},
        "image": [
            {"facts.pod.containers.image_host": "docker.io", "facts.pod.containers.image_repo": "platform/agent"}
        ],
        "condition": "not (who and place and what and image)",
    }
    end = date.fromisoformat(SOON)
    suppress = {"owner": "platform", "reason": "until OPS-21 is done", "expires": end}
    assert said["leadsman"] == {"every": "facts.pod.containers", "suppress": suppress}


def test_it_is_renewed_in_its_place(work, capfd):
    alert = work(entered())["entered"]
    assert excepted(alert) == 0
    assert excepted(alert, reason="again") == 0
    assert "4 cases" in capfd.readouterr().out
    assert len(files()) == 2
    assert "reason: again" in Path(files()[1]).read_text()


def test_it_goes_to_a_folder_that_is_one_of_the_rules(work, capfd):
    alert = work(entered())["entered"]
    known = ["--reason", "x", "--expires", SOON, "--from", "found.jsonl", "-r", "rules", "--rules-dir", "rules"]
    assert main(["except", alert["id"], *known]) == 0
    assert {p.parent.name for p in Path().rglob("except-*.yml")} == {"rules", "rules-cases"}
    assert main(["rules", "test", "rules-cases", "-r", "rules"]) == 0
    capfd.readouterr()


@pytest.mark.parametrize("way", ["a file", "-"])
def test_one_alert_by_itself(work, monkeypatch, way):
    line = json.dumps(work(entered())["entered"])
    Path("one.json").write_text(line)
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    given = "one.json" if way == "a file" else "-"
    assert main(["except", given, "--reason", "x", "--expires", SOON, "-r", "rules", "--out", "ours"]) == 0
    assert len(files()) == 2


REFUSED = {
    "nobody is authenticated": (by(entered(), "system:anonymous", ["system:unauthenticated"]), "prod", {}, "nobody is"),
    "a component": (
        by(entered(), "system:kube-controller-manager"),
        "prod",
        {},
        None,
    ),
    "it has ended": (entered(), "prod", {"expires": "2020-01-31"}, "2020-01-31 is over"),
    "it is too long": (entered(), "prod", {"expires": "2999-01-01"}, "more than a year away"),
    "no reason": (entered(), "prod", {"reason": "  "}, "an exception that nobody can explain"),
    "no cluster": (role(), "", {}, None),
}


@pytest.mark.parametrize(("event", "cluster", "more", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(work, capfd, event, cluster, more, said):
    found = work(event, cluster=cluster)
    alert = found.get("entered") or found["role"]
    code = excepted(alert, **more)
    if said is None:  # the object's name makes it a tuple
        assert code == 0
        return
    assert code == 1
    assert said in capfd.readouterr().err
    assert files() == []


def an_alert(**actor):
    return {
        "id": "a" * 32,
        "rule": {"name": "entered"},
        "cluster": {"name": "prod"},
        "actor": {"name": "alice", "class": "human", "unauthenticated": False, **actor},
        "objectRef": {"namespace": "", "resource": "", "subresource": "", "name": ""},
        "evidence": [{"event_id": "e", "actor": "alice", "actor_class": "human"}],
    }


WIDE = {
    "an actor and no more": ({}, {"cluster": {"name": ""}}, False, "the actor is all that is known"),
    "a component and no object": ({"class": "control_plane"}, {}, False, "acts for everybody"),
    "a failed authentication": ({"class": "failed_auth"}, {}, False, "nobody is authenticated"),
    "no name": ({"name": ""}, {}, False, "nobody is authenticated"),
    "a chain with somebody unknown": (
        {},
        {"evidence": [{"event_id": "e", "actor": "", "actor_class": "unauthenticated"}]},
        True,
        "nobody is authenticated in a part of it",
    ),
    "a chain of components": (
        {},
        {"evidence": [{"event_id": "e", "actor": "system:node:n", "actor_class": "node"}]},
        True,
        "done by components",
    ),
    "a chain of no cluster": ({}, {"cluster": {"name": ""}}, True, "have the scan say --cluster"),
}


@pytest.mark.parametrize(("actor", "more", "chain", "reason"), WIDE.values(), ids=WIDE)
def test_what_is_too_wide(actor, more, chain, reason):
    today = date(2026, 11, 28)
    with pytest.raises(TooWide, match=reason):
        filter_of({**an_alert(**actor), **more}, [], chain=chain, reason="r", owner="o", expires=today, today=today)


@pytest.mark.parametrize(("days", "holds"), [(-1, False), (0, True), (366, True), (367, False)])
def test_the_end(days, holds):
    today = date(2026, 11, 28)
    if holds:
        check_end(today + timedelta(days=days), today)
        return
    with pytest.raises(ValueError, match="is over" if days < 0 else "more than a year"):
        check_end(today + timedelta(days=days), today)


def test_bad_input_writes_nothing(work, capfd):
    alert = work(entered())["entered"]
    assert excepted({"id": "nobody"}) == 1
    assert "no alerts begin with 'nobody'" in capfd.readouterr().err
    assert excepted(alert, expires="tomorrow") == 1
    assert main(["except", alert["id"], "--expires", SOON, "--from", "found.jsonl"]) == 1
    Path("rules", "entered.yml").unlink()
    assert excepted(alert) == 1
    assert "entered is no rule of these folders" in capfd.readouterr().err
    Path("found.jsonl").write_text("{}\n")
    assert excepted(alert) == 1
    assert "found.jsonl:1: no alert of `scan -o jsonl`" in capfd.readouterr().err
    assert files() == []
