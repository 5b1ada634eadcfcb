"""Kinesis: shards in, `raw.aws` out, and a checkpoint after Kafka's acknowledgement.

A worker reads the shards whose leases it has, in turn. Whatever fails on the way, a shard is read again from its last
checkpoint: delivery is at-least-once, and later hops take a repeat for what it is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from leadsman_common import metrics
from leadsman_common.patience import Patience
from leadsman_ingest_aws.checkpoints import SHARD_END, TRIM_HORIZON, Checkpoint, CheckpointConflict
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.envelope import split
from leadsman_ingest_aws.intake import SERVICE, Carried, Intake
from leadsman_ingest_aws.leases import Leases
from leadsman_ingest_aws.places import Place
from leadsman_ingest_aws.shards import Shard, readable

if TYPE_CHECKING:
    from types_boto3_kinesis import KinesisClient
    from types_boto3_kinesis.type_defs import GetRecordsOutputTypeDef

# so that an idle shard's checkpoint does not look as if records had aged out behind it
_REFRESH_MS = 600_000
_LONGEST_IDLE_S = 10.0


@dataclass(slots=True)
class _Reading:
    """One shard in hand. `saved` is what the checkpoints hold; an iterator lives five minutes."""

    shard: Shard
    saved: Checkpoint | None
    iterator: str = ""
    due: float = 0.0


class StreamReader:
    """Reads one stream until `stop` is set."""

    def __init__(
        self,
        settings: Settings,
        stream: Place,
        kinesis: KinesisClient,
        leases: Leases,
        intake: Intake,
        stop: threading.Event,
        log: Any,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._kinesis = kinesis
        self._leases = leases
        self._intake = intake
        self._stop = stop
        self._log = log.bind(stream=stream.id)
        self._region = kinesis.meta.region_name
        self._cap = intake.cap()
        self._kafka_patience = Patience(stop, settings.broken_s, what=f"Kafka, for stream {stream.id}")
        self._readings: dict[str, _Reading] = {}
        self._shards: list[Shard] = []
        self._listed_at: float | None = None
        self._retention_ms = 0
        self.begun = False
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read on until stopped; what was begun is finished and checkpointed first.

        Raises what broke (Kafka, AWS) once the bound on patience is met, TooManyBadRecords.
        """
        patience = Patience(self._stop, self._settings.broken_s, what=f"stream {self._stream.id}")
        while not self._stop.is_set():
            self.last_turn = time.monotonic()
            try:
                self._list_if_due()
                self._share()
                for reading in list(self._readings.values()):
                    if not self._stop.is_set() and reading.due <= time.monotonic():
                        self._read(reading)
            except (BotoCoreError, ClientError) as error:
                self._log.warning("reading failed; going on from the checkpoints", error=str(error))
                self._readings.clear()
                self._listed_at = None
                patience.failed(error)
            else:
                patience.succeeded()
                self._stop.wait(self._idle_s())

    def _idle_s(self) -> float:
        """How long nothing is due."""
        due = [reading.due for reading in self._readings.values()]
        due.append(0.0 if self._listed_at is None else self._listed_at + self._settings.shard_refresh_s)
        return min(max(0.0, min(due) - time.monotonic()), _LONGEST_IDLE_S)

    # --- shards ------------------------------------------------------------------------------------------------

    def _list_if_due(self) -> None:
        now = time.monotonic()
        if self._listed_at is not None and now - self._listed_at < self._settings.shard_refresh_s:
            return
        summary = self._kinesis.describe_stream_summary(StreamName=self._stream.name)
        self._retention_ms = summary["StreamDescriptionSummary"]["RetentionPeriodHours"] * 3_600_000
        self._shards = [
            Shard(
                found["ShardId"],
                tuple(str(found[key]) for key in ("ParentShardId", "AdjacentParentShardId") if found.get(key)),
                "EndingSequenceNumber" in found["SequenceNumberRange"],
            )
            for page in self._kinesis.get_paginator("list_shards").paginate(StreamName=self._stream.name)
            for found in page["Shards"]
        ]
        self._listed_at = now

    def _share(self) -> None:
        """Offer what may be read now, and take up or drop what the leases say."""
        stored = self._leases.stored()
        known = {shard.id: shard for shard in self._shards}
        vanished = {shard for shard, kept in stored.items() if shard not in known and kept.position != SHARD_END}
        finished = {shard for shard, kept in stored.items() if kept.position == SHARD_END}
        now_readable = {shard.id for shard in readable(self._shards, finished)}
        self._leases.offer(now_readable | vanished)
        held = self._leases.held()
        for gone in self._readings.keys() - (held.keys() & now_readable):
            del self._readings[gone]
        for shard_id, checkpoint in held.items():
            if shard_id in vanished:
                if checkpoint is not None:
                    self._end_vanished(shard_id, checkpoint)
            elif shard_id in self._readings:
                self._readings[shard_id].shard = known[shard_id]
            elif shard_id in now_readable:
                self._log.info("reading a shard", shard=shard_id, checkpoint=checkpoint)
                self._readings[shard_id] = _Reading(known[shard_id], checkpoint)
        self.begun = True

    def _end_vanished(self, shard_id: str, checkpoint: Checkpoint) -> None:
        """Say loudly of an unfinished shard that the stream no longer has; its end is stored, so it is said once."""
        self._gap("the stream no longer has a shard that was not read to its end", shard_id, checkpoint)
        with contextlib.suppress(CheckpointConflict):  # another worker was quicker
            self._leases.save(shard_id, Checkpoint(SHARD_END, checkpoint.read_to_ms), checkpoint)

    def _gap(self, what: str, shard: str, checkpoint: Checkpoint) -> None:
        metrics.GAPS.labels(SERVICE, self._stream.name).inc()
        self._log.error(
            f"{what}: records may be lost",
            shard=shard,
            position=checkpoint.position,
            read_to_ms=checkpoint.read_to_ms,
            retention_ms=self._retention_ms,
        )

    # --- records -----------------------------------------------------------------------------------------------

    def _read(self, reading: _Reading) -> None:
        """One read of one shard: everything of it is acknowledged by Kafka, then the checkpoint moves."""
        reading.iterator = reading.iterator or self._iterator(reading)
        reading.due = time.monotonic() + self._settings.poll_interval_s
        try:
            answer = self._kinesis.get_records(ShardIterator=reading.iterator, Limit=self._settings.poll_records)
        except ClientError as error:
            if _code(error) != "ExpiredIteratorException":
                raise
            reading.iterator = ""  # Kafka kept us waiting for more than five minutes
            return
        now_ms = time.time_ns() // 1_000_000
        if answer["Records"]:
            carried = self._carried(reading, answer, now_ms)
            self._intake.store(self._stream.name, carried, self._kafka_patience, self._cap, now_ms)
            self.last_turn = time.monotonic()
        behind_ms = answer.get("MillisBehindLatest", 0)
        metrics.BEHIND.labels(SERVICE, self._stream.name).set(behind_ms / 1000)
        reading.iterator = answer.get("NextShardIterator") or ""
        # Kinesis ends a closed shard by giving no further iterator; a closed shard that is read to its tip has
        # ended too, whatever iterator there is (moto gives one for ever)
        ended = not reading.iterator or (reading.shard.closed and not answer["Records"] and not behind_ms)
        self._checkpoint(reading, answer, now_ms - behind_ms, ended)

    def _iterator(self, reading: _Reading) -> str:
        """Find where to go on: after the checkpoint, or at the oldest record where there is none any more."""
        stream, shard, saved = self._stream.name, reading.shard.id, reading.saved
        if saved is not None:
            if time.time_ns() // 1_000_000 - saved.read_to_ms >= self._retention_ms:
                self._gap("a checkpoint is older than the stream's retention", shard, saved)
            elif saved.position != TRIM_HORIZON:
                try:
                    return self._kinesis.get_shard_iterator(
                        StreamName=stream,
                        ShardId=shard,
                        ShardIteratorType="AFTER_SEQUENCE_NUMBER",
                        StartingSequenceNumber=saved.position,
                    )["ShardIterator"]
                except ClientError as error:
                    if _code(error) != "InvalidArgumentException":
                        raise
                    self._gap("Kinesis does not know a checkpoint's position", shard, saved)
        return self._kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]

    def _carried(self, reading: _Reading, answer: GetRecordsOutputTypeDef, now_ms: int) -> Iterator[Carried]:
        for record in answer["Records"]:
            parts = split(
                record["Data"],
                region=self._region,
                received_ms=now_ms,
                max_plain_bytes=self._settings.max_plain_bytes,
                groups=self._settings.subscribed_groups,
            )
            yield Carried(record["Data"], parts, f"{reading.shard.id}/{record['SequenceNumber']}", self._region)

    def _checkpoint(self, reading: _Reading, answer: GetRecordsOutputTypeDef, read_to_ms: int, ended: bool) -> None:
        saved = reading.saved
        if ended:
            position = SHARD_END
        elif answer["Records"]:
            position = answer["Records"][-1]["SequenceNumber"]
        else:
            position = saved.position if saved else TRIM_HORIZON
        if saved and position == saved.position and read_to_ms - saved.read_to_ms < _REFRESH_MS:
            return
        checkpoint = Checkpoint(position, read_to_ms)
        try:
            self._leases.save(reading.shard.id, checkpoint, saved)
        except CheckpointConflict as conflict:
            # whoever has it now reads what we just read once more
            self._log.info("a shard went to another worker", shard=reading.shard.id, reason=str(conflict))
            self._readings.pop(reading.shard.id, None)
            return
        reading.saved = checkpoint
        if ended:
            self._log.info("a shard is read to its end", shard=reading.shard.id)
            del self._readings[reading.shard.id]
            self._listed_at = None  # its children may be read now


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
