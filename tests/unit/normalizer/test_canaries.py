"""Secrets never travel: canaries planted in every place that may hold one are in nothing that leaves the normalizer."""

import json
import threading
from collections import Counter

import pytest
from canaries import KINDS, LISTS, env, marks, planted, workload
from confluent_kafka import Message
from records import event_of, native

from leadsman_common import logs
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_normalizer import stream
from leadsman_normalizer.config import Settings
from leadsman_normalizer.normalize import normalize

PLANTED = list(planted())
NOT_OURS = {f"cloudtrail: {place}" for place in ("secret put", "function's environment", "database's password")}


def spoilt(value):
    """The same record as bad data, in the ways that records go bad."""
    yield value[: len(value) // 3]
    yield value[:-1]
    yield value[:-1] + b"[Truncated...]"
    yield value + b"}"
    yield b"[" + value + b"]"
    yield value.replace(b'"kind": "Event"', b'"kind": 7').replace(b'"verb"', b'"werb"')
    yield value.replace(b"{", b"{,", 1)
    yield json.dumps(value.decode()).encode()


def assert_clean(data, name, text):
    found = [mark for mark in marks(name, text) if mark in data]
    assert not found, name


def test_there_are_enough_and_no_two_are_alike():
    assert len(PLANTED) >= 200
    assert len({text for _, text, _ in PLANTED}) == len(PLANTED)
    assert len({name for name, _, _ in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize(("name", "text", "raw"), PLANTED, ids=[name for name, _, _ in PLANTED])
def test_no_canary_travels(name, text, raw):
    assert any(mark in raw.value for mark in marks(name, text)), "not planted"
    event = normalize(raw)
    assert isinstance(event, dict) is (name not in NOT_OURS)
    if isinstance(event, dict):
        assert_clean(audit_event_codec().encode(event), name, text)
    for value in spoilt(raw.value):
        try:
            cut = normalize(stream.from_headers(value, raw.headers(), "raw.k8s", 0, 0))
        except InvalidEvent as error:
            assert_clean(error.reason.encode(), name, text)
        else:
            sent = audit_event_codec().encode(cut) if isinstance(cut, dict) else cut.reason.encode()
            assert_clean(sent, name, text)


class Producer:
    """Keeps what is sent."""

    def __init__(self, *_, **_named):
        self.sent = []

    def enqueue(self, record):
        self.sent.append(record)

    def flush(self):
        pass


def test_no_canary_in_a_record_a_dead_letters_header_or_a_log_line(monkeypatch, capfd):
    """All of them through the normalizer's loop. A dead letter's value is the record's own bytes, by design."""
    monkeypatch.setattr(stream, "AckedProducer", Producer)
    loop = stream.Stream(Settings(), threading.Event(), logs.setup("normalizer", "debug"))
    count = Counter()
    for name, text, raw in PLANTED:
        values = (raw.value, *spoilt(raw.value))
        loop.handle([Message("raw.k8s", 0, 7, raw.key(), value, raw.headers()) for value in values])
        sent, loop._producer.sent = loop._producer.sent, []
        for record in sent:
            count[record.topic] += 1
            left = [record.key, *(key.encode() + data for key, data in record.headers)]
            assert_clean(b" ".join([*left, b"" if record.topic.endswith(".dlq") else record.value]), name, text)
    assert count["raw.k8s.dlq"] > len(PLANTED)
    assert count["audit.events"] >= len(PLANTED) - len(NOT_OURS)
    lines = capfd.readouterr().err.encode()
    assert lines.count(b"dead-lettered") > len(PLANTED) // 2
    for name, text, _ in PLANTED:
        assert_clean(lines, name, text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", LISTS[:2])
def test_references_to_secrets_stay(kind, which):
    resource, group = KINDS[kind]
    event = event_of(native("create", resource, group=group, requestObject=workload(kind, env("x", which)["spec"])))
    assert "kept-name" in event["requestObject"]
    assert "kept-key" in event["requestObject"]
