"""Reading what a topic holds: all of it, from a time on, some offsets; and what cannot be read."""

import time

import pytest
from confluent_kafka import Producer

from leadsman_common.topic_reader import TopicReader, TopicUnreadableError

pytestmark = pytest.mark.integration


@pytest.fixture
def filled(bootstrap, topics):
    """30 records over three partitions, at ten seconds from each other."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    start_ms = int(time.time() * 1000) - 3_600_000
    for n in range(30):
        producer.produce(topics["raw.aws"], str(n).encode(), partition=n % 3, timestamp=start_ms + n * 10_000)
    assert producer.flush(30) == 0
    return TopicReader(bootstrap), topics["raw.aws"], start_ms


def values(messages):
    return sorted(int(m.value()) for m in messages)


def test_all_and_from_a_time_on(filled):
    reader, topic, start_ms = filled
    assert values(reader.read(topic)) == list(range(30))
    assert values(reader.read(topic, start_ms + 200_000)) == list(range(20, 30))
    assert values(reader.read(topic, int(time.time() * 1000) + 60_000)) == []


def test_some_offsets(filled):
    reader, topic, _ = filled
    assert values(reader.read_ranges(topic, {0: (2, 4), 2: (9, 10), 1: (5, 5)})) == [6, 9, 29]


def test_spans_say_what_is_there(filled):
    reader, topic, start_ms = filled
    assert {p: (s.low, s.start, s.end) for p, s in reader.spans(topic, start_ms + 100_000).items()} == {
        0: (0, 4, 10),
        1: (0, 3, 10),
        2: (0, 3, 10),
    }
    assert topic in reader.topics()


def test_an_empty_topic_has_nothing(bootstrap, topics):
    assert list(TopicReader(bootstrap).read(topics["raw.gcp"])) == []


def test_a_topic_that_is_not_there_is_told(bootstrap):
    with pytest.raises(TopicUnreadableError, match="no-such-topic"):
        list(TopicReader(bootstrap).read("no-such-topic"))
