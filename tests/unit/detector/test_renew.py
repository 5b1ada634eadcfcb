"""Which records of the topic `state` are written again, and as what."""

from __future__ import annotations

import pytest

from leadsman_common.schemas import schemas_dir
from leadsman_common.topics import load
from leadsman_detector.renew import AFTER_MS, RETENTION_MS, Renewal
from leadsman_detector.runner import Record
from leadsman_detector.state import DAY_MS, Put
from leadsman_detector.state_topic import outgoing, put_of
from leadsman_detector.statements import EVER_MS

NOW_MS = 1_800_000_000_000


def put(ttl_ms, member=b"value", keep="latest"):
    return Put("posture/flag/heads", "c", NOW_MS - 50 * DAY_MS, member, ttl_ms, 10, "posture/flag", keep, b"id")


def record(kept, age_ms, value=True):
    out = outgoing("state", kept)
    return Record("state", 0, 0, out.key, out.value if value is True else value, (), NOW_MS - age_ms)


def due(*records):
    renewal = Renewal("state", NOW_MS)
    renewal.see(records[:1])
    renewal.see(records[1:])
    return renewal.due()


LASTING = put(EVER_MS)


@pytest.mark.parametrize(
    ("records", "count"),
    {
        "a statement of 30 days": ([record(LASTING, AFTER_MS)], 1),
        "a younger one": ([record(LASTING, AFTER_MS - 1)], 0),
        "what the retention outlives anyway": ([record(put(RETENTION_MS), AFTER_MS)], 0),
        "what just outlives it": ([record(put(RETENTION_MS + 1), AFTER_MS)], 1),
        "what has expired": ([record(put(40 * DAY_MS), 41 * DAY_MS)], 0),
        "what was written again since": ([record(LASTING, AFTER_MS), record(LASTING, DAY_MS)], 0),
        "what was taken away since": ([record(LASTING, AFTER_MS), record(LASTING, DAY_MS, value=None)], 0),
        "both of two": ([record(LASTING, AFTER_MS), record(put(EVER_MS, keep="last"), AFTER_MS)], 2),
        "what another release wrote": ([record(LASTING, AFTER_MS, value=b"\x91\x09")], 0),
    }.values(),
    ids=str,
)
def test_what_is_due(records, count):
    assert len(due(*records)) == count


@pytest.mark.parametrize("keep", ["latest", "earliest", "last"])
def test_it_is_the_same_record_that_ends_at_the_same_time(keep):
    kept = put(EVER_MS, keep=keep)
    (again,) = due(record(kept, AFTER_MS))
    assert again.key == outgoing("state", kept).key
    later_ms = NOW_MS + 20 * DAY_MS
    assert put_of(again.value, NOW_MS, later_ms) == put_of(outgoing("state", kept).value, NOW_MS - AFTER_MS, later_ms)
    assert put_of(again.value, NOW_MS, NOW_MS - AFTER_MS + EVER_MS) is None


def test_a_statement_stays_on_the_topic_for_as_long_as_it_holds():
    """Renewed once a day, and read after years: never older than the retention."""
    written_ms, value = 0, outgoing("state", put(EVER_MS)).value
    for day in range(EVER_MS // DAY_MS):
        renewal = Renewal("state", day * DAY_MS)
        renewal.see([Record("state", 0, 0, b"k", value, (), written_ms)])
        for again in renewal.due():
            written_ms, value = day * DAY_MS, again.value
        assert day * DAY_MS - written_ms <= AFTER_MS or EVER_MS - day * DAY_MS <= RETENTION_MS
        assert put_of(value, written_ms, day * DAY_MS) is not None
    assert put_of(value, written_ms, EVER_MS) is None


def test_the_retention_is_the_topics_own():
    assert load(schemas_dir() / "topics")["state"].retention_ms == RETENTION_MS
