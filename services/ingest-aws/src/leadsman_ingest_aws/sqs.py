"""SQS: messages that name files in S3, or hold a CloudTrail event; deleted once Kafka has what came of them.

While a message is in hand its visibility is extended by a thread of its own, so that a large file or a Kafka that is
away brings no second worker onto it, and counts as no failure. A message that cannot be understood goes to the dead
letters; one whose file may not be read (a permission, a key) stays in the queue, which has its own dead-letter queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from leadsman_common import metrics
from leadsman_common.errors import InvalidEvent
from leadsman_common.patience import Patience
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.envelope import Split, trail_event
from leadsman_ingest_aws.intake import SERVICE, Carried, Intake
from leadsman_ingest_aws.notifications import Ignored, Object, TrailEvent, read
from leadsman_ingest_aws.objects import Gone, Objects
from leadsman_ingest_aws.places import Place

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

_WAIT_S = 5  # of a long poll: how long a stop may have to wait for it
_MESSAGES = 10
_AWAY_S = 0.5


class QueueReader:
    """Reads one queue until `stop` is set."""

    def __init__(
        self,
        settings: Settings,
        queue: Place,
        sqs: SQSClient,
        objects: Objects,
        intake: Intake,
        stop: threading.Event,
        log: Any,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._sqs = sqs
        self._objects = objects
        self._intake = intake
        self._stop = stop
        self._log = log.bind(queue=queue.name)
        self._url = queue.url
        self._cap = intake.cap()
        self._kafka_patience = Patience(stop, settings.broken_s, what=f"Kafka, for queue {queue.id}")
        self._in_hand: dict[str, str] = {}  # message id -> receipt handle
        self._in_hand_lock = threading.Lock()
        self._done = threading.Event()
        self.begun = False
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read on until stopped; the messages in hand are finished first.

        Raises what broke (Kafka, AWS) once the bound on patience is met, TooManyBadRecords.
        """
        patience = Patience(self._stop, self._settings.broken_s, what=f"queue {self._queue.id}")
        keeper = threading.Thread(target=self._extend, name="visibility", daemon=True)
        keeper.start()
        try:
            while not self._stop.is_set():
                self.last_turn = time.monotonic()
                if not self._intake.outbox.available():
                    self._stop.wait(_AWAY_S)
                    continue
                try:
                    self._turn()
                except (BotoCoreError, ClientError) as error:
                    self._log.warning("reading failed; trying again", error=str(error))
                    patience.failed(error)
                else:
                    patience.succeeded()
        finally:
            self._done.set()
            keeper.join()

    def _turn(self) -> None:
        if not self._url:
            owner: dict[str, Any] = {"QueueOwnerAWSAccountId": self._queue.account} if self._queue.account else {}
            self._url = self._sqs.get_queue_url(QueueName=self._queue.name, **owner)["QueueUrl"]
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=_MESSAGES,
            WaitTimeSeconds=_WAIT_S,
            VisibilityTimeout=self._settings.sqs_visibility_s,
        )
        self.begun = True
        messages = answer.get("Messages", [])
        with self._in_hand_lock:
            self._in_hand = {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        try:
            for message in messages:
                if self._stop.is_set():
                    break
                self._handle(message)
        finally:
            self._hand_back()

    def _handle(self, message: MessageTypeDef) -> None:
        """See one message to its end: in Kafka and deleted, or left for another time."""
        self.last_turn = time.monotonic()
        try:
            self._intake.store(self._queue.name, self._carried(message), self._kafka_patience, self._cap)
        except (BotoCoreError, ClientError, OSError) as error:
            # what came before the failure is in Kafka already; it comes again, which changes nothing
            metrics.LEFT.labels(SERVICE, self._queue.name).inc()
            self._log.warning("a file could not be read; its message stays", error=str(error), id=message["MessageId"])
            return
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        with self._in_hand_lock:
            self._in_hand.pop(message["MessageId"], None)

    def _carried(self, message: MessageTypeDef) -> Iterator[Carried]:
        body = message["Body"].encode()
        now_ms = time.time_ns() // 1_000_000
        source_id = f"sqs:{self._queue.name}/{message['MessageId']}"
        try:
            found = read(body)
        except InvalidEvent as error:
            yield Carried(body, Split(invalid=error.reason), source_id)
            return
        for one in found:
            match one:
                case Ignored(reason):
                    yield Carried(b"", Split(dropped=[reason]), source_id)
                case TrailEvent(record):
                    yield self._of_event(record, body, source_id, now_ms)
                case Object():
                    yield from self._of_file(one, body, source_id, now_ms)

    def _of_event(self, record: bytes, body: bytes, source_id: str, now_ms: int) -> Carried:
        try:
            return Carried(body, Split(events=[trail_event(record, now_ms)]), source_id)
        except InvalidEvent as error:
            return Carried(body, Split(invalid=error.reason), source_id)

    def _of_file(self, file: Object, body: bytes, source_id: str, now_ms: int) -> Iterator[Carried]:
        if not self._objects.allowed(file):
            yield Carried(body, Split(invalid=f"the bucket {file.bucket} is not in LEADSMAN_S3_BUCKETS"), source_id)
            return
        try:
            for carried in self._objects.read(file, body, now_ms):
                self.last_turn = time.monotonic()
                yield carried
        except Gone as error:
            metrics.GAPS.labels(SERVICE, self._queue.name).inc()
            self._log.error("a file is gone before it was read", error=str(error), bucket=file.bucket, key=file.key)
            yield Carried(body, Split(invalid=f"s3://{file.bucket}/{file.key} is gone: {error}"), source_id)

    # --- visibility --------------------------------------------------------------------------------------------

    def _extend(self) -> None:
        """Extend what is in hand, thrice as often as it would run out."""
        while not self._done.wait(self._settings.sqs_visibility_s / 3):
            self._set_visibility(self._settings.sqs_visibility_s)

    def _hand_back(self) -> None:
        """What was not finished may be given to anybody: soon where we are stopping, else after its time."""
        if self._stop.is_set():
            self._set_visibility(0)
        with self._in_hand_lock:
            self._in_hand = {}

    def _set_visibility(self, seconds: int) -> None:
        with self._in_hand_lock:
            entries = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                for number, handle in enumerate(self._in_hand.values())
            ]
        if not entries:
            return
        try:
            self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
        except (BotoCoreError, ClientError) as error:
            self._log.warning("visibility could not be changed", error=str(error))
