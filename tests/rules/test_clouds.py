"""What holds of every rule on every cloud, whatever its cases say one by one.

The records of tests/fixtures/records, one of each rule on each cloud, fire alike. And every case that fires is turned:
refused by the authoriser it is an attempt at most, and as a dry run it is silent where a dry run stores nothing.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest

from leadsman_cli.cases import USUAL
from leadsman_cli.judge_cases import level_of, scanned
from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import LEVELS, level_at_least
from leadsman_normalizer.facts.kinds import may_be_custom

pytestmark = pytest.mark.slow

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
SLUGS = sorted(p.name for p in RECORDS.iterdir())
FILES = read_all(Path(__file__).parent, load_rules(()))[0]
# what an anonymous request asks for it gets, stored or not
ACTS_REGARDLESS = {"unauthenticated-request-allowed", "unauthenticated-exec"}
STREAMS = ("/exec", "/attach")
# neither a stored object nor a stream
ASIDE = ("/portforward", "/proxy", "/token", "/ephemeralcontainers")


def firing(slug):
    """Cases of one described request that fire at medium or above, with a cloud they do so on."""
    file = next(f for f in FILES if f.rule == slug)
    for case in file.cases:
        if case.request is None or case.records or case.request.verb not in ("create", "update", "patch", "get"):
            continue
        for cloud in case.on():
            wanted = case.wanted(cloud)
            if wanted in LEVELS and level_at_least(wanted, "medium"):
                yield file, case, cloud


def acts_regardless(slug, request):
    return slug in ACTS_REGARDLESS or request.resource.endswith(STREAMS)


def turned(file, case, cloud, **changes):
    """The level of a case whose request is changed."""
    other = msgspec.structs.replace(case, request=msgspec.structs.replace(case.request, **changes))
    found, _ = scanned(load_rules(()), file, other, cloud)
    assert not found.bad
    return level_of(found, file.rule)


def below_medium(level):
    return level == "none" or not level_at_least(level, "medium")


def test_there_is_a_record_of_each_rule_on_each_cloud():
    assert len(SLUGS) == 12
    assert [(s, c) for s in SLUGS for c in USUAL if not (RECORDS / s / f"{c}.json").is_file()] == []


@pytest.mark.parametrize("slug", SLUGS)
def test_fires_alike_on_every_cloud(slug):
    levels = {}
    for cloud in USUAL:
        scanner = Scanner(load_rules(()))
        data = (RECORDS / slug / f"{cloud}.json").read_bytes()
        scanner.take(read("record", io.BytesIO(data), "auto", Identity(), lambda _size: None))
        assert not scanner.found.bad
        assert json.loads(data)
        levels[cloud] = level_of(scanner.found, slug)
    assert len(set(levels.values())) == 1, levels
    assert level_at_least(levels["native"], "medium")


@pytest.mark.parametrize("slug", SLUGS)
def test_refused_it_is_an_attempt_at_most(slug):
    asked = list(firing(slug))
    loud = [
        (case.name, cloud)
        for file, case, cloud in asked
        if not below_medium(turned(file, case, cloud, decision="forbid", code=0, response=msgspec.UNSET))
    ]
    assert asked
    assert loud == []


@pytest.mark.parametrize("slug", SLUGS)
def test_a_dry_run_is_silent_where_nothing_is_stored_and_hides_nothing_else(slug):
    asked, wrong = 0, []
    for file, case, cloud in firing(slug):
        request = case.request
        # what serves a custom resource may do as it likes
        if request.resource.endswith(ASIDE) or may_be_custom(request.resource.partition(".")[2]):
            continue
        asked += 1
        level = turned(file, case, cloud, dry_run=True)
        hidden = level != turned(file, case, cloud) if acts_regardless(slug, request) else not below_medium(level)
        if hidden:
            wrong.append((case.name, cloud, level))
    assert asked
    assert wrong == []
