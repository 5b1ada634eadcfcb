"""known.cloud_identity: who may take a role, and what it was given, over an account and its clusters."""

from __future__ import annotations

import itertools

import pytest
from last_word import last_of

from leadsman_common.events import Flag
from leadsman_detector import cloud_identities
from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.state import MemoryState, Put

T0 = 1_700_000_000
ARN = "arn:aws:iam::111122223333:role/eks/app"
CART, WEB = "system:serviceaccount:shop:cart", "system:serviceaccount:shop:web"
RULE = """\
title: asks
name: asks
logsource: {category: cloud}
level: high
leadsman: {each: facts.cloud_grant.grants, levels: [{when: not linked, level: informational}]}
detection:
    given:
        facts.cloud_grant.grants.removed: false
        facts.cloud_grant.grants.identity|fieldref: known.cloud_identity.was_linked
    linked:
        facts.cloud_grant.grants.identity|fieldref: known.cloud_identity.linked
    condition: given
"""


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "asks.yml").write_text(RULE)
    found = load([tmp_path])
    assert not found.problems, [str(p) for p in found.problems]
    return found


@pytest.fixture
def call(make_event, record):
    """Give what makes a call to the account, in another region than the cluster's, or to the cluster."""

    def make(at, fact, form, *, cluster="", account="111122223333", **fields):
        place = f"aws/{account}/us-east-1/{cluster}"
        flag = Flag[f"HAS_{fact.upper()}"]
        event = make_event(
            name=f"{fact}{at}{fields}", at_s=T0 + at, cluster=place, facts={fact: record(form, **fields)}
        )
        event["action"], event["verb"] = f"aws:{fact}", ""
        event["flags"] |= int(flag | Flag.CLOUD_CALL)
        event["objectRef"] = record("ObjectRef")
        event["cluster"] = record("Cluster", id=place, name=cluster, provider="aws", account=account)
        event["cloud"] = record("Cloud", operation=fact)
        return event

    return make


@pytest.fixture
def grant(call, record):
    def make(at, policy="AdministratorAccess", via="attached", *, removed=False, identity="app", **more):
        given = record("CloudGrant", identity=identity, via=via, policy=policy, removed=removed)
        return call(at, "cloud_grant", "CloudGrantFacts", grants=[given], **more)

    return make


@pytest.fixture
def link(call):
    def make(at, *, via="oidc_trust", subjects=(CART,), removed=(), **more):
        given = {"via": via, "identity": ARN, "subjects": list(subjects), "removed": list(removed)}
        return call(at, "cloud_link", "CloudLinkFacts", **given, **more)

    return make


@pytest.fixture
def take(call):
    def make(at, account=CART, **more):
        given = {"service_account": account, "role_arn": ARN, "source": "irsa"}
        return call(at, "cloud_assume", "CloudAssumeFacts", **given, **more)

    return make


def arrive(rules, events, state=None):
    detector, state, raised = Detector(rules), state or MemoryState(), []
    for offset, event in enumerate(events):
        plan = detector.new_plan()
        if detector.route(event["action"], event["flags"]) is not None:
            detector.judge(plan, event, Where("audit.events", 0, offset))
            raised += state.settle(detector.evaluate(plan))
    return raised


@pytest.fixture
def told(grant, link, take):
    """Give what makes a story of (who, at, fields)."""
    makers = {"grant": grant, "link": link, "take": take}
    return lambda story: [makers[kind](at, **more) for kind, at, more in story]


GIVEN = ("grant", 9, {})
LINKED = ("link", 0, {})
GONE = {"subjects": (), "removed": (CART,)}
ANEW = {"policy": "", "via": "trust"}


@pytest.mark.parametrize(
    ("story", "raised"),
    [
        ([LINKED, GIVEN], 1),
        ([("take", 0, {}), GIVEN], 1),
        ([("link", 0, {"cluster": "harbour"}), GIVEN], 1),
        ([("link", 10, {}), GIVEN], 0),
        ([GIVEN], 0),
        ([LINKED, ("grant", 9, {"identity": "other"})], 0),
        ([LINKED, ("grant", 9, {"account": "444455556666"})], 0),
        ([LINKED, ("link", 1, {"subjects": (WEB,)}), ("link", 2, GONE), GIVEN], 1),
        ([LINKED, ("take", 1, {}), ("take", 2, {"account": WEB}), GIVEN], 1),
    ],
)
def test_what_is_linked_in_every_order(story, raised, rules, told):
    found = {frozenset(a["id"] for a in arrive(rules, order)) for order in itertools.permutations(told(story))}
    assert [len(ids) for ids in found] == [raised]


@pytest.mark.parametrize(
    ("story", "level"),
    [
        ([LINKED, ("link", 1, GONE), GIVEN], "informational"),
        ([LINKED, ("link", 1, GONE), ("link", 2, {}), GIVEN], "high"),
        ([("take", 0, {}), ("take", 2, {}), ("link", 1, GONE), GIVEN], "informational"),
        ([LINKED, ("take", 1, {}), ("grant", 2, {**ANEW, "removed": True}), GIVEN], "informational"),
        ([("link", 0, {"via": "pod_identity"}), ("grant", 1, {**ANEW, "removed": True}), GIVEN], "high"),
    ],
)
def test_what_was_linked_is_told_to_nobody_in_every_order(story, level, rules, told):
    """What takes a link away may come when the alert is told already: it does not unsay it, it takes its level."""
    for order in itertools.permutations(told(story)):
        assert [alert["level"] for alert in last_of(arrive(rules, order)).values()] == [level]


def test_an_event_that_comes_again_says_what_is_known_by_then(rules, told):
    """Its worker died, and before it came again the link was taken away, by a worker that died as well."""
    linked, gone, given = told([LINKED, ("link", 1, GONE), GIVEN])
    detector, state = Detector(rules), MemoryState()
    first = arrive(rules, [linked, given], state)
    plan = detector.new_plan()
    detector.judge(plan, gone, Where())
    state.exchange_now(next(detector.evaluate(plan)))
    again = arrive(rules, [given, gone], state)
    assert [a["level"] for a in last_of([*again, *first]).values()] == ["informational"]


def test_what_is_said_again_is_put_once(rules, take):
    detector, state = Detector(rules), MemoryState()

    def puts(event):
        plan = detector.new_plan()
        detector.judge(plan, event, Where())
        found = [r for r in plan.requests if isinstance(r, Put) and "cloud_identity" in r.group]
        state.settle(detector.evaluate(plan))
        return len(found)

    assert [puts(take(at)) for at in (0, 3600, 7200, 90_000)] == [1, 0, 0, 0]
    assert [puts(take(60, WEB)), puts(take(120, WEB))] == [1, 0]
    assert puts(take(-60)) == 1, "an earlier one is news"


@pytest.mark.parametrize(
    ("identity", "thing"),
    [
        (ARN, "aws/111122223333/app"),
        ("app", "aws/111122223333/app"),
        ("arn:aws:iam::1:user/bob", ""),
        ("projects/-/serviceAccounts/App@dock.iam.gserviceaccount.com", "gcp/dock/app@dock.iam.gserviceaccount.com"),
        ("1@cloudbuild.gserviceaccount.com", "gcp/cloudbuild.gserviceaccount.com/1@cloudbuild.gserviceaccount.com"),
        ("system:serviceaccount:shop:cart", ""),
        ("", ""),
    ],
)
def test_an_identity_goes_by_one_name(identity, thing, grant):
    assert cloud_identities.thing_of(grant(0), identity) == thing


def test_policies_that_it_still_has(grant, link):
    given = [grant(0), grant(1, "more", "inline"), grant(2, removed=True), grant(3, "more", "inline")]
    facts = [
        {"id": str(n), "t": n, **fact} for n, event in enumerate(given) for _, fact in cloud_identities.told(event, ())
    ]
    known = cloud_identities.known(link(9), facts)
    assert (known["policies"], known["linked"], known["service_accounts"]) == (["more"], [], [])
    assert (known["had_policies"], known["was_linked"]) == (["AdministratorAccess", "more"], [])
    assert cloud_identities.known(link(9), facts[2:3]) == {}
