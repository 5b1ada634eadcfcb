"""Aggregated records of the Kinesis Producer Library, made here by the format's description."""

import gzip
import hashlib
import json

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_ingest_aws.aggregated import AGGREGATED, user_records
from leadsman_ingest_aws.envelope import split


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def sealed(message):
    return AGGREGATED + message + hashlib.md5(message, usedforsecurity=False).digest()


def aggregated(*datas):
    """Partition key table, then records: key index 0, hash key index 0, the data, a tag."""
    records = [
        field(3, varint(8) + varint(0) + varint(16) + varint(0) + field(3, data) + field(4, b"")) for data in datas
    ]
    return sealed(field(1, b"key") + field(2, b"123") + b"".join(records))


def document(message, **changes):
    value = {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "/aws/eks/harbour/cluster",
        "logStream": "kube-apiserver-audit-0123",
        "logEvents": [{"id": "1", "timestamp": 5, "message": message}],
    } | changes
    return json.dumps(value).encode()


def test_user_records():
    datas = [b"", b"one", b"x" * 70_000]
    assert list(user_records(aggregated(*datas))) == datas


def test_documents_within():
    record = aggregated(gzip.compress(document("a")), document("b"), gzip.compress(document("c") + document("d")))
    result = split(record)
    assert [event.value for event in result.events] == [b"a", b"b", b"c", b"d"]
    assert (result.invalid, result.newest_ms) == ("", {"harbour": 5})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (AGGREGATED, "checksum"),
        (AGGREGATED + b"x" * 40, "checksum"),
        (aggregated(b"x")[:-1], "checksum"),
        (sealed(b""), "holds none"),
        (sealed(field(1, b"key")), "holds none"),
        (sealed(b"\x1a\x7f"), "cut"),
        (sealed(b"\x80" * 20), "cut"),
        (sealed(b"\x1b"), "unknown kind"),
        (aggregated(aggregated(b"x")), "within another"),
    ],
)
def test_damaged(record, reason):
    with pytest.raises(InvalidEvent, match=reason):
        list(user_records(record))
    assert reason in split(record).invalid


def test_all_of_one_record_together_are_bounded():
    big = gzip.compress(document("x" * 600_000))
    result = split(aggregated(*[big] * 10), max_plain_bytes=1_000_000)
    assert len(result.events) == 1
    assert "bytes when unpacked" in result.invalid
