"""Envelopes taken apart: every event with its bytes untouched, and what is no envelope said."""

import json

import pytest

from leadsman_common.envelopes import audit_events, azure_records, cloudtrail_records, inside, text_of
from leadsman_common.errors import InvalidEvent

ONE, TWO = b'{"level":"Metadata",  "auditID":"a","x":"\\u00e9"}', b'{"auditID":"b","n":1e999}'
LIST = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%s]}'


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (LIST % (ONE + b" , " + TWO), [ONE, TWO]),
        (b"\n" + LIST % ONE + b"\n", [ONE]),
        (b'{"items":[' + ONE + b'],"kind":"EventList"}', [ONE]),
        (b'{"items":[' + ONE + b"]}", [ONE]),
        (LIST % b"", []),
        (b"[" + ONE + b",\n" + TWO + b"]", [ONE, TWO]),
        (ONE, [ONE]),
        (b"\xef\xbb\xbf" + ONE, [ONE]),
        (b'{"kind":1,"auditID":"a"}', [b'{"kind":1,"auditID":"a"}']),
        (
            json.dumps({"auditID": "a", "n": 1}, indent=1).encode(),
            [json.dumps({"auditID": "a", "n": 1}, indent=1).encode()],
        ),
        (ONE + b"\r\n\n" + TWO + b"\n", [ONE, TWO]),
        (ONE + b"\n" + TWO[:9], [ONE, TWO[:9]]),
        (ONE[:20], [ONE[:20]]),
    ],
    ids=[
        "EventList",
        "blanks around",
        "items first",
        "no kind",
        "an empty list",
        "an array",
        "one event",
        "a byte order mark",
        "a kind that is a number",
        "pretty-printed",
        "lines",
        "a half line is kept",
        "nothing but a half line",
    ],
)
def test_audit_events(body, events):
    assert audit_events(body) == events


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty body"),
        (b" \n", "an empty body"),
        (b"auditID=1", "no EventList, Event or JSON lines"),
        (LIST[:-1] % ONE, "no EventList, Event or JSON lines"),
        (b'{"kind":"EventList","items":{"a":1}}', "items are no list"),
        (b'{"kind":"EventList"}', "items are no list"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"kind":"EventList","items":[' + b'{"a":' * 100_000, "nested too deep"),
        (b"\xff\xfe{", "no EventList"),
    ],
    ids=["empty", "blank", "text", "cut short", "items a map", "no items", "deep", "deep list", "no UTF-8"],
)
def test_what_is_no_body_is_said(body, said):
    with pytest.raises(InvalidEvent) as raised:
        audit_events(body)
    assert said in raised.value.reason


def test_azure_records():
    assert azure_records(b'{"records":[' + ONE + b"," + TWO + b"]}") == [ONE, TWO]
    for wrong in (b"{}", b'{"records":{}}', b"[]", b"x", b'{"records":[' + b"[" * 100_000):
        with pytest.raises(InvalidEvent, match="no Event Hubs envelope"):
            azure_records(wrong)


def test_cloudtrail_records():
    assert cloudtrail_records(b'{"Records":[' + ONE + b"," + TWO + b"]}") == [ONE, TWO]
    assert cloudtrail_records(ONE) == [ONE]
    assert cloudtrail_records(b"cut {") == [b"cut {"]


@pytest.mark.parametrize(
    ("data", "field", "found"),
    [
        (b'{"log":' + ONE + b"}", "log", ONE),
        (json.dumps({"log": ONE.decode() + "\n"}).encode(), "log", ONE),
        (b'{"a":{"b":' + ONE + b"}}", "a.b", ONE),
        (b'{"message":"half {"}', "message", b"half {"),
    ],
    ids=["an object", "its text", "inside", "any text"],
)
def test_what_a_collector_wrapped(data, field, found):
    assert inside(data, field) == found


@pytest.mark.parametrize(
    "data", [b"{}", b'{"log":1}', b'{"log":null}', b'{"log":[]}', b"[]", b"x", b'{"log":"\\ud800"}']
)
def test_a_wrapper_that_is_none_is_said(data):
    with pytest.raises(InvalidEvent, match="field log"):
        inside(data, "log")


def test_a_text_field():
    assert text_of(b'{"a":{"b":"c"}}', "a.b") == "c"
    assert [text_of(d, "a") for d in (b"{}", b'{"a":1}', b"x", b'{"a":{}}')] == ["", "", "", ""]
