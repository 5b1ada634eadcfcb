"""What is done with a batch: the core's pure steps, the state's exchanges between them, and what is sent.

It returns when Kafka has acknowledged every alert and dead letter of the batch, and raises otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from leadsman_common import metrics
from leadsman_common.alerts import Alert, iso_time
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import MAX_MESSAGE_BYTES, AckedProducer, BadRecordCap, DeadLetter, Outgoing, dead_letter
from leadsman_common.metrics import ALERTS, BATCH_SECONDS, DEAD_LETTERED, PRODUCED, RECEIVED, ROUTED
from leadsman_detector.detect import Detector
from leadsman_detector.match import RuleSet
from leadsman_detector.runner import Record
from leadsman_detector.state import CorrelationState, StateReply, StateRequest

SERVICE = "detector"
STAGE = "detect"
LOGGED_EVENTS = 10
_HEADROOM = 16 * 1024  # key, headers and the batch's own header

_log = structlog.get_logger()


class BatchHandler:
    """A Handler (see runner.py)."""

    def __init__(
        self,
        detector: Detector,
        state: CorrelationState,
        producer: AckedProducer,
        alerts_topic: str,
        cap: BadRecordCap,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        new_rules: Callable[[], RuleSet | None] | None = None,
    ) -> None:
        """Set up; `new_rules` gives rules to be put in force from this batch on, asked before each."""
        self._detector = detector
        self._new_rules = new_rules
        self._state = state
        self._producer = producer
        self._alerts_topic = alerts_topic
        self._cap = cap
        self._clock_us = clock_us

    async def __call__(self, records: list[Record]) -> None:
        """Handle a batch. Raises TooManyBadRecords past the cap, and what a broken Kafka or Redis raises."""
        with BATCH_SECONDS.labels(SERVICE).time():
            if self._new_rules is not None and (rules := self._new_rules()) is not None:
                self._detector = Detector(rules)
            now_us = self._clock_us()
            plan = self._detector.plan(records, now_us)
            dead = [(records[index], reason) for index, reason in plan.dead]
            self._count(records, dict(plan.dead))
            replies = await self._exchange(plan.requests) if plan.requests else []
            claims = self._detector.conclude(plan, replies, now_us)
            alerts: list[Alert] = []
            if claims.requests:
                alerts = claims.granted(await self._exchange(claims.requests))
            if alerts or dead:
                await self._send(alerts, dead)
        topic = records[0].topic
        RECEIVED.labels(SERVICE, topic).inc(len(records))
        metrics.LAST_RECEIVED.labels(SERVICE, topic).set_to_current_time()
        metrics.hop("detect", topic, min(record.timestamp_ms for record in records), time.time() * 1000)
        ROUTED.labels("decoded").inc(plan.decoded)
        ROUTED.labels("passed").inc(len(records) - plan.decoded - len(dead))

    async def _exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        with metrics.STATE_SECONDS.labels(SERVICE).time():
            try:
                return await self._state.exchange(requests)
            except Exception:
                metrics.failed("redis")
                raise

    def _count(self, records: Sequence[Record], dead: dict[int, str]) -> None:
        """Count bad records in a row, before any is written: past the cap the batch is left as it is."""
        if not dead:
            self._cap.good()
            return
        for index in range(len(records)):
            if index in dead:
                self._cap.bad(dead[index])
            else:
                self._cap.good()

    async def _send(self, alerts: list[Alert], dead: list[tuple[Record, str]]) -> None:
        out = [outgoing(self._alerts_topic, alert) for alert in alerts]
        for record, reason in dead:
            _log.error(
                "record dead-lettered",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=reason,
            )
            bad = DeadLetter(
                record.topic,
                record.partition,
                record.offset,
                record.key,
                record.value,
                record.headers,
                reason,
                STAGE,
            )
            out.append(dead_letter(bad))
        await asyncio.to_thread(self._producer.send, out)
        for alert in alerts:
            ALERTS.labels(alert["rule"]["name"], alert["level"]).inc()
            _log.info("alert", **described(alert))
        if alerts:
            PRODUCED.labels(SERVICE, self._alerts_topic).inc(len(alerts))
        if dead:
            topic = dead[0][0].topic + ".dlq"
            PRODUCED.labels(SERVICE, topic).inc(len(dead))
            DEAD_LETTERED.labels(SERVICE, topic).inc(len(dead))


def described(alert: Alert) -> dict[str, object]:
    """What a log line says of an alert: its id, and its events with their ids and offsets, the first few of many."""
    evidence = alert["evidence"]
    return {
        "alert_id": alert["id"],
        "revision": alert["revision"],
        "rule": alert["rule"]["name"],
        "alert_level": alert["level"],
        "cluster": alert["cluster"]["id"],
        "events": [
            {"event_id": e["event_id"], "topic": e["topic"], "partition": e["partition"], "offset": e["offset"]}
            for e in evidence[:LOGGED_EVENTS]
        ],
        "events_in_all": len(evidence),
    }


def outgoing(topic: str, alert: Alert) -> Outgoing:
    """The record of an alert: CloudEvents binary mode over Kafka.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
    """
    headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", alert["id"]),
        ("ce_source", "/leadsman/detector"),
        ("ce_type", "io.leadsman.alert.v1"),
        ("ce_time", iso_time(alert["time"])),
        ("content-type", "application/avro"),
    ]
    return Outgoing(topic, alert["id"].encode(), _fitting(alert), tuple((k, v.encode()) for k, v in headers if v))


def _fitting(alert: Alert) -> bytes:
    """The alert's bytes, with evidence out of the middle left out where the topic would not take it."""
    value = alert_codec().encode(alert)
    evidence = alert["evidence"]
    while len(value) > MAX_MESSAGE_BYTES - _HEADROOM and len(evidence) > 1:
        kept = len(evidence) // 2
        evidence = evidence[: (kept + 1) // 2] + evidence[len(evidence) - kept // 2 :]
        _log.warning("alert too large, evidence left out", id=alert["id"], bytes=len(value), kept=len(evidence))
        value = alert_codec().encode({**alert, "evidence": evidence})
    return value
