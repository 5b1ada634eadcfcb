"""A Pub/Sub message is one LogEntry, passed on as it came."""

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_ingest_gcp.envelope import MAX_VALUE_BYTES, split


@pytest.mark.parametrize(
    "data",
    [
        b'{"logName": "projects/p/logs/x",\n "labels": {}}',
        '{"é": 1}'.encode(),
        b"\xff\x00 no JSON",
        b"x" * MAX_VALUE_BYTES,
    ],
    ids=["JSON", "UTF-8", "bytes", "as large as may be"],
)
def test_the_value_is_untouched(data):
    event = split(data, "1234567890", 5)
    assert event.value is data
    assert {name: value.decode() for name, value in event.headers()} == {
        "format": "gke-logentry",
        "provider": "gcp",
        "source-id": "1234567890",
        "received-ms": "5",
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "without data"), (b"x" * (MAX_VALUE_BYTES + 1), "more than the")],
    ids=["empty", "too large"],
)
def test_bad_messages(data, reason):
    with pytest.raises(InvalidEvent, match=reason):
        split(data, "1", 0)
