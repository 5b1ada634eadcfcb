"""Each of the correlations K1 to K24 has a case of every kind that can go wrong with it; what has none says why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leadsman_cli.cases import load_cases
from leadsman_common.alerts import level_at_least
from leadsman_detector.rules import default_rules_dir, read

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "rules.md"
FILES = read([default_rules_dir()])
NAMES = {item.name for item in (*FILES.rules, *FILES.correlations)}
KS = {
    "K1": ["exec-by-new-role"], "K2": ["self-bound-then-used"], "K3": ["anonymous-then-action"],
    "K4": ["anonymous-binding-used"], "K5": ["secret-harvest"], "K6": ["refused-then-allowed"],
    "K7": ["permission-probing", "permission-trial"], "K8": ["dangerous-pod-entered"],
    "K9": ["dangerous-object-removed", "dangerous-then-events-deleted"],
    "K10": ["cluster-access-used"], "K11": ["aws-auth-access-used"],
    "K12": ["service-account-outside"], "K13": ["credential-in-two-places"], "K14": ["minted-token-used"],
    "K15": ["certificate-used"], "K16": ["logging-off-then-action", "account-logging-off-then-action"],
    "K17": ["webhook-then-mutated", "webhook-then-injected"], "K18": ["kubelet-by-new-role"], "K19": ["cloud-pivot"],
    "K20": ["recon-sweep"], "K21": ["new-actor-on-nodes"], "K22": ["destruction-burst"],
    "K23": ["impersonated-then-action"], "K24": ["dormant-then-action"],
}  # fmt: skip
SLUGS = [slug for slugs in KS.values() for slug in slugs]
CASES = {slug: {case.name: case for case in load_cases(HERE / f"{slug}.yml").cases} for slug in SLUGS}

# what the case of a kind is called where it is not called otherwise
USUALLY = {
    "wrong order": r"\bbefore$|came before|came first, and late|afterwards",
    "a second outside": r"\ba second\b",
    "another cluster": r"cluster",
    "through a group": r"\bgroups?\b",
    "late": r"order of arrival|arrives? (first|last)|comes? (after|last)",
    "twice": r"delivered|twice",
    "interleaved": r"\btwo\b",
}
# no order in what is counted or must only come together
NO_ORDER = "what counts comes in any order"
BY_NAME = "it is joined by the actor's own name; groups take no part in it"
CALLED = {
    ("permission-probing", "late"): "in any order of arrival",
    ("aws-auth-access-used", "interleaved"): "two identities, interleaved, of whom each is one half",
    ("cloud-pivot", "twice"): "the cluster's log comes last, and all twice",
    ("cloud-pivot", "a second outside"): "the last call a second late",
    ("cloud-pivot", "interleaved"): "two accounts, interleaved, of which each is one half",
    ("secret-harvest", "interleaved"): "two actors, five each",
    ("secret-harvest", "another cluster"): "two clusters with the same names, five each",
    ("impersonated-then-action", "through a group"): "a group of the system",
    ("impersonated-then-action", "interleaved"): "two actors, interleaved, of whom each does one half",
    ("self-bound-then-used", "through a group"): "one of their groups",
    ("anonymous-binding-used", "through a group"): "bound to the group",
    ("dangerous-pod-entered", "interleaved"): "two pods of two people, each enters the harmless one",
    ("new-actor-on-nodes", "a second outside"): "who did so before, though not in two weeks",
    ("new-actor-on-nodes", "wrong order"): "who did so before",
    ("service-account-outside", "a second outside"): "seen a fortnight and more ago",
    ("service-account-outside", "wrong order"): "the address came first, and late",
    ("certificate-used", "a second outside"): "a week and a second later",
    ("certificate-used", "another cluster"): "another cluster with the same names",
    ("account-logging-off-then-action", "another cluster"): "another project",
    ("credential-in-two-places", "twice"): "outside first, in any order of arrival, delivered again",
    ("exec-by-new-role", "through a group"): "a member of the bound group",
    ("exec-by-new-role", "a second outside"): "a day and a second after the binding",
    ("exec-by-new-role", "wrong order"): "the exec came before",
    ("dangerous-object-removed", "wrong order"): "removed before it was made anew",
}
NONE = {
    **{(slug, "wrong order"): NO_ORDER for slug in (
        "secret-harvest", "permission-probing", "permission-trial", "credential-in-two-places", "recon-sweep",
        "destruction-burst", "impersonated-then-action",
    )},
    ("dormant-then-action", "wrong order"): "back at all is what counts: the action may be what brings them back",
    **{(slug, "through a group"): BY_NAME for slug in SLUGS if slug not in (
        "exec-by-new-role", "self-bound-then-used", "anonymous-binding-used", "kubelet-by-new-role",
        "impersonated-then-action",
    )},
    ("cloud-pivot", "another cluster"): "the calls of the cloud's API name an access key, not a cluster",
}  # fmt: skip


def found(slug, kind):
    """The case of a kind; its name stands in CALLED or is the usual one."""
    if (slug, kind) in CALLED:
        return CASES[slug][CALLED[slug, kind]]
    named = [case for name, case in CASES[slug].items() if re.search(USUALLY[kind], name)]
    fitting = [case for case in named if FITS[kind](case)]
    assert fitting, f"{slug} has no case: {kind}"
    return fitting[0]


def fires(case):
    return any(case.wanted(c) != "none" and level_at_least(case.wanted(c), "medium") for c in case.on())


def silent(case):
    return all(case.wanted(cloud) == "none" for cloud in case.on())


def times(case):
    at, out = 0.0, []
    for n, step in enumerate(case.steps):
        at = step.at if step.at is not None else (at + 10 if n else 0.0)
        out.append(at)
    return out


def is_late(case):
    return fires(case) and (bool(case.after) or times(case) != sorted(times(case)) or "comes last" in case.name)


def is_twice(case):
    repeated = any(step.again for step in case.steps) or any("twice" in file for file in files(case))
    return repeated and (case.alerts == 1 or silent(case))


def files(case):
    return [*case.before.values(), *case.after.values(), *case.records.values()]


def is_elsewhere(case):
    return silent(case) and (any(step.cluster for step in case.steps) or any("other" in file for file in files(case)))


def is_of_two(case):
    """Of two actors, or of two things where the story is about these."""
    parts = {str((s.user, s.name, s.source_ip, s.as_, s.cluster)) for s in case.steps}
    return len(parts) + len(files(case)) > 1


FITS = {
    "wrong order": silent,
    "a second outside": silent,
    "another cluster": is_elsewhere,
    "through a group": fires,
    "late": is_late,
    "twice": is_twice,
    "interleaved": is_of_two,
}


@pytest.mark.parametrize("slug", SLUGS)
def test_in_order_it_fires_and_the_documentation_has_it(slug):
    assert slug in NAMES
    assert any(fires(case) and times(case) == sorted(times(case)) and not case.after for case in CASES[slug].values())
    assert f"## {slug}\n" in DOCS.read_text()


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("slug", SLUGS)
def test_it_has_a_case_of_each_kind(slug, kind):
    if (slug, kind) in NONE:
        assert (slug, kind) not in CALLED
        return
    case = found(slug, kind)
    seen_before = (slug, kind) in CALLED and slug in ("new-actor-on-nodes", "service-account-outside")
    assert seen_before or FITS[kind](case), case.name
    if kind == "interleaved":
        assert silent(case) or fires(case)


def test_all_of_them_are_there_and_no_exception_is_left_over():
    assert list(KS) == [f"K{n}" for n in range(1, 25)]
    for slug, kind in (*NONE, *CALLED):
        assert slug in SLUGS
        assert kind in FITS
    for (slug, _), name in CALLED.items():
        assert name in CASES[slug]
