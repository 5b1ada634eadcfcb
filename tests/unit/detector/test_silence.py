"""A log that falls silent, by a clock that the tests turn: when it is one, when it is not, and what it is part of."""

from __future__ import annotations

import shutil

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.state import CLOCK, Done, Due, MemoryState

START_S = 1_700_000_000 // 60 * 60
MINUTE_S, HOUR_S = 60, 3600
OTHER = "aws/111122223333/eu-west-1/other"
LATE_S = 10 * MINUTE_S


@pytest.fixture
def alert():
    """Whether the silence itself alerts; as we ship it, it only feeds."""
    return True


@pytest.fixture
def rules(tmp_path, alert):
    for name in ("kubernetes/log-fell-silent", "cloud/control-plane-logging-off", "kubernetes/pod-exec",
                 "correlations/logging-off-and-silent"):  # fmt: skip
        shutil.copy(default_rules_dir() / f"{name}.yml", tmp_path)
    rule = tmp_path / "log-fell-silent.yml"
    text = rule.read_text()
    assert "    alert: false\n" in text
    if alert:
        rule.write_text(text.replace("    alert: false\n", ""))
    text = (default_rules_dir() / "correlations" / "silent-then-action.yml").read_text()
    begin, end = text.index("    condition:"), text.index("leadsman:")
    (tmp_path / "after.yml").write_text(f"{text[:begin]}    condition: log-fell-silent and pod-exec\n{text[end:]}")
    loaded = load([tmp_path])
    assert not loaded.problems, [str(p) for p in loaded.problems]
    return loaded


class World:
    """A detector, its state, and a clock."""

    def __init__(self, rules, make_event):
        self.detector, self.state, self.make_event, self.raised = Detector(rules), MemoryState(), make_event, []

    def happens(self, at_s, **more):
        plan = self.detector.new_plan()
        event = self.make_event(**{"verb": "create", "name": f"n{at_s}", "at_s": START_S + at_s, **more})
        self.detector.judge(plan, event, Where("audit.events", 0, int(at_s)))
        self.raised += self.state.settle(self.detector.evaluate(plan, (START_S + at_s) * 1_000_000))

    def goes_on(self, begin_s, end_s, every_s=MINUTE_S, **more):
        for at_s in range(begin_s, end_s, every_s):
            self.happens(at_s, **more)

    def clock(self, at_s):
        """What is due by then is looked at, until nothing is."""
        while True:
            looked = False
            for cluster, source in self.state.timed():
                if source != CLOCK:
                    continue
                for what in self.state.exchange_now([Due(cluster, source, (START_S + at_s) * 1000, 1000)])[0]:
                    plan = self.detector.new_plan()
                    self.detector.due(plan, what)
                    self.raised += self.state.settle(self.detector.evaluate(plan, (START_S + at_s) * 1_000_000))
                    self.state.exchange_now([Done(cluster, source, what)])
                    looked = True
            if not looked:
                return

    def told(self, rule="log-fell-silent"):
        return list({a["id"]: a for a in self.raised if a["rule"]["name"] == rule}.values())


@pytest.fixture
def world(rules, make_event):
    return World(rules, make_event)


SILENT_S = 13 * HOUR_S  # the first second after the last minute of it
ENOUGH_S = SILENT_S + 16 * MINUTE_S + LATE_S


def test_a_log_that_falls_silent_while_another_goes_on(world):
    world.goes_on(0, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S - MINUTE_S - 1)
    assert world.told() == []
    world.clock(ENOUGH_S)
    (alert,) = world.told()
    assert alert["level"] == "medium"
    assert alert["cluster"]["id"] != OTHER
    assert alert["time"] == (START_S + SILENT_S - MINUTE_S) * 1_000_000
    assert alert["evidence"][0]["summary"] == "the audit log fell silent"
    assert alert["evidence"][0]["matched"][-1]["value"] == (
        "nothing for 15 minutes and more; usually something comes every 60 s; 1 other sources go on"
    )
    world.clock(SILENT_S + HOUR_S)
    assert len(world.told()) == 1


@pytest.mark.parametrize(
    ("back_s", "silent"), [(15 * MINUTE_S - 1, False), (15 * MINUTE_S + 1, True)], ids=["just in time", "too late"]
)
def test_it_comes_back(world, back_s, silent):
    """Whether a gap was one is a matter of the events' times, however late it is looked at."""
    world.goes_on(0, SILENT_S)
    world.happens(SILENT_S + back_s)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S + 60)
    assert bool([a for a in world.told() if a["time"] == (START_S + SILENT_S - MINUTE_S) * 1_000_000]) is silent


def test_a_quiet_cluster_has_a_rhythm_of_its_own(world):
    """An event each ten minutes: a quarter of an hour without is nothing, 50 minutes and a little are."""
    world.goes_on(0, SILENT_S, every_s=10 * MINUTE_S)
    world.goes_on(0, SILENT_S + 3 * HOUR_S, cluster=OTHER)
    world.clock(SILENT_S + 45 * MINUTE_S)
    assert world.told() == []
    world.clock(SILENT_S + 2 * HOUR_S)
    (alert,) = world.told()
    assert alert["evidence"][0]["matched"][-1]["value"].startswith("nothing for 50 minutes and more")


def test_an_outage_of_yesterday_is_no_rhythm(world):
    world.goes_on(0, 6 * HOUR_S)
    world.goes_on(7 * HOUR_S, SILENT_S)
    world.goes_on(7 * HOUR_S, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S)
    assert [a["time"] for a in world.told()] == [(START_S + SILENT_S - MINUTE_S) * 1_000_000]


@pytest.mark.parametrize("others", [0, SILENT_S], ids=["nothing else", "all stand still"])
def test_where_nothing_goes_on_no_log_is_silent(world, others):
    world.goes_on(0, SILENT_S)
    if others:
        world.goes_on(0, others, cluster=OTHER)
    world.clock(SILENT_S + 5 * HOUR_S)
    assert world.told() == []


def test_not_before_it_is_known(world):
    world.goes_on(SILENT_S - 11 * HOUR_S, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S)
    assert world.told() == []


def test_delivered_again_and_on_other_workers_it_is_one(rules, make_event):
    one, other = World(rules, make_event), World(rules, make_event)
    other.state = one.state
    for at_s in range(0, SILENT_S, MINUTE_S):
        for world in (one, other):
            world.happens(at_s)
    one.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    for world in (one, other, one):
        world.clock(ENOUGH_S)
    assert len({a["id"] for a in [*one.told(), *other.told()]}) == 1


def test_a_scan_knows_no_silence(rules, make_event):
    world = World(rules, make_event)
    world.detector = Detector(rules, patient=True)
    world.goes_on(0, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(SILENT_S + 5 * HOUR_S)
    assert world.told() == []


def test_it_is_no_rule_that_every_event_is_tried_on(rules):
    assert "log-fell-silent" not in [r.rule.name for r in rules.candidates("get configmaps", 0)]


@pytest.mark.parametrize(
    ("after_s", "told"),
    [(24 * HOUR_S, 1), (24 * HOUR_S + 1, 0), (-HOUR_S, 0)],
    ids=["within a day", "a second later", "before"],
)
def test_then_a_privileged_action(world, after_s, told):
    last_s = SILENT_S - MINUTE_S
    opened = {"verb": "create", "sub": "exec", "facts": {"exec": _exec()}, "name": "web"}
    if after_s < 0:
        world.happens(last_s + after_s, **opened)
    world.goes_on(0, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S)
    if after_s > 0:
        world.happens(last_s + after_s, **opened)
    found = world.told("silent-then-action")
    assert len(found) == told
    if found:
        assert [item["rule"] for item in found[0]["evidence"]] == ["log-fell-silent", "pod-exec"]
        assert found[0]["members"][0] == world.told()[0]["id"]


@pytest.mark.parametrize("alert", [False])
def test_as_we_ship_it_it_feeds_and_alerts_of_nobody(world):
    """The normalizer's source-silent tells of every silence: an outage is told once."""
    world.goes_on(0, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S)
    assert world.told() == []
    world.happens(SILENT_S + HOUR_S, verb="create", sub="exec", facts={"exec": _exec()}, name="web")
    (found,) = world.told("silent-then-action")
    assert [item["rule"] for item in found["evidence"]] == ["log-fell-silent", "pod-exec"]
    assert found["evidence"][0]["alert"] == ""


def _exec():
    from schema_records import defaults

    return defaults("ExecFacts", kind="exec", container="a")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{least: 15m}", "says least, times and learning"),
        ("{least: 15m, times: 0, learning: 1h}", "times is a number"),
        ("{least: soon, times: 5, learning: 1h}", "soon"),
        ("{least: 15m, times: 5, learning: 1h}, changed: true", "does not go with changed"),
    ],
)
def test_bad_input(tmp_path, given, reason):
    (tmp_path / "a.yml").write_text(
        f"title: a\nname: a\nlogsource: {{product: kubernetes}}\nleadsman: {{silence: {given}}}\n"
        "detection: {it: {verb: get}, condition: it}\n"
    )
    (problem,) = load([tmp_path]).problems
    assert reason in problem.reason


def test_a_log_that_fell_silent_before_the_state_was_lost_is_told_of(world, rules):
    """What a rebuild does: the events again by a detector that keeps alone, into a state that is empty."""
    world.goes_on(0, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    world.clock(ENOUGH_S)
    (before,) = world.told()

    world.detector, world.state, world.raised = Detector(rules, keeping=True), MemoryState(), []
    world.goes_on(0, SILENT_S)
    world.goes_on(0, SILENT_S + HOUR_S, cluster=OTHER)
    waiting = world.detector.waiting()
    assert [timer.cluster for timer in waiting] == [before["cluster"]["id"], OTHER]  # one each, not one a minute
    world.state.exchange_now(waiting)
    assert world.raised == []

    world.detector = Detector(rules)
    world.clock(ENOUGH_S)
    assert [alert["id"] for alert in world.told()] == [before["id"]]
