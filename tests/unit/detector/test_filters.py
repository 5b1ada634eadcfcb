"""Sigma filters: which rules they speak of, what they take away, and what is wrong with some."""

from __future__ import annotations

from textwrap import dedent

import pytest
from test_rules import write

from leadsman_detector.match import load

ID = "5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad001"
KNOWN_GOOD = """\
    place: {objectRef.namespace: kube-system}
    agent: {userAgent|startswith: helm}
    condition: not (place and agent)
"""


def write_filter(folder, filter_, *, rules="[risky]", extra="", name="good"):
    text = f"title: {name}\nlogsource: {{product: kubernetes}}\n{dedent(extra)}filter:\n    rules: {rules}\n{filter_}"
    (folder / f"{name}.yml").write_text(text)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "risky", "a: {verb: get}\ncondition: a")
    write(tmp_path, "other", "a: {verb: get}\ncondition: a", number=2)
    return tmp_path


def fired(folder, event):
    rules = load([folder])
    assert rules.problems == ()
    assert sorted(m.rule.name for m in rules.match(event, rules.rules)) == sorted(
        m.rule.name for m in rules.match(event)
    )
    return sorted(m.rule.name for m in rules.match(event))


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("[risky]", ["other"]),
        ("risky", ["other"]),
        (f"[{ID}]", ["other"]),
        ("[risky, other]", []),
        ("any", []),
        ("[other]", ["risky"]),
    ],
)
def test_a_filter_speaks_of_the_rules_it_names(folder, make_event, rules, left):
    write_filter(folder, KNOWN_GOOD, rules=rules)
    assert fired(folder, make_event(namespace="kube-system", userAgent="Helm/3")) == left


@pytest.mark.parametrize("known", [{"namespace": "kube-system"}, {"userAgent": "helm"}, {}])
def test_part_of_what_is_known_good_is_not_enough(folder, make_event, known):
    write_filter(folder, KNOWN_GOOD)
    assert fired(folder, make_event(**known)) == ["other", "risky"]


def test_any_is_bound_to_the_log_source(folder, make_event):
    write_filter(folder, KNOWN_GOOD, rules="any")
    (folder / "good.yml").write_text((folder / "good.yml").read_text().replace("kubernetes", "windows"))
    assert fired(folder, make_event(namespace="kube-system", userAgent="helm")) == ["other", "risky"]


def test_several_filters_and_lists(folder, make_event):
    (folder / "agents.yml").write_text("values: [argocd, flux]\n")
    write_filter(folder, KNOWN_GOOD)
    write_filter(
        folder,
        "    a: {userAgent|expand: '%agents%', verb: get}\n    condition: not 1 of a*\n",
        name="more",
        rules="any",
    )
    agents = ("helm", "flux", "kubectl")
    found = [fired(folder, make_event(namespace="kube-system", userAgent=agent)) for agent in agents]
    assert found == [["other"], [], ["other", "risky"]]


PRIVILEGED = "a: {facts.pod.containers.privileged: true}\ncondition: a"
BAD, GOOD, TAME = ("bad", "evil/x", True), ("good", "calico/node", True), ("tame", "evil/y", False)


@pytest.fixture
def pod(make_event, record):
    def one(*containers, kind="DaemonSet", volume="/etc"):
        made = [record("ContainerFacts", name=n, image_repo=i, privileged=p) for n, i, p in containers]
        volumes = [record("VolumeFacts", name="v", host_path=volume)]
        return make_event(
            "create", facts={"pod": record("PodFacts", containers=made, owner_kind=kind, volumes=volumes)}
        )

    return one


CALICO = """\
    owner: {facts.pod.owner_kind: DaemonSet}
    image: {facts.pod.containers.image_repo: calico/node}
    condition: not (owner and image)
"""


@pytest.mark.parametrize(
    ("containers", "fires"),
    [
        ([GOOD], False),
        ([BAD], True),
        ([GOOD, BAD], True),
        ([GOOD, TAME], False),
        ([GOOD, ("good", "evil/z", True)], True),
    ],
)
def test_under_each_a_filter_is_asked_of_the_same_element(tmp_path, pod, containers, fires):
    write(tmp_path, "risky", PRIVILEGED, extra="leadsman: {each: facts.pod.containers}\n")
    write_filter(tmp_path, CALICO)
    assert bool(fired(tmp_path, pod(*containers))) is fires
    assert bool(fired(tmp_path, pod(*containers, kind="Pod"))) is True


@pytest.mark.parametrize(
    ("containers", "fires"), [([GOOD], False), ([GOOD, GOOD], False), ([GOOD, TAME], True), ([BAD], True)]
)
def test_every_asks_all_elements(tmp_path, pod, containers, fires):
    write(tmp_path, "risky", PRIVILEGED)
    write_filter(tmp_path, CALICO, extra="leadsman: {every: facts.pod.containers}\n")
    assert bool(fired(tmp_path, pod(*containers))) is fires


@pytest.mark.parametrize(
    ("containers", "volume", "fires"),
    [([GOOD], "/etc", False), ([GOOD, TAME], "/etc", True), ([GOOD], "/root", True), ([], "/etc", True)],
)
def test_every_beside_each_of_the_rule(tmp_path, pod, containers, volume, fires):
    detection = "a: {facts.pod.volumes.host_path|startswith: /}\ncondition: a"
    write(tmp_path, "risky", detection, extra="leadsman: {each: facts.pod.volumes}\n")
    known = CALICO.replace(
        "condition: not (", "path: {facts.pod.volumes.host_path: /etc}\n    condition: not (path and "
    )
    write_filter(tmp_path, known, extra="leadsman: {every: facts.pod.containers}\n")
    assert bool(fired(tmp_path, pod(*containers, volume=volume))) is fires


def test_a_filter_with_a_level_caps(folder, make_event):
    write_filter(folder, KNOWN_GOOD, extra="leadsman: {level: low}\n")
    rules = load([folder])
    event = make_event(namespace="kube-system", userAgent="helm")
    event["actor"]["unauthenticated"] = True  # a modifier of every rule: one level more
    assert {m.rule.name: m.level for m in rules.match(event)} == {"risky": "low", "other": "critical"}
    event["userAgent"] = "x"
    assert {m.rule.name: m.level for m in rules.match(event)} == {"risky": "critical", "other": "critical"}


BROKEN = {
    "an unknown rule": ("[risky, nobody]", KNOWN_GOOD, "", 4, "no such rule: nobody"),
    "no rules": ("[]", KNOWN_GOOD, "", 3, "names no rules"),
    "what stays turned round": ("[risky]", "    a: {verb: get}\n    condition: a\n", "", 6, "`not ...`"),
    "half turned round": ("[risky]", "    a: {verb: get}\n    condition: a and not a\n", "", 6, "`not ...`"),
    "no condition": ("[risky]", "    a: {verb: get}\n", "", 3, "condition"),
    "an unknown field": ("[risky]", "    a: {colour: x}\n    condition: not a\n", "", 5, "no such field: colour"),
    "a bad expression": ("[risky]", "    a: {verb|re: '('}\n    condition: not a\n", "", 5, "verb|re"),
    "an unknown list": ("[risky]", "    a: {verb|expand: '%x%'}\n    condition: not a\n", "", 5, "no such list: %x%"),
    "an unknown key": ("[risky]", KNOWN_GOOD, "leadsman: {colour: red}\n", 3, "unknown colour"),
    "an unknown level": ("[risky]", KNOWN_GOOD, "leadsman: {level: loud}\n", 3, "no such level"),
    "an unknown array": ("[risky]", KNOWN_GOOD, "leadsman: {every: facts.x}\n", 1, "no such field: facts.x"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_filter_is_a_problem_and_takes_nothing_away(folder, make_event, name):
    rules, filter_, extra, line, says = BROKEN[name]
    write_filter(folder, filter_, rules=rules, extra=extra)
    loaded = load([folder])
    (problem,) = loaded.problems
    assert (problem.file, problem.rule, problem.line) == ("good.yml", "good", line)
    assert says in problem.reason
    assert len(loaded.match(make_event())) == 2
