"""raw.* -> audit.events: the shell around normalize. Consume a batch, produce what came of it, flush, then commit.

Bad data goes to `<topic>.dlq` with its untouched bytes; anything else that goes wrong ends the process with the
offsets uncommitted, so that the records come again. A repeat changes nothing: an event's id is a hash of its content.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import Consumer, Message

from leadsman_common import traces
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import (
    MAX_MESSAGE_BYTES,
    AckedProducer,
    BadRecordCap,
    Header,
    Outgoing,
    consume_loop,
    consumer,
    dead_message,
)
from leadsman_common.ledger import DEAD, MADE, NOT_OURS, Ledger
from leadsman_common.metrics import BATCH_SECONDS, DEAD_LETTERED, FILTERED, LAST_RECEIVED, PRODUCED, RECEIVED
from leadsman_common.raw import RawEvent, from_headers
from leadsman_common.sightings import SIGHTINGS
from leadsman_common.topics import name as topic_name
from leadsman_normalizer.config import Settings
from leadsman_normalizer.key import partition_key
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sightings import Known
from leadsman_normalizer.timing import Timing, Told

if TYPE_CHECKING:
    from leadsman_common.spans import Hop, Traced

SERVICE = "normalizer"
STAGE = "normalize"
EVENTS = "audit.events"
LEADS_EVERY_S = 1.0
LOGGED_A_BATCH = 10  # dead letters, each with its place; the rest is counted
# room for key and record overhead below what broker and clients take
MAX_EVENT_BYTES = MAX_MESSAGE_BYTES - 64 * 1024


class Stream:
    """The normalizer's loop."""

    def __init__(self, settings: Settings, stop: threading.Event, log: Any, known: Known | None = None) -> None:
        self._settings = settings
        self._stop = stop
        self._log = log
        self._clusters = settings.registry()
        self._known = known or Known()
        self._sightings = topic_name(SIGHTINGS, settings.topic_prefix)
        self._client: Consumer | None = None
        self._leading = False
        self._look_at = 0.0
        self._codec = audit_event_codec()
        self._events = topic_name(EVENTS, settings.topic_prefix)
        self._cap = BadRecordCap(settings.max_bad_in_a_row)
        # flush() sends at once whatever the linger; until then a batch is not sent in pieces, each of which would take
        # the core away from normalizing: a fifth of the service's CPU was switching to and fro
        self._producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options, linger_ms=100)
        self._ledger = Ledger(SERVICE, settings.topic_prefix, on=settings.ledger)
        self._told = Told()
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read until told to stop. Raises what a broken world raises, with the offsets uncommitted."""
        client = consumer(self._settings.kafka_bootstrap, self._settings.group_id, self._settings.kafka_options)
        group, batch = self._settings.group_id, self._settings.normalizer_batch
        self._client = client
        consume_loop(client, self.topics, self.handle, self._turn, batch=batch, group=group)

    @property
    def topics(self) -> list[str]:
        """The raw topics that are read."""
        return [topic_name(base, self._settings.topic_prefix) for base in self._settings.normalizer_topics]

    def leads(self) -> bool:
        """Whether this worker reads the first partition of the first topic: of a group that is one worker."""
        return self._leading

    def _look_whether_leading(self, client: Consumer) -> None:
        """Only the thread that polls may ask: another one would wait for as long as that goes on."""
        self._leading = any(at.partition == 0 and at.topic == self.topics[0] for at in client.assignment())

    def ready(self) -> bool:
        """Whether the broker answers."""
        return self._producer.ready()

    def handle(self, messages: list[Message]) -> None:
        """Normalize a batch and return when all that came of it is acknowledged."""
        with BATCH_SECONDS.labels(SERVICE).time(), traces.hop() as hop:
            received: Counter[str] = Counter()
            dropped: Counter[str] = Counter()
            bad: Counter[str] = Counter()
            produced = 0
            timing = Timing()
            for message in messages:
                received[message.topic() or ""] += 1
                raw = _raw(message)
                traced = None if hop is None else self._traced(hop, message)
                try:
                    record = self._one(raw, message, timing)
                except InvalidEvent as error:
                    if traced is not None:
                        traced.failed("InvalidEvent", error.reason)
                    letter = dead_message(message, error.reason, STAGE)
                    if bad.total() < LOGGED_A_BATCH:
                        self._log.warning("record dead-lettered", **_place(message), reason=error.reason)
                    bad[letter.topic] += 1
                    self._producer.enqueue(letter)
                    self._cap.bad(error.reason)
                    self._note(raw, f"{DEAD}:{_bounded(error.reason)}")
                    continue
                self._cap.good()
                if isinstance(record, Dropped):
                    dropped[record.reason] += 1
                    self._note(raw, f"{NOT_OURS}:{_bounded(record.reason)}")
                else:
                    produced += 1
                    self._producer.enqueue(record if traced is None else record._replace(headers=(traced.header,)))
                    self._note(raw, MADE)
            for page in (*self._ledger.pages(), *self._known.due(self._sightings)):
                self._producer.enqueue(page)
            self._producer.flush()
        self._count(received, dropped, bad, produced)
        self._told.tell(timing, time.time() * 1000)

    def _traced(self, hop: Hop, message: Message) -> Traced | None:
        headers = cast("list[Header]", message.headers() or [])
        place = message.topic() or "", message.partition() or 0, message.offset() or 0
        return hop.process(*place, headers, self._settings.group_id)

    def _one(self, raw: RawEvent, message: Message, timing: Timing) -> Outgoing | Dropped:
        event = normalize(raw, self._clusters)
        if isinstance(event, Dropped):
            return event
        self._known.place(event)
        try:
            data = self._codec.encode(event)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidEvent(f"does not fit the schema: {type(error).__name__}: {error}") from error
        if len(data) > MAX_EVENT_BYTES:
            raise InvalidEvent(f"the event has {len(data)} bytes, more than {MAX_EVENT_BYTES}")
        timing.note(message, event, raw.received_ms)
        return Outgoing(self._events, partition_key(event), data)

    def _count(self, received: Counter[str], dropped: Counter[str], bad: Counter[str], produced: int) -> None:
        for topic, count in received.items():
            RECEIVED.labels(SERVICE, topic).inc(count)
            LAST_RECEIVED.labels(SERVICE, topic).set_to_current_time()
        for reason, count in dropped.items():
            FILTERED.labels(SERVICE, _bounded(reason)).inc(count)
        for topic, count in bad.items():
            DEAD_LETTERED.labels(SERVICE, topic).inc(count)
        if bad.total() > LOGGED_A_BATCH:
            self._log.warning("more records dead-lettered", topics=dict(bad))
        if produced:
            PRODUCED.labels(SERVICE, self._events).inc(produced)

    def _note(self, raw: RawEvent, outcome: str) -> None:
        source = f"{raw.provider}/{raw.account}/{raw.region}/{raw.cluster}"
        self._ledger.note(raw.topic, raw.partition, raw.offset, outcome, source)

    def _turn(self) -> bool:
        self.last_turn = time.monotonic()
        if self._client is not None and self.last_turn >= self._look_at:
            self._look_at = self.last_turn + LEADS_EVERY_S
            self._look_whether_leading(self._client)
        return self._stop.is_set()


def _raw(message: Message) -> RawEvent:
    return from_headers(
        message.value() or b"",
        cast("list[Header] | None", message.headers()),
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
    )


def _place(message: Message) -> dict[str, Any]:
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}


def _bounded(reason: str) -> str:
    """A reason as a label: the part in front of the colon, since what follows may be anyone's text."""
    return reason.partition(":")[0]
