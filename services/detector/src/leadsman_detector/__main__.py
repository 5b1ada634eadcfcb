"""The detector: `python -m leadsman_detector` reads audit.events until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from leadsman_common.kafka import AckedProducer
from leadsman_common.service import listening, run
from leadsman_common.settings import SettingError
from leadsman_common.stopping import on_signals
from leadsman_common.wire import alert_wire
from leadsman_detector.config import Settings
from leadsman_detector.handler import SERVICE
from leadsman_detector.reload import RulesWatch
from leadsman_detector.runner import EXIT_BROKEN
from leadsman_detector.stream import (
    load_rules,
    make_handler,
    make_runner,
    refuse_eviction,
    rules_folders,
    source_of,
)


def main() -> int:
    """Run until SIGTERM or SIGINT; EXIT_BROKEN when the world broke, see leadsman_common.service."""
    return run(SERVICE, Settings, _run, broken=EXIT_BROKEN)


def _run(settings: Settings, log: Any) -> None:
    rules = load_rules(settings)
    for problem in rules.problems:
        log.error("rule left out" if problem.fatal else "rule has a problem", problem=str(problem))
    if not rules.rules:
        raise SettingError("LEADSMAN_RULES_DIR holds no rule that can be used")
    log.info("rules", count=len(rules.rules), correlations=len(rules.correlations), digest=rules.digest)
    wire = alert_wire(settings)
    refuse_eviction(settings)
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    runner = make_runner(settings.runner, source_of(settings))
    registry = Path(settings.clusters) if settings.clusters else None
    watch = RulesWatch(rules_folders(settings), rules, settings.rules_reload_s, registry=registry)
    with listening(settings, log, ready=lambda: runner.ready() and producer.ready()), watch:
        stop = on_signals()  # the runner's own take their place
        wire.wait(stop.is_set, log)
        if stop.is_set():
            return
        handler = make_handler(settings, rules, producer, watch, wire)
        runner.run(handler, handler.tick, handler.accounted)


if __name__ == "__main__":
    sys.exit(main())
