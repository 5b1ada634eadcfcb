"""Records that many events hold: read only, copied as plain dicts, and encoded as any other."""

import copy
import json
import pickle

import msgspec
import pytest

from leadsman_common.avro import audit_event_codec
from leadsman_common.schemas import load_avsc, schemas_dir
from leadsman_common.shared import Shared, shared

USER = {"username": "bob", "uid": "", "groups": ["a", "b"], "extra": {"k": ["v"]}}
EXAMPLES = sorted((schemas_dir() / "examples" / "audit.events").glob("*.json"))


def _pickled(record):
    return pickle.loads(pickle.dumps(record))  # noqa: S301 - what this test just wrote


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(uid="1"),
        lambda record: record.__setitem__("uid", "1"),
        lambda record: record.pop("uid"),
        lambda record: record.setdefault("new", 1),
        lambda record: record.clear(),
        lambda record: record.__ior__({"uid": "1"}),
    ],
)
def test_it_cannot_be_changed(change):
    record = shared(USER)
    with pytest.raises(TypeError, match="read only"):
        change(record)
    assert record == USER


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, _pickled, lambda r: {**r}])
def test_a_copy_is_a_plain_dict(copied):
    found = copied(shared(USER))
    assert type(found) is dict
    assert found == USER


def test_it_is_json_as_any_dict():
    assert msgspec.json.encode(shared(USER)) == msgspec.json.encode(USER)
    assert json.dumps(shared(USER)) == json.dumps(USER)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_its_encoding_is_that_of_the_plain_record(example):
    event = json.loads(example.read_bytes())
    codec = audit_event_codec()
    plain = codec.encode(event)
    kinds = {f["name"]: f["type"] for f in load_avsc("audit-event")["fields"]}
    assert {type(value) for name, value in event.items() if isinstance(kinds[name], dict)} >= {dict}
    wrapped = {
        name: Shared(value) if isinstance(value, dict) and name != "annotations" else value
        for name, value in event.items()
    }
    assert codec.encode(wrapped) == plain  # encoded now,
    assert wrapped["actor"].encoded in plain
    assert codec.encode(wrapped) == plain  # and out of what was kept
    assert codec.decode(plain) == event


def test_one_that_does_not_fit_is_an_error_and_keeps_nothing():
    event = json.loads(EXAMPLES[0].read_bytes())
    event["actor"] = shared({**event["actor"], "name": 7})
    for _ in range(2):
        with pytest.raises((ValueError, TypeError)):
            audit_event_codec().encode(event)
    assert event["actor"].encoded == b""
