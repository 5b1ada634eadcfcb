"""CloudWatch Logs polled: for small set-ups without a stream, and to read the past (`--since`).

A pass asks FilterLogEvents for all that lies after the checkpoint, page by page; a long past is taken an hour at a
time. CloudWatch takes events in late, so the checkpoint stays `log_overlap_s` behind the clock, and what lies after it
is asked for again in every pass; the ids of what Kafka has already (seen.py) tell what is new. Where events share a
millisecond, or a pass stops between two pages, nothing hangs on where exactly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from leadsman_common import metrics
from leadsman_common.patience import TROUBLES, Patience
from leadsman_ingest_aws.accounts import Accounts
from leadsman_ingest_aws.checkpoints import Checkpoint, CheckpointConflict
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.envelope import Split, log_event
from leadsman_ingest_aws.intake import SERVICE, Carried, Intake
from leadsman_ingest_aws.leases import Leases
from leadsman_ingest_aws.places import Place
from leadsman_ingest_aws.seen import SeenPages, digest, page_of

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_logs.type_defs import FilteredLogEventTypeDef

_SLICE_MS = 3_600_000
_LONGEST_IDLE_S = 1.0
_ABSENT_S = 60.0


@dataclass(slots=True)
class _Reading:
    """One group in hand. A pass is under way where `began_ms` is not 0; it is open-ended where `end_ms` is 0."""

    group: Place
    saved: Checkpoint | None
    final_ms: int
    pages: SeenPages
    seen: dict[bytes, int] = field(default_factory=dict)  # digest -> time of its page's newest event
    began_ms: int = 0
    end_ms: int = 0
    token: str = ""
    due: float = 0.0


class LogGroupReader:
    """Polls log groups until `stop` is set, or, with `until_ms`, until all before it is read."""

    def __init__(
        self,
        settings: Settings,
        accounts: Accounts,
        leases: Leases,
        pages: Callable[[Place], SeenPages],
        intake: Intake,
        stop: threading.Event,
        log: Any,
        *,
        since_ms: int,
        until_ms: int = 0,
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._leases = leases
        self._pages = pages
        self._intake = intake
        self._stop = stop
        self._log = log
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._overlap_ms = 0 if until_ms else int(settings.log_overlap_s * 1000)
        self._groups = {group.id: group for group in settings.groups}
        self._cap = intake.cap()
        self._kafka_patience = Patience(stop, settings.broken_s, what="Kafka, for log groups")
        self._readings: dict[str, _Reading] = {}
        self.begun = False
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read on until stopped; the page in hand is finished first.

        Raises what broke (Kafka, AWS) once the bound on patience is met, TooManyBadRecords.
        """
        patience = Patience(self._stop, self._settings.broken_s, what="log groups")
        while not self._stop.is_set() and not self._all_read():
            self.last_turn = time.monotonic()
            try:
                self._share()
                for reading in list(self._readings.values()):
                    if not self._stop.is_set() and reading.due <= time.monotonic():
                        self._read_or_put_off(reading)
            except (BotoCoreError, ClientError) as error:
                self._log.warning("reading failed; going on from the checkpoints", error=str(error))
                self._readings.clear()
                patience.failed(error)
            else:
                patience.succeeded()
                self._stop.wait(self._idle_s())

    def _idle_s(self) -> float:
        due = [reading.due for reading in self._readings.values()]
        return min(max(0.0, min(due, default=time.monotonic() + 1) - time.monotonic()), _LONGEST_IDLE_S)

    def _all_read(self) -> bool:
        """Whether every group is read up to `until_ms`, by whichever worker."""
        if not self._until_ms:
            return False
        stored = self._leases.stored()
        return all(group in stored and int(stored[group].position) >= self._until_ms for group in self._groups)

    def _share(self) -> None:
        self._leases.offer(self._groups)
        held = self._leases.held()
        for gone in self._readings.keys() - held.keys():
            del self._readings[gone]
        for group_id, saved in held.items():
            if group_id not in self._readings:
                self._readings[group_id] = self._take_up(self._groups[group_id], saved)
        self.begun = True

    def _take_up(self, group: Place, saved: Checkpoint | None) -> _Reading:
        final_ms = int(saved.position) if saved else self._since_ms - 1
        reading = _Reading(group, saved, final_ms, self._pages(group))
        for page in reading.pages.load():
            reading.seen.update(dict.fromkeys(page.ids(), page.newest_ms))
        self._log.info("reading a log group", group=group.id, final_ms=final_ms, seen=len(reading.seen))
        return reading

    # --- a pass ------------------------------------------------------------------------------------------------

    def _read_or_put_off(self, reading: _Reading) -> None:
        try:
            self._read(reading)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
                raise
            # a cluster whose logging was never on has no group yet
            self._log.warning("the log group is not there", group=reading.group.id)
            TROUBLES.note(f"log group {reading.group.id}", error)
            reading.began_ms, reading.due = 0, time.monotonic() + _ABSENT_S

    def _read(self, reading: _Reading) -> None:
        """One page: everything of it is acknowledged by Kafka, then its ids are stored, then the next may come."""
        if not reading.began_ms:
            self._begin(reading)
        group = reading.group
        wanted: dict[str, Any] = {"startTime": reading.final_ms + 1, "limit": self._settings.poll_records}
        # a name is ours; another account's group, shared with us by CloudWatch's observability, is known by its ARN
        within = self._accounts.is_within(group.account)
        wanted |= {"logGroupName": group.name} if within else {"logGroupIdentifier": group.id}
        if reading.end_ms:
            wanted["endTime"] = reading.end_ms
        if reading.token:
            wanted["nextToken"] = reading.token
        client: CloudWatchLogsClient = self._accounts.client("logs", group.region, group.account)
        answer = client.filter_log_events(**wanted)
        TROUBLES.note(f"log group {group.id}", None)
        now_ms = time.time_ns() // 1_000_000
        fresh = [event for event in answer["events"] if digest(event["eventId"]) not in reading.seen]
        if fresh:
            carried = (self._carried(group, event, client.meta.region_name, now_ms) for event in fresh)
            self._intake.store(group.name, carried, self._kafka_patience, self._cap, now_ms)
            self.last_turn = time.monotonic()
            page = page_of((event["eventId"], event["timestamp"]) for event in fresh)
            reading.pages.add(page)
            reading.seen.update(dict.fromkeys(page.ids(), page.newest_ms))
        reading.token = answer.get("nextToken") or ""
        if not reading.token:
            self._end(reading)

    def _begin(self, reading: _Reading) -> None:
        now_ms = time.time_ns() // 1_000_000
        reading.began_ms, reading.token = now_ms, ""
        # a slice longer than the overlap, or the last one would never be reached
        slice_end_ms = reading.final_ms + max(_SLICE_MS, 2 * self._overlap_ms)
        # events may be up to two hours ahead of the clock: the last slice has no end
        reading.end_ms = min(slice_end_ms, self._until_ms) if self._until_ms else slice_end_ms
        if not self._until_ms and slice_end_ms >= now_ms:
            reading.end_ms = 0

    def _end(self, reading: _Reading) -> None:
        """Move the checkpoint to where nothing new is expected any more."""
        final_ms = reading.began_ms - self._overlap_ms
        if reading.end_ms:
            final_ms = min(reading.end_ms, final_ms)
        whole = not reading.end_ms or reading.end_ms == self._until_ms
        reading.due = time.monotonic() + (self._settings.log_poll_interval_s if whole else 0.0)
        if not reading.end_ms:
            metrics.BEHIND.labels(SERVICE, reading.group.name).set(0)
        else:
            behind_s = (reading.began_ms - reading.end_ms) / 1000
            metrics.BEHIND.labels(SERVICE, reading.group.name).set(max(0.0, behind_s))
        reading.began_ms = 0
        if final_ms <= reading.final_ms:
            return
        checkpoint = Checkpoint(str(final_ms), final_ms)
        try:
            self._leases.save(reading.group.id, checkpoint, reading.saved)
        except CheckpointConflict as conflict:
            self._log.info("a log group went to another worker", group=reading.group.id, reason=str(conflict))
            self._readings.pop(reading.group.id, None)
            return
        reading.saved, reading.final_ms = checkpoint, final_ms
        reading.pages.trim(final_ms)
        reading.seen = {one: newest_ms for one, newest_ms in reading.seen.items() if newest_ms > final_ms}

    def _carried(self, group: Place, event: FilteredLogEventTypeDef, region: str, now_ms: int) -> Carried:
        parts = Split()
        log_event(
            parts,
            group.name,
            event["logStreamName"],
            event["message"].encode("utf-8", "replace"),
            event["eventId"],
            account=group.account,
            region=group.region or region,
            received_ms=now_ms,
            time_ms=event["timestamp"],
        )
        return Carried(event["message"].encode("utf-8", "replace"), parts, event["eventId"], region)
