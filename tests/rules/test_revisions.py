"""One alert for a rule and an object: what of its cases raises it again, and what says nothing more."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from leadsman_cli.cases import load_cases
from leadsman_cli.described import events_of
from leadsman_cli.envelopes import ENVELOPES
from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner

# (rule, case) -> how many of its events the alert tells
TOLD = {
    ("cluster-role-exec", "applied again unchanged"): 1,
    ("cluster-role-exec", "a dry run, then the real thing"): 1,
    ("cluster-role-exec", "the restriction is lifted"): 2,
    ("cluster-role-exec", "deleted and made again by another"): 2,
    ("privileged-cluster-role", "an upgrade that changes nothing"): 1,
    ("privileged-cluster-role", "more power is added to a role that was alerted on"): 2,
    ("privileged-cluster-role", "a binding applied again"): 1,
    ("privileged-cluster-role", "a subject is taken away"): 1,
    ("privileged-cluster-role", "one more subject on a binding that was alerted on"): 2,
    ("service-exposed", "applied again unchanged"): 1,
    ("service-exposed", "from NodePort to LoadBalancer is one step further"): 2,
    ("service-exposed", "an open service is led to a database"): 2,
}


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


@pytest.mark.parametrize("cloud", ["native", "eks", "gke"])
@pytest.mark.parametrize(("rule", "name"), TOLD)
def test_an_alert_is_raised_again_for_what_is_new(rules, rule, name, cloud):
    cases = load_cases(Path(__file__).parent / f"{rule}.yml").cases
    (case,) = (c for c in cases if c.name == name)
    scanner = Scanner(rules)
    data = ENVELOPES[cloud](events_of(case.name, case.steps)).data
    scanner.take(read("case", io.BytesIO(data), "auto", Identity(), lambda _size: None))
    (alert,) = (a for a in scanner.found.alerts.values() if a["rule"]["name"] == rule)
    assert len(alert["evidence"]) == TOLD[rule, name]
