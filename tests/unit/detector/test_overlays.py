"""Rules folders over one another: what a later one replaces, patches and adds, everywhere or for some clusters."""

from __future__ import annotations

import json

import pytest
from test_suppression import entered, pod

from leadsman_cli.__main__ import main
from leadsman_cli.scan import Scanner
from leadsman_common.clusters import load_clusters
from leadsman_common.raw import RawEvent
from leadsman_detector.match import load
from leadsman_detector.reload import RulesWatch
from leadsman_detector.rules import folder_of

HEAD = "logsource: {product: kubernetes, service: audit}\n"
PRIVILEGED = (
    "title: privileged\nname: privileged\nid: 7dbe3a5b-1a25-51cb-83f9-93ad069b7361\nlevel: medium\n"
    + HEAD
    + """\
leadsman:
    each: facts.pod.containers
    changed: true
    anchor: owner
    levels:
        - {when: not effective, level: informational}
        - {when: evil, level: high}
detection:
    it: {facts.pod.containers.privileged: true}
    evil: {facts.pod.containers.image_repo: evil/x}
    effective: {outcome.effective: true}
    condition: it
"""
)
ENTERED = (
    f"title: entered\nname: entered\nlevel: low\n{HEAD}"
    "detection: {a: {objectRef.subresource: exec}, condition: a}\n"
)
CHAIN = """\
title: chain
name: chain
level: high
correlation: {type: temporal, rules: [privileged, entered], group-by: [objectRef.name], timespan: 1h}
"""
EVIL = pod(image="docker.io/evil/x:1")


@pytest.fixture
def folder(tmp_path):
    """Write folders; gives their paths. The first is that of the base."""

    def write(name, **files):
        (tmp_path / name).mkdir(exist_ok=True)
        for stem, text in files.items():
            (tmp_path / name / f"{stem}.yml").write_text(text)
        return tmp_path / name

    write("base", privileged=PRIVILEGED, entered=ENTERED, chain=CHAIN)
    return write


def patch(rules, **said):
    return json.dumps({"title": "ours", "patch": {"rules": rules, **said}})


def told(loaded, *events, cluster="prod"):
    """Rule -> (level, shadow) of each alert."""
    assert [str(p) for p in loaded.problems if p.fatal] == []
    scanner = Scanner(loaded)
    scanner.take(RawEvent(value=json.dumps(e).encode(), format="k8s-audit", cluster=cluster) for e in events)
    scanner.finish()
    assert scanner.found.bad == []
    return {a["rule"]["name"]: (a["level"], a["shadow"]) for a in scanner.found.alerts.values()}


BASE = {"privileged": ("medium", False), "entered": ("low", False), "chain": ("high", False)}
PATCHES = {
    "a level": ([patch("privileged", level="low")], BASE | {"privileged": ("low", False)}),
    "a level by the id": (
        [patch("7DBE3A5B-1a25-51cb-83f9-93ad069b7361", level="low")],
        BASE | {"privileged": ("low", False)},
    ),
    "a level of a correlation": ([patch(["chain"], level="critical")], BASE | {"chain": ("critical", False)}),
    "off": ([patch("privileged", enabled=False)], {"entered": ("low", False)}),
    "off and on again": ([patch("privileged", enabled=False), patch("privileged", enabled=True)], BASE),
    "a correlation off": (
        [patch("chain", enabled=False)],
        {"privileged": ("medium", False), "entered": ("low", False)},
    ),
    "on trial": (
        [patch(["entered"], shadow=True)],
        {"privileged": ("medium", False), "entered": ("low", True)},
    ),
    "all on trial": (
        [patch(["privileged", "entered", "chain"], shadow=True)],
        {name: (level, True) for name, (level, _) in BASE.items()},
    ),
    "the last one holds": (
        [patch("privileged", level="critical", shadow=True), patch("privileged", level="low", shadow=False)],
        BASE | {"privileged": ("low", False)},
    ),
}


@pytest.mark.parametrize(("patches", "expected"), PATCHES.values(), ids=PATCHES)
def test_a_patch(folder, patches, expected):
    layers = [folder(f"over{n}", ours=text) for n, text in enumerate(patches)]
    assert told(load([folder("base")]), pod(), entered()) == BASE
    assert told(load([folder("base"), *layers]), pod(), entered()) == expected


@pytest.mark.parametrize(
    ("level", "event", "expected"),
    [
        ("low", EVIL, "medium"),
        ("high", EVIL, "critical"),
        ("critical", EVIL, "critical"),
        ("info", pod(), "informational"),
    ],
)
def test_what_moves_a_level_goes_with_it(folder, level, event, expected):
    loaded = load([folder("base"), folder("ours", p=patch("privileged", level=level))])
    assert told(loaded, event)["privileged"] == (expected, False)


def test_an_attempt_stays_informational(folder):
    loaded = load([folder("base"), folder("ours", p=patch("privileged", level="critical"))])
    refused = {**pod(), "responseStatus": {"code": 403}, "responseObject": None}
    assert told(loaded, refused)["privileged"] == ("informational", False)


def test_a_later_folder_replaces_by_name_and_by_id(folder):
    base = folder("base")
    by_name = folder("by_name", mine=PRIVILEGED.replace("level: medium", "level: low").replace("7dbe3a5b", "7dbe3a5c"))
    by_id = folder("by_id", other=PRIVILEGED.replace("level: medium", "level: critical"))
    loaded = load([base, by_name])
    assert told(loaded, pod(), entered()) == BASE | {"privileged": ("low", False)}
    assert {r.rule.origin for r in loaded.rules} == {"by_name/mine.yml", "base/entered.yml"}
    assert told(load([base, by_id]), pod())["privileged"] == ("critical", False)
    assert told(load([by_id, base]), pod())["privileged"] == ("medium", False)
    # within one folder a name is taken once
    folder("base", again=PRIVILEGED)
    assert "is taken by" in str(load([base]).problems[0])


def test_a_patch_speaks_of_what_stood_there_when_its_folder_was_read(folder):
    """A folder that brings the rule anew after it is not bound by it."""
    quiet, anew = folder("quiet", p=patch("privileged", enabled=False)), folder("anew", privileged=PRIVILEGED)
    assert "privileged" not in told(load([folder("base"), quiet]), pod())
    assert "privileged" in told(load([folder("base"), quiet, anew]), pod())


def test_filters_and_lists_of_a_later_folder(folder):
    ours = (
        "title: ours\nname: ours\nid: 8e0b7a52-2f6c-4a55-9a52-9d7a3c1f0b10\n"
        + HEAD
        + "filter:\n    rules: [privileged]\n"
        "    place: {objectRef.namespace: NAMESPACE, actor.name: alice}\n    condition: not place\n"
    )
    base = folder("base", ours=ours.replace("NAMESPACE", "shop"))
    assert "privileged" not in told(load([base]), pod())
    assert "privileged" in told(load([base, folder("late", other=ours.replace("NAMESPACE", "none"))]), pod())


def test_it_is_in_the_alerts(folder):
    scanner = Scanner(load([folder("base"), folder("ours", p=patch("privileged", level="low"))]))
    scanner.take([RawEvent(value=json.dumps(pod()).encode(), format="k8s-audit", cluster="prod")])
    (alert,) = scanner.found.alerts.values()
    assert alert["rule"]["origin"] == "base/privileged.yml + ours/p.yml"
    assert alert["rule"]["level"] == "low"


# --- for some clusters ------------------------------------------------------------------------------------------

ONLY = "clusters: [acme-*, 'gcp/*']\n"
EXTRA = f"title: extra\nname: extra\nlevel: low\n{HEAD}detection: {{a: {{verb: create}}, condition: a}}\n"
FILTER = (
    f"title: theirs\n{HEAD}filter:\n    rules: [privileged]\n"
    "    place: {objectRef.namespace: shop, actor.name: alice}\n    condition: not place\n"
)
WATCHED = """\
title: watched
name: watched
level: low
correlation:
    {type: event_count, rules: [entered], group-by: [actor.name], timespan: 1h, condition: {gte: 1}, generate: false}
"""
SCOPED = {
    "a level": ({"p": patch("privileged", level="low")}, {"privileged": ("low", False)}),
    "a level of a correlation": ({"p": patch("chain", level="low")}, {"chain": ("low", False)}),
    "off": ({"p": patch("privileged", enabled=False)}, {"privileged": None, "chain": None}),
    "a correlation off": ({"p": patch("chain", enabled=False)}, {"chain": None}),
    "on trial": ({"p": patch(["privileged"], shadow=True)}, {"privileged": ("medium", True), "chain": None}),
    "all on trial": (
        {"p": patch(["privileged", "entered", "chain"], shadow=True)},
        {name: (level, True) for name, (level, _) in BASE.items()},
    ),
    "another rule": ({"extra": EXTRA}, {"extra": ("low", False)}),
    "a filter": ({"theirs": FILTER}, {"privileged": None, "chain": None}),
    "a correlation": ({"watched": WATCHED}, {"watched": ("low", False)}),
}


@pytest.mark.parametrize(("files", "changes"), SCOPED.values(), ids=SCOPED)
def test_it_holds_for_its_clusters_alone(folder, files, changes):
    loaded = load([folder("base"), folder("theirs", overlay=ONLY, **files)])
    here = {k: v for k, v in (BASE | changes).items() if v is not None}
    assert told(loaded, pod(), entered(), cluster="acme-prod") == here
    assert told(loaded, pod(), entered(), cluster="other") == BASE


@pytest.mark.parametrize(("event", "expected"), [(pod(), "low"), (EVIL, "medium")])
def test_several_levels_for_a_cluster(folder, event, expected):
    first = folder("first", overlay=ONLY, p=patch("privileged", level="critical"))
    second = folder("second", overlay="clusters: [acme-prod]", p=patch("privileged", level="low"))
    loaded = load([folder("base"), first, second])
    assert told(loaded, event, cluster="acme-prod")["privileged"][0] == expected
    assert told(loaded, event, cluster="acme-test")["privileged"][0] == "critical"


def test_a_rule_that_is_on_in_one_place_only(folder):
    off, on = (
        folder("off", p=patch("privileged", enabled=False)),
        folder("on", overlay=ONLY, p=patch("privileged", enabled=True)),
    )
    loaded = load([folder("base"), off, on])
    assert "privileged" in told(loaded, pod(), cluster="acme-prod")
    assert "privileged" not in told(loaded, pod(), cluster="other")


def test_what_a_folder_for_some_clusters_cannot_do(folder):
    base = folder("base", l="values: [a]\n")
    theirs = folder("theirs", overlay=ONLY, privileged=PRIVILEGED, l="values: [b]\n", p=patch("nobody", level="low"))
    problems = [str(p) for p in load([base, theirs]).problems]
    assert len(problems) == 3
    assert any(
        "privileged is of base/privileged.yml: a folder for some clusters adds and patches" in p for p in problems
    )
    assert any("the list l is of an earlier folder" in p for p in problems)
    assert any("no such rule: nobody" in p for p in problems)


REGISTRY = """\
defaults: {tenant: others}
clusters:
    - {name: prod, tenant: acme}
    - {name: prod, account: "222", tenant: zeta}
    - {name: test, tenant: zeta}
"""
TENANTS = {
    "one": ("acme", {("prod", "111"): True, ("prod", "222"): False, ("test", "1"): False, ("x", "1"): False}),
    "the more exact entry holds": ("zeta", {("prod", "111"): False, ("prod", "222"): True, ("test", "1"): True}),
    "that of the rest": ("others", {("prod", "111"): False, ("test", "1"): False, ("x", "1"): True}),
}


@pytest.mark.parametrize(("tenant", "expected"), TENANTS.values(), ids=TENANTS)
def test_the_clusters_of_a_tenant(folder, tmp_path, tenant, expected):
    (tmp_path / "clusters.yaml").write_text(REGISTRY)
    clusters = load_clusters(tmp_path / "clusters.yaml")
    loaded = load([folder("base"), folder("t", overlay=f"tenants: [{tenant}]", extra=EXTRA)], clusters=clusters)
    for (name, account), holds in expected.items():
        scanner = Scanner(loaded, clusters)
        scanner.take([RawEvent(value=json.dumps(pod()).encode(), format="k8s-audit", cluster=name, account=account)])
        assert ("extra" in {a["rule"]["name"] for a in scanner.found.alerts.values()}) is holds, (name, account)


def test_a_tenant_that_nobody_has(folder):
    loaded = load(
        [folder("base"), folder("t", overlay="tenants: [acme]", extra=EXTRA, f=FILTER, p=patch("chain", enabled=False))]
    )
    (problem,) = loaded.problems
    assert (problem.fatal, "no cluster of the registry is of these tenants" in problem.reason) == (False, True)
    assert told(loaded, pod(), entered()) == BASE


# --- bad input, digests, reload ---------------------------------------------------------------------------------

BAD = {
    "an overlay that is none": ({"overlay": "[1]"}, "says clusters or tenants"),
    "an overlay of nothing": ({"overlay": "title: x"}, "says clusters or tenants"),
    "an overlay with more": ({"overlay": "clusters: [a]\ncluster: b"}, "says clusters or tenants"),
    "clusters that are no list": ({"overlay": "clusters: acme"}, "clusters: a list of names"),
    "an empty list": ({"overlay": "clusters: []"}, "clusters: a list of names"),
    "no YAML": ({"overlay": "clusters: [a"}, "not YAML"),
    "a patch of nothing": ({"p": patch("privileged")}, "says rules, and level, enabled or shadow"),
    "a patch of no rule": ({"p": patch([], level="low")}, "rules are names or ids"),
    "a patch that says more": ({"p": patch("privileged", colour="red")}, "says rules, and level"),
    "no such level": ({"p": patch("privileged", level="loud")}, "no such level: loud"),
    "no truth": ({"p": patch("privileged", shadow="yes")}, "shadow is true or false"),
    "no such rule": ({"p": patch(["privileged", "privilegde"], level="low")}, "no such rule: privilegde"),
}


@pytest.mark.parametrize(("files", "reason"), BAD.values(), ids=BAD)
def test_bad_input_is_named_and_the_rest_holds(folder, files, reason):
    loaded = load([folder("base"), folder("bad", **files)])
    (problem,) = loaded.problems
    assert problem.fatal
    assert reason in str(problem)
    assert "bad/" in str(problem) or problem.file == "p.yml"
    assert len(loaded.rules) == 2


def test_the_digest_covers_them(folder, tmp_path):
    base, over = folder("base"), folder("over", p=patch("chain", level="low"))
    digests = [load([base]).digest, load([base, over]).digest, load([over, base]).digest]
    folder("over", overlay="clusters: [a]")
    digests.append(load([base, over]).digest)
    folder("over", overlay="clusters: [b]")
    digests.append(load([base, over]).digest)
    folder("over", overlay="tenants: [acme]")
    for tenant in ("acme", "zeta"):
        (tmp_path / "clusters.yaml").write_text(f"clusters: [{{name: prod, tenant: {tenant}}}]")
        digests.append(load([base, over], clusters=load_clusters(tmp_path / "clusters.yaml")).digest)
    assert len(set(digests)) == len(digests)


def test_a_hot_reload_takes_a_patch_and_a_change_of_the_registry(folder, tmp_path):
    registry = tmp_path / "clusters.yaml"
    registry.write_text("clusters: [{name: prod, tenant: zeta}]")
    folders = [folder("base"), folder("over", overlay="tenants: [acme]", p=patch("privileged", level="critical"))]
    watch = RulesWatch(
        folders, load(folders, clusters=load_clusters(registry)), 0, sleep=lambda _s: None, registry=registry
    )
    watch.look()
    assert watch.take() is None
    registry.write_text("clusters: [{name: prod, tenant: acme}]")
    watch.look()
    assert told(watch.take(), pod())["privileged"] == ("critical", False)
    folder("over", p=patch("privileged", level="low"))
    watch.look()
    assert told(watch.take(), pod())["privileged"] == ("low", False)
    folder("over", p=patch("privileged", level="no"))
    watch.look()
    assert watch.take() is None


def test_the_list_says_where_a_rule_comes_from_and_how_it_stands(folder, capfd):
    ours = folder("ours", a=patch("entered", shadow=True), b=patch("privileged", enabled=False))
    assert main(["rules", "list", "-r", str(folder("base")), "-r", str(ours)]) == 0
    lines = {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}
    assert lines["entered"].endswith("entered (in shadow)  [base/entered.yml + ours/a.yml]")
    assert "(disabled)" in lines["privileged"]
    assert "without privileged, disabled; without entered, in shadow" in lines["chain"]


def test_the_word_for_what_comes_with_leadsman(tmp_path):
    assert folder_of("shipped").is_dir()
    assert (folder_of("shipped") / "kubernetes" / "privileged-container.yml").is_file()
    assert folder_of(str(tmp_path)) == tmp_path
