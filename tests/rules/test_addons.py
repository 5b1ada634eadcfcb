"""Add-ons and a week of work, recorded from a real API server (tests/real): nothing but what left.yml argues."""

from __future__ import annotations

import json

import addons
import pytest
import recordings


@pytest.fixture(scope="module")
def lines():
    return recordings.lines_of(addons.RECORDED)


@pytest.fixture(scope="module")
def found(lines):
    return recordings.scanned(lines)


def test_add_ons_raise_nothing(found):
    assert addons.loud(found) == addons.left()


def test_what_stays_at_low_is_listed(found):
    assert addons.soft(found) == addons.low()


def test_applying_again_says_nothing(lines, found):
    """What the GitOps controller applies again, when every object is known already."""
    first = {e["auditID"] for e in map(json.loads, lines) if e["user"]["username"] == "kubernetes-admin"}
    again = [
        (a["title"], item["actor"])
        for a in found.above("low")
        for item in a["evidence"]
        if item["audit_id"] not in first and item["actor"].startswith("system:serviceaccount:argocd:")
    ]
    assert again == []


def test_every_add_on_is_in_the_recording(lines):
    text = b"\n".join(lines).decode()
    assert len(addons.folders()) >= 16
    for folder in addons.folders():
        assert (folder / "v1" / "all.yaml").read_text() != (folder / "v2" / "all.yaml").read_text()
        names = {line.strip() for line in (folder / "v2" / "all.yaml").read_text().splitlines() if "image: " in line}
        missing = [name for name in names if name.partition("image: ")[2].strip("'\"") not in text]
        assert missing == [], folder.name


def test_a_week_of_work_raises_nothing():
    recorded = addons.HERE.parent / "everyday" / "recorded.ndjson.gz"
    found = recordings.scanned(recordings.lines_of(recorded))
    assert found.records > 500
    assert [(a["level"], a["title"]) for a in found.above("low")] == []
