"""`leadsman topics check` and `describe`, and `leadsman tail`, against a broker."""

import json

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from notifying import alert, until

from leadsman_cli.__main__ import main
from leadsman_common.alert_stream import alert_record
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer

pytestmark = pytest.mark.integration


@pytest.fixture
def here(bootstrap, topic_prefix, monkeypatch):
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)


def test_what_differs_is_named(bootstrap, topics, here, capsys):  # noqa: ARG001
    assert main(["topics", "check"]) == 1  # the tests' topics have fewer partitions
    differing = capsys.readouterr().out
    assert f"{topics['audit.events']}: 3 partitions, not 6" in differing
    assert "retention.ms" not in differing
    change = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topics["alerts"], incremental_configs=[change])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=10)

    def told():  # a change takes a moment until all of the broker knows it
        main(["topics", "check"])
        return f"{topics['alerts']}: retention.ms is 1000, not " in capsys.readouterr().out

    until(told)
    assert main(["topics", "describe", "alerts"]) == 0
    described = capsys.readouterr().out
    assert "retention.ms=1000" in described
    assert "differs:        retention.ms is 1000" in described
    assert main(["topics", "describe", "nothing"]) == 1


def test_a_topic_that_is_missing(topic_prefix, here, capsys):  # noqa: ARG001
    assert main(["topics", "check"]) == 1
    assert f"{topic_prefix}alerts: it is not there" in capsys.readouterr().out


def test_alerts_that_are_there_are_shown(bootstrap, topics, here, capsys):  # noqa: ARG001
    ones = [alert("a" * 32, level="high"), alert("b" * 32, level="low"), alert("c" * 32, level="critical")]
    records = [alert_record(topics["alerts"], one, alert_codec().encode(one), "detector") for one in ones]
    AckedProducer(bootstrap).send([*records, records[0]._replace(value=b"no alert")])
    assert main(["tail", "--no-follow", "--since", "1h", "--min-level", "high", "-o", "jsonl"]) == 3
    captured = capsys.readouterr()
    assert {json.loads(line)["id"][0] for line in captured.out.splitlines()} == {"a", "c"}
    assert "not read: " in captured.err
    main(["tail", "--no-follow", "--since", "1h"])
    assert capsys.readouterr().out.count("\n") == 3
