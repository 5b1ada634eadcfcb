"""alerts -> one channel: the shell around outbox.py, one consumer group and one thread for each channel.

A group of its own for each channel keeps one channel's outage from holding up the others. Its offset passes an alert
only after the channel was told of it, or after the alert was written to alerts.undelivered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import Consumer, Message, TopicPartition

from leadsman_common import canary, metrics, traces
from leadsman_common.alert_stream import alert_record
from leadsman_common.alerts import Alert
from leadsman_common.clusters import Clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import (
    AckedProducer,
    BadRecordCap,
    Header,
    Outgoing,
    behind,
    commit_offsets,
    consumer,
    dead_message,
    fatal,
)
from leadsman_common.ledger import DEAD, DELIVERED, SUPPRESSED, UNDELIVERED, Ledger
from leadsman_common.metrics import DEAD_LETTERED, DELIVERIES, MESSAGES, RECEIVED, SINK_FAILING, SINK_WAITING
from leadsman_common.registry import RegistryAway, RegistryRefused
from leadsman_common.topic_reader import TopicReader
from leadsman_common.topics import name as topic_name
from leadsman_common.wire import ASK_S, Wire
from leadsman_notifier.accounts import Accounts
from leadsman_notifier.alarms import channel_alarm, is_alarm
from leadsman_notifier.channel import Channel, ChannelConfig, Refused, Unavailable
from leadsman_notifier.config import Settings
from leadsman_notifier.config_file import Notify
from leadsman_notifier.deliveries import READ_LITTLE_AHEAD, Deliveries
from leadsman_notifier.message import rank
from leadsman_notifier.outage import Backoff, Outage
from leadsman_notifier.outbox import Outbox, Parcel, Place
from leadsman_notifier.story import tell

if TYPE_CHECKING:
    from leadsman_notifier.tracing import Tracks

SERVICE = "notifier"
STAGE = "notify"
BATCH = 200
AT_ONCE = 50  # messages sent before the topic is looked at again
COMMIT_S = 1.0
LOGGED = 10  # alerts and events that a log line names


_STARTED_S = time.time() - time.monotonic()


def clock_s() -> float:
    """Unix time as it was at the start and has run on since: a clock that is set holds nothing up."""
    return _STARTED_S + time.monotonic()


def group_id(settings: Settings, channel: str) -> str:
    """The consumer group of a channel."""
    return f"{settings.topic_prefix}leadsman-notifier-{channel}"


class ChannelStream:
    """The loop of one channel. `notify` gives the plan in force; it may change."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        config: ChannelConfig,
        channel: Channel,
        notify: Callable[[], Notify],
        clusters: Clusters,
        producer: AckedProducer,
        wire: Wire[Alert],
        stop: threading.Event,
        log: Any,
        *,
        keeps_bad: bool,
    ) -> None:
        """`keeps_bad`: it dead-letters undecodable records, which the others pass over: none is there twice."""
        self.name = name
        self._settings = settings
        self._config = config
        self._channel = channel
        self._notify = notify
        self._clusters = clusters
        self._producer = producer
        self._wire = wire
        self._stop = stop
        self._log = log.bind(channel=name)
        self._keeps_bad = keeps_bad
        self._cap = BadRecordCap(settings.notify_bad_in_a_row)
        self._topic = topic_name("alerts", settings.topic_prefix)
        self._source = f"alerts:{name}"
        self._outbox = Outbox(
            name, per_minute=config.limit_per_minute, group_by=config.group_by, group_s=config.group_s
        )
        self._outage = Outage(
            Backoff(settings.notify_retry_s, settings.notify_backoff_s, settings.notify_backoff_max_s)
        )
        self._deliveries = Deliveries(
            settings.kafka_bootstrap,
            settings.kafka_options,
            topic_name("deliveries", settings.topic_prefix),
            name,
            producer,
        )
        ledger = Ledger(f"{SERVICE}/{name}", settings.topic_prefix, on=settings.ledger)
        self._accounts = Accounts(ledger, self._topic)
        self._tracks = self._make_tracks()
        # without a limit each alert is a message of its own, which has the same key when it is sent again
        self._announces = bool(config.limit_per_minute or config.group_by)
        self._owned: set[int] = set()
        self._paused = False
        self._held: dict[int, float] = {}  # partitions whose next record the schema registry must tell of: until when
        self._committed_s = 0.0
        self._alarmed = False

    def _make_tracks(self) -> Tracks | None:
        if (spans := traces.spans()) is None:
            return None
        from leadsman_notifier.tracing import Tracks  # noqa: PLC0415 - only for those who want traces

        return Tracks(spans, self.name, self._topic, group_id(self._settings, self.name))

    # --- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read until told to stop. Raises what a broken world raises, with the offsets uncommitted."""
        client = consumer(
            self._settings.kafka_bootstrap,
            group_id(self._settings, self.name),
            {
                # little is read ahead: there are as many consumers as channels
                "queued.max.messages.kbytes": "4096",
                "fetch.message.max.bytes": "1048576",
                "fetch.min.bytes": "1",
                "auto.offset.reset": "earliest",
                **self._settings.kafka_options,
            },
        )
        lag = metrics.Lag(group_id(self._settings, self.name))
        client.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        try:
            while not self._stop.is_set():
                for message in client.consume(BATCH, timeout=self._wait_s()):
                    if not fatal(message) and (message.partition() or 0) not in self._held:
                        self._take_or_hold(client, message)
                self._send_due()
                self._pause_or_go_on(client)
                self._commit(client, lag)
            self._commit(client, lag, last=True)
        finally:
            client.close()
            lag.tell({})

    def _wait_s(self) -> float:
        now_s = clock_s()
        wait_s = self._outbox.wait_s(now_s)
        if self._outage.since_s is not None:
            wait_s = max(wait_s, self._outage.not_before_s - now_s)
        return min(0.5, max(0.0, wait_s))

    def _pause_or_go_on(self, client: Consumer) -> None:
        if due := [p for p, until_s in self._held.items() if clock_s() >= until_s]:
            for partition in due:
                del self._held[partition]
            if not self._paused:
                client.resume([TopicPartition(self._topic, p) for p in due])
        if self._outbox.full != self._paused and self._owned:
            self._paused = not self._paused
            partitions = [TopicPartition(self._topic, p) for p in self._owned - self._held.keys()]
            (client.pause if self._paused else client.resume)(partitions)

    def _take_or_hold(self, client: Consumer, message: Message) -> None:
        """Take a record; where the registry must tell its schema and is away, its partition waits, the others go on."""
        try:
            self._take(message)
        except RegistryAway as error:
            at = TopicPartition(self._topic, message.partition() or 0, message.offset() or 0)
            self._held[at.partition] = clock_s() + ASK_S
            client.pause([at])
            client.seek(at)
            self._log.warning("waiting for the schema registry", partition=at.partition, reason=str(error))

    def _commit(self, client: Consumer, lag: metrics.Lag, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if last or now_s - self._committed_s >= COMMIT_S:
            self._committed_s = now_s
            SINK_WAITING.labels(self.name).set(self._outbox.waiting)
            lag.tell(behind(client))
            self._commit_accounted(client, self._owned)

    def _commit_accounted(self, client: Consumer, partitions: Collection[int]) -> None:
        """Commit these partitions, once the ledger says what became of what is committed."""
        offsets = {p: o for p, o in self._outbox.commits().items() if p in partitions}
        if pages := self._accounts.pages(offsets):
            self._producer.send(pages)
        commit_offsets(client, self._topic, offsets)

    # --- partitions -------------------------------------------------------------------------------------------

    def _assigned(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        new = {p.partition for p in partitions}
        if new:
            self._log.info("partitions", partitions=sorted(new), deliveries=self._deliveries.restore(new, self._outbox))
        self._owned |= new
        self._outbox.share(len(self._owned), self._producer.partitions(self._topic))
        client.incremental_assign(self._starts(client, partitions))
        self._paused = False

    def _starts(self, client: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Where to begin: at what was committed; a channel that is new, a while back instead of at the oldest alert."""
        committed = client.committed([TopicPartition(p.topic, p.partition) for p in partitions], timeout=30)
        new = [p for p in committed if p.offset < 0]
        if not new:
            return committed
        since_ms = int((time.time() - self._settings.notify_new_channel_s) * 1000)
        found = client.offsets_for_times([TopicPartition(p.topic, p.partition, since_ms) for p in new], timeout=30)
        return [p for p in committed if p.offset >= 0] + found

    def _revoked(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {p.partition for p in partitions}
        self._commit_accounted(client, gone)
        for partition in gone:
            self._outbox.forget(partition)
            self._accounts.forget(partition)
            if self._tracks is not None:
                self._tracks.forget(partition)
        self._owned -= gone
        self._held = {p: until_s for p, until_s in self._held.items() if p in self._owned}
        if self._owned:
            self._outbox.share(len(self._owned), self._producer.partitions(self._topic))

    # --- in ---------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        RECEIVED.labels(SERVICE, self._source).inc()
        metrics.LAST_RECEIVED.labels(SERVICE, self._source).set_to_current_time()
        place = Place(message.partition() or 0, message.offset() or 0, message.timestamp()[1])
        try:
            alert = self._wire.decode(message.value() or b"")
        except InvalidEvent as error:
            self._outbox.passed(place)
            self._bad(message, error.reason)
            kind = DEAD if self._keeps_bad else SUPPRESSED
            self._accounts.note([place], f"{kind}:undecodable")
            return
        self._cap.good()
        if alert["rule"]["name"] == canary.RULE:
            metrics.canary("notify", alert["cluster"]["id"], place.timestamp_ms, time.time() * 1000)
        result = self._unwanted(alert)
        if result:
            self._outbox.passed(place)
        else:
            quiet = self._notify().plan.quiet_until(self.name, alert, datetime.now(UTC))
            result = self._outbox.accept(alert, place, clock_s(), quiet_until_s=quiet)
        if result == "waiting":
            if self._tracks is not None:
                self._tracks.take(message)
        else:
            self._accounts.note([place], f"{SUPPRESSED}:{result}")
            DELIVERIES.labels(self.name, result).inc()

    def _unwanted(self, alert: Alert) -> str:
        """Why this channel is not told of an alert; empty where it is."""
        if alert.get("suppressed") or alert.get("shadow"):
            return "suppressed"
        labels = self._clusters.of(alert["cluster"]).labels
        plan = self._notify().plan
        if self.name not in plan.channels(alert, labels):
            return "not_routed"
        if rank(alert["level"]) < rank(self._config.min_level):
            return "below_level"
        if plan.silenced(alert, labels, datetime.now(UTC)) is not None:
            return "silenced"
        return ""

    def _bad(self, message: Message, reason: str) -> None:
        DELIVERIES.labels(self.name, "undecodable").inc()
        if not self._keeps_bad:
            return
        self._producer.send([dead_message(message, reason, STAGE)])
        DEAD_LETTERED.labels(SERVICE, "alerts.dlq").inc()
        self._log.error("record dead-lettered", partition=message.partition(), offset=message.offset(), reason=reason)
        self._cap.bad(reason)

    # --- out --------------------------------------------------------------------------------------------------

    def _send_due(self) -> None:
        sent: list[Parcel] = []
        began_s = time.monotonic()
        try:
            while len(sent) < AT_ONCE and time.monotonic() - began_s < 1 and not self._stop.is_set():
                now_s = clock_s()
                if self._outage.waits(now_s):
                    break
                parcel = self._outbox.next(now_s)
                if parcel is None:
                    break
                if (self._announces or parcel.message.is_digest) and not parcel.announced:
                    self._deliveries.sending(parcel)
                if not self._send(parcel):
                    break
                self._outbox.done(parcel, clock_s())
                sent.append(parcel)
                if self._config.keyed or parcel.announced:
                    self._settle(sent)
        finally:
            self._settle(sent)

    def _settle(self, sent: list[Parcel]) -> None:
        """Write down what was sent, before its offset may be committed."""
        if sent:
            self._deliveries.settled(sent, told=True)
            for parcel in sent:
                self._accounts.note(parcel.places, DELIVERED)
                DELIVERIES.labels(self.name, "delivered").inc(parcel.message.total)
                MESSAGES.labels(self.name, "digest" if parcel.message.is_digest else "single").inc()
                self._observe(parcel)
            sent.clear()

    def _observe(self, parcel: Parcel) -> None:
        if self._tracks is not None:
            self._tracks.settled(parcel)
        now_ms = time.time() * 1000
        metrics.hop("notify", self._source, min((p.timestamp_ms for p in parcel.places), default=0), now_ms)
        if not parcel.message.is_digest:
            alert = parcel.message.alerts[0]
            newest_us = max((item["time"] for item in alert["evidence"]), default=alert["time"])
            if newest_us > 0:
                metrics.ALERT_SECONDS.labels(self.name).observe(max(0.0, now_ms / 1000 - newest_us / 1e6))
        self._log.info("alert delivered", **_described(parcel))

    def _send(self, parcel: Parcel) -> bool:
        """One try; False where it failed. What is refused or past its limit is given up and counts as failed."""
        try:
            with metrics.DELIVERY_SECONDS.labels(self.name).time():
                self._channel.send(parcel.message, tell(parcel.message, self._notify().advice))
        except Unavailable as error:
            metrics.failed("sink")
            MESSAGES.labels(self.name, "retried").inc()
            self._failed(parcel, error)
            return False
        except Refused as error:
            self._answers()
            MESSAGES.labels(self.name, "refused").inc()
            self._give_up(parcel, error.reason)
            return False
        self._answers()
        return True

    def _answers(self) -> None:
        if self._outage.since_s is not None:
            self._log.info("channel answers again")
        self._outage.answered()
        self._alarmed = False
        SINK_FAILING.labels(self.name).set(0)

    def _failed(self, parcel: Parcel, error: Unavailable) -> None:
        now_s = clock_s()
        if self._outage.since_s is None:
            self._log.warning("channel fails", reason=error.reason)
        self._outage.failed(error, now_s)
        failing_s = now_s - (self._outage.since_s or now_s)
        SINK_FAILING.labels(self.name).set(failing_s)
        if self._settings.notify_failing_s and failing_s >= self._settings.notify_failing_s and not self._alarmed:
            self._alarmed = self._alarm("fails", error.reason)
        if reason := self._outage.given_up(now_s):
            self._give_up(parcel, reason)

    # --- given up ---------------------------------------------------------------------------------------------

    def _give_up(self, parcel: Parcel, reason: str) -> None:
        """Keep the alerts on alerts.undelivered, each as it came, and say so: a metric, a log line, an alert."""
        self._producer.send(self._undelivered(parcel, reason))
        self._deliveries.settled([parcel], told=False)
        self._outbox.dropped(parcel)
        self._accounts.note(parcel.places, f"{UNDELIVERED}:{reason.partition(':')[0]}")
        if self._tracks is not None:
            self._tracks.settled(parcel, reason)
        DELIVERIES.labels(self.name, "undelivered").inc(parcel.message.total)
        self._log.error("alert not delivered", reason=reason, **_described(parcel))
        if not all(is_alarm(alert) for alert in parcel.message.alerts):
            self._alarm("gave alerts up", reason)

    def _undelivered(self, parcel: Parcel, reason: str) -> Iterable[Outgoing]:
        wanted = {(place.partition, place.offset) for place in parcel.places}
        ranges: dict[int, tuple[int, int]] = {}
        for partition, offset in wanted:
            start, end = ranges.get(partition, (offset, offset + 1))
            ranges[partition] = min(start, offset), max(end, offset + 1)
        topic = topic_name("alerts.undelivered", self._settings.topic_prefix)
        reader = TopicReader(self._settings.kafka_bootstrap, {**READ_LITTLE_AHEAD, **self._settings.kafka_options})
        for message in reader.read_ranges(self._topic, ranges):
            if (message.partition(), message.offset()) not in wanted:
                continue
            came = cast("list[Header]", message.headers() or [])
            headers = [(k, v) for k, v in came if not k.startswith("undelivered-")]
            own = {
                "undelivered-channel": self.name,
                "undelivered-reason": reason[:1024],
                "undelivered-message": parcel.message.key,
                "undelivered-topic": self._topic,
                "undelivered-partition": str(message.partition()),
                "undelivered-offset": str(message.offset()),
            }
            added = [(name, text.encode("utf-8", "replace")) for name, text in own.items()]
            yield Outgoing(topic, message.key(), message.value(), [*headers, *added])

    def _alarm(self, what: str, reason: str) -> bool:
        """Raise an alert about the channel; False where the schema registry must be asked first and cannot be."""
        alert = channel_alarm(self.name, what, reason, time.time_ns() // 1000)
        try:
            value = self._wire.encode(alert)
        except (RegistryAway, RegistryRefused) as error:
            self._log.error("no alert about the channel: the schema registry cannot be used", reason=str(error))
            return False
        self._producer.send([alert_record(self._topic, alert, value, SERVICE)])
        return True


def _described(parcel: Parcel) -> dict[str, object]:
    """What a log line says of a message: its alerts, with their events and their places on the topic."""
    message = parcel.message
    return {
        "message": message.key,
        "alerts": message.total,
        "alert_level": message.level,
        "alert_id": parcel.members[0].id if len(parcel.members) == 1 else "",
        "alert_ids": [member.id for member in parcel.members[:LOGGED]],
        "event_ids": [] if message.is_digest else [e["event_id"] for e in message.alerts[0]["evidence"][:LOGGED]],
        "places": [f"{place.partition}/{place.offset}" for place in parcel.places[:LOGGED]],
    }
