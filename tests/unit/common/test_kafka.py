"""The pure parts of leadsman_common.kafka: dead letters and the cap on bad records."""

from importlib.metadata import version

import pytest
from confluent_kafka import KafkaException

from leadsman_common.errors import TooManyBadRecords
from leadsman_common.kafka import AckedProducer, BadRecordCap, DeadLetter, consumer, dead_letter


def bad(**changes):
    fields = {
        "topic": "t-raw.aws",
        "partition": 3,
        "offset": 42,
        "key": b"\x00key",
        "value": b"\xff\x00 untouched \n",
        "headers": [("format", b"eks-audit"), ("source-id", b"\xff")],
        "reason": "not JSON",
        "stage": "normalize",
    }
    return DeadLetter(**{**fields, **changes})


def test_a_dead_letter_is_the_record_and_why():
    out = dead_letter(bad())
    assert out.topic == "t-raw.aws.dlq"
    assert (out.key, out.value) == (b"\x00key", b"\xff\x00 untouched \n")
    assert list(out.headers) == [
        ("format", b"eks-audit"),
        ("source-id", b"\xff"),
        ("dlq-reason", b"not JSON"),
        ("dlq-stage", b"normalize"),
        ("dlq-topic", b"t-raw.aws"),
        ("dlq-partition", b"3"),
        ("dlq-offset", b"42"),
        ("dlq-version", version("leadsman-common").encode()),
    ]


def test_an_empty_record_stays_empty():
    out = dead_letter(bad(key=None, value=None, headers=()))
    assert out.key is None
    assert out.value is None


def test_a_second_death_replaces_the_headers_of_the_first():
    again = dead_letter(bad(headers=dead_letter(bad()).headers, reason="still not JSON"))
    names = [name for name, _ in again.headers]
    assert len(names) == len(set(names))
    assert dict(again.headers)["dlq-reason"] == b"still not JSON"
    assert dict(again.headers)["format"] == b"eks-audit"


@pytest.mark.parametrize(
    ("reason", "header"),
    [("x" * 5000, b"x" * 1024), ("Zoë", "Zoë".encode()), ("lone \ud800", b"lone ?"), ("", b"")],
)
def test_reasons(reason, header):
    assert dict(dead_letter(bad(reason=reason)).headers)["dlq-reason"] == header


def test_the_cap_counts_bad_records_in_a_row():
    cap = BadRecordCap(3)
    for _ in range(5):
        cap.bad("x")
        cap.bad("x")
        cap.good()
    cap.bad("x")
    cap.bad("x")
    with pytest.raises(TooManyBadRecords, match="3 bad records in a row, the last one: planted"):
        cap.bad("planted")


def test_a_cap_of_zero_is_none():
    cap = BadRecordCap(0)
    for _ in range(10_000):
        cap.bad("x")
    assert cap.in_a_row == 10_000


def test_the_operators_options_win():
    """A value that the client refuses is told of, and it is the operator's: ours would do."""
    with pytest.raises(KafkaException, match=r"queue\.buffering\.max\.ms"):
        AckedProducer("127.0.0.1:1", {"linger.ms": "soon"})  # as librdkafka also calls it
    with pytest.raises(KafkaException, match=r"session\.timeout\.ms"):
        consumer("127.0.0.1:1", "g", {"session.timeout.ms": "soon"})
