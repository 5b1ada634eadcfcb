"""The pinned private names that transport.py leans on, and the property that the Cython stream sets."""

from __future__ import annotations

import asyncio
import collections
import inspect
from importlib.metadata import version
from types import SimpleNamespace

import faust.transport.consumer
from aiokafka.consumer import fetcher
from faust.transport.drivers import aiokafka as driver

from leadsman_detector import transport
from leadsman_detector.acks import AckQueue, Batch
from leadsman_detector.runner import Record, Source


def test_the_versions_it_was_read_against():
    """Read both sources again before these move: commits, fetches and acks hang on private names."""
    assert (version("faust-streaming"), version("aiokafka")) == ("0.15.3", "0.14.0")


OURS = {"rewind", "rewinding", "_rewind", "seek_back", "_seek_back"}


def test_each_override_overrides_something():
    for cls in (transport.Consumer, transport.ConsumerThread):
        own = [name for name, value in vars(cls).items() if inspect.isfunction(value)]
        own = [name for name in own if name not in OURS | {"__init__"}]
        assert own
        for name in own:
            theirs = getattr(cls.__mro__[1], name, None)
            assert theirs is not None, name
            ours = list(inspect.signature(getattr(cls, name)).parameters)
            assert len(ours) == len(inspect.signature(theirs).parameters), name


def test_the_fetcher_still_takes_its_wait_from_the_consumer():
    source = inspect.getsource(__import__("aiokafka").AIOKafkaConsumer)
    for name in ("fetch_min_bytes=self._fetch_min_bytes", "fetch_max_wait_ms=self._fetch_max_wait_ms"):
        assert name in source
    assert "_fetch_max_wait_ms" in inspect.getsource(fetcher.Fetcher)
    assert "fetch_max_wait_ms=1500" in inspect.getsource(driver.AIOKafkaConsumerThread)


def test_faust_still_asks_what_we_answer():
    source = inspect.getsource(faust.transport.consumer.Consumer)
    for call in ("self._filter_tps_with_pending_acks(", "self._new_offset(", "self._add_gap(", "self._to_message"):
        assert call in source


def message_of(batch):
    tp = faust.types.TP("t", 0)
    return transport.BatchMessage("t", 0, batch.last, 0.0, 0, None, None, batch, None, 0, 0, tp)


def test_faust_acks_by_setting_an_attribute():
    queue, batch = AckQueue(), Batch([Record("t", 0, 5, None, b"", (), 0)])
    queue.fetched(batch)
    message = message_of(batch)
    assert (message.acked, queue.end) == (False, None)
    batch.handled = True
    message.acked = True
    assert (message.acked, queue.end) == (True, 6)


def test_what_faust_acks_unhandled_is_not_committed():
    queue, batch = AckQueue(), Batch([Record("t", 0, 5, None, b"", (), 0)])
    queue.fetched(batch)
    message = message_of(batch)
    message.acked = True
    assert (message.acked, queue.end) == (True, None)


def test_a_full_buffer_takes_no_partition_out():
    """Stock Faust sleeps a second when all are out: half of the throughput was lost to it (decision 004)."""
    tp = faust.types.TP("t", 0)
    consumer = object.__new__(transport.Consumer)
    consumer._active_partitions = {tp}
    consumer.on_buffer_full(tp)
    assert consumer._active_partitions == {tp}


def test_a_fetch_waits_no_longer_than_it_is_told(monkeypatch):
    """Stock Faust waits 1.5 s, during which no other partition of the broker is fetched (decision 004)."""
    stock = SimpleNamespace(_fetch_max_wait_ms=1500, _fetch_min_bytes=1)
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer", lambda *_: stock)
    thread = object.__new__(transport.ConsumerThread)
    thread.app = SimpleNamespace(source=Source("", "", "", "", fetch_wait_ms=20))
    made = thread._create_worker_consumer(None)
    assert (made._fetch_max_wait_ms, made._fetch_min_bytes) == (20, transport.FETCH_MIN_BYTES)


def fetched(*offsets):
    return [
        SimpleNamespace(topic="t", partition=0, offset=o, key=b"k", value=None, headers=(), timestamp=1)
        for o in offsets
    ]


def test_a_fetch_becomes_batches_in_order():
    queue = AckQueue()
    batches = list(transport.coalesce(queue, fetched(3, 4, 7, 8, 9), 2))
    assert [(b.first, b.last, len(b.records)) for b in batches] == [(3, 4, 2), (7, 8, 2), (9, 9, 1)]
    assert len(queue) == 3
    assert batches[0].records[0] == Record("t", 0, 3, b"k", b"", (), 1)


class Kafka:
    """A consumer thread's client: partitions at positions, None for one that has none yet."""

    def __init__(self, **positions):
        self.positions = {faust.types.TP("t", int(name[1:])): at for name, at in positions.items()}
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=self))

    def state_value(self, tp):
        if tp not in self.positions:
            return None
        return SimpleNamespace(has_valid_position=self.positions[tp] is not None, position=self.positions[tp])

    def seek(self, tp, offset):
        self.positions[tp] = offset


def consumer_of(kafka):
    """Give a consumer over this client, with nothing fetched."""
    thread = object.__new__(transport.ConsumerThread)
    thread._ensure_consumer = lambda: kafka

    async def call(do, *arguments):
        return await do(*arguments)

    thread.call_thread = call
    consumer = object.__new__(transport.Consumer)
    consumer._thread, consumer._again, consumer._read_offset = thread, {}, {}
    consumer.queues = collections.defaultdict(AckQueue)
    return consumer


def at(partition):
    return faust.types.TP("t", partition)


def test_of_two_rewinds_the_lower_one_is_carried_out():
    """A batch in hand, judged without the state, asks for itself after all before it was asked for."""
    consumer = consumer_of(kafka := Kafka(p0=500))
    batches = list(transport.coalesce(consumer.queues[at(0)], fetched(*range(40, 50)), 5))
    consumer.rewind({at(0): 45})
    consumer.rewind({at(0): 400})
    assert [consumer.rewinding(0, b.first) for b in batches] == [False, True]
    assert not consumer.rewinding(1, 45)
    asyncio.run(consumer._rewind())
    assert (kafka.positions[at(0)], consumer._read_offset) == (45, {at(0): 45})
    assert [b.dropped for b in batches] == [False, True]
    assert not consumer.rewinding(0, 45)


def test_a_rewind_goes_back_only():
    """One that comes late would pass over what lies between, and the commits with it."""
    consumer = consumer_of(kafka := Kafka(p0=60, p1=None))
    consumer.rewind({at(0): 400, at(1): 400, at(2): 400})
    asyncio.run(consumer._rewind())
    assert kafka.positions == {at(0): 60, at(1): None}
    assert consumer._read_offset == {}
    assert not consumer.queues


def test_a_partition_is_read_again_from_its_beginning():
    consumer = consumer_of(kafka := Kafka(p0=60))
    consumer.rewind({at(0): 0})
    asyncio.run(consumer._rewind())
    assert (kafka.positions, consumer._read_offset) == ({at(0): 0}, {at(0): None})
