"""A sign of life of an ingest service, and what fails it: each minute on `sightings`, for whoever misses its records.

What fails is what `Patience` bears under a name. It stays told until the same thing worked again; what a process could
bear no longer was told by its last beat.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from typing import Any, Final, Self

from confluent_kafka import KafkaException

from leadsman_common import metrics, patience
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing
from leadsman_common.settings import Common
from leadsman_common.sightings import ALIVE, BEAT_S, MAX_SIGN, SIGHTINGS, TROUBLE, Sign, encode
from leadsman_common.topics import name as topic_name

# by the words of SDKs and brokers; the first that is met
_WHY: Final = (
    ("Kafka does not take what is read", re.compile(r"DeliveryFailed|not acknowledged|KafkaTimeout", re.IGNORECASE)),
    (
        "credentials are refused",
        re.compile(
            r"access.?denied|unauthori[sz]ed|unauthenticated|forbidden|permission|credential|expired.?token|"
            r"invalid.?client.?token|unrecognized.?client|signature|_AUTHENTICATION|SASL|\b40[13]\b",
            re.IGNORECASE,
        ),
    ),
    (
        "what is read is gone: subscription, stream, queue or log group removed",
        re.compile(r"not.?found|non.?existent|does.?not.?exist|unknown.topic|\b404\b", re.IGNORECASE),
    ),
)


def why(error: BaseException) -> str:
    """What an error means for people, and its own words."""
    kind = type(error).__name__
    said = f"{kind}: {error}"
    meaning = next((text for text, words in _WHY if words.search(said)), "upstream does not answer as it should")
    return f"{meaning}: {said}"[:MAX_SIGN]


class Pulse:
    """Beats for the raw topics that a service writes, on a thread of its own."""

    def __init__(self, service: str, settings: Common, raw_topics: Iterable[str], log: Any) -> None:
        self._service, self._raw, self._log = service, sorted(set(raw_topics)), log
        self._topic = topic_name(SIGHTINGS, settings.topic_prefix)
        self._producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options, linger_ms=0)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Tell what fails, once more, and end; Kafka is not waited for long."""
        self._closed.set()
        self._thread.join(5)

    def _run(self) -> None:
        going = True
        while going:
            going = not self._closed.is_set()
            signs = beat(self._service, self._raw, patience.TROUBLES.now(), time.time_ns() // 1_000_000)
            try:
                self._producer.send([Outgoing(self._topic, sign.key.encode(), encode(sign)) for sign in signs])
            except (DeliveryFailed, KafkaException) as error:
                metrics.failed("kafka")
                self._log.warning("no sign of life can be given", reason=str(error))
            if going:
                self._closed.wait(BEAT_S)


def beat(service: str, raw_topics: Iterable[str], troubles: Iterable[patience.Trouble], now_ms: int) -> list[Sign]:
    """What one beat tells: of each raw topic that the service is there, and what fails."""
    signs = []
    for raw in raw_topics:
        signs.append(Sign(ALIVE, raw, service, now_ms))
        for trouble in troubles:
            place = f"{service}, {trouble.what}"[:MAX_SIGN]
            signs.append(Sign(TROUBLE, raw, place, trouble.at_ms, why(trouble.error)))
    return signs
