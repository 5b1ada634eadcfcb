"""The loop that every service reads Kafka by: what a rebalancing group refuses to take is committed later."""

import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from leadsman_common import kafka
from leadsman_common.kafka import AckedProducer, Commits, Outgoing, consume_loop
from leadsman_common.topic_reader import TopicReader


class RefusedFor:
    """A real consumer of a group that is busy with itself: its first commits are refused."""

    def __init__(self, client, refusals, code):
        self.client, self.left, self.code = client, refusals, code

    def __getattr__(self, name):
        return getattr(self.client, name)

    def commit(self, **arguments):
        if self.left:
            self.left -= 1
            raise KafkaException(KafkaError(self.code))
        return self.client.commit(**arguments)


@pytest.fixture
def committed(bootstrap, topics, topic_prefix):
    def ask():
        found = TopicReader(bootstrap).committed(topic_prefix, topics["alerts"])
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    return ask


@pytest.fixture
def filled(bootstrap, topics):
    """Give a topic of three partitions with ten records in each."""
    producer = AckedProducer(bootstrap)
    producer.send([Outgoing(topics["alerts"], None, b"%d" % n, partition=n % 3) for n in range(30)])
    return topics["alerts"]


def read(client, topic, until, **more):
    """Run the loop until it holds, a minute at most."""
    end = time.monotonic() + 60
    seen = []
    consume_loop(client, [topic], seen.extend, lambda: until() or time.monotonic() > end, **more)
    return seen


@pytest.mark.parametrize("code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION])
def test_what_was_refused_is_committed_though_nothing_more_comes(bootstrap, topic_prefix, filled, committed, code):
    client = RefusedFor(kafka.consumer(bootstrap, topic_prefix), 9, code)
    seen = read(client, filled, lambda: committed() == {0: 10, 1: 10, 2: 10})
    assert len(seen) == 30
    assert client.left == 0
    assert committed() == {0: 10, 1: 10, 2: 10}


def test_what_was_refused_is_committed_when_the_loop_ends(bootstrap, topic_prefix, filled, committed):
    client = RefusedFor(kafka.consumer(bootstrap, topic_prefix), 1000, KafkaError.REBALANCE_IN_PROGRESS)
    seen = []

    def done():
        if len(seen) == 30:
            client.left = 0  # it takes commits again, and the loop is not asked for another turn
        return len(seen) == 30

    consume_loop(client, [filled], seen.extend, done)
    assert committed() == {0: 10, 1: 10, 2: 10}


def test_a_partition_that_goes_to_another_is_committed_before_and_not_after(bootstrap, topic_prefix, filled, committed):
    first = RefusedFor(kafka.consumer(bootstrap, topic_prefix), 0, KafkaError.REBALANCE_IN_PROGRESS)
    second = kafka.consumer(bootstrap, topic_prefix)
    stop, seen, again, moved = threading.Event(), [], [], []

    def take(messages):
        seen.extend(messages)
        first.left = 10**9  # refused until partitions move

    class Told(Commits):
        def revoked(self, client, partitions):
            first.left = 0
            super().revoked(client, partitions)
            first.left = 10**9

    def run(client, handle, **more):
        consume_loop(client, [filled], handle, stop.is_set, **more)

    def assigned(_, partitions):
        moved.extend(partitions)

    workers = [
        threading.Thread(target=run, args=(first, take), kwargs={"commits": Told(first)}, daemon=True),
        threading.Thread(target=run, args=(second, again.extend), kwargs={"assigned": assigned}, daemon=True),
    ]
    try:
        workers[0].start()
        until(lambda: len(seen) == 30)
        workers[1].start()
        until(lambda: moved)
        assert committed() == {p.partition: 10 for p in moved}
    finally:
        stop.set()
        for worker in workers:
            worker.join(20)
    assert again == []  # nothing of what was done comes again


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
