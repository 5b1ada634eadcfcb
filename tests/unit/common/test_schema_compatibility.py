"""Every released schema against the present one, in both directions; the rule is in schemas/README.md."""

import copy
import io
import json
import re
import shutil

import fastavro
import pytest
from fastavro.schema import parse_schema

from leadsman_common import avro
from leadsman_common.avro import Codec, header_of
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Flag
from leadsman_common.schemas import load_avsc, records_of, schemas_dir

SHARED = ("audit-event", "alert")  # what the changes below are tried on
NAMES = (*SHARED, "delivery")
RELEASED = sorted((schemas_dir() / "avro" / "released").glob("*.avsc"))

# Frozen: a line is added for a new bit; none is ever changed or taken out.
FLAG_BITS = {
    "UNAUTHENTICATED": 0,
    "FORBIDDEN": 1,
    "FAILED": 2,
    "DRY_RUN": 3,
    "SERVICE_ACCOUNT": 4,
    "HAS_POD": 5,
    "TRUNCATED": 6,
    "EFFECTIVE": 7,
    "HAS_ROLE": 8,
    "HAS_BINDING": 9,
    "HAS_SERVICE": 10,
    "HAS_EXEC": 11,
    "HAS_INGRESS": 12,
    "NODE": 13,
    "CONTROL_PLANE": 14,
    "MANAGED_CLOUD": 15,
    "IMPERSONATING": 16,
    "HAS_TOKEN": 17,
    "HAS_PV": 18,
    "HAS_SERVICE_ACCOUNT": 19,
    "FAILED_AUTH": 20,
    "CLOUD_CALL": 21,
    "HAS_CSR": 22,
    "HAS_WEBHOOK": 23,
    "HAS_CONFIG_MAP": 24,
    "HAS_CLOUD_ACCESS": 25,
    "HAS_CLOUD_ASSUME": 26,
    "HAS_CONTROL_PLANE": 27,
    "HAS_CLOUD_LINK": 28,
    "HAS_NAMESPACE": 29,
    "HAS_SIGNAL": 30,
    "HAS_CLOUD_GRANT": 31,
}


def test_flag_bits_keep_their_names():
    assert {name: member.value.bit_length() - 1 for name, member in Flag.__members__.items()} == FLAG_BITS
    assert all(member.value == 1 << FLAG_BITS[name] for name, member in Flag.__members__.items())


def schema_name(file):
    """audit-event of audit-event-1.avsc."""
    match = re.fullmatch(r"(.+)-\d+", file.stem)
    assert match, f"{file.name}: <schema>-<number>.avsc"
    return match[1]


def test_each_schema_has_a_released_one():
    assert {schema_name(file) for file in RELEASED} == set(NAMES)


def kind_of(schema):
    """A type without what may change: a record counts by its name."""
    if isinstance(schema, list):
        return [kind_of(branch) for branch in schema]
    if isinstance(schema, dict):
        if schema["type"] == "record":
            return schema["name"]
        return {key: kind_of(schema[key]) for key in ("type", "items", "values") if key in schema}
    return schema


def differences(old, new):
    """What full compatibility forbids between two schemas, as lines of text."""
    before, after = records_of(old), records_of(new)
    wrong = [] if old["name"] == new["name"] else ["the schema's own record is renamed"]
    for name in before.keys() & after.keys():
        a, b = ({f["name"]: f for f in records[name]["fields"]} for records in (before, after))
        wrong.extend(
            f"{name}.{field} changes its type"
            for field in a.keys() & b.keys()
            if kind_of(a[field]["type"]) != kind_of(b[field]["type"])
        )
        for field in a.keys() ^ b.keys():
            if "default" not in (a.get(field) or b[field]):
                what = "added" if field in b else "removed"
                wrong.append(f"{name}.{field} is {what} without a default")
    if old["name"] == "AuditEvent" and [f["name"] for f in new["fields"][:2]] != ["action", "flags"]:
        wrong.append("action and flags are not in front")
    return wrong


def read(record, writer, reader):
    """What a reader of one schema makes of a record that another wrote."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parse_schema(writer), record)
    body.seek(0)
    return fastavro.schemaless_reader(body, parse_schema(writer), parse_schema(reader))


def filled(schema, records):
    """A record in which nothing is left at its default."""
    if isinstance(schema, str):
        simple = {"string": "x", "int": 7, "long": 1 << 40, "boolean": True}
        return simple[schema] if schema in simple else filled(records[schema], records)
    if isinstance(schema, list):
        return filled(schema[1], records)
    if schema["type"] == "array":
        return [filled(schema["items"], records)] * 2
    if schema["type"] == "map":
        return {"k": filled(schema["values"], records)}
    return {f["name"]: filled(f["type"], records) for f in schema["fields"]}


def expected(record, schema, records):
    """A record as a reader of `schema` has it: unknown fields gone, missing ones at their defaults."""
    if isinstance(schema, str):
        return expected(record, records[schema], records) if schema in records else record
    if isinstance(schema, list):
        return None if record is None else expected(record, schema[1], records)
    if schema["type"] == "array":
        return [expected(item, schema["items"], records) for item in record]
    if schema["type"] == "map":
        return {key: expected(item, schema["values"], records) for key, item in record.items()}
    return {
        f["name"]: expected(record[f["name"]], f["type"], records) if f["name"] in record else f["default"]
        for f in schema["fields"]
    }


def check_both_ways(one, other):
    for writer, reader in ((one, other), (other, one)):
        record = filled(writer, records_of(writer))
        assert read(record, writer, reader) == expected(record, reader, records_of(reader))


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_released_schema_is_fully_compatible(file):
    old, new = json.loads(file.read_bytes()), load_avsc(schema_name(file))
    assert differences(old, new) == []
    check_both_ways(old, new)


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_codec_reads_what_a_release_wrote(file):
    old = json.loads(file.read_bytes())
    record = filled(old, records_of(old))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parse_schema(old), record)
    new = load_avsc(schema_name(file))
    assert Codec(schema_name(file)).decode(header_of(old) + body.getvalue()) == expected(record, new, records_of(new))


# --- the checks themselves: each planted change is found -------------------------------------------------------


def _field(schema, record, name):
    return next(f for f in records_of(schema)[record]["fields"] if f["name"] == name)


def added(schema):
    schema["fields"].append({"name": "later", "type": "string", "doc": "x", "default": "none"})


def added_deep(schema):
    records_of(schema)["Cluster"]["fields"].append({"name": "tier", "type": "long", "doc": "x", "default": 3})


def removed(schema):
    schema["fields"].pop()


def added_without_default(schema):
    schema["fields"].append({"name": "later", "type": "string"})


def removed_without_default(schema):
    records_of(schema)["Actor"]["fields"][0].pop("default")


def type_changed(schema):
    _field(schema, "Cluster", "region")["type"] = "bytes"


def widened(schema):
    _field(schema, "Source", "partition")["type"] = "long"


def made_nullable(schema):
    _field(schema, "Cluster", "region")["type"] = ["null", "string"]


def renamed(schema):
    schema["name"] += "2"


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("change", [added, added_deep, removed])
def test_allowed_changes_pass_and_read_both_ways(name, change):
    new = load_avsc(name)
    change(new)
    assert differences(load_avsc(name), new) == []
    check_both_ways(load_avsc(name), new)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("change", [added_without_default, type_changed, widened, made_nullable, renamed])
def test_forbidden_changes_are_found(name, change):
    new = load_avsc(name)
    change(new)
    assert differences(load_avsc(name), new)


@pytest.mark.parametrize("name", SHARED)
def test_removal_without_default_is_found(name):
    old = load_avsc(name)
    removed_without_default(old)
    new = copy.deepcopy(old)
    records_of(new)["Actor"]["fields"].pop(0)
    assert differences(old, new) == ["Actor.name is removed without a default"]


def test_moved_routing_is_found():
    new = load_avsc("audit-event")
    new["fields"].reverse()
    assert differences(load_avsc("audit-event"), new) == ["action and flags are not in front"]


@pytest.mark.parametrize("name", SHARED)
def test_codec_reads_another_version_once_it_is_released(name, tmp_path, monkeypatch):
    shutil.copytree(schemas_dir() / "avro", tmp_path / "avro")
    other = load_avsc(name)
    added(other)
    added_deep(other)
    record = filled(other, records_of(other))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parse_schema(other), record)
    data = header_of(other) + body.getvalue()
    with pytest.raises(InvalidEvent, match="unknown schema fingerprint"):
        Codec(name).decode(data)
    (tmp_path / "avro" / "released" / f"{name}-99.avsc").write_text(json.dumps(other), encoding="utf-8")
    monkeypatch.setattr(avro, "schemas_dir", lambda: tmp_path)
    present = load_avsc(name)
    assert Codec(name).decode(data) == expected(record, present, records_of(present))
