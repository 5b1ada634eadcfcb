"""The values of `alerts` in either encoding; the registry is told by a table of schemas."""

import copy
import json
import struct

import pytest

from leadsman_common.avro import alert_codec, audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.registry import RegistryAway, RegistryRefused
from leadsman_common.schemas import avsc_text, load_avsc, schemas_dir
from leadsman_common.settings import SettingError
from leadsman_common.wire import Wire

ALERT = json.loads((schemas_dir() / "examples" / "alerts" / "privileged-container.json").read_text(encoding="utf-8"))


class Known:
    """The registry's two questions, answered from a table: subject -> id, id -> schema or what is raised."""

    def __init__(self, schema_id=0, **schemas):
        self.schema_id, self.schemas, self.asked = schema_id, {int(k[1:]): v for k, v in schemas.items()}, []

    def id_of(self, subject, schema):
        self.asked.append((subject, schema))
        if isinstance(self.schema_id, Exception):
            raise self.schema_id
        return self.schema_id

    def schema(self, schema_id):
        self.asked.append(schema_id)
        found = self.schemas.get(schema_id, RegistryRefused(404, "not there"))
        if isinstance(found, Exception):
            raise found
        return copy.deepcopy(found)


class Log:
    def __init__(self):
        self.lines = []

    def error(self, text, **more):
        self.lines.append(("error", text, more))

    def warning(self, text, **more):
        self.lines.append(("warning", text, more))


def test_without_a_registry_it_is_single_object_encoding():
    wire = Wire(alert_codec())
    wire.prepare()
    assert wire.encode(ALERT) == alert_codec().encode(ALERT)
    assert wire.decode(alert_codec().encode(ALERT)) == ALERT


def test_with_one_the_id_stands_in_front_and_it_is_asked_once():
    registry = Known(0x01020304)
    wire = Wire(alert_codec(), "alerts-value", registry)
    for _ in range(3):
        value = wire.encode(ALERT)
    assert value[:5] == b"\x00\x01\x02\x03\x04"
    assert value[5:] == alert_codec().encode(ALERT)[10:]
    assert registry.asked == [("alerts-value", avsc_text("alert"))]
    assert wire.decode(value) == ALERT  # what it wrote it reads without another question
    assert wire.decode(alert_codec().encode(ALERT)) == ALERT
    assert len(registry.asked) == 1


def test_a_reader_asks_for_each_id_once():
    later = load_avsc("alert")
    later["fields"].append({"name": "later", "type": "string", "default": ""})
    registry = Known(1, n1=load_avsc("alert"), n2=later)
    wire = Wire(alert_codec(), "alerts-value", registry)
    body = alert_codec().encode(ALERT)[10:]
    for _ in range(2):
        assert wire.decode(struct.pack(">bI", 0, 1) + body) == ALERT
        assert wire.decode(struct.pack(">bI", 0, 2) + body + b"\x02x") == ALERT
    assert registry.asked == [1, 2]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (RegistryRefused(404, "x"), "knows no schema id 7"),
        (load_avsc("audit-event"), "a schema of leadsman.AuditEvent"),
        ({"type": "record", "name": "Alert", "namespace": "leadsman", "fields": [{"name": "id"}]}, "cannot be used"),
        ({"type": "nonsense"}, "cannot be used"),
        ({"no": "type"}, "cannot be used"),
        ("string", "cannot be used"),
        (["null", "string"], "cannot be used"),
        (
            {"type": "record", "name": "Alert", "namespace": "leadsman", "fields": [{"name": "id", "type": "long"}]},
            "SchemaResolutionError",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_the_reason(schema, says):
    wire = Wire(alert_codec(), "alerts-value", Known(1, n7=schema))
    with pytest.raises(InvalidEvent, match=says):
        wire.decode(struct.pack(">bI", 0, 7) + alert_codec().encode(ALERT)[10:])


def test_an_id_that_is_unknown_is_not_asked_for_at_each_record():
    registry = Known(1)
    wire = Wire(alert_codec(), "alerts-value", registry)
    for _ in range(50):
        with pytest.raises(InvalidEvent, match="knows no schema id 9"):
            wire.decode(struct.pack(">bI", 0, 9) + b"body")
    assert registry.asked == [9]


@pytest.mark.parametrize("error", [RegistryAway("x"), RegistryRefused(401, "x"), RegistryRefused(403, "x")])
def test_where_it_may_be_put_right_the_record_is_asked_for_again(error):
    registry = Known(1, n7=error)
    wire = Wire(alert_codec(), "alerts-value", registry)
    value = struct.pack(">bI", 0, 7) + alert_codec().encode(ALERT)[10:]
    with pytest.raises(RegistryAway):
        wire.decode(value)
    registry.schemas[7] = load_avsc("alert")
    assert wire.decode(value) == ALERT


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x01", b"\x01abcdefgh", b"{}"])
def test_other_bytes(value):
    with pytest.raises(InvalidEvent):
        Wire(alert_codec(), "alerts-value", Known(1, n1=load_avsc("alert"))).decode(value)


def test_the_registry_of_a_topic_is_named_where_none_is_configured():
    with pytest.raises(InvalidEvent, match="schema id 5 of a registry, and LEADSMAN_SCHEMA_REGISTRY_URL is not set"):
        Wire(alert_codec()).decode(struct.pack(">bI", 0, 5) + b"body")


def test_it_waits_for_a_registry_that_is_away_and_says_so(monkeypatch):
    monkeypatch.setattr("leadsman_common.wire.ASK_S", 0)
    registry, log = Known(RegistryAway("it is away")), Log()
    wire = Wire(alert_codec(), "alerts-value", registry)

    def stopping():
        if len(registry.asked) == 3:
            registry.schema_id = 4
        return False

    wire.wait(stopping, log)
    assert [(level, more["reason"]) for level, _, more in log.lines] == [
        ("error", "it is away"),
        ("warning", "it is away"),
        ("warning", "it is away"),
    ]
    assert wire.encode(ALERT)[:5] == b"\x00\x00\x00\x00\x04"


def test_a_refusal_is_a_setting():
    wire = Wire(alert_codec(), "alerts-value", Known(RegistryRefused(409, "incompatible")))
    with pytest.raises(SettingError, match="incompatible; `leadsman topics create` registers alerts-value"):
        wire.wait(lambda: False, Log())


def test_the_single_object_encoding_of_another_topic_is_none_of_this_one():
    event = {field["name"]: field["default"] for field in load_avsc("audit-event")["fields"]}
    with pytest.raises(InvalidEvent, match="unknown schema fingerprint"):
        Wire(alert_codec()).decode(audit_event_codec().encode(event))
