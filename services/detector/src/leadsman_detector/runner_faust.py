"""The Faust app that reads audit.events: one agent over the coalescing transport, nothing else of Faust in use."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from aiokafka.abc import AbstractTokenProvider
from faust.auth import OAuthCredentials
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from leadsman_common.kafka_tokens import TokenSource, source_of
from leadsman_common.metrics import Lag
from leadsman_common.settings import SettingError
from leadsman_common.stopping import note
from leadsman_detector.acks import Batch
from leadsman_detector.runner import (
    EXIT_BROKEN,
    TICK_S,
    BeforeCommit,
    Handler,
    Record,
    Source,
    Tick,
    no_tick,
    nothing_before,
)
from leadsman_detector.transport import SCHEME, Consumer
from leadsman_detector.watchdog import Watchdog

DRAIN_S = 30.0
SASL = ("sasl_plaintext", "sasl_ssl")
MAX_FETCH_BYTES = 4 * 1024 * 1024  # above the largest batch of the topic, or aiokafka passes over what does not fit

_log = structlog.get_logger()


class FaustRunner:
    """See Runner."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._app: faust.App | None = None
        self._lag = Lag(source.group)
        self._held: set[int] = set()  # partitions of which nothing is committed until they are read again

    def run(self, handler: Handler, tick: Tick = no_tick, before_commit: BeforeCommit = nothing_before) -> None:
        """See Runner."""
        asyncio.run(self._serve(handler, tick, before_commit))

    def ready(self) -> bool:
        """See Runner."""
        consumer = self._consumer()
        try:
            return consumer is not None and _assignment(consumer) is not None
        except ConsumerNotStarted:
            return False

    async def _serve(self, handler: Handler, tick: Tick, before_commit: BeforeCommit) -> None:
        watchdog = Watchdog(self.waiting, self._source.stall_s, self._source.stall_exit_s)
        app = self._app = make_app(self._source, self._noting(handler), watchdog, before_commit)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _asked, number, stop)
        watchdog.start()
        ticking = asyncio.create_task(self._tick(tick, watchdog))
        started = asyncio.create_task(app.start())
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({started, asked}, return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            started.result()
            crashed = asyncio.create_task(app.wait_until_stopped())
            await asyncio.wait({crashed, asked}, return_when=asyncio.FIRST_COMPLETED)
        watchdog.stop()
        ticking.cancel()
        if app.crashed:
            _broken("the stream crashed", app.crash_reason)
        try:
            await asyncio.wait_for(app.stop(), DRAIN_S)
        except TimeoutError as error:
            _broken("could not drain", error)
        if app.crashed:
            _broken("the stream crashed while stopping", app.crash_reason)

    def _noting(self, handler: Handler) -> Handler:
        """The handler, with the partitions noted that it holds back."""

        async def handle(records: list[Record]) -> bool:
            consumer = self._consumer()
            if consumer is not None and consumer.rewinding(records[0].partition, records[0].offset):
                return False  # judged now, it would ask to be read again once more, and what comes anew were dropped
            done = await handler(records)
            if not done:
                self._held.add(records[0].partition)
            return done

        return handle

    async def _tick(self, tick: Tick, watchdog: Watchdog) -> None:
        again: dict[int, int] = {}
        while True:
            await asyncio.sleep(TICK_S)
            try:
                again.update(await tick())
            except Exception as error:  # noqa: BLE001 - as with the handler
                _broken("the state broke", error)
            if again and (consumer := self._consumer()) is not None:
                consumer.rewind({TP(self._source.topic, partition): offset for partition, offset in again.items()})
                self._held.difference_update(again)
                again.clear()
            if self._held:
                watchdog.progress()  # nothing may be new, and what is held waits for the state

    def _consumer(self) -> Consumer | None:
        """The app's consumer once it is there and settled, for threads other than the app's.

        Never `app.consumer`: that makes one where there is none yet, and two threads would make two, of which the app
        starts one and asks the other for ever.
        """
        app = self._app
        if app is None or not app.started or app.rebalancing:
            return None
        return cast("Consumer | None", app._consumer)  # noqa: SLF001 - see above

    def waiting(self) -> bool:
        """Whether records wait: fetched ones, ones the broker has, or all of them while the group is being joined."""
        consumer = self._consumer()
        if consumer is None:
            return True
        queued = any(len(queue) for queue in list(consumer.queues.values()))
        assignment = _assignment(consumer)
        if assignment is None:
            return True
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        self._tell_lag(consumer, states)
        return queued or any(s is None or s.highwater is None or s.highwater > s.position for s in states.values())

    def _tell_lag(self, consumer: Consumer, states: dict[Any, Any]) -> None:
        """What is handled against the end of each partition; the watchdog asks every second or so."""
        queues = dict(consumer.queues)
        behind = {}
        for tp, state in states.items():
            if state is not None and state.highwater is not None:
                queue = queues.get(tp)
                first = queue.first(state.position) if queue is not None else state.position
                behind[tp.topic, tp.partition] = state.highwater - first
        self._lag.tell(behind)


def _assignment(consumer: Consumer) -> Any:
    """The client's assignment, which may be empty; None until the group gave one. Raises ConsumerNotStarted."""
    subscription = consumer._thread._ensure_consumer()._subscription.subscription  # noqa: SLF001 - it tells nobody
    return None if subscription is None else subscription.assignment


def make_app(source: Source, handler: Handler, watchdog: Watchdog, before_commit: BeforeCommit) -> Any:
    """The app: at least once, no tables, no web, one agent that hands each batch to `handler`."""
    data = Path(source.data_dir)
    data.mkdir(parents=True, exist_ok=True)
    app: Any = faust.App(
        source.group,
        broker=[f"{SCHEME}://{host}" for host in source.bootstrap.split(",")],
        broker_credentials=credentials(source.kafka_options, source.bootstrap),
        processing_guarantee="at_least_once",
        web_enabled=False,
        datadir=str(data / "faust"),
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_buffer_maxsize=64,
        stream_wait_empty=True,
        broker_session_timeout=source.session_timeout_s,
        broker_heartbeat_interval=source.session_timeout_s / 4,
        broker_commit_interval=1.0,
        consumer_max_fetch_size=MAX_FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        producer_max_request_size=MAX_FETCH_BYTES,
    )
    app.source = source
    app.before_commit = _or_broken(before_commit)
    topic = app.topic(source.topic, key_serializer="raw", value_serializer="raw")

    @app.agent(topic, name="detector")  # type: ignore[untyped-decorator, unused-ignore]
    async def detect(batches: Any) -> None:
        async for batch in batches:
            await _handle(batch, handler)
            watchdog.progress()

    return app


def _or_broken(before_commit: BeforeCommit) -> BeforeCommit:
    """The same, leaving the process where it raises: Faust would log that and commit at its next turn."""

    async def before() -> None:
        try:
            await before_commit()
        except Exception as error:  # noqa: BLE001 - as with the handler
            _broken("what must be safe before a commit is not", error)

    return before


async def _handle(batch: Batch, handler: Handler) -> None:
    """Run the handler. Faust would swallow what it raises and acknowledge the batch: leave the process instead."""
    if batch.dropped:
        return
    try:
        batch.handled = await handler(batch.records)
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch is not handled
        _broken("the handler raised", error)
    if not batch.handled:
        batch.records = []  # it holds the commits back until it is read again, which may be long


def _asked(number: int, stop: asyncio.Event) -> None:
    note(number)
    stop.set()


def _broken(what: str, error: BaseException | None) -> None:
    """Leave the process; offsets of what is not handled stay uncommitted."""
    _log.critical(what, exc_info=error or True)
    os._exit(EXIT_BROKEN)


def credentials(options: dict[str, str], bootstrap: str = "") -> Any:
    """Faust's form of librdkafka's security options; None for plain text. Raises SettingError for what it lacks."""
    protocol = options.get("security.protocol", "plaintext").lower()
    tokens = source_of(options, bootstrap)
    if protocol == "plaintext":
        return None
    context = None
    if protocol.endswith("ssl"):
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if "ssl.certificate.location" in options:
            context.load_cert_chain(
                options["ssl.certificate.location"],
                options.get("ssl.key.location"),
                options.get("ssl.key.password"),
            )
    if protocol == "ssl":
        return faust.SSLCredentials(context)
    if protocol in SASL and tokens is not None:
        return OAuthCredentials(oauth_cb=TokenProvider(tokens), ssl_context=context)
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")).upper()
    if protocol not in SASL or mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise SettingError(f"LEADSMAN_RUNNER=faust cannot do {protocol} with {mechanism}; use LEADSMAN_RUNNER=plain")
    return faust.SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka publishes no types
    """What aiokafka asks for a token at each connection; fetching one must not hold up its loop."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """See AbstractTokenProvider."""
        return (await asyncio.to_thread(self._source)).value
