"""Playing: batches of records handed to the transports, spread over some seconds, on a thread of its own."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from stories import Cloud, Story
from transports import Transport

from leadsman_cli.readers import Identity, Unreadable, files_below, read

BATCH = 20
_FILE_BATCH = 200
_FILE_BATCH_BYTES = 400_000


@dataclass(frozen=True)
class Batch:
    """Records of one log, handed over together, `at` seconds after the start."""

    cloud: Cloud
    messages: list[bytes]
    at: float = 0.0
    cluster: str = ""
    account: str = ""
    log_stream: str = ""


class Player(threading.Thread):
    """Hands over batches in their order. What went wrong is in `error` once it has ended."""

    def __init__(self, batches: Iterable[Batch], transports: Mapping[Cloud, Transport]) -> None:
        super().__init__(name="player", daemon=True)
        self._batches, self._transports = batches, transports
        self._stop_asked = threading.Event()
        self.played: dict[Cloud, int] = {"aws": 0, "gcp": 0}
        self.error: Exception | None = None

    def run(self) -> None:
        """Play to the end, or until `stop`."""
        began = time.monotonic()
        try:
            for batch in self._batches:
                if self._stop_asked.wait(max(0.0, batch.at - (time.monotonic() - began))):
                    return
                transport = self._transports[batch.cloud]
                transport.send(batch.messages, batch.cluster, batch.account, batch.log_stream)
                self.played[batch.cloud] += len(batch.messages)
        except Exception as error:  # noqa: BLE001 - the watching thread says it
            self.error = error

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stop_asked.set()

    def sent_ms(self, source_id: str) -> int:
        """When a record was handed over (Unix ms), by the id that its transport gave it; 0 where it is not known."""
        return next((ms for t in self._transports.values() if (ms := t.sent_ms(source_id))), 0)


def of_stories(stories: Iterable[Story], seconds: float) -> Iterator[Batch]:
    """Both stories side by side, each spread evenly over `seconds`; within a story the records keep their order."""
    return heapq.merge(*(_of_story(story, seconds) for story in stories), key=lambda batch: batch.at)


def _of_story(story: Story, seconds: float) -> Iterator[Batch]:
    for first in range(0, len(story.records), BATCH):
        at = seconds * first / max(1, len(story.records))
        together = story.records[first : first + BATCH]
        calls = [record for record in together if _is_trail(record)]
        if calls:  # the cloud's own log is the account's, not a cluster's
            yield Batch(story.cloud, calls, at, "", story.account, f"{story.account}_CloudTrail_eu-west-1")
        requests = [record for record in together if not _is_trail(record)]
        yield Batch(story.cloud, requests, at, story.cluster, story.account)


class _Marks(msgspec.Struct):
    protoPayload: msgspec.Raw = msgspec.Raw()


_marks = msgspec.json.Decoder(_Marks)


def of_files(paths: Iterable[Path], unreadable: list[Unreadable]) -> Iterator[Batch]:
    """Records of log files, as `leadsman scan` takes the files apart; times are left as they are.

    A LogEntry goes through Pub/Sub, everything else through CloudWatch Logs: under the cluster that its own envelope
    names, else under the file's name; a trail's records under the trail's. What is no record is added to `unreadable`.
    """
    for path in files_below(tuple(paths)):
        held: dict[tuple[Cloud, str, str, str], list[bytes]] = {}
        with path.open("rb") as stream:
            for item in read(str(path), stream, "auto", Identity(), lambda _: None):
                if isinstance(item, Unreadable):
                    unreadable.append(item)
                    continue
                cloud: Cloud = "gcp" if item.format == "gke-logentry" or _is_log_entry(item.value) else "aws"
                account = item.account or "000000000000"
                if _is_trail(item.value):
                    key = cloud, "", account, f"{account}_CloudTrail_eu-west-1"
                else:
                    key = cloud, item.cluster or path.name.partition(".")[0], account, item.log_stream
                batch = held.setdefault(key, [])
                if len(batch) >= _FILE_BATCH or sum(map(len, batch)) + len(item.value) > _FILE_BATCH_BYTES:
                    yield _batch(key, held.pop(key))
                    batch = held.setdefault(key, [])
                batch.append(item.value)
        yield from (_batch(key, messages) for key, messages in held.items())


def _batch(key: tuple[Cloud, str, str, str], messages: list[bytes]) -> Batch:
    cloud, cluster, account, log_stream = key
    return Batch(cloud, messages, 0.0, cluster, account, log_stream)


def _is_trail(value: bytes) -> bool:
    """Whether it is a record of CloudTrail."""
    return b'"eventSource"' in value and b'"userIdentity"' in value


def _is_log_entry(value: bytes) -> bool:
    try:
        return bool(bytes(_marks.decode(value).protoPayload))
    except (msgspec.DecodeError, RecursionError):
        return False
