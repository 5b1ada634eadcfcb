"""The notifier: reads `alerts` and tells each to the channels that it is routed to. `python -m leadsman_notifier`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from leadsman_common.alerts import Alert
from leadsman_common.clusters import NO_CLUSTERS, Clusters, InvalidClustersError, load_clusters
from leadsman_common.kafka import AckedProducer
from leadsman_common.registry import RegistryAway, RegistryRefused
from leadsman_common.rotation import start_anew
from leadsman_common.service import listening, run
from leadsman_common.settings import SettingError
from leadsman_common.stopping import on_signals, told_to_leave
from leadsman_common.wire import Wire, alert_wire
from leadsman_notifier.channels import open_channels
from leadsman_notifier.config import Settings
from leadsman_notifier.mirror import Mirror
from leadsman_notifier.net import Net
from leadsman_notifier.reload import Watched
from leadsman_notifier.stream import SERVICE, ChannelStream


class Runs(Protocol):
    """A loop on a thread of its own."""

    def run(self) -> None:
        """Until told to stop."""


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    anew: list[bool] = []
    code = run(SERVICE, Settings, lambda settings, log: anew.append(_run(settings, log)))
    if code == 0 and any(anew) and not told_to_leave():
        start_anew()
    return code


def _run(settings: Settings, log: Any) -> bool:
    """Run until told to stop; says whether that was for channels that have changed."""
    stop = on_signals()
    watched = Watched(settings, stop, log)
    notify = watched.now()
    clusters = _clusters(settings)
    wire = alert_wire(settings)
    channels = open_channels(notify.channels, Net(notify.allow))
    log.info(
        "channels", channels={name: notify.channels[name].__class__.__module__.rpartition(".")[2] for name in channels}
    )
    _look_at_registry(wire, log)
    # short waits: a message is written down before and after it is sent
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options, linger_ms=0)
    streams = [
        ChannelStream(
            settings,
            name,
            notify.channels[name],
            channel,
            watched.now,
            clusters,
            producer,
            wire,
            stop,
            log,
            keeps_bad=at == 0,
        )
        for at, (name, channel) in enumerate(channels.items())
    ]
    try:
        mirror = [Mirror(settings, producer, wire, stop, log)] if settings.notify_ocsf else []
        _work(settings, [*streams, watched, *mirror], producer, stop, log)
    finally:
        for channel in channels.values():
            channel.close()
    return watched.anew


def _clusters(settings: Settings) -> Clusters:
    if not settings.clusters:
        return NO_CLUSTERS
    try:
        return load_clusters(Path(settings.clusters))
    except InvalidClustersError as error:
        raise SettingError(str(error)) from error


def _look_at_registry(wire: Wire[Alert], log: Any) -> None:
    """Know the present schema's id before an outage of the registry; a registry that is away holds nothing up here."""
    try:
        wire.prepare()
    except (RegistryAway, RegistryRefused) as error:
        log.warning("the schema registry cannot be used: alerts whose schema it must tell wait", reason=str(error))


def _work(settings: Settings, loops: Sequence[Runs], producer: AckedProducer, stop: threading.Event, log: Any) -> None:
    with ThreadPoolExecutor(len(loops), thread_name_prefix="channel") as pool:
        futures = [pool.submit(loop.run) for loop in loops]
        with listening(settings, log, ready=producer.ready, alive=lambda: not any(future.done() for future in futures)):
            wait(futures, return_when=FIRST_COMPLETED)  # a loop ends when told to stop, or broken
            stop.set()
            wait(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise BaseExceptionGroup("channels that broke", errors) if len(errors) > 1 else errors[0]


if __name__ == "__main__":
    sys.exit(main())
