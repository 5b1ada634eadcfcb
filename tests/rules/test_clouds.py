"""Each of the twelve rules on each cloud: alike on the same action, silent where it was refused or dry."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import level_at_least

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
SLUGS = sorted(p.name for p in RECORDS.iterdir())
CLOUDS = ("native", "eks", "gke")
# what acts although nothing is stored: a dry run excuses none of these
ACTS_REGARDLESS = {
    "dangerous-container-command",
    "pod-attach",
    "unauthenticated-exec",
    "unauthenticated-request-allowed",
}


def load(slug, cloud):
    return json.loads((RECORDS / slug / f"{cloud}.json").read_text())


def alerts(record):
    scanner = Scanner(load_rules(()))
    scanner.take(read("record", io.BytesIO(json.dumps(record).encode()), "auto", Identity(), lambda _size: None))
    assert not scanner.found.bad
    return list(scanner.found.alerts.values())


def level_of(slug, record):
    return next((a["level"] for a in alerts(record) if a["rule"]["name"] == slug), None)


def refused(record, cloud):
    record = copy.deepcopy(record)
    if cloud == "gke":
        payload = record["protoPayload"]
        payload["status"] = {"code": 7, "message": "PERMISSION_DENIED"}
        payload["authorizationInfo"] = [{**i, "granted": False} for i in payload["authorizationInfo"]]
        payload.pop("response", None)
        record["labels"] = {**record.get("labels", {}), "authorization.k8s.io/decision": "forbid"}
    else:
        record["responseStatus"] = {"code": 403, "status": "Failure", "reason": "Forbidden"}
        record.pop("responseObject", None)
        record["annotations"]["authorization.k8s.io/decision"] = "forbid"
    return record


def dry(record, cloud):
    record = copy.deepcopy(record)
    if cloud == "gke":
        record["labels"] = {**record.get("labels", {}), "command.gke.io/dryRun": "All"}
    else:
        record["requestURI"] += ("&" if "?" in record["requestURI"] else "?") + "dryRun=All"
    return record


def test_there_is_a_record_of_each_rule_on_each_cloud():
    assert len(SLUGS) == 12
    assert [(s, c) for s in SLUGS for c in CLOUDS if not (RECORDS / s / f"{c}.json").is_file()] == []


@pytest.mark.parametrize("slug", SLUGS)
def test_fires_alike_on_every_cloud(slug):
    levels = {cloud: level_of(slug, load(slug, cloud)) for cloud in CLOUDS}
    assert None not in levels.values()
    assert len(set(levels.values())) == 1, levels
    assert level_at_least(levels["native"], "medium")


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("slug", SLUGS)
def test_refused_is_an_attempt_at_most(slug, cloud):
    level = level_of(slug, refused(load(slug, cloud), cloud))
    assert level is None or not level_at_least(level, "medium")


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("slug", SLUGS)
def test_a_dry_run_is_silent_unless_it_acts_regardless(slug, cloud):
    record = load(slug, cloud)
    level = level_of(slug, dry(record, cloud))
    exec_like = any(word in json.dumps(record) for word in ("/exec", "/attach", "pods.exec", "pods.attach"))
    if slug in ACTS_REGARDLESS and (exec_like or slug.startswith("unauthenticated")):
        assert level == level_of(slug, record)
    else:
        assert level is None or not level_at_least(level, "medium")
