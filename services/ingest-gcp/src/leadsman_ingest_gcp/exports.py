"""The past: Cloud Logging's exports to Cloud Storage, read once (`--since`), into `raw.gcp`.

A log sink writes one object an hour and log, a LogEntry a line:
`LOG/YYYY/MM/DD/HH:MM:SS_HH:MM:SS_S0.json`, late entries in `..._A0:....json` beside it
(https://cloud.google.com/logging/docs/export/storage). An object that Kafka has whole is noted in a file, so a run that
was cut off goes on there; what is read twice raises nothing twice, since ids are made of contents.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from google.api_core.exceptions import GoogleAPIError
from google.cloud.storage import Blob, Client

from leadsman_common import metrics
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import AckedProducer, BadRecordCap, Outgoing, insist
from leadsman_common.patience import Patience
from leadsman_common.receipts import Handed
from leadsman_common.topics import DEAD_LETTER_SUFFIX, name
from leadsman_ingest_gcp.config import SERVICE, Settings
from leadsman_ingest_gcp.envelope import MAX_VALUE_BYTES, split
from leadsman_ingest_gcp.letters import dead

_NAMED = re.compile(r"/(\d{4})/(\d\d)/(\d\d)/(\d\d):\d\d:\d\d_\d\d:\d\d:\d\d_")
_CHUNK = 1024 * 1024


class Exports:
    """One reading of LEADSMAN_STORAGE_EXPORTS."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        producer: AckedProducer,
        stop: threading.Event,
        log: Any,
        since_ms: int,
    ) -> None:
        self._settings, self._client, self._producer, self._stop, self._log = settings, client, producer, stop, log
        self._since = datetime.fromtimestamp(since_ms / 1000, UTC)
        self._topic = name("raw.gcp", settings.topic_prefix)
        self._cap = BadRecordCap(settings.max_bad_in_a_row)
        self._patience = Patience(stop, settings.broken_s)
        self._done = Done(settings.storage_done_file)
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read all there is, an object after the other, and note each that Kafka has.

        Raises what broke (Kafka, Cloud Storage) once the bound on patience is met, TooManyBadRecords.
        """
        for place in self._settings.storage_exports:
            bucket, _, prefix = place.removeprefix("gs://").partition("/")
            read = skipped = 0
            for blob in self._client.list_blobs(bucket, prefix=prefix):
                if self._stop.is_set():
                    return
                known = f"{bucket}/{blob.name}#{blob.generation}"
                if known in self._done or not self._wanted(blob.name):
                    skipped += 1
                elif self._object(blob, f"{bucket}/{blob.name}"):
                    self._done.add(known)
                    read += 1
            self._log.info("exports read", place=place, objects=read, passed_over=skipped)

    def _wanted(self, blob_name: str) -> bool:
        """Whether an object may hold entries since then, by the hour in its name; other names may."""
        if (found := _NAMED.search(f"/{blob_name}")) is None:
            return True
        year, month, day, hour = map(int, found.groups())
        try:
            return datetime(year, month, day, hour, tzinfo=UTC) + timedelta(hours=1) > self._since
        except ValueError:
            return True

    def _object(self, blob: Blob, place: str) -> bool:
        """Put an object's lines on the topic; False where it was stopped before the end."""
        while True:
            try:
                with blob.open("rb", chunk_size=_CHUNK) as source:
                    lines = numbered(cast("BinaryIO", source))
                    while batch := [line for _, line in zip(range(self._settings.batch_messages), lines, strict=False)]:
                        self._produce(place, batch)
                        if self._stop.is_set():
                            return False
            except GoogleAPIError as error:
                self._log.warning("an object cannot be read; trying again", object=place, error=str(error))
                self._patience.failed(error)
            else:
                return True

    def _produce(self, place: str, batch: list[tuple[int, bytes]]) -> None:
        now_ms = time.time_ns() // 1_000_000
        records, bad = [], 0
        for number, line in batch:
            source_id = f"{place}#{number}"
            try:
                event = split(line, source_id, now_ms)
            except InvalidEvent as error:
                self._log.warning("bad line", reason=error.reason, place=source_id)
                self._cap.bad(error.reason)
                bad += 1
                records.append(dead(self._topic, line, source_id, now_ms, error.reason, SERVICE))
                continue
            self._cap.good()
            records.append(Outgoing(self._topic, event.key(), event.value, event.headers()))
        bucket = place.partition("/")[0]
        handed = Handed(records, {bucket: len(batch)})
        insist(self._send, handed, self._patience, self._log, records=len(records))
        metrics.RECEIVED.labels(SERVICE, bucket).inc(len(records))
        metrics.LAST_RECEIVED.labels(SERVICE, bucket).set_to_current_time()
        metrics.PRODUCED.labels(SERVICE, self._topic).inc(len(records) - bad)
        metrics.DEAD_LETTERED.labels(SERVICE, self._topic + DEAD_LETTER_SUFFIX).inc(bad)

    def _send(self, records: Sequence[Outgoing]) -> None:
        self.last_turn = time.monotonic()
        self._producer.send(records)


def numbered(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of an object with their numbers, from 1; of one that is too long, a byte more than a topic takes."""
    number = 0
    while line := source.readline(MAX_VALUE_BYTES + 2):
        number += 1
        whole = line.endswith(b"\n")
        while not whole and (more := source.readline(_CHUNK)):
            whole = more.endswith(b"\n")
        if text := line.rstrip(b"\r\n"):
            yield number, text


class Done:
    """The objects that Kafka has whole, a line each in a file; without a file they are known until the end."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        text = self._path.read_text("utf-8") if self._path is not None and self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a line that was cut off is no object
        self._known = set(whole.splitlines())

    def __contains__(self, known: str) -> bool:
        return known in self._known

    def add(self, known: str) -> None:
        """Note one, on disk before this returns."""
        self._known.add(known)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(f"{known}\n")
                out.flush()
                os.fsync(out.fileno())
