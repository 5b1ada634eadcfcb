"""The shell of ingest-gcp: streaming pulls in, `raw.gcp` out, and a Pub/Sub ack after Kafka's acknowledgement.

The SDK pulls in threads of its own and extends the leases of what is in hand; this thread produces in batches.
While Kafka is away the batch in hand is tried again rather than refused: a refusal would count as a delivery attempt
and might send good messages to the subscription's own dead letters.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import Counter
from typing import Any

from google.api_core.exceptions import ResourceExhausted, TooManyRequests
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
from google.cloud.pubsub_v1.types import FlowControl

from leadsman_common import metrics
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import AckedProducer, BadRecordCap, Outgoing, insist
from leadsman_common.patience import Patience
from leadsman_common.receipts import Handed
from leadsman_common.topics import DEAD_LETTER_SUFFIX, name
from leadsman_ingest_gcp.config import SERVICE, Settings
from leadsman_ingest_gcp.envelope import split
from leadsman_ingest_gcp.intake import Intake, Taken
from leadsman_ingest_gcp.letters import dead

# longer than a flush takes at most
_DRAIN_S = 45.0
# a stream that lived this long was well, whatever ended it
_WELL_S = 60.0
# a quota is no fault that a restart would mend: it is waited for however long it takes
_BUSY = (ResourceExhausted, TooManyRequests)


class _Stream:
    """The streaming pull of one subscription, opened again whenever it ends."""

    def __init__(self, subscription: str, patience: Patience, busy: Patience) -> None:
        self.subscription = subscription
        self.future: StreamingPullFuture | None = None
        self.opened_at = 0.0
        self.open_at = 0.0
        self.patience = patience
        self.busy = busy

    def pulling(self) -> bool:
        return self.future is not None and not self.future.done()


class Puller:
    """Pulls all subscriptions until `stop` is set."""

    def __init__(
        self, settings: Settings, client: SubscriberClient, producer: AckedProducer, stop: threading.Event, log: Any
    ) -> None:
        self._settings = settings
        self._client = client
        self._producer = producer
        self._stop = stop
        self._log = log
        self._topic = name("raw.gcp", settings.topic_prefix)
        self._inbox: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        self._cap = BadRecordCap(settings.max_bad_in_a_row)
        self._patience = Patience(stop, settings.broken_s, what="Kafka")
        self._streams = [
            _Stream(path, Patience(stop, settings.broken_s, what=path), Patience(stop, math.inf, what=f"{path}, busy"))
            for path in settings.pubsub_subscriptions
        ]
        # each subscription's share
        self._flow = FlowControl(
            max_messages=max(1, settings.pull_messages // len(self._streams)),
            max_bytes=max(1, settings.pull_bytes // len(self._streams)),
        )
        self.last_turn = time.monotonic()

    def pulling(self) -> bool:
        """Whether every subscription is being pulled."""
        return all(stream.pulling() for stream in self._streams)

    def run(self) -> None:
        """Pull until stopped, then finish what is in hand.

        Raises what broke (Kafka, Pub/Sub) once the bound on patience is met, TooManyBadRecords.
        """
        try:
            while not self._stop.is_set():
                self._open_streams()
                self._turn(0.2)
        except Exception as error:  # noqa: BLE001 - raised again once the rest is refused
            self._close_streams(error)
        else:
            self._close_streams()

    def _turn(self, wait_s: float) -> None:
        self.last_turn = time.monotonic()
        if batch := self._batch(wait_s):
            try:
                with metrics.BATCH_SECONDS.labels(SERVICE).time():
                    self._produce(batch)
            except Exception:
                for taken in batch:
                    taken.nack()
                raise
            for taken in batch:
                taken.ack()

    # --- streams -----------------------------------------------------------------------------------------------

    def _open_streams(self) -> None:
        now = time.monotonic()
        for stream in self._streams:
            if stream.future is not None and stream.future.done():
                self._ended(stream, now)
            if stream.future is None and now >= stream.open_at:
                stream.future = self._client.subscribe(
                    stream.subscription,
                    callback=_never,
                    flow_control=self._flow,
                    scheduler=Intake(stream.subscription, self._inbox, _DRAIN_S),
                )
                stream.opened_at = now
            elif stream.pulling() and now - stream.opened_at > _WELL_S:
                stream.patience.succeeded()
                stream.busy.succeeded()

    def _ended(self, stream: _Stream, now: float) -> None:
        """Plan the next opening; a quota, a missing subscription or a lost permission may pass."""
        error = stream.future.exception() if stream.future else None
        self._log.warning("a pull ended", subscription=stream.subscription, error=str(error))
        stream.future = None
        patience = stream.busy if isinstance(error, _BUSY) else stream.patience
        stream.open_at = now + patience.next_wait_s(error or ConnectionError("the pull ended without an error"))

    def _close_streams(self, broken: Exception | None = None) -> None:
        """Stop pulling; go on until the SDK has sent every acknowledgement. What is broken is raised at the end."""
        open_streams = [stream.future for stream in self._streams if stream.future is not None]
        for future in open_streams:
            future.cancel()
        deadline = time.monotonic() + _DRAIN_S
        while any(not future.done() for future in open_streams) and time.monotonic() < deadline:
            if broken is None:
                try:
                    self._turn(0.05)
                except Exception as error:  # noqa: BLE001 - as above
                    broken = error
            else:
                for taken in self._batch(0.05):
                    taken.nack()
        if broken is not None:
            raise broken

    # --- messages ----------------------------------------------------------------------------------------------

    def _batch(self, wait_s: float) -> list[Taken]:
        """Take what is there: the first within `wait_s`, the rest within the setting's wait."""
        batch: list[Taken] = []
        deadline = time.monotonic() + wait_s
        while len(batch) < self._settings.batch_messages:
            try:
                batch.append(self._inbox.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
            if len(batch) == 1:
                deadline = time.monotonic() + self._settings.batch_wait_s
        return batch

    def _produce(self, batch: list[Taken]) -> None:
        """Have Kafka acknowledge the batch. Raises once patience is at its end, or at once when told to stop."""
        now_ms = time.time_ns() // 1_000_000
        good, bad = Counter[str](), Counter[str]()
        records = [self._outgoing(taken, now_ms, good, bad) for taken in batch]
        handed = Handed(records, Counter(taken.intake.subscription for taken in batch))
        insist(self._producer.send, handed, self._patience, self._log, messages=len(batch))
        for subscription, count in (good + bad).items():
            metrics.RECEIVED.labels(SERVICE, subscription).inc(count)
            metrics.LAST_RECEIVED.labels(SERVICE, subscription).set_to_current_time()
        metrics.PRODUCED.labels(SERVICE, self._topic).inc(good.total())
        metrics.DEAD_LETTERED.labels(SERVICE, self._topic + DEAD_LETTER_SUFFIX).inc(bad.total())

    def _outgoing(self, taken: Taken, now_ms: int, good: Counter[str], bad: Counter[str]) -> Outgoing:
        message, subscription = taken.message, taken.intake.subscription
        data, message_id = message.data, message.message_id
        try:
            event = split(data, message_id, now_ms)
        except InvalidEvent as error:
            self._log.warning("bad message", reason=error.reason, subscription=subscription, message_id=message_id)
            self._cap.bad(error.reason)
            bad[subscription] += 1
            return dead(self._topic, data, message_id, now_ms, error.reason, SERVICE)
        self._cap.good()
        good[subscription] += 1
        return Outgoing(self._topic, event.key(), event.value, event.headers())


def _never(message: Any) -> None:
    """The SDK asks for a callback; the intake takes its place."""
    raise AssertionError(message)
