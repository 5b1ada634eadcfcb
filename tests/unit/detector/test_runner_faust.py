"""Threads that ask the Faust runner how it is must not change it."""

from __future__ import annotations

from leadsman_detector.runner import Source, nothing_before
from leadsman_detector.runner_faust import FaustRunner, make_app


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
