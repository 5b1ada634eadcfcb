"""The shell around what is known of clusters: the topic `sightings` followed, and written with each batch's events.

Every normalizer follows the whole topic, since an event's cluster may be one that was made anew (lives.py). The one
that reads the first partition of the first raw topic looks every minute at what is silent (silence.py), and raises it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from confluent_kafka import KafkaException

from leadsman_common.alert_stream import alert_record
from leadsman_common.alerts import Alert
from leadsman_common.canary import canary_of
from leadsman_common.clusters import Clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cluster
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing
from leadsman_common.metrics import ALERTS, PRODUCED
from leadsman_common.registry import RegistryAway, RegistryRefused
from leadsman_common.rhythm import Gaps, paused
from leadsman_common.settings import Common
from leadsman_common.shared import shared
from leadsman_common.sightings import (
    SIGHTINGS,
    Canary,
    Life,
    Listed,
    Raised,
    Record,
    Seen,
    Sightings,
    Sign,
    Watch,
    decode,
    encode,
)
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name
from leadsman_common.wire import Wire
from leadsman_normalizer.causes import logging_off
from leadsman_normalizer.config import Settings
from leadsman_normalizer.lives import told_by
from leadsman_normalizer.silence import FRESH_MS, changes, looked, silence_of, troubles, watched_ms

SERVICE = "normalizer"
# a source is told of again when it has gone on for that long
TELL_MS = 60_000
# names come with the records: who may post for every cluster may make them up
MOST_SEEN = 20_000
MOST_CANARIES = 10  # of a cluster
AGAIN_S = 30.0
WAIT_S = 30.0


class Known:
    """What this worker knows, and what it has to tell. The thread that normalizes and the Follower use it."""

    def __init__(self, prefix: str = "") -> None:
        """`prefix` is that of the topics."""
        self._prefix = prefix
        self._view = Sightings()
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], int] = {}  # (cluster, format) -> last_ms that was told
        self._due: list[Record] = []
        self._silent: set[str] = set()  # what alerts that stand are about
        self.there = threading.Event()  # the topic is there, and read to where its end was

    def apply(self, record: Record) -> None:
        """Take in what a worker, this one too, or a service wrote."""
        with self._lock:
            self._view.apply(record)
            if isinstance(record, Listed) and self.there.is_set():  # before that, what was known then is not known yet
                self._made_by_list(record)
            elif isinstance(record, Raised):
                (self._silent.discard if record.over else self._silent.add)(record.about)

    def look(self, judge: Callable[[Sightings], Any]) -> Any:
        """What `judge` makes of the view; it must not take long."""
        with self._lock:
            return judge(self._view)

    def place(self, event: AuditEvent) -> None:
        """Note what an event tells of its cluster, and give it the cluster that lived at its time."""
        cluster, at_ms = event["cluster"], event["time"] // 1000
        plain = cluster["id"]
        if not plain:
            return
        told = told_by(event)
        with self._lock:
            if "@" not in plain:  # else the registry says which one it is
                if told is not None:
                    self._note(self._view.made(plain, at_ms) if told == "made" else self._view.deleted(plain, at_ms))
                if found := self._view.incarnation(plain, at_ms):
                    event["cluster"] = _anew(
                        cluster["provider"], cluster["account"], cluster["region"], cluster["name"], f"{plain}@{found}"
                    )
            self._go_on(event, at_ms)
            if (sign := logging_off(event)) is not None and len(self._view.signs) < MOST_SEEN:
                self._note(sign)
            self._canary(event, at_ms)

    def _go_on(self, event: AuditEvent, at_ms: int) -> None:
        """A source goes on: told at first, and then every minute, by one worker or another."""
        at = (event["cluster"]["id"], event["source"]["format"])
        came_ms = event["source"]["received_ms"] or at_ms
        # the end of a silence is told at once
        after_ms = 0 if self._silent and silence_of(*at) in self._silent else TELL_MS
        if came_ms - self._told.get(at, 0) < after_ms:
            return
        known = self._view.seen.get(at)
        if known is None and len(self._view.seen) >= MOST_SEEN:
            return
        self._told[at] = came_ms
        if known is None or at_ms < known.first_ms or came_ms - known.last_ms >= after_ms:
            told = silence_of(*at) in self._silent
            gaps: Gaps = ()
            if known is not None:
                pause_ms = watched_ms(self._view.watch, known.last_ms, came_ms)
                gaps = paused((), known.last_ms, known.last_ms + pause_ms, told=told)
            topic = event["source"]["topic"].removeprefix(self._prefix)
            self._note(Seen(event["cluster"], at[1], at_ms, at_ms, came_ms, came_ms, gaps, topic))

    def _canary(self, event: AuditEvent, at_ms: int) -> None:
        """A canary came back. One that comes by an hour late does not count, but that it was the last one does."""
        if (told := canary_of(event)) is None:
            return
        cluster, came_ms = event["cluster"], event["source"]["received_ms"] or at_ms
        found = Canary(cluster, event["actor"]["name"], told.every_s, at_ms, came_ms)
        known = self._view.canaries.get(found.key)
        if told.every_s and came_ms - at_ms > FRESH_MS:
            return
        if known is None:
            own = sum(one.cluster["id"] == cluster["id"] for one in self._view.canaries.values())
            if not told.every_s or own >= MOST_CANARIES or len(self._view.canaries) >= MOST_SEEN:
                return
        if known is None or at_ms > known.at_ms:
            self._note(found)

    def _made_by_list(self, listed: Listed) -> None:
        """The cloud says when a cluster was made: a later time than its log began is another cluster."""
        for cluster, made_ms in listed.known():
            self._note(self._view.made(cluster["id"], made_ms) if made_ms else None)

    def _note(self, record: Seen | Life | Sign | Canary | None) -> None:
        """Know it, and have it written; it is nothing to anybody while the topic is not there."""
        if record is None:
            return
        self._view.apply(record)
        if self.there.is_set():
            self._due.append(
                self._view.seen[record.cluster["id"], record.format] if isinstance(record, Seen) else record
            )

    def due(self, topic: str) -> list[Outgoing]:
        """What is to be written with this batch."""
        if not self._due:
            return []
        with self._lock:
            due, self._due = self._due, []
        return [Outgoing(topic, record.key.encode(), encode(record)) for record in due]


@lru_cache(maxsize=4096)
def _anew(provider: str, account: str, region: str, name: str, cluster_id: str) -> Cluster:
    return shared(Cluster(id=cluster_id, name=name, provider=provider, account=account, region=region))


class Follower:
    """Follows the topic on a thread of its own, and looks at what is silent where this worker is the one to."""

    def __init__(
        self,
        settings: Common,
        known: Known,
        registry: Clusters,
        wire: Wire[Alert],
        stop: threading.Event,
        log: Any,
        *,
        leads: Callable[[], bool],
        caught_up: Callable[[], bool],
        look_s: float,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`leads`: whether this worker looks; `caught_up`: whether nothing waits on the raw topics for long."""
        self._settings, self._known, self._registry, self._wire = settings, known, registry, wire
        self._stop, self._log, self._clock_ms = stop, log, clock_ms
        self._leads, self._caught_up, self._look_s = leads, caught_up, look_s
        self._topic = topic_name(SIGHTINGS, settings.topic_prefix)
        self._alerts = topic_name("alerts", settings.topic_prefix)
        self._producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options, linger_ms=0)
        self._reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
        self._next = 0
        self._look_at = time.monotonic() + look_s
        self._thread = threading.Thread(target=self._run, name="sightings", daemon=True)

    def start(self) -> None:
        """Begin, and wait a while until what the topic holds is known: an event's cluster depends on it."""
        self._thread.start()
        deadline = time.monotonic() + WAIT_S
        while not self._known.there.wait(0.2) and time.monotonic() < deadline and self._thread.is_alive():
            if self._stop.is_set():
                return

    def close(self) -> None:
        """Come to an end."""
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (TopicUnreadableError, KafkaException) as error:
                self._log.warning(
                    "the topic `sightings` cannot be read: silence is not noticed, nor clusters that are made anew",
                    reason=str(error),
                )
                self._stop.wait(AGAIN_S)

    def _follow(self) -> None:
        for message in self._reader.follow(self._topic, 0):
            if self._stop.is_set():
                return
            if message is not None:
                self._next = (message.offset() or 0) + 1
                try:
                    self._known.apply(decode(message.value() or b""))
                except InvalidEvent as error:
                    self._log.warning("a record of sightings is passed over", reason=error.reason)
            elif not self._known.there.is_set():
                self._known.there.set()
            if message is None and self._look_s and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + self._look_s
                self._look()

    def _look(self) -> None:
        """Raise what is new. The alert goes first: what is raised again after a crash has the same id."""
        if not self._leads() or not self._caught_up():
            return
        if any(span.low < span.end and self._next < span.end for span in self._reader.spans(self._topic).values()):
            return  # another worker may have told of it just now
        now_ms = self._clock_ms()
        watch = self._known.look(lambda view: looked(view.watch, now_ms, int(self._look_s * 1000)))
        if not self._tell(watch):
            return
        news = self._known.look(lambda view: list(changes(view, troubles(view, self._registry, now_ms), now_ms)))
        for raised, alert in news:
            try:
                if alert is not None:
                    self._producer.send([alert_record(self._alerts, alert, self._wire.encode(alert), SERVICE)])
                    PRODUCED.labels(SERVICE, self._alerts).inc()
                    ALERTS.labels(alert["rule"]["name"], alert["level"]).inc()
                    say = self._log.info if raised.over else self._log.warning
                    say("alert", alert_id=alert["id"], rule=alert["rule"]["name"], what=alert["title"])
            except (DeliveryFailed, KafkaException, RegistryAway, RegistryRefused) as error:
                self._log.warning("cannot be raised now; it is tried again", reason=str(error))
                return
            if not self._tell(raised):
                return

    def _tell(self, record: Watch | Raised) -> bool:
        """Write a record and know it; whether Kafka took it."""
        try:
            self._producer.send([Outgoing(self._topic, record.key.encode(), encode(record))])
        except (DeliveryFailed, KafkaException) as error:
            self._log.warning("cannot be noted now; it is tried again", reason=str(error))
            return False
        self._known.apply(record)
        return True


class CaughtUp:
    """Whether the group has handled what the raw topics held when it was asked last: else silence says nothing."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
        self._group, self._topics = settings.group_id, topics
        self._ends: dict[tuple[str, int], int] | None = None

    def now(self) -> bool:
        """Ask the broker."""
        try:
            done = {
                (t, p): offset for t in self._topics for p, offset in self._reader.committed(self._group, t).items()
            }
            then, self._ends = (
                self._ends,
                {
                    (t, p): span.end
                    for t in self._topics
                    for p, span in self._reader.spans(t).items()
                    if span.end > span.low
                },
            )
        except TopicUnreadableError:
            self._ends = None
            return False
        return then is not None and all(done.get(at, -1) >= end for at, end in then.items())
