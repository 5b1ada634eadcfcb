"""Alerts in Confluent's wire format, with a real schema registry: who writes, who reads, and what its absence does."""

import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from gate import Gate
from notifying import Receiver, alert, kept, stop, until
from pod_made import RULE, event
from ports import free_port

from leadsman_cli.__main__ import cli
from leadsman_common.alert_stream import alert_record
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.registry import Registry, RegistryRefused
from leadsman_common.schemas import load_avsc
from leadsman_common.settings import Common
from leadsman_common.topic_reader import TopicReader
from leadsman_common.wire import alert_wire

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def gate(schema_registry):
    """A way to the registry that can be closed; `.url` is its Confluent API."""
    way = Gate(schema_registry.port)
    way.url = f"http://127.0.0.1:{way.port}/apis/ccompat/v7"
    yield way
    way.close()


@pytest.fixture
def registry(schema_registry, local):
    """The URL of the registry's Confluent API."""
    return local("schema_registry").url(schema_registry.port)


def later_schema():
    """The alert's schema as a later release may have it."""
    schema = load_avsc("alert")
    schema["fields"].append({"name": "later", "type": "string", "doc": "What came later.", "default": ""})
    return schema


def run(bootstrap, prefix, *arguments, **settings):
    env = {"LEADSMAN_KAFKA_BOOTSTRAP": bootstrap, "LEADSMAN_TOPIC_PREFIX": prefix}
    env |= {f"LEADSMAN_{name.upper()}": value for name, value in settings.items()}
    return CliRunner().invoke(cli, list(arguments), env=env)


def test_schemas_are_registered_and_what_is_incompatible_is_refused(bootstrap, topics, topic_prefix, registry):
    assert topics
    first = run(bootstrap, topic_prefix, "topics", "create", schema_registry_url=registry)
    assert first.exit_code == 0, first.output
    assert f"{topic_prefix}alerts-value as " in first.output
    assert (
        run(bootstrap, topic_prefix, "topics", "create", "--registry", registry).output.splitlines()[-1:]
        == (first.output.splitlines()[-1:])
    )
    subject = f"{topic_prefix}alerts-value"
    assert Registry(registry).id_of(subject, json.dumps(later_schema()))  # a field with a default
    broken = load_avsc("alert")
    broken["fields"].append({"name": "later", "type": "long"})
    with pytest.raises(RegistryRefused, match=r"HTTP 409.*[Ii]ncompatible"):
        Registry(registry).id_of(subject, json.dumps(broken))
    nobody = run(bootstrap, topic_prefix, "topics", "create", "--registry", "http://127.0.0.1:1")
    assert nobody.exit_code == 1
    assert "schema registry at http://127.0.0.1:1" in nobody.output


# --- who writes ------------------------------------------------------------------------------------------------


def ready(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


@pytest.fixture
def detector(bootstrap, redis_url, topic_prefix, topics, tmp_path):
    """detector(**settings) starts one with a rule that alerts at each new pod; `put(name)` makes one."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "pod-made.yml").write_text(RULE, encoding="utf-8")
    producer, running = Producer({"bootstrap.servers": bootstrap}), []

    def start(**settings):
        own = {
            "kafka_bootstrap": bootstrap,
            "redis_url": redis_url,
            "topic_prefix": topic_prefix,
            "rules_dir": tmp_path / "rules",
            "data_dir": tmp_path,
            "runner": "plain",
            **settings,
        }
        env = {**os.environ, **{f"LEADSMAN_{name.upper()}": str(value) for name, value in own.items()}}
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "leadsman_detector"], env=env, stderr=log)
        process.log = lambda: (tmp_path / "log").read_text(encoding="utf-8")
        running.append(process)
        return process

    def put(name):
        producer.produce(topics["audit.events"], event(name), partition=0)
        assert producer.flush(30) == 0

    start.put = put
    yield start
    for process in running:
        process.kill()
        process.wait()


def test_the_detector_waits_for_it_at_the_start_and_needs_it_no_more(detector, gate, bootstrap, topics):
    gate.close()
    port = free_port()
    process = detector(schema_registry_url=gate.url, http_port=port)
    until(lambda: "waiting for the schema registry: nothing is read yet" in process.log())
    detector.put("first")
    time.sleep(1)
    assert process.poll() is None
    assert not ready(port)
    gate.open()
    until(lambda: ready(port))
    reader = TopicReader(bootstrap)
    until(lambda: len(list(reader.read(topics["alerts"]))) == 1)
    gate.close()
    detector.put("second")
    until(lambda: len(list(reader.read(topics["alerts"]))) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    gate.open()
    # as any consumer of that ecosystem reads them, with the schema that the registry has
    decode = AvroDeserializer(SchemaRegistryClient({"url": gate.url}))
    context = SerializationContext(topics["alerts"], MessageField.VALUE)
    values = [message.value() for message in reader.read(topics["alerts"])]
    assert {value[0] for value in values} == {0}
    assert {decode(value, context)["objectRef"]["name"] for value in values} == {"first", "second"}


def test_a_registry_that_refuses_ends_the_detector_with_a_clear_line(detector, topic_prefix, registry):
    other = load_avsc("alert")
    next(field for field in other["fields"] if field["name"] == "revision")["type"] = "string"
    next(field for field in other["fields"] if field["name"] == "revision")["default"] = ""
    client = SchemaRegistryClient({"url": registry})
    subject = f"{topic_prefix}alerts-value"
    client.register_schema(subject, Schema(json.dumps(other), "AVRO"))
    Registry(registry).must_stay_compatible(subject)
    process = detector(schema_registry_url=registry)
    assert process.wait(60) == 2
    assert "HTTP 409" in process.log()
    assert f"`leadsman topics create` registers {subject}" in process.log()


# --- who reads -------------------------------------------------------------------------------------------------


@pytest.fixture
def notifier(bootstrap, topic_prefix, tmp_path):
    """notifier(**settings) starts one that posts to a receiver of its own."""
    receiver, running = Receiver(), []

    def start(**settings):
        own = {
            "kafka_bootstrap": bootstrap,
            "topic_prefix": topic_prefix,
            "notify_allow": "127.0.0.0/8",
            "webhook_url": receiver.url,
            "webhook_limit_per_minute": 0,
            "stdout_format": "off",
            **settings,
        }
        env = {**os.environ, **{f"LEADSMAN_{name.upper()}": str(value) for name, value in own.items()}}
        process = subprocess.Popen(
            [sys.executable, "-m", "leadsman_notifier"], env=env, stderr=(tmp_path / "err").open("wb")
        )
        process.err = tmp_path / "err"
        running.append(process)
        return process

    start.receiver = receiver
    yield start
    receiver.close()
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_notifier_mirror_and_command_line_read_both_encodings(notifier, gate, bootstrap, topics, topic_prefix):
    producer, topic = AckedProducer(bootstrap), topics["alerts"]
    settings = Common(topic_prefix=topic_prefix, schema_registry_url=gate.url)
    known = alert_wire(settings)

    def put(name, value, partition=0):
        record = alert_record(topic, alert(name), value, "detector")
        producer.send([record._replace(partition=partition)])

    put("aa01", alert_codec().encode(alert("aa01")))
    put("aa02", known.encode(alert("aa02")))
    process = notifier(schema_registry_url=gate.url)
    until(lambda: set(notifier.receiver.ids()) == {"aa01", "aa02"})
    # a later release's schema, as another serializer of that ecosystem writes it
    write = AvroSerializer(SchemaRegistryClient({"url": gate.url}), json.dumps(later_schema()))
    context = SerializationContext(topic, MessageField.VALUE)
    later = write({**alert("aa03"), "later": "x"}, context)
    gate.close()
    put("aa03", later, partition=1)
    until(lambda: "waiting for the schema registry" in process.err.read_text())
    put("aa04", known.encode(alert("aa04")), partition=0)  # an id that is known goes on meanwhile
    put("aa05", known.encode(alert("aa05")), partition=1)  # and behind the one that is not, it waits in its order
    until(lambda: "aa04" in notifier.receiver.ids())
    assert not {"aa03", "aa05"} & set(notifier.receiver.ids())
    gate.open()
    until(lambda: {"aa03", "aa05"} <= set(notifier.receiver.ids()))
    # what no registry knows is a dead letter, with the reason
    put("aa06", struct.pack(">bI", 0, 999_999) + later[5:])
    ((value, headers),) = kept(bootstrap, topics["alerts.dlq"], 1)
    assert value[5:] == later[5:]
    assert headers["dlq-reason"] == b"avro: the schema registry knows no schema id 999999"
    reader = TopicReader(bootstrap)
    until(lambda: len(list(reader.read(topics["alerts.ocsf"]))) == 5)
    stop(process)
    assert sorted(notifier.receiver.ids()) == ["aa01", "aa02", "aa03", "aa04", "aa05"]
    for name in ("aa01", "aa02", "aa03"):
        shown = run(bootstrap, topic_prefix, "show", name, schema_registry_url=gate.url)
        assert shown.exit_code == 0, shown.output
        assert "CRITICAL" in shown.output
    gate.close()
    away = run(bootstrap, topic_prefix, "show", "aa02", schema_registry_url=gate.url)
    assert away.exit_code == 1
    assert "schema registry at " in away.output


def test_the_alert_about_a_channel_is_in_the_same_format(notifier, registry, bootstrap, topics):
    notifier.receiver.always = (500, {}, b"")
    producer = AckedProducer(bootstrap)
    producer.send([Outgoing(topics["alerts"], b"k", alert_codec().encode(alert("a1")))])
    process = notifier(schema_registry_url=registry, notify_failing_s=0.5)
    reader = TopicReader(bootstrap)
    alarms = until(lambda: [m for m in reader.read(topics["alerts"]) if m.key() != b"k"])
    stop(process)
    decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    raised = decode(alarms[0].value(), SerializationContext(topics["alerts"], MessageField.VALUE))
    assert raised["rule"]["name"] == "notifier-channel"
