"""ingest-kafka's settings."""

import pytest

from leadsman_common.settings import SettingError, load
from leadsman_ingest_kafka.config import Settings


def test_the_file_is_read(tmp_path):
    path = tmp_path / "sources.yaml"
    path.write_text("sources: [{topic: a, format: cloudtrail}]")
    assert [s.topic for s in load(Settings, {"LEADSMAN_KAFKA_SOURCES": str(path)}).sources()] == ["a"]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "LEADSMAN_KAFKA_SOURCES is not set"),
        ({"LEADSMAN_KAFKA_SOURCES": "a", "LEADSMAN_BATCH_MESSAGES": "0"}, "LEADSMAN_BATCH_MESSAGES=0"),
        ({"LEADSMAN_KAFKA_SOURCES": "/nowhere.yaml"}, "/nowhere.yaml"),
    ],
)
def test_a_mistake_is_said(env, said):
    with pytest.raises(SettingError) as raised:
        load(Settings, env).sources()
    assert said in str(raised.value)
