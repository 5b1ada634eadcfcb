"""The lives of an EKS, a GKE and an AKS cluster and of API servers, from secure to insecure and back: the regressions.

Exactly those that happened, once each: on one state after the other, in any order of the events, some of them twice,
with workers that begin anew. The records are those of the rules' cases.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from disorder import in_disorder

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_common.alerts import iso_time
from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState, settle
from leadsman_normalizer.normalize import normalize

RECORDS = Path(__file__).parents[1] / "rules" / "records"
# by life: rule without its prefix, setting, secure since, not any more since
LIVES = {
    "eks": [
        ("endpoint", "", "2025-01-10", "2025-03-01"),
        ("endpoint", "", "2025-04-02", "2026-06-01"),
        ("logging", "audit", "2025-01-10", "2025-09-01"),
        ("logging", "audit", "2025-09-02", "2026-02-01"),
        ("logging", "scheduler", "2025-01-10", "2026-02-01"),
        ("networks", "", "2025-03-01", "2025-04-01"),
        ("networks", "", "2025-06-01", "2026-06-01"),
    ],
    "gke": [
        ("anonymous", "", "2025-01-10", "2025-11-01"),
        ("basic-auth", "", "2025-01-10", "2025-05-01"),
        ("client-certificate", "", "2025-01-10", "2025-05-01"),
        ("data-access", "projects/example-shipyard", "2025-01-11", "2026-01-01"),
        ("endpoint", "", "2025-01-10", "2025-10-01"),
        ("legacy-abac", "", "2025-01-10", "2025-03-01"),
        ("legacy-abac", "", "2025-03-02", "2026-03-01"),
        ("network-policy", "", "2025-01-10", "2025-06-01"),
        ("networks", "", "2025-01-10", "2025-04-01"),
        ("release-channel", "", "2025-01-10", "2025-09-01"),
        ("secrets-encryption", "", "2025-01-10", "2025-08-01"),
        ("shielded-nodes", "", "2025-01-10", "2025-07-01"),
    ],
    "aks": [
        ("endpoint", "", "2025-08-01", "2025-08-02"),
        ("local-accounts", "", "2025-01-10", "2025-04-01"),
        ("logging", "SIEM, kube-audit", "2025-01-10", "2025-07-01"),
        ("networks", "", "2025-01-10", "2025-03-01"),
        ("release-channel", "", "2025-01-10", "2025-06-01"),
        ("secrets-encryption", "", "2025-01-10", "2025-05-01"),
    ],
    "flags": [
        ("flag", "anonymous-auth", "2026-01-10", "2026-02-10"),
        ("flag", "anonymous-auth", "2026-02-11", "2026-04-10"),
        ("flag", "audit-policy-file", "2026-01-10", "2026-03-10"),
        ("flag", "authorization-mode", "2026-01-10", "2026-03-10"),
        ("flag", "disable-admission-plugins", "2026-01-10", "2026-04-10"),
        ("flag", "enable-admission-plugins", "2026-01-10", "2026-03-10"),
        ("flag", "encryption-provider-config", "2026-01-10", "2026-04-10"),
        ("flag", "profiling", "2026-01-10", "2026-04-10"),
    ],
}


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def opened(request):
    """Give what opens the state: the same one each time, as a worker that starts again finds it."""
    if request.param == "memory":
        state = MemoryState()
        return lambda: state
    from leadsman_detector.state_redis import RedisState, connect

    url = request.getfixturevalue("redis_url")
    return lambda: RedisState(connect(url), "lives:")


def events_of(life):
    with (RECORDS / f"posture-{life}.json").open("rb") as stream:
        return [normalize(raw) for raw in read("life", stream, "auto", Identity(), lambda _size: None)]


def judged(rules, opened, batches, restart):
    """The alerts of batches, by id their last form; a worker that starts anew after so many of them."""

    async def run():
        detector, state, kept = None, None, {}
        for n, batch in enumerate(batches):
            if n % restart == 0:
                detector = Detector(rules, posture=True)
                if hasattr(state, "close"):
                    await state.close()
                state = opened()
            plan = Plan()
            for event in batch:
                detector.judge(plan, event, Where("audit.events", 0, n))
            for alert in await settle(detector.evaluate(plan), state.exchange):
                if alert["revision"] >= kept.get(alert["id"], alert)["revision"]:
                    kept[alert["id"]] = alert
        if hasattr(state, "close"):
            await state.close()
        return kept

    return asyncio.run(run())


def regressions(alerts):
    """Rule, setting, since when secure and since when not, of those that are regressions."""
    found = []
    for alert in alerts.values():
        _, prefix, rule = alert["rule"]["name"].rpartition("posture-regression-")
        if prefix:
            setting = alert["title"].partition(", secure since")[0].rpartition(" (")[2].rstrip(")")
            days = [iso_time(e["time"])[:10] for e in alert["evidence"]]
            found.append((rule, setting if alert["title"].count(" (") else "", *days))
    return sorted(found)


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("seed", range(4))
def test_exactly_the_regressions_that_happened(rules, opened, life, seed):
    events, chance = events_of(f"life-{life}"), random.Random(seed)  # noqa: S311 - to shuffle
    batches = in_disorder(events, chance, twice=0.2, largest=9) if seed else [[event] for event in events]
    alerts = judged(rules, opened, batches, chance.randint(1, 4) if seed else 1000)
    assert regressions(alerts) == LIVES[life]


@pytest.mark.parametrize("life", LIVES)
def test_what_was_never_secure_does_not_regress(rules, life):
    state = MemoryState()
    assert regressions(judged(rules, lambda: state, [[e] for e in events_of(f"open-{life}")], 1)) == []


@pytest.mark.parametrize("life", LIVES)
def test_the_ids_are_the_same_in_any_order(rules, life):
    events, found = events_of(f"life-{life}"), []
    for seed in range(3):
        state, chance = MemoryState(), random.Random(seed)  # noqa: S311 - to shuffle
        alerts = judged(rules, lambda kept=state: kept, in_disorder(events, chance, twice=0.2, largest=9), 2)
        told = {k: a for k, a in alerts.items() if a["rule"]["name"].startswith("posture-regression-")}
        found.append({k: (a["level"], a["title"], a["revision"]) for k, a in told.items()})
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(LIVES[life])
