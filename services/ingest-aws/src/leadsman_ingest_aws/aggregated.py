"""Aggregated records of the Kinesis Producer Library: several user records in one record of the stream.

https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md: a magic number, a protobuf message
AggregatedRecord, and its MD5. Of the message only the data of its records matters here, so it is read by hand: field 3
is a record, and of a record field 3 is the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from leadsman_common.errors import InvalidEvent

AGGREGATED = b"\xf3\x89\x9a\xc2"
_MD5_BYTES = 16


def user_records(data: bytes) -> Iterator[bytes]:
    """Yield the data of each user record, in order. Raises InvalidEvent for a record that is damaged or holds none."""
    message, digest = data[len(AGGREGATED) : -_MD5_BYTES], data[-_MD5_BYTES:]
    # the format's own checksum, no matter of security
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        raise InvalidEvent("an aggregated record whose checksum does not hold")
    found = False
    for record in _fields(message, 3):
        for user_data in _fields(record, 3):
            if user_data.startswith(AGGREGATED):
                raise InvalidEvent("an aggregated record within another")
            found = True
            yield user_data
    if not found:
        raise InvalidEvent("an aggregated record that holds none")


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yield the bytes of each field of that number; others are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                if at + size > len(message):
                    raise InvalidEvent("an aggregated record that is cut")
                if tag >> 3 == wanted:
                    yield message[at : at + size]
                at += size
            case 5:
                at += 4
            case kind:
                raise InvalidEvent(f"an aggregated record with a field of the unknown kind {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise InvalidEvent("an aggregated record that is cut")
