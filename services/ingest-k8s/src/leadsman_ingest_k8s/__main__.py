"""ingest-k8s: `python -m leadsman_ingest_k8s` takes audit events at LEADSMAN_LISTEN_PORT until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from leadsman_common.http_server import HttpServer
from leadsman_common.outbox import Outbox
from leadsman_common.pulse import Pulse
from leadsman_common.receipts import IngestProducer
from leadsman_common.service import listening, run
from leadsman_common.settings import SettingError
from leadsman_common.stopping import on_signals
from leadsman_common.topics import name
from leadsman_ingest_k8s.config import Settings
from leadsman_ingest_k8s.senders import InvalidSendersError, SendersFile
from leadsman_ingest_k8s.webhook import SERVICE, Webhook


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    stop = on_signals()
    try:
        senders = SendersFile(Path(settings.audit_senders), log) if settings.audit_senders else None
    except InvalidSendersError as error:
        raise SettingError(f"LEADSMAN_AUDIT_SENDERS: {error}") from error
    if senders is None:
        log.warning("LEADSMAN_AUDIT_ANYONE: whoever can connect may post audit events of any cluster")
    webhook = Webhook(name("raw.k8s", settings.topic_prefix), senders, log)
    producer = IngestProducer(SERVICE, settings, timeout_s=settings.answer_timeout_s)
    outbox = Outbox(producer)
    server = HttpServer(settings, webhook, outbox, service=SERVICE, log=log)
    server.start()
    try:
        with (
            Pulse(SERVICE, settings, ["raw.k8s"], log),
            listening(settings, log, ready=outbox.ready, alive=server.alive),
        ):
            stop.wait()
    finally:
        server.close()
        outbox.close()


if __name__ == "__main__":
    sys.exit(main())
