"""alerts -> one sink: the shell around deliver.py, one consumer group, one thread for each sink.

A group of its own for each sink keeps one sink's outage from holding up the others. Its offset passes an alert only
after the sink has accepted it, or after the alert was dead-lettered for that sink.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import Consumer, Message

from leadsman_common import metrics
from leadsman_common.alerts import Alert
from leadsman_common.avro import alert_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import (
    AckedProducer,
    BadRecordCap,
    commit,
    consume_loop,
    consumer,
    dead_message,
)
from leadsman_common.metrics import DEAD_LETTERED, DELIVERIES, RECEIVED
from leadsman_common.topics import name as topic_name
from leadsman_notifier.config import Settings
from leadsman_notifier.deliver import Delivery, Stopped
from leadsman_notifier.sink import Refused

SERVICE = "notifier"
BATCH = 50
LOGGED_EVENTS = 10
# the longest that librdkafka takes for max.poll.interval.ms
MAX_POLL_MS = 86_400_000


def group_id(settings: Settings, sink: str) -> str:
    """The consumer group of a sink."""
    return f"{settings.topic_prefix}leadsman-notifier-{sink}"


class SinkStream:
    """The loop of one sink."""

    def __init__(
        self, settings: Settings, delivery: Delivery, stop: threading.Event, log: Any, *, keeps_bad: bool
    ) -> None:
        """`keeps_bad`: it dead-letters undecodable records, which the others pass over: none is there twice."""
        self._settings = settings
        self._delivery = delivery
        self._stop = stop
        self._log = log.bind(sink=delivery.name)
        self._keeps_bad = keeps_bad
        self._cap = BadRecordCap(settings.notify_bad_in_a_row)
        self._producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
        self._client: Consumer | None = None

    def run(self) -> None:
        """Read until told to stop. Raises what a broken world raises, with the offsets uncommitted."""
        # a batch may take as long as every alert of it is tried: the group must not take that for death
        patience_ms = int((self._settings.notify_retry_s + 60) * BATCH * 1000)
        self._client = consumer(
            self._settings.kafka_bootstrap,
            group_id(self._settings, self._delivery.name),
            {"max.poll.interval.ms": str(min(MAX_POLL_MS, patience_ms)), **self._settings.kafka_options},
        )
        topic = topic_name("alerts", self._settings.topic_prefix)
        try:
            group = group_id(self._settings, self._delivery.name)
            consume_loop(self._client, [topic], self._handle, self._stop.is_set, batch=BATCH, group=group)
        except Stopped:
            self._log.info("stopped with an alert undelivered; it comes again at the next start")

    def ready(self) -> bool:
        """Whether the broker answers."""
        return self._producer.ready()

    def _handle(self, messages: list[Message]) -> None:
        done = 0
        try:
            with metrics.BATCH_SECONDS.labels(SERVICE).time():
                for message in messages:
                    self._one(message)
                    done += 1
        except Stopped:
            if done and self._client is not None:
                commit(self._client, messages[:done])
            raise

    def _one(self, message: Message) -> None:
        name = self._delivery.name
        source = f"alerts:{name}"
        RECEIVED.labels(SERVICE, source).inc()
        metrics.LAST_RECEIVED.labels(SERVICE, source).set_to_current_time()
        try:
            alert = alert_codec().decode(message.value() or b"")
        except InvalidEvent as error:
            self._bad(message, error.reason)
            return
        self._cap.good()
        try:
            result = self._delivery.deliver(alert)
        except Refused as error:
            self._refused(message, alert, error.reason)
            result = "dead_lettered"
        DELIVERIES.labels(name, result).inc()
        if result == "delivered":
            self._delivered(message, alert, source)

    def _delivered(self, message: Message, alert: Alert, source: str) -> None:
        now_ms = time.time() * 1000
        newest_us = max((item["time"] for item in alert["evidence"]), default=alert["time"])
        metrics.hop("notify", source, message.timestamp()[1], now_ms)
        if newest_us > 0:
            metrics.ALERT_SECONDS.labels(self._delivery.name).observe(max(0.0, now_ms / 1000 - newest_us / 1e6))
        self._log.info(
            "alert delivered",
            alert_id=alert["id"],
            alert_level=alert["level"],
            event_ids=[item["event_id"] for item in alert["evidence"][:LOGGED_EVENTS]],
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
        )

    def _refused(self, message: Message, alert: Alert, reason: str) -> None:
        self._dead_letter(message, f"{self._delivery.name}: {reason}", f"notify:{self._delivery.name}")
        self._log.error(
            "alert dead-lettered",
            alert_id=alert["id"],
            alert_level=alert["level"],
            partition=message.partition(),
            offset=message.offset(),
            reason=reason,
        )

    def _bad(self, message: Message, reason: str) -> None:
        if not self._keeps_bad:
            DELIVERIES.labels(self._delivery.name, "undecodable").inc()
            return
        self._dead_letter(message, reason, "notify")
        self._log.error("record dead-lettered", partition=message.partition(), offset=message.offset(), reason=reason)
        self._cap.bad(reason)

    def _dead_letter(self, message: Message, reason: str, stage: str) -> None:
        self._producer.send([dead_message(message, reason, stage)])
        DEAD_LETTERED.labels(SERVICE, "alerts.dlq").inc()
