"""Levels, ids, times, and the one JSON form of an alert."""

import copy
import json

import pytest

from leadsman_common.alerts import LEVELS, alert_id, iso_time, level_at_least, level_rank, to_json
from leadsman_common.schemas import schemas_dir

EXAMPLE = json.loads((schemas_dir() / "examples" / "alerts" / "privileged-container.json").read_text(encoding="utf-8"))


def test_levels_are_in_order():
    assert [level_rank(level) for level in LEVELS] == [0, 1, 2, 3, 4]
    assert LEVELS == ("informational", "low", "medium", "high", "critical")


@pytest.mark.parametrize(
    ("level", "minimum", "expected"),
    [
        ("high", "high", True),
        ("critical", "high", True),
        ("medium", "high", False),
        ("informational", "info", True),
        ("info", "informational", True),
        ("info", "low", False),
    ],
)
def test_level_at_least(level, minimum, expected):
    assert level_at_least(level, minimum) is expected


@pytest.mark.parametrize("level", ["", "HIGH", "severe"])
def test_unknown_levels(level):
    with pytest.raises(ValueError, match="not in"):
        level_rank(level)


def test_an_id_holds_still():
    assert alert_id("rule", "cluster", "a", "b") == "61fcef661ce2545426596c0f78c61ae0"


def test_ids_differ_by_every_part():
    ids = [
        alert_id("rule", "cluster", "a", "b"),
        alert_id("rule2", "cluster", "a", "b"),
        alert_id("rule", "cluster2", "a", "b"),
        alert_id("rule", "cluster", "a"),
        alert_id("rule", "cluster", "ab"),
        alert_id("rule", "cluster", "b", "a"),
        alert_id("rule", "cluster", "", "a", "b"),
        alert_id("rule", "", "a", "b"),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(i.removeprefix("local-")) == 32 for i in ids)
    assert alert_id("rule", "cluster", "\ud800")


def test_an_id_without_a_cluster_is_local():
    assert alert_id("rule", "", "a").startswith("local-")
    assert not alert_id("rule", "c", "a").startswith("local-")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, ""),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1790001234567890, "2026-09-21T14:33:54.567890Z"),
        (1790001234000000, "2026-09-21T14:33:54.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (253402300799999999, "9999-12-31T23:59:59.999999Z"),
        (2**63 - 1, "9223372036854775807us"),
        (-(2**63), "-9223372036854775808us"),
    ],
)
def test_iso_time(micros, text):
    assert iso_time(micros) == text


def test_json_of_the_stream():
    before = copy.deepcopy(EXAMPLE)
    out = to_json(EXAMPLE)
    assert before == EXAMPLE
    assert list(out) == list(EXAMPLE)
    assert {k: v for k, v in out.items() if k not in ("time", "detected_time", "evidence")} == {
        k: v for k, v in EXAMPLE.items() if k not in ("time", "detected_time", "evidence")
    }
    assert out["time"] == "2026-09-21T14:33:54.567890Z"
    assert out["detected_time"] == "2026-09-21T14:33:57.767890Z"
    (item,) = out["evidence"]
    assert item["source"] == {"topic": "audit.events", "partition": 2, "offset": 1234}
    assert item["raw"] == EXAMPLE["evidence"][0]["source"]
    assert item["time"] == "2026-09-21T14:33:54.567890Z"
    assert not item.keys() & {"topic", "partition", "offset"}
    json.dumps(out)


def test_json_of_a_scan():
    alert = copy.deepcopy(EXAMPLE)
    alert["detected_time"] = 0
    alert["evidence"][0]["source"].update(file="audit.log", line=17, topic="", partition=0, offset=0)
    out = to_json(alert)
    assert out["detected_time"] == ""
    assert out["evidence"][0]["source"] == {"file": "audit.log", "line": 17}
