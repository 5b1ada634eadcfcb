"""ingest-aws: `python -m leadsman_ingest_aws` reads what the settings name until SIGTERM. Wiring only.

`--since 30d` reads the past of LEADSMAN_LOG_GROUPS once, and ends; given again it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import Any

from leadsman_common.http_server import HttpServer
from leadsman_common.inventory import Inventory
from leadsman_common.outbox import Outbox
from leadsman_common.pulse import Pulse
from leadsman_common.receipts import IngestProducer
from leadsman_common.service import MISCONFIGURED, listening, run
from leadsman_common.settings import SettingError, secret_values
from leadsman_common.since import span_ms
from leadsman_common.stopping import on_signals
from leadsman_ingest_aws import eks
from leadsman_ingest_aws.accounts import Accounts
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.firehose import FirehoseEndpoint
from leadsman_ingest_aws.inputs import Inputs
from leadsman_ingest_aws.intake import SERVICE, Intake


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    parser = argparse.ArgumentParser(prog="leadsman_ingest_aws", description=__doc__)
    parser.add_argument(
        "--since", default="", help="read LEADSMAN_LOG_GROUPS from then to now, and end: 30d, 6h, a time"
    )
    since = parser.parse_args().since
    if since:
        try:
            span_ms(since, time.time_ns() // 1_000_000)
        except ValueError as error:
            sys.stderr.write(f"{SERVICE}: --since {since!r} {error}\n")
            return MISCONFIGURED
    return run(SERVICE, Settings, lambda settings, log: _run(settings, log, since))


def _run(settings: Settings, log: Any, since: str) -> None:
    stop = on_signals()
    if since and not settings.log_groups:
        raise SettingError("LEADSMAN_LOG_GROUPS is not set: --since reads log groups")
    producer = IngestProducer(SERVICE, settings, timeout_s=settings.answer_timeout_s)
    outbox = Outbox(producer)
    intake, accounts = Intake(settings, outbox, log), Accounts(settings)
    inputs = Inputs(settings, accounts, intake, stop, log, since)

    def ready() -> bool:
        return inputs.begun() and outbox.ready()

    with ExitStack() as closing:
        closing.callback(outbox.close)
        if settings.listen_port >= 0 and not since:
            closing.callback(_serve(settings, intake, log, ready, inputs.alive).close)
        closing.enter_context(listening(settings, log, ready, inputs.alive))
        if not since:
            closing.enter_context(Pulse(SERVICE, settings, ["raw.aws"], log))
            inventory = Inventory(settings, eks.scopes(settings, accounts), settings.inventory_s, log)
            closing.callback(inventory.start().close)
        inputs.run()
        if settings.listen_port >= 0 and not since:
            stop.wait()


def _serve(settings: Settings, intake: Intake, log: Any, ready: Any, alive: Any) -> HttpServer:
    endpoint = FirehoseEndpoint(settings, intake, secret_values("firehose_access_keys", settings.firehose_access_keys))
    server = HttpServer(settings, endpoint, intake.outbox, service=SERVICE, log=log, ready=ready, alive=alive)
    server.start()
    return server


if __name__ == "__main__":
    sys.exit(main())
