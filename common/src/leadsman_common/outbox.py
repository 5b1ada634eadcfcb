"""One thread that produces for many: HTTP requests, queues and shards hand their records over and wait for Kafka.

Whatever waits when a batch is acknowledged makes the next batch, so a slow broker means larger batches, not more of
them. A batch stands or falls as a whole: where Kafka does not acknowledge all of it, everybody in it is told so and
sends again, which later hops take for the repeat that it is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from confluent_kafka import KafkaException

from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing
from leadsman_common.receipts import Handed

_BATCH_BYTES = 8 * 1024 * 1024
_PROBE_S = 0.5


class OutboxFull(DeliveryFailed):
    """As much waits for Kafka as may: try again later."""


class _Parcel(NamedTuple):
    records: Sequence[Outgoing]
    size: int
    future: Future[None]


class Outbox:
    """Hands records to `producer` from any thread. Nothing else may use that producer.

    `max_waiting_bytes` bounds what is held for Kafka; `stalled_s` is the age at which a batch that was not
    acknowledged counts as Kafka being away.
    """

    def __init__(
        self, producer: AckedProducer, *, max_waiting_bytes: int = 64 * 1024 * 1024, stalled_s: float = 5.0
    ) -> None:
        self._producer = producer
        self._max_waiting_bytes = max_waiting_bytes
        self._stalled_s = stalled_s
        self._waiting: deque[_Parcel] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._broken = False
        self._sending_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def submit(self, records: Iterable[Outgoing]) -> Future[None]:
        """Hand records over; the future is done when Kafka has acknowledged them all.

        Its exception is DeliveryFailed or KafkaException. Raises OutboxFull, without having taken anything, where too
        much waits already; one that nothing waits before is taken whatever its size.
        """
        parcel = _parcel(records)
        if not parcel.records and not isinstance(parcel.records, Handed):
            parcel.future.set_result(None)
            return parcel.future
        with self._changed:
            if self._closed:
                raise OutboxFull("stopping")
            if self._waiting_bytes and self._waiting_bytes + parcel.size > self._max_waiting_bytes:
                raise OutboxFull(f"{self._waiting_bytes} bytes wait for Kafka")
            self._waiting.append(parcel)
            self._waiting_bytes += parcel.size
            self._changed.notify_all()
        return parcel.future

    def send(self, records: Iterable[Outgoing]) -> None:
        """Hand records over and wait. Raises what the future of `submit` would hold; waits where too much waits."""
        parcel = records if isinstance(records, Handed) else list(records)
        while True:
            try:
                future = self.submit(parcel)
                break
            except OutboxFull:
                if self._closed:
                    raise
                time.sleep(0.05)
        future.result()

    def available(self) -> bool:
        """Whether Kafka acknowledged last time, and nothing waits for it unduly long. Asks nobody: cheap."""
        since = self._sending_since
        return not self._broken and (since is None or time.monotonic() - since < self._stalled_s)

    def ready(self) -> bool:
        """The same for /readyz, which also asks the broker."""
        return self.available() and self._producer.ready()

    def close(self) -> None:
        """Send what was taken, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed and not self._broken:
                    self._changed.wait()
                if not self._waiting and self._closed:
                    return
                batch = self._take()
            if batch:
                self._send(batch)
            else:
                self._probe()

    def _take(self) -> list[_Parcel]:
        batch: list[_Parcel] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= _BATCH_BYTES):
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        return batch

    def _send(self, batch: list[_Parcel]) -> None:
        self._sending_since = time.monotonic()
        error: Exception | None = None
        try:
            self._producer.send(Handed.together(parcel.records for parcel in batch))
        except (DeliveryFailed, KafkaException) as failed:
            error = failed
        self._broken = error is not None
        self._sending_since = None
        with self._changed:
            self._waiting_bytes -= sum(parcel.size for parcel in batch)
        for parcel in batch:
            if error is None:
                parcel.future.set_result(None)
            else:
                parcel.future.set_exception(error)

    def _probe(self) -> None:
        """While whoever asks `available` sends nothing, ask the broker whether it is back."""
        if self._producer.ready():
            self._broken = False
        else:
            with self._changed:
                self._changed.wait(_PROBE_S)


def _parcel(records: Iterable[Outgoing]) -> _Parcel:
    kept = records if isinstance(records, list) else list(records)
    size = sum(len(record.value or b"") + 256 for record in kept)
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # who gives up waiting cannot take the records back
    return _Parcel(kept, size, future)
