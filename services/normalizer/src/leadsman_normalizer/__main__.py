"""The normalizer: `python -m leadsman_normalizer` turns raw.* into audit.events until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from leadsman_common import health, logs
from leadsman_common.settings import SettingError, load, shown
from leadsman_common.stopping import on_signals
from leadsman_normalizer.config import Settings
from leadsman_normalizer.stream import SERVICE, Stream

# a flush takes 35 s at most
_STUCK_S = 120


def main() -> int:
    """Run until SIGTERM or SIGINT: 0; 1 when the world broke (restart it), 2 for a setting."""
    try:
        settings = load(Settings)
        log = logs.setup(SERVICE, settings.log_level)
    except (SettingError, KeyError) as error:
        sys.stderr.write(f"{SERVICE}: {error}\n")
        return 2
    stop = on_signals()
    log.info("starting", **shown(settings))
    try:
        _run(settings, stop, log)
    except Exception:
        log.exception("left, what was not acknowledged is not committed")
        return 1
    log.info("stopped: what was read is acknowledged and committed")
    return 0


def _run(settings: Settings, stop: threading.Event, log: Any) -> None:
    stream = Stream(settings, stop, log)
    port = health.serve(
        settings.http_host,
        settings.http_port,
        ready=stream.ready,
        alive=lambda: time.monotonic() - stream.last_turn < _STUCK_S,
    )
    if port is not None:
        log.info("listening", port=port.port)
    try:
        stream.run()
    finally:
        if port is not None:
            port.close()


if __name__ == "__main__":
    sys.exit(main())
