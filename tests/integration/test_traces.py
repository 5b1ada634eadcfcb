"""Spans as a collector gets them: what begins a trace, what goes on with one, what ends as an error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import otlp
import pytest
from confluent_kafka import Message
from notifying import alert

from leadsman_common import traces
from leadsman_common.settings import Common, SettingError
from leadsman_common.spans import Spans, traceparent
from leadsman_notifier.message import Count, digest, single
from leadsman_notifier.outbox import Member, Parcel, Place
from leadsman_notifier.tracing import Tracks

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAME = [("format", b"eks-audit"), ("traceparent", f"00-{TRACE}-{PARENT}-01".encode())]


@pytest.fixture
def collector():
    with otlp.Collector() as collector:
        yield collector


def test_a_record_that_is_handled_goes_on_with_its_trace(collector):
    spans = Spans("normalizer", collector.url, 0.0)
    with spans.hop() as hop:
        traced = hop.process("raw.aws", 3, 41, CAME, "leadsman-normalizer")
    spans.close()
    (seen,) = collector.spans
    assert collector.paths == {"/v1/traces"}
    assert (seen.service, seen.name, seen.kind) == ("leadsman-normalizer", "process raw.aws", 5)
    assert (seen.trace, seen.parent, seen.error) == (TRACE, PARENT, "")
    assert traced.header == ("traceparent", f"00-{TRACE}-{seen.span}-01".encode())
    assert seen.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "raw.aws",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 41,
        "messaging.consumer.group.name": "leadsman-normalizer",
    }


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", b"")],
        [("traceparent", None)],
        [("traceparent", b"\xff" * 55)],
        [("traceparent", b"00-0-0-01")],
    ],
    ids=["none", "empty", "null", "binary", "zeros"],
)
def test_a_record_without_a_trace_has_no_span(collector, headers):
    with Spans("normalizer", collector.url, 1.0).hop() as hop:
        assert hop.process("raw.aws", 0, 0, headers, "g") is None


def test_a_trace_that_is_not_sampled_is_passed_on_and_not_told(collector):
    spans = Spans("normalizer", collector.url, 0.0)
    with spans.hop() as hop:
        traced = hop.process("raw.aws", 0, 0, [("traceparent", f"00-{TRACE}-{PARENT}-00".encode())], "g")
    spans.close()
    assert traced.header[1].startswith(f"00-{TRACE}-".encode())
    assert traced.header[1].endswith(b"-00")
    assert not collector.spans


def test_ingest_begins_a_trace_where_it_received_the_record(collector):
    spans = Spans("ingest-aws", collector.url, 1.0)
    with spans.hop() as hop:
        assert hop.chosen()
        hop.begin("raw.aws", [("received-ms", b"1764315000123")])
    spans.close()
    (seen,) = collector.spans
    assert (seen.name, seen.kind, seen.parent) == ("send raw.aws", 4, "")
    assert seen.start_ns == 1764315000123 * 1_000_000


def test_the_share_is_kept(collector):
    hop = Spans("ingest-aws", collector.url, 0.2).hop()
    assert 1_600 < sum(hop.chosen() for _ in range(10_000)) < 2_400
    assert not any(Spans("ingest-aws", collector.url, 0.0).hop().chosen() for _ in range(1_000))


def test_a_batch_that_raises_ends_its_spans_as_errors(collector):
    spans = Spans("detector", collector.url, 0.0)

    def handle():
        with spans.hop() as hop:
            hop.process("audit.events", 0, 7, CAME, "g")
            raise TimeoutError("Kafka is away")

    with pytest.raises(TimeoutError):
        handle()
    spans.close()
    (seen,) = collector.spans
    assert (seen.error, seen.attributes["error.type"]) == ("Kafka is away", "TimeoutError")


def test_a_collector_that_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        spans = Spans("detector", f"http://127.0.0.1:{mute.getsockname()[1]}", 0.0)
        with spans.hop() as hop:
            hop.process("audit.events", 0, 7, CAME, "g")
        began = time.monotonic()
        spans.close()
        assert time.monotonic() - began < 20


def message_of(offset, span):
    return Message("alerts", 2, offset, headers=[("traceparent", f"00-{TRACE}-{span}-01".encode())])


def parcel_of(alerts, message):
    places = [Place(2, n) for n in range(alerts)]
    return Parcel(message, [Member(f"id-{n}", 2, 2) for n in range(alerts)], places)


@pytest.mark.parametrize("refused", ["", "410 Gone"])
def test_a_message_of_one_alert_is_the_child_of_the_alerts_span(collector, refused):
    spans = Spans("notifier", collector.url, 0.0)
    tracks = Tracks(spans, "webhook", "alerts", "leadsman-notifier-webhook")
    tracks.take(message_of(0, PARENT))
    tracks.settled(parcel_of(1, single(alert())), refused)
    tracks.settled(parcel_of(1, single(alert())))  # told already
    spans.close()
    (seen,) = collector.spans
    assert (seen.trace, seen.parent, seen.links, seen.error) == (TRACE, PARENT, [], refused)
    assert seen.attributes["leadsman.channel"] == "webhook"
    assert seen.attributes["leadsman.alert.id"] == "id-0"


def test_a_digest_is_linked_with_all_that_it_tells_of(collector):
    spans = Spans("notifier", collector.url, 0.0)
    tracks = Tracks(spans, "webhook", "alerts", "g")
    linked = [f"{n:016x}" for n in (1, 2, 3)]
    for n, span in enumerate(linked):
        tracks.take(message_of(n, span))
    tracks.take(message_of(9, "f" * 16))
    message = digest("webhook", [("a", 2)], [Count("high", "rule", "c", 3)], [alert()], "storm")
    tracks.settled(parcel_of(3, message))
    tracks.forget(2)
    tracks.settled(Parcel(message, [], [Place(2, 9)]))  # another worker's by now
    spans.close()
    (seen,) = collector.spans
    assert (seen.parent, seen.links) == ("", linked)
    assert seen.attributes["messaging.batch.message_count"] == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"traces_endpoint": "collector:4318"}, "LEADSMAN_TRACES_ENDPOINT"),
        ({"traces_sample": 1.5}, "LEADSMAN_TRACES_SAMPLE=1.5"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(SettingError, match=said):
        traces.start("normalizer", Common(**settings))
    assert traces.spans() is None


def test_without_a_collector_nothing_of_it_is_loaded():
    script = """
import sys
import leadsman_normalizer.__main__, leadsman_detector.__main__, leadsman_notifier.__main__
from leadsman_common import traces
from leadsman_common.settings import Common
traces.start("normalizer", Common())
with traces.hop() as hop:
    assert hop is None
print([m for m in sys.modules if m.startswith(("opentelemetry.exporter", "opentelemetry.sdk.trace"))])
"""  # redis takes the part for metrics where it finds it
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"


def test_of_doubled_headers_the_first_counts():
    assert traceparent([*CAME, ("traceparent", b"x")]) == CAME[1][1]
