"""The topic files, and what the loader says of bad ones."""

from pathlib import Path

import pytest
import yaml

from leadsman_common import topics
from leadsman_common.schemas import schemas_dir

TOPICS = topics.load(schemas_dir() / "topics")
GOOD = {
    "name": "raw.x",
    "owner": "ingest-x",
    "key": "hash of the record's source id",
    "partitions": 6,
    "retention_ms": 1000,
    "cleanup_policy": "delete",
    "max_message_bytes": 2097152,
    "schema": "bytes",
    "example": None,
    "producers": ["ingest-x"],
    "consumers": ["normalizer"],
}
HOUR_MS = 3_600_000


def write(folder: Path, **changes: object) -> Path:
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value != "absent"}
    (folder / "raw.x.yaml").write_text(yaml.safe_dump(fields))
    return folder


def test_the_declared_topics():
    sources = ["raw.aws", "raw.gcp", "raw.k8s", "raw.azure"]
    with_dead_letters = [*sources, "audit.events", "alerts"]
    others = {"state", "ledger", "dlq.decisions", "deliveries", "alerts.undelivered", "alerts.ocsf", "sightings"}
    others |= {"alerts.shadow"}
    assert TOPICS.keys() == {*with_dead_letters, *(f"{name}.dlq" for name in with_dead_letters), *others}


def test_deliveries_lie_beside_their_alerts():
    assert TOPICS["deliveries"].partitions == TOPICS["alerts"].partitions


@pytest.mark.parametrize(
    ("name", "partitions", "hours"),
    [("raw.aws", 6, 72), ("raw.gcp.dlq", 1, 14 * 24), ("audit.events", 6, 7 * 24), ("alerts", 3, 400 * 24)],
)
def test_partitions_and_retention(name, partitions, hours):
    assert TOPICS[name].partitions == partitions
    assert TOPICS[name].retention_ms == hours * HOUR_MS
    assert TOPICS[name].cleanup_policy == "delete"


def test_state_is_compacted():
    assert TOPICS["state"].cleanup_policy == "compact,delete"
    assert TOPICS["state"].retention_ms > 60 * 24 * HOUR_MS  # what is kept longest: learning and 30 days


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_takes_records_of_1500_kb(name):
    assert TOPICS[name].max_message_bytes >= 2 * 1024 * 1024


@pytest.mark.parametrize("name", [name for name in TOPICS if name.endswith(topics.DEAD_LETTER_SUFFIX)])
def test_a_dead_letter_topic_has_room_for_the_headers_that_come_on_top(name):
    served = TOPICS[name.removesuffix(topics.DEAD_LETTER_SUFFIX)]
    assert TOPICS[name].max_message_bytes >= served.max_message_bytes + 64 * 1024


@pytest.mark.parametrize("name", TOPICS)
def test_the_schema_of_a_topic_exists(name):
    schema = TOPICS[name].schema
    assert schema == "bytes" or (schemas_dir() / schema).is_file()


def test_sightings_are_kept_for_ever_and_stay_small():
    config = TOPICS["sightings"].config({})
    assert (config["retention.ms"], config["cleanup.policy"], config["segment.ms"]) == ("-1", "compact", "3600000")
    assert "segment.ms" not in TOPICS["state"].config({})


def test_load_reads_a_good_file(tmp_path):
    topic = topics.load(write(tmp_path))["raw.x"]
    assert (topic.partitions, topic.example, topic.producers) == (6, None, ("ingest-x",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partitions": "absent"}, "missing field partitions"),
        ({"partition": 3}, "unknown field partition"),
        ({"name": "raw.y"}, "name is 'raw.y', the file says 'raw.x'"),
        ({"partitions": 0}, "partitions must be a positive number, not 0"),
        ({"partitions": True}, "partitions must be a positive number, not True"),
        ({"retention_ms": "72h"}, "retention_ms must be a positive number of milliseconds"),
        ({"retention_ms": 0}, "retention_ms must be"),
        ({"cleanup_policy": "keep"}, "cleanup_policy must be delete, compact or both"),
        ({"schema": "json"}, "schema must be bytes or an .avsc file"),
        ({"owner": ""}, "owner must be text"),
        ({"producers": "ingest-x"}, "producers must be a list of names"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_load_names_the_file_and_what_is_wrong(tmp_path, changes, said):
    with pytest.raises(topics.InvalidTopicError) as caught:
        topics.load(write(tmp_path, **changes))
    assert str(caught.value).startswith(f"{tmp_path / 'raw.x.yaml'}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "\x00"])
def test_load_names_a_file_that_is_no_mapping(tmp_path, text):
    (tmp_path / "raw.x.yaml").write_text(text)
    with pytest.raises(topics.InvalidTopicError, match=r"raw\.x\.yaml"):
        topics.load(tmp_path)


def test_load_refuses_an_empty_folder(tmp_path):
    with pytest.raises(topics.InvalidTopicError, match="no topic files"):
        topics.load(tmp_path)


def test_a_retention_is_a_setting():
    topic = TOPICS["audit.events.dlq"]
    assert topic.retention_setting == "LEADSMAN_RETENTION_AUDIT_EVENTS_DLQ_MS"
    assert topic.config({})["retention.ms"] == str(topic.retention_ms)
    assert topic.config({topic.retention_setting: "5000"})["retention.ms"] == "5000"
    assert topic.config({topic.retention_setting: "-1"})["retention.ms"] == "-1"


@pytest.mark.parametrize("text", ["7d", "0", "-2", "1.5"])
def test_a_bad_retention_is_named(text):
    topic = TOPICS["alerts"]
    with pytest.raises(topics.InvalidTopicError, match=f"LEADSMAN_RETENTION_ALERTS_MS={text}"):
        topic.config({"LEADSMAN_RETENTION_ALERTS_MS": text})


def test_names_take_the_prefix():
    assert topics.name("raw.aws", topics.prefix_of({})) == "raw.aws"
    assert topics.name("raw.aws", topics.prefix_of({"LEADSMAN_TOPIC_PREFIX": "t1-"})) == "t1-raw.aws"
