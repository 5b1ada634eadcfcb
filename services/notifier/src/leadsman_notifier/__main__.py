"""The notifier: reads `alerts` and tells each to the configured sinks. `python -m leadsman_notifier`."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from leadsman_common import health, logs
from leadsman_common.settings import SettingError, load, shown
from leadsman_common.stopping import on_signals
from leadsman_notifier.config import Settings
from leadsman_notifier.deliver import Backoff, Delivery
from leadsman_notifier.delivered import MemoryDelivered, RedisDelivered
from leadsman_notifier.sink import Sink
from leadsman_notifier.sinks import open_sinks
from leadsman_notifier.stream import SERVICE, SinkStream


def main() -> int:
    """Run until SIGTERM or SIGINT: 0; 1 when the world broke (restart it), 2 for a setting."""
    try:
        settings = load(Settings)
        log = logs.setup(SERVICE, settings.log_level)
        sinks = open_sinks()
    except (SettingError, KeyError) as error:
        sys.stderr.write(f"notifier: {error}\n")
        return 2
    if not sinks:
        sys.stderr.write("notifier: no sink is configured\n")
        return 2
    stop = on_signals()
    log.info("starting", sinks=sorted(sinks), **shown(settings))
    try:
        return _run(settings, sinks, stop, log)
    finally:
        for sink in sinks.values():
            sink.close()


def _run(settings: Settings, sinks: dict[str, Sink], stop: threading.Event, log: Any) -> int:
    backoff = Backoff(settings.notify_retry_s, settings.notify_backoff_s, settings.notify_backoff_max_s)
    redis = (
        RedisDelivered(settings.redis_url, settings.topic_prefix, settings.notify_keep_s)
        if settings.redis_url
        else None
    )
    if redis is None:
        log.warning("no Redis configured: deliveries are forgotten at a restart")
    delivered = redis or MemoryDelivered()
    streams = [
        SinkStream(settings, Delivery(name, sink, delivered, backoff, stop), stop, log, keeps_bad=at == 0)
        for at, (name, sink) in enumerate(sinks.items())
    ]
    with ThreadPoolExecutor(len(streams), thread_name_prefix="sink") as pool:
        futures = [pool.submit(stream.run) for stream in streams]
        port = health.serve(
            settings.http_host,
            settings.http_port,
            ready=lambda: streams[0].ready() and (redis is None or redis.ready()),
            alive=lambda: not any(future.done() for future in futures),
        )
        if port is not None:
            log.info("listening", port=port.port)
        wait(futures, return_when=FIRST_COMPLETED)  # a sink's loop ends when told to stop, or broken
        stop.set()
        wait(futures)
    if port is not None:
        port.close()
    return _verdict(futures, log)


def _verdict(futures: list[Future[None]], log: Any) -> int:
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        log.error("left, offsets uncommitted", error=f"{type(error).__name__}: {error}")
    if not errors:
        log.info("stopped")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
