"""Threads that ask the Faust runner how it is must not change it."""

from __future__ import annotations

import asyncio

from leadsman_detector.acks import AckQueue, Batch
from leadsman_detector.runner import Record, Source, nothing_before
from leadsman_detector.runner_faust import FaustRunner, _handle, make_app


def test_asking_makes_no_consumer(tmp_path):
    """Health and watchdog ask while the app starts: a consumer made by them would be one that nobody starts."""
    source = Source(bootstrap="127.0.0.1:1", topic="t", group="g", data_dir=str(tmp_path))
    runner = FaustRunner(source)
    app = make_app(source, handler=None, watchdog=None, before_commit=nothing_before)
    app._started.set()
    app.rebalancing = False
    runner._app = app
    assert app.started
    assert not runner.ready()
    assert runner.waiting()
    assert app._consumer is None


def test_nothing_is_committed_before_its_handler_has_returned():
    """Whatever acks meanwhile: the handler returns when alerts and state are safe."""
    queue, batch = AckQueue(), Batch([Record("t", 0, 5, None, b"", (), 0)])
    queue.fetched(batch)
    meanwhile = []

    async def handler(_records):
        batch.ack()
        meanwhile.append(queue.end)
        return True

    asyncio.run(_handle(batch, handler))
    batch.ack()
    assert (meanwhile, queue.end) == ([None], 6)


def test_what_was_judged_without_the_state_is_never_committed():
    queue, batch = AckQueue(), Batch([Record("t", 0, 5, None, b"", (), 0)])
    queue.fetched(batch)

    async def handler(_records):
        return False

    asyncio.run(_handle(batch, handler))
    batch.ack()
    assert (queue.end, len(queue)) == (None, 1)
