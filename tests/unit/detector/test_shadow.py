"""Rules on trial: what they find goes to alerts.shadow, and changes nothing of what people are told."""

from __future__ import annotations

import json

import pytest
from test_suppression import alerts_of, entered, found, pod, shipped  # noqa: F401 - shipped is a fixture

from leadsman_cli.__main__ import main
from leadsman_cli.output import named
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import to_json
from leadsman_common.avro import alert_codec
from leadsman_common.incidents import counted, incidents
from leadsman_common.raw import RawEvent
from leadsman_detector.baseline import report_of
from leadsman_detector.match import load
from leadsman_detector.risk import Risk, rules_of
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.state_topic import Topics

CHAIN = "dangerous-pod-entered"
TOPICS = Topics("audit.events", "alerts", "state", "alerts.shadow")


@pytest.fixture
def rules(shipped):  # noqa: F811
    def with_shadow(*slugs):
        for slug in slugs:
            path = shipped / f"{slug}.yml"
            text = path.read_text()
            assert text.count("\nleadsman:\n") == 1
            path.write_text(text.replace("\nleadsman:\n", "\nleadsman:\n    shadow: true\n"))
        loaded = load([shipped])
        assert not [p for p in loaded.problems if p.fatal]
        return loaded

    return with_shadow


def test_its_alert_is_what_it_would_be_and_goes_elsewhere(rules):
    (live,) = alerts_of(found(rules(), pod()))
    (alert,) = alerts_of(found(rules("privileged-container"), pod()))
    differing = {key for key in alert if alert[key] != live[key]}
    assert differing == {"shadow", "rules_digest"}
    assert (TOPICS.of(live), TOPICS.of(alert)) == ("alerts", "alerts.shadow")
    assert alert_codec().decode(alert_codec().encode(alert)) == alert
    assert (named(alert), to_json(alert)["shadow"]) == ("privileged-container (shadow)", True)


@pytest.mark.parametrize(
    ("shadow", "chains"),
    [
        ([], [False]),
        (["privileged-container"], []),
        (["privileged-container", CHAIN], [True]),
        ([CHAIN], [True]),
    ],
    ids=["none", "a rule of a live chain", "a rule of a chain on trial", "the chain alone"],
)
def test_it_feeds_only_correlations_that_are_on_trial_too(rules, shadow, chains):
    alerts = alerts_of(found(rules(*shadow), pod(), entered()), CHAIN)
    assert [a["shadow"] for a in alerts] == chains


def test_a_chain_on_trial_hides_no_alert_that_is_told(rules):
    told = list(found(rules(CHAIN), pod(), entered()).alerts.values())
    assert any(a.get("members") for a in told)
    assert counted(incidents(told)) == f"{len(told)} alerts"


def test_a_correlation_on_trial_feeds_none_that_is_told(rules, shipped):  # noqa: F811
    above = (
        "title: above\nname: above\nlevel: high\ncorrelation: {type: event_count, rules: [dangerous-pod-entered], "
        "group-by: [objectRef.namespace], timespan: 1h, condition: {gte: 1}, generate: true}\n"
    )
    (shipped / "above.yml").write_text(above)
    assert len(alerts_of(found(rules(), pod(), entered()), "above")) == 1
    assert alerts_of(found(rules(CHAIN), pod(), entered()), "above") == []
    (shipped / "above.yml").write_text(above + "leadsman: {shadow: true}\n")
    assert [a["shadow"] for a in alerts_of(found(load([shipped]), pod(), entered()), "above")] == [True]


def test_its_findings_are_nothing_that_is_known(tmp_path):
    """A rule that asks what was found on a pod hears nothing of rules on trial."""
    for shadow, expected in (("false", ["high"]), ("true", [])):
        folder = tmp_path / shadow
        folder.mkdir()
        (folder / "p.yml").write_text(
            "title: p\nname: p\nlevel: high\nlogsource: {product: kubernetes}\n"
            f"leadsman: {{shadow: {shadow}}}\n"
            "detection: {a: {facts.pod.containers.privileged: true}, condition: a}\n"
        )
        (folder / "q.yml").write_text(
            "title: q\nname: q\nlevel: high\nlogsource: {product: kubernetes}\n"
            "detection: {a: {objectRef.subresource: exec, known.pod.findings: p}, condition: a}\n"
        )
        assert [a["level"] for a in alerts_of(found(load([folder]), pod(), entered()), "q")] == expected


def test_what_it_found_is_told_once_it_is_on_trial_no_more(rules, shipped):  # noqa: F811
    """As with a suppression: nobody was told of it before."""

    trial = rules("privileged-container")
    (shipped / "privileged-container.yml").write_text(
        (default_rules_dir() / "kubernetes" / "privileged-container.yml").read_text()
    )
    scanner = Scanner(trial)
    again = pod("09:05:00", verb="update", version="2")
    for loaded, event in ((trial, pod()), (load([shipped]), again)):
        scanner._offline.detector = scanner._offline.detector.anew(loaded)
        scanner.take([RawEvent(value=json.dumps(event).encode(), format="k8s-audit", cluster="prod")])
    (alert,) = alerts_of(scanner.found)
    assert (alert["shadow"], alert["revision"] > 0) == (False, True)


@pytest.mark.parametrize("given", ["maybe", "1", "[]"])
def test_it_is_true_or_false(shipped, given):  # noqa: F811
    path = shipped / "privileged-container.yml"
    path.write_text(path.read_text().replace("\nleadsman:\n", f"\nleadsman:\n    shadow: {given}\n"))
    (problem,) = [p for p in load([shipped]).problems if p.rule == "privileged-container"]
    assert "shadow: is true or false" in problem.reason
    assert problem.line > 20


def test_a_scan_shows_it_as_such_and_so_does_what_explains_it(tmp_path, capfd):
    rule = "title: p\nname: p\nlevel: high\nlogsource: {product: kubernetes}\nleadsman: {shadow: true}\n"
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "p.yml").write_text(rule + "detection: {a: {verb: create}, condition: a}\n")
    (tmp_path / "audit.log").write_text(json.dumps(pod()))
    arguments = ["scan", "-r", str(tmp_path / "rules"), str(tmp_path / "audit.log")]
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    assert "p (shadow)" in out
    assert "1 alert, 1 of them in shadow" in err
    assert main([*arguments, "--explain", "p"]) == 0
    assert "alert high in shadow: nobody is told" in capfd.readouterr().out
    assert main([*arguments, "-o", "html"]) == 0
    assert "the rule is on trial: nobody is told" in capfd.readouterr().out


def small(tmp_path, shadow, more=""):
    """One rule of medium or more, on trial or not."""
    (tmp_path / "p.yml").write_text(
        "title: p\nname: p\nid: 8e0b7a52-2f6c-4a55-9a52-9d7a3c1f0b12\nlevel: high\nlogsource: {product: kubernetes}\n"
        f"leadsman: {{shadow: {str(shadow).lower()}{more}}}\n"
        "detection: {a: {facts.pod.containers.privileged: true}, condition: a}\n"
    )
    return load([tmp_path])


def test_it_is_weighed_and_weighs_nothing(tmp_path):
    asked = {}
    for shadow in (False, True):
        loaded = small(tmp_path, shadow)
        (alert,) = alerts_of(found(loaded, pod()), "p")
        asked[shadow] = Risk(rules_of(loaded.rules), {}).question(alert)
    assert asked[False].puts
    assert asked[True].puts == []
    assert asked[True].ranges == asked[False].ranges


def test_requests_that_share_an_alert_are_told_once_one_of_them_is(tmp_path):
    more = ", repeats: {group-by: [actor.name], timespan: 1h}"
    scanner = Scanner(small(tmp_path, True, more))
    shown = []
    for shadow, at in ((True, "09:00:00"), (False, "09:05:00"), (True, "09:10:00")):
        scanner._offline.detector = scanner._offline.detector.anew(small(tmp_path, shadow, more))
        event = pod(at, name=f"p{at[3:5]}")
        scanner.take([RawEvent(value=json.dumps(event).encode(), format="k8s-audit", cluster="prod")])
        (alert,) = alerts_of(scanner.found, "p")
        shown.append((alert["shadow"], len(alert["evidence"])))
    assert shown == [(True, 1), (False, 2), (False, 3)]


def test_what_stood_there_has_a_report_of_its_own(tmp_path):
    (alert,) = alerts_of(found(small(tmp_path, True), pod()), "p")
    on_trial, told = report_of([alert], "d", 0), report_of([{**alert, "shadow": False}], "d", 0)
    assert (on_trial["shadow"], told["shadow"]) == (True, False)
    assert on_trial["id"] != told["id"]
