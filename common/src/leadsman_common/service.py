"""The frame of a service's main(): settings, log, the run itself, and an exit code that says how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, TypeVar

from leadsman_common import health, logs, metrics, traces
from leadsman_common.rotation import Rotation, may_start_anew, secret_files, start_anew
from leadsman_common.settings import Common, SettingError, load, shown

S = TypeVar("S", bound=Common)

BROKEN = 1  # the world broke: restart it
MISCONFIGURED = 2  # a setting: restarting will not help


def run(service: str, settings_class: type[S], body: Callable[[S, Any], None], *, broken: int = BROKEN) -> int:
    """Load the settings, run `body(settings, log)` and return the process's exit code.

    Where secrets changed in their files the body is ended in good order and the process starts anew (rotation.py).

    0 where it returned after a signal, MISCONFIGURED for a setting, `broken` for anything else that it raised: what was
    not acknowledged is then not committed, and comes again.
    """
    try:
        settings = load(settings_class)
        log = logs.setup(service, settings.log_level)
    except (SettingError, KeyError) as error:
        for line in str(error).splitlines():  # one a mistake
            sys.stderr.write(f"{service}: {line}\n")
        return MISCONFIGURED
    metrics.Process.service = service
    metrics.BUILD.info({"service": service, "version": version("leadsman-common")})
    log.info("starting", version=version("leadsman-common"), **shown(settings))
    rotation = Rotation(secret_files(os.environ, settings), lambda: load(settings_class), log, settings.secrets_look_s)
    rotation.start()
    try:
        traces.start(service, settings)
        body(settings, log)
    except SettingError as error:
        log.critical("cannot start", reason=str(error))
        return MISCONFIGURED
    except Exception:
        metrics.failed("fatal")
        log.exception("left: what was not acknowledged is not committed")
        return broken
    finally:
        traces.stop()
    log.info("stopped: what was read is acknowledged and committed")
    if may_start_anew(rotation):
        start_anew()
    return 0


@contextmanager
def listening(
    settings: Common, log: Any, ready: Callable[[], bool], alive: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Serve /healthz, /readyz and /metrics where the settings ask for it, as long as the context lasts."""
    port = health.serve(settings.http_host, settings.http_port, ready, alive)
    if port is not None:
        log.info("listening", port=port.port)
    try:
        yield
    finally:
        if port is not None:
            port.close()
