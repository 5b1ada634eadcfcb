"""The normalizer: `python -m leadsman_normalizer` turns raw.* into audit.events until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
import time
from typing import Any

from leadsman_common.service import listening, run
from leadsman_common.stopping import on_signals
from leadsman_common.wire import alert_wire
from leadsman_normalizer.config import Settings
from leadsman_normalizer.sightings import CaughtUp, Follower, Known
from leadsman_normalizer.stream import SERVICE, Stream

# a flush takes 35 s at most
_STUCK_S = 120


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    stop, known = on_signals(), Known(settings.topic_prefix)
    stream = Stream(settings, stop, log, known)
    follower = Follower(
        settings,
        known,
        settings.registry(),
        alert_wire(settings),
        stop,
        log,
        leads=stream.leads,
        caught_up=CaughtUp(settings, stream.topics).now,
        look_s=settings.silence_look_s,
    )
    with listening(settings, log, ready=stream.ready, alive=lambda: time.monotonic() - stream.last_turn < _STUCK_S):
        follower.start()
        try:
            stream.run()
        finally:
            stop.set()
            follower.close()


if __name__ == "__main__":
    sys.exit(main())
