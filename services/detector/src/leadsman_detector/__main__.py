"""The detector: `python -m leadsman_detector` reads audit.events until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
from typing import Any

from leadsman_common import health, logs
from leadsman_common.kafka import AckedProducer
from leadsman_common.settings import SettingError, load, shown
from leadsman_detector.config import Settings
from leadsman_detector.handler import SERVICE
from leadsman_detector.runner import EXIT_BROKEN
from leadsman_detector.stream import load_rules, make_handler, make_runner, source_of


def main() -> int:
    """Run until SIGTERM or SIGINT: 0; EXIT_BROKEN when the world broke (restart it), 2 for a setting."""
    try:
        settings = load(Settings)
        log = logs.setup(SERVICE, settings.log_level)
    except (SettingError, KeyError) as error:
        sys.stderr.write(f"{SERVICE}: {error}\n")
        return 2
    log.info("starting", **shown(settings))
    try:
        _run(settings, log)
    except SettingError as error:
        log.critical("cannot start", reason=str(error))
        return 2
    except Exception:
        log.exception("left, what was not handled is not committed")
        return EXIT_BROKEN
    log.info("stopped: what was handled is committed")
    return 0


def _run(settings: Settings, log: Any) -> None:
    rules = load_rules(settings)
    for problem in rules.problems:
        log.error("rule left out" if problem.fatal else "rule has a problem", problem=str(problem))
    if not rules.rules:
        raise SettingError("LEADSMAN_RULES_DIR holds no rule that can be used")
    log.info("rules", count=len(rules.rules), correlations=len(rules.correlations), digest=rules.digest)
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    runner = make_runner(settings.runner, source_of(settings))
    port = health.serve(settings.http_host, settings.http_port, ready=lambda: runner.ready() and producer.ready())
    if port is not None:
        log.info("listening", port=port.port)
    try:
        runner.run(make_handler(settings, rules, producer))
    finally:
        if port is not None:
            port.close()


if __name__ == "__main__":
    sys.exit(main())
