"""`leadsman.requires`: what is read, and what is refused with a reason."""

import pytest

from leadsman_detector.form import Requirement
from leadsman_detector.requires import BadRequirement, read_requires
from leadsman_detector.rules import read

LISTS = {"workloads": ["pods", "deployments.apps"]}
SIGHT = {"for": "pod specs", "verbs": ["create"], "resources": ["pods"]}

READ = {
    "the least": (SIGHT, Requirement("pod specs", verbs=("create",), resources=("pods",))),
    "a level and a list": (
        {**SIGHT, "level": "Request", "resources": ["%workloads%", "pods/ephemeralcontainers"]},
        Requirement(
            "pod specs",
            verbs=("create",),
            resources=("pods", "deployments.apps", "pods/ephemeralcontainers"),
            level="Request",
        ),
    ),
    "a detail of requests without credentials": (
        {"for": "discovery", "as": "detail", "verbs": ["get"], "paths": ["/api"], "user": "unauthenticated"},
        Requirement("discovery", "detail", ("get",), (), ("/api",), "Metadata", "unauthenticated"),
    ),
}
REFUSED = {
    "no list": ({}, "is a list of maps"),
    "not a map": (["pods"], "is a list of maps"),
    "an unknown key": ([{**SIGHT, "levels": "Request"}], "unknown levels"),
    "no purpose": ([{"verbs": ["get"], "resources": ["pods"]}], "says in `for`"),
    "no verbs": ([{"for": "x", "resources": ["pods"]}], "needs verbs"),
    "nothing asked": ([{"for": "x", "verbs": ["get"]}], "needs verbs, and resources or paths"),
    "no such verb": ([{**SIGHT, "verbs": ["exec"]}], "no such verb in an audit log: exec"),
    "no such level": ([{**SIGHT, "level": "Response"}], "level is one of Metadata, Request, RequestResponse"),
    "the level None": ([{**SIGHT, "level": "None"}], "level is one of"),
    "no such kind": ([{**SIGHT, "as": "must"}], "as is one of"),
    "no such user": ([{**SIGHT, "user": "alice"}], "user is one of"),
    "no such list": ([{**SIGHT, "resources": ["%workload%"]}], "no such list: %workload%"),
    "a kind for a resource": ([{**SIGHT, "resources": ["Pod"]}], "not RESOURCE"),
    "one name in place of a list": ([{**SIGHT, "verbs": "create"}], "verbs is a list of names"),
    "a path without a slash": ([{"for": "x", "verbs": ["get"], "paths": ["api"]}], "a path begins with /"),
    "another rule, in a rule": ([{"for": "x", "rule": "pod-exec"}], "pod-exec is none of the rules"),
}


@pytest.mark.parametrize(("entry", "wanted"), READ.values(), ids=READ)
def test_an_entry_is_read(entry, wanted):
    assert read_requires([entry], LISTS) == (wanted,)


@pytest.mark.parametrize(("given", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_says_nothing_is_refused(given, reason):
    with pytest.raises(BadRequirement, match=reason):
        read_requires(given, LISTS)


def test_a_correlation_speaks_of_its_rules():
    assert read_requires([{"for": "who was bound", "as": "detail", "rule": "b"}], {}, ("a", "b")) == (
        Requirement("who was bound", "detail", rule="b"),
    )
    with pytest.raises(BadRequirement, match="c is none of the rules"):
        read_requires([{"for": "x", "rule": "c"}], {}, ("a", "b"))
    with pytest.raises(BadRequirement, match="names one of its rules"):
        read_requires([SIGHT], {}, ("a", "b"))
    with pytest.raises(BadRequirement, match="rule stands alone"):
        read_requires([{"for": "x", "rule": "a", "level": "Request"}], {}, ("a", "b"))


def test_a_rule_with_a_bad_requirement_is_a_problem(tmp_path):
    (tmp_path / "r.yml").write_text(
        "title: t\nname: r\nlogsource: {product: kubernetes}\nlevel: high\n"
        "detection: {a: {verb: get}, condition: a}\nleadsman: {requires: [{for: x, verb: [get]}]}\n"
    )
    (problem,) = read([tmp_path]).problems
    assert "leadsman.requires: unknown verb" in str(problem)
