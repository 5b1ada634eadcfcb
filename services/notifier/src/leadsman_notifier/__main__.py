"""The notifier: reads `alerts` and tells each to the configured sinks. `python -m leadsman_notifier`."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

from leadsman_common.service import listening, run
from leadsman_common.settings import SettingError
from leadsman_common.stopping import on_signals
from leadsman_notifier.config import Settings
from leadsman_notifier.deliver import Backoff, Delivery
from leadsman_notifier.delivered import MemoryDelivered, RedisDelivered
from leadsman_notifier.sink import Sink
from leadsman_notifier.sinks import open_sinks
from leadsman_notifier.stream import SERVICE, SinkStream


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    sinks = open_sinks()
    if not sinks:
        raise SettingError("no sink is configured")
    log.info("sinks", sinks=sorted(sinks))
    stop = on_signals()
    try:
        _deliver(settings, sinks, stop, log)
    finally:
        for sink in sinks.values():
            sink.close()


def _deliver(settings: Settings, sinks: dict[str, Sink], stop: threading.Event, log: Any) -> None:
    backoff = Backoff(settings.notify_retry_s, settings.notify_backoff_s, settings.notify_backoff_max_s)
    redis = (
        RedisDelivered(settings.redis_url, settings.topic_prefix, settings.notify_keep_s)
        if settings.redis_url
        else None
    )
    if redis is None:
        log.warning("no Redis configured: deliveries are forgotten at a restart")
    elif complaint := redis.complaint():
        log.warning("deliveries may be repeated", reason=complaint)
    delivered = redis or MemoryDelivered()
    streams = [
        SinkStream(settings, Delivery(name, sink, delivered, backoff, stop), stop, log, keeps_bad=at == 0)
        for at, (name, sink) in enumerate(sinks.items())
    ]
    with ThreadPoolExecutor(len(streams), thread_name_prefix="sink") as pool:
        futures = [pool.submit(stream.run) for stream in streams]
        with listening(
            settings,
            log,
            ready=lambda: streams[0].ready() and (redis is None or redis.ready()),
            alive=lambda: not any(future.done() for future in futures),
        ):
            wait(futures, return_when=FIRST_COMPLETED)  # a sink's loop ends when told to stop, or broken
            stop.set()
            wait(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise BaseExceptionGroup("sinks that broke", errors) if len(errors) > 1 else errors[0]


if __name__ == "__main__":
    sys.exit(main())
