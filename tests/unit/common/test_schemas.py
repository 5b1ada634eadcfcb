"""schemas/avro against the TypedDicts, the examples, and what the codec makes of good and of broken bytes."""

import contextlib
import copy
import json
import types
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadsman_common import alerts, events
from leadsman_common.avro import (
    HEADER_BYTES,
    Codec,
    alert_codec,
    audit_event_codec,
    read_routing,
    routing_slice,
)
from leadsman_common.errors import InvalidEvent
from leadsman_common.schemas import load_avsc, records_of, schemas_dir

SCHEMAS = {"audit-event": events.AuditEvent, "alert": alerts.Alert}
TOPIC_OF = {"audit-event": "audit.events", "alert": "alerts"}
CODECS = {"audit-event": audit_event_codec(), "alert": alert_codec()}
PRIMITIVES = {"string": str, "int": int, "long": int, "boolean": bool}
LOOSE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


RECORDS = {name: records_of(load_avsc(name)) for name in SCHEMAS}
ALL_RECORDS = [(name, record) for name, records in RECORDS.items() for record in records]
ALL_FIELDS = [
    (name, record, field["name"])
    for name, records in RECORDS.items()
    for record, schema in records.items()
    for field in schema["fields"]
]


def type_of(schema):
    """The Python type that a schema asks for; records by their name."""
    if isinstance(schema, str):
        return PRIMITIVES.get(schema, schema)
    if isinstance(schema, list):
        first, branch = schema
        assert first == "null", "the default of a nullable field is null, so null comes first"
        return ("nullable", type_of(branch))
    if schema["type"] == "array":
        return ("list", type_of(schema["items"]))
    if schema["type"] == "map":
        return ("dict", type_of(schema["values"]))
    return schema["name"]


def shape_of(hint):
    """The same of a type hint."""
    origin = typing.get_origin(hint)
    if origin is list:
        return ("list", shape_of(typing.get_args(hint)[0]))
    if origin is dict:
        key, value = typing.get_args(hint)
        assert key is str
        return ("dict", shape_of(value))
    if origin in (types.UnionType, typing.Union):
        (inner,) = (a for a in typing.get_args(hint) if a is not type(None))
        return ("nullable", shape_of(inner))
    return hint.__name__ if typing.is_typeddict(hint) else hint


def typed_dict(record):
    return getattr(alerts, record, None) or getattr(events, record)


def hints_of(record):
    return typing.get_type_hints(typed_dict(record), localns=vars(events))


@pytest.mark.parametrize(("name", "record"), ALL_RECORDS)
def test_typed_dict_agrees_with_schema(name, record):
    wanted = [(f["name"], type_of(f["type"])) for f in RECORDS[name][record]["fields"]]
    assert typing.is_typeddict(typed_dict(record))
    assert typed_dict(record).__total__
    assert [(key, shape_of(hint)) for key, hint in hints_of(record).items()] == wanted


def test_every_typed_dict_is_in_a_schema():
    ours = {k for module in (alerts, events) for k, v in vars(module).items() if typing.is_typeddict(v)}
    assert ours == {record for _, record in ALL_RECORDS}


def test_records_that_both_schemas_hold_are_the_same():
    for record in RECORDS["audit-event"].keys() & RECORDS["alert"].keys():
        assert RECORDS["audit-event"][record] == RECORDS["alert"][record]


@pytest.mark.parametrize(("name", "record", "field"), ALL_FIELDS)
def test_field_has_doc_and_fitting_default(name, record, field):
    (found,) = (f for f in RECORDS[name][record]["fields"] if f["name"] == field)
    assert found["doc"].strip()
    assert set(found) == {"name", "type", "doc", "default"}
    empty = {"string": "", "boolean": False, "int": 0, "long": 0}
    kind = found["type"]
    if isinstance(kind, str) and kind in empty:
        expected = -1 if (record, field) == ("Outcome", "grpc") else empty[kind]  # 0 is gRPC's OK
        assert found["default"] == expected
        assert type(found["default"]) is type(expected)
    elif isinstance(kind, list):
        assert found["default"] is None
    elif isinstance(kind, dict) and kind["type"] in ("array", "map"):
        assert found["default"] == ([] if kind["type"] == "array" else {})
    else:
        inner = RECORDS[name][kind if isinstance(kind, str) else kind["name"]]
        assert found["default"] == {f["name"]: f["default"] for f in inner["fields"]}


@pytest.mark.parametrize(("name", "record"), ALL_RECORDS)
def test_record_has_doc(name, record):
    assert RECORDS[name][record]["doc"].strip()


def test_action_and_flags_come_first():
    assert [(f["name"], f["type"]) for f in load_avsc("audit-event")["fields"][:2]] == [
        ("action", "string"),
        ("flags", "long"),
    ]


# --- records out of the schema ---------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = {
    "string": TEXT,
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
}


def values(schema, records):
    """Records that fit a schema, written from the schema alone."""
    if isinstance(schema, str):
        return VALUES[schema] if schema in VALUES else values(records[schema], records)
    if isinstance(schema, list):
        return st.none() | values(schema[1], records)
    if schema["type"] == "array":
        return st.lists(values(schema["items"], records), max_size=2)
    if schema["type"] == "map":
        return st.dictionaries(TEXT, values(schema["values"], records), max_size=2)
    return st.fixed_dictionaries({f["name"]: values(f["type"], records) for f in schema["fields"]})


RANDOM = {name: values(load_avsc(name), RECORDS[name]) for name in SCHEMAS}


@pytest.mark.parametrize("name", SCHEMAS)
@LOOSE
@given(data=st.data())
def test_round_trip(name, data):
    record = data.draw(RANDOM[name])
    before = copy.deepcopy(record)
    encoded = CODECS[name].encode(record)
    assert CODECS[name].decode(encoded) == before
    assert record == before  # encoding changes nothing in place


FLAGS = st.integers(0, 2**63 - 1)  # a bit set is never negative


@pytest.mark.parametrize("name", SCHEMAS)
@LOOSE
@given(data=st.data())
def test_our_writer_writes_what_fastavro_does(name, data):
    record, codec = data.draw(RANDOM[name]), CODECS[name]
    assert codec._write(record) == codec._write_slowly(record)


@pytest.mark.parametrize("name", SCHEMAS)
@LOOSE
@given(data=st.data())
def test_our_reader_reads_what_fastavro_does(name, data):
    codec = CODECS[name]
    body = codec.body(data.draw(RANDOM[name]))
    assert repr(codec._read(body, 0)) == repr((codec._read_slowly(body, 0, codec.schema), len(body)))
    broken = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        record, end = codec._read(bytes(broken), 0)
    except (IndexError, ValueError):
        return  # it is fastavro's to say what is wrong
    if end == len(broken):
        assert repr(record) == repr(codec._read_slowly(bytes(broken), 0, codec.schema))


@LOOSE
@given(event=RANDOM["audit-event"], flags=FLAGS)
def test_routing_slice_agrees_with_decode(event, flags):
    event["flags"] = flags
    encoded = audit_event_codec().encode(event)
    routing = routing_slice(encoded)
    assert routing is not None
    assert read_routing(routing) == (event["action"], event["flags"])
    decoded = audit_event_codec().decode(encoded)
    assert (decoded["action"], decoded["flags"]) == read_routing(routing)


@given(
    one=st.tuples(TEXT, FLAGS),
    other=st.tuples(TEXT, FLAGS),
)
def test_slices_are_equal_exactly_where_the_fields_are(one, other):
    example = example_of("audit-event")
    slices = [
        routing_slice(audit_event_codec().encode({**example, "action": a, "flags": f})) for a, f in (one, other, one)
    ]
    assert (slices[0] == slices[1]) == (one == other)
    assert slices[0] == slices[2]


def example_of(name):
    (file,) = sorted((schemas_dir() / "examples" / TOPIC_OF[name]).glob("*.json"))[:1]
    return json.loads(file.read_text(encoding="utf-8"))


# --- broken bytes ----------------------------------------------------------------------------------------------


def decode_or_invalid(name, data):
    """Decode; the only thing that may be raised is InvalidEvent."""
    with contextlib.suppress(InvalidEvent):
        CODECS[name].decode(data)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_cut_is_invalid(name):
    encoded = CODECS[name].encode(example_of(name))
    for size in range(len(encoded)):
        with pytest.raises(InvalidEvent):
            CODECS[name].decode(encoded[:size])
        if name == "audit-event":
            routing_slice(encoded[:size])  # None or a slice, never an exception


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("tail", [b"\0", b"x" * 100])
def test_bytes_after_the_record_are_invalid(name, tail):
    with pytest.raises(InvalidEvent, match="bytes after the record"):
        CODECS[name].decode(CODECS[name].encode(example_of(name)) + tail)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no single-object header"),
        (b"{}", "no single-object header"),
        (b"\xc3\x01", "unknown schema fingerprint"),
        (b"\xc3\x01" + b"\0" * 8, "unknown schema fingerprint"),
        (alert_codec().header, "unknown schema fingerprint"),
        (b"\0\0\0\0\x01abcdef", "no single-object header"),
    ],
)
def test_another_encoding_is_invalid(data, reason):
    with pytest.raises(InvalidEvent, match=reason):
        audit_event_codec().decode(data)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_changed_bytes_raise_nothing_but_invalid(name, data):
    encoded = bytearray(CODECS[name].encode(example_of(name)))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    decode_or_invalid(name, bytes(encoded))
    if name == "audit-event":
        routing_slice(bytes(encoded))


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=400, deadline=None)
@given(body=st.binary(max_size=200))
def test_random_bodies_raise_nothing_but_invalid(name, body):
    decode_or_invalid(name, CODECS[name].header + body)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff" * 200,  # a varint without end
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a string of 2**63 bytes
        b"\x01",  # a string of -1 bytes
        b"\x04\xff\xfe\x00",  # a string that is no UTF-8
    ],
    ids=["varint", "huge", "negative", "utf-8"],
)
@pytest.mark.parametrize("name", SCHEMAS)
def test_planted_bodies_are_invalid(name, body):
    with pytest.raises(InvalidEvent):
        CODECS[name].decode(CODECS[name].header + body)
    assert len(CODECS[name].header) == HEADER_BYTES


@pytest.mark.timeout(20)
@pytest.mark.parametrize("count", [2**31, 2**62])
def test_an_array_that_claims_billions_of_items_is_invalid_at_once(count):
    zigzag = count * 2
    varint = bytearray()
    while zigzag > 0x7F:
        varint.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    varint.append(zigzag)
    encoded = alert_codec().encode({**example_of("alert"), "tags": ["planted-tag"]})
    at = encoded.index(b"planted-tag") - 2  # the block's count, then the string's length
    with pytest.raises(InvalidEvent):
        alert_codec().decode(encoded[:at] + bytes(varint) + encoded[at + 1 :])


# --- examples --------------------------------------------------------------------------------------------------

EXAMPLES = [(n, f) for n, t in TOPIC_OF.items() for f in sorted((schemas_dir() / "examples" / t).glob("*"))]


def test_each_topic_has_an_example():
    assert {name for name, _ in EXAMPLES} == set(SCHEMAS)


@pytest.mark.parametrize(("name", "file"), EXAMPLES, ids=[f.name for _, f in EXAMPLES])
def test_example_encodes(name, file):
    record = json.loads(file.read_text(encoding="utf-8"))
    assert CODECS[name].decode(CODECS[name].encode(record)) == record
    assert list(record) == [f["name"] for f in load_avsc(name)["fields"]]


def test_an_unfit_record_does_not_encode():
    for change in ({"flags": "many"}, {"action": None}, {"user": None}):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            audit_event_codec().encode({**example_of("audit-event"), **change})


def test_codec_is_for_one_schema():
    assert Codec("alert").header != Codec("audit-event").header
