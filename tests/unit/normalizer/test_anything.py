"""Whatever comes in: an event that fits the schema, Dropped, or InvalidEvent. Nothing else."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import RAW_OF, SLUGS, record

from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import RawEvent, from_headers
from leadsman_common.schemas import schemas_dir
from leadsman_normalizer.head import peek
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources import SOURCES

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FORMATS = st.sampled_from(["", *SOURCES])


def examples():
    """The examples of the raw topics, as the topics have them: every format but plain text lines."""
    for path in sorted((schemas_dir() / "examples").glob("raw.*/*.headers.json")):
        told = json.loads(path.read_bytes())
        value = path.with_name(path.name.replace(".headers", "")).read_bytes()
        if value.startswith(b"{") and "truncated" not in path.name:
            yield from_headers(value, [(name, text.encode()) for name, text in told.items()], path.parent.name, 0, 0)


RECORDS = st.builds(record, st.sampled_from(SLUGS), st.sampled_from(list(RAW_OF))) | st.sampled_from(list(examples()))
LINES = st.sampled_from(
    [
        'I1123 10:03:00.000001      10 flags.go:64] FLAG: --anonymous-auth="true"',
        'time="2026-11-23T10:00:01Z" level=warning msg="access denied" client="127.0.0.1:1" error="a \\"b\\""',
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def holds(value, source_format):
    raw = RawEvent(value, format=source_format)
    head = peek(raw)
    try:
        event = normalize(raw)
    except InvalidEvent:
        return
    if isinstance(event, Dropped):
        return
    codec = audit_event_codec()
    assert codec.decode(codec.encode(event)) == event
    if head is not None:
        assert (head.action, head.flags) == (event["action"], event["flags"] & head.known)


@QUICK
@given(st.binary(max_size=300), FORMATS)
def test_random_bytes(value, source_format):
    holds(value, source_format)


@QUICK
@given(RECORDS, st.data())
def test_truncations_and_flips(raw, data):
    value = bytearray(raw.value)
    for at in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=3)):
        value[at] ^= 1 << data.draw(st.integers(0, 7))
    holds(bytes(value[: data.draw(st.integers(0, len(value)))]), raw.format)


@QUICK
@given(LINES, st.text(max_size=20), st.integers(0, 80), FORMATS)
def test_lines_of_text(line, more, at, source_format):
    holds((line[:at] + more + line[at:]).encode("utf-8", "surrogatepass"), source_format)


def places(tree, path=()):
    """Every path in a JSON tree."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


@QUICK
@given(RECORDS, st.data())
def test_wrong_types_anywhere(raw, data):
    tree = json.loads(raw.value)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(list(places(tree))))
        value = data.draw(JSON)
        if not path:
            tree = value
            break
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    holds(json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass"), raw.format)
