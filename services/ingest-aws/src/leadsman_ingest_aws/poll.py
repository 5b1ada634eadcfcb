"""The shell of ingest-aws: Kinesis shards in, `raw.aws` out, and a checkpoint after Kafka's acknowledgement.

One worker reads all shards of one stream in turn. Whatever fails on the way, the shard is read again from its last
checkpoint: delivery is at-least-once, and later hops take a repeat for what it is.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import KafkaException

from leadsman_common import metrics
from leadsman_common.kafka import AckedProducer, BadRecordCap, DeadLetter, DeliveryFailed, Outgoing, dead_letter
from leadsman_common.patience import Patience
from leadsman_common.raw import RawEvent
from leadsman_common.topics import DEAD_LETTER_SUFFIX, name
from leadsman_ingest_aws.checkpoints import SHARD_END, TRIM_HORIZON, Checkpoint, Checkpoints
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.envelope import MAX_VALUE_BYTES, Split, split
from leadsman_ingest_aws.shards import Shard, readable

if TYPE_CHECKING:
    from types_boto3_kinesis import KinesisClient
    from types_boto3_kinesis.type_defs import GetRecordsOutputTypeDef

SERVICE = "ingest-aws"
# what is in a dead letter of this stage: a whole record of the stream, not one log event
ENVELOPE_FORMAT = "cloudwatch-envelope"
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


class Poller:
    """Reads one stream until `stop` is set."""

    def __init__(
        self,
        settings: Settings,
        kinesis: KinesisClient,
        checkpoints: Checkpoints,
        producer: AckedProducer,
        stop: threading.Event,
        log: Any,
    ) -> None:
        self._settings = settings
        self._kinesis = kinesis
        self._checkpoints = checkpoints
        self._producer = producer
        self._stop = stop
        self._log = log
        self._topic = name("raw.aws", settings.topic_prefix)
        self._region = kinesis.meta.region_name
        self._cap = BadRecordCap(settings.max_bad_in_a_row)
        self._readings: dict[str, _Reading] = {}
        self._listed_at: float | None = None
        self._retention_ms = 0
        self.listed = False
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read on until stopped; what was begun is finished and checkpointed first.

        Raises what broke (Kafka, AWS) once the bound on patience is met, CheckpointConflict, TooManyBadRecords.
        """
        patience = Patience(self._stop, self._settings.broken_s)
        while not self._stop.is_set():
            self.last_turn = time.monotonic()
            try:
                self._list_if_due()
                for reading in list(self._readings.values()):
                    if not self._stop.is_set() and reading.due <= time.monotonic():
                        self._read(reading)
            except (DeliveryFailed, KafkaException, BotoCoreError, ClientError) as error:
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
        summary = self._kinesis.describe_stream_summary(StreamName=self._settings.stream_name)
        self._retention_ms = summary["StreamDescriptionSummary"]["RetentionPeriodHours"] * 3_600_000
        shards = [
            Shard(
                found["ShardId"],
                tuple(str(found[key]) for key in ("ParentShardId", "AdjacentParentShardId") if found.get(key)),
                "EndingSequenceNumber" in found["SequenceNumberRange"],
            )
            for page in self._kinesis.get_paginator("list_shards").paginate(StreamName=self._settings.stream_name)
            for found in page["Shards"]
        ]
        stored = self._checkpoints.load()
        self._end_vanished(shards, stored)
        finished = {shard for shard, checkpoint in stored.items() if checkpoint.position == SHARD_END}
        now_readable = {shard.id: shard for shard in readable(shards, finished)}
        for gone in self._readings.keys() - now_readable.keys():
            del self._readings[gone]
        for shard in now_readable.values():
            if shard.id in self._readings:
                self._readings[shard.id].shard = shard
            else:
                self._log.info("reading a shard", shard=shard.id, checkpoint=stored.get(shard.id))
                self._readings[shard.id] = _Reading(shard, stored.get(shard.id))
        self._listed_at = now
        self.listed = True

    def _end_vanished(self, shards: Iterable[Shard], stored: dict[str, Checkpoint]) -> None:
        """Say loudly of an unfinished shard that the stream no longer has; its end is stored, so it is said once."""
        for gone in stored.keys() - {shard.id for shard in shards}:
            checkpoint = stored[gone]
            if checkpoint.position != SHARD_END:
                self._gap("the stream no longer has a shard that was not read to its end", gone, checkpoint)
                ended = Checkpoint(SHARD_END, checkpoint.read_to_ms)
                self._checkpoints.save(gone, ended, checkpoint)
                stored[gone] = ended

    def _gap(self, what: str, shard: str, checkpoint: Checkpoint) -> None:
        metrics.GAPS.labels(SERVICE, self._settings.stream_name).inc()
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
            with metrics.BATCH_SECONDS.labels(SERVICE).time():
                self._produce(reading, answer, now_ms)
        behind_ms = answer.get("MillisBehindLatest", 0)
        metrics.BEHIND.labels(SERVICE, self._settings.stream_name).set(behind_ms / 1000)
        reading.iterator = answer.get("NextShardIterator") or ""
        # Kinesis ends a closed shard by giving no further iterator; a closed shard that is read to its tip has
        # ended too, whatever iterator there is (moto gives one for ever)
        ended = not reading.iterator or (reading.shard.closed and not answer["Records"] and not behind_ms)
        self._checkpoint(reading, answer, now_ms - behind_ms, ended)

    def _iterator(self, reading: _Reading) -> str:
        """Find where to go on: after the checkpoint, or at the oldest record where there is none any more."""
        stream, shard, saved = self._settings.stream_name, reading.shard.id, reading.saved
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

    def _produce(self, reading: _Reading, answer: GetRecordsOutputTypeDef, now_ms: int) -> None:
        received, produced, bad, dropped = 0, 0, 0, Counter[str]()
        for record in answer["Records"]:
            parts = split(
                record["Data"],
                region=self._region,
                received_ms=now_ms,
                max_plain_bytes=self._settings.max_plain_bytes,
            )
            for event in parts.events:
                self._producer.enqueue(Outgoing(self._topic, event.key(), event.value, event.headers()))
            if parts.invalid:
                source_id = f"{reading.shard.id}/{record['SequenceNumber']}"
                self._log.warning("bad record", reason=parts.invalid, source_id=source_id)
                self._producer.enqueue(self._dead_letter(record["Data"], parts, source_id, now_ms))
                bad += 1
                self._cap.bad(parts.invalid)
            else:
                self._cap.good()
            produced += len(parts.events)
            dropped.update(parts.dropped)
        self._producer.flush()
        # counted once it is true: a failed attempt comes again. In = out + filtered + dead-lettered.
        received = produced + bad + dropped.total()
        metrics.RECEIVED.labels(SERVICE, self._settings.stream_name).inc(received)
        metrics.LAST_RECEIVED.labels(SERVICE, self._settings.stream_name).set_to_current_time()
        metrics.PRODUCED.labels(SERVICE, self._topic).inc(produced)
        metrics.DEAD_LETTERED.labels(SERVICE, self._topic + DEAD_LETTER_SUFFIX).inc(bad)
        for reason, count in dropped.items():
            metrics.FILTERED.labels(SERVICE, reason).inc(count)

    def _dead_letter(self, data: bytes, parts: Split, source_id: str, now_ms: int) -> Outgoing:
        reason = parts.invalid
        if len(data) > MAX_VALUE_BYTES:
            reason = f"cut from {len(data)} bytes; {reason}"
        raw = RawEvent(
            value=data[:MAX_VALUE_BYTES],
            format=ENVELOPE_FORMAT,
            region=self._region,
            provider="aws",
            source_id=source_id,
            received_ms=now_ms,
        )
        # it never was on the raw topic, so it has no partition and offset there
        return dead_letter(DeadLetter(self._topic, -1, -1, raw.key(), raw.value, raw.headers(), reason, SERVICE))

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
        self._checkpoints.save(reading.shard.id, checkpoint, saved)
        reading.saved = checkpoint
        if ended:
            self._log.info("a shard is read to its end", shard=reading.shard.id)
            del self._readings[reading.shard.id]
            self._listed_at = None  # its children may be read now


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
