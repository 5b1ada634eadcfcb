"""The values of a topic that others read too: Confluent's wire format where a schema registry is configured.

A zero byte and four bytes of the schema's id (big-endian) stand in front of the record; without a registry it is the
single-object encoding (avro.py). A reader takes both, so that a registry may come, or go, while the topic is full.
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import fastavro

from leadsman_common.alerts import Alert
from leadsman_common.avro import Codec, alert_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.registry import Registry, RegistryAway, RegistryRefused, subject_of
from leadsman_common.schemas import avsc_text
from leadsman_common.settings import Common, SettingError
from leadsman_common.topics import name as topic_name

MAGIC = 0
HEADER = struct.Struct(">bI")
ASK_S = 3.0  # between two questions to a registry that is away
UNKNOWN_S = 30.0  # an id that the registry does not know is not asked for again so soon

T = TypeVar("T")


class Wire(Generic[T]):
    """Encodes and decodes the values of one topic. Any thread may use it."""

    def __init__(self, codec: Codec[T], subject: str = "", registry: Registry | None = None) -> None:
        """`subject` is the schema's in the registry. Nothing is asked yet."""
        self._codec = codec
        self._subject = subject
        self._registry = registry
        self._header = b""
        self._writers: dict[int, Any] = {}
        self._unknown: dict[int, float] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Ask the registry for the id of the schema that is written. Raises RegistryAway or RegistryRefused."""
        if self._registry is None or self._header:
            return
        found = self._registry.id_of(self._subject, avsc_text(self._codec.name))
        self._writers[found] = self._codec.schema
        self._header = HEADER.pack(MAGIC, found)

    def wait(self, stopping: Callable[[], bool], log: Any) -> None:
        """The same, again and again until the registry answers or `stopping`. Raises SettingError where it refuses."""
        said = False
        while not stopping():
            try:
                self.prepare()
            except RegistryRefused as error:
                raise SettingError(f"{error}; `leadsman topics create` registers {self._subject}") from error
            except RegistryAway as error:
                say = log.warning if said else log.error
                say("waiting for the schema registry: nothing is read yet", reason=str(error))
                said = True
                time.sleep(ASK_S)
            else:
                return

    def encode(self, record: T) -> bytes:
        """The value. Raises RegistryAway or RegistryRefused where `prepare` has not been through."""
        if self._registry is None:
            return self._codec.encode(record)
        self.prepare()
        return self._header + self._codec.body(record)

    def decode(self, data: bytes) -> T:
        """The record, in either encoding.

        Raises InvalidEvent, and RegistryAway where its schema is not known yet and the registry does not answer.
        """
        if not data or data[0] != MAGIC or len(data) < HEADER.size:
            return self._codec.decode(data)
        _, schema_id = HEADER.unpack_from(data)
        return self._codec.read(data, HEADER.size, self._writer(schema_id))

    def _writer(self, schema_id: int) -> Any:
        writer = self._writers.get(schema_id)
        if writer is None:
            with self._lock:
                writer = self._writers.get(schema_id) or self._ask(schema_id)
        return writer

    def _ask(self, schema_id: int) -> Any:
        if self._registry is None:
            raise InvalidEvent(
                f"avro: schema id {schema_id} of a registry, and LEADSMAN_SCHEMA_REGISTRY_URL is not set"
            )
        if time.monotonic() < self._unknown.get(schema_id, 0.0):
            raise InvalidEvent(f"avro: the schema registry knows no schema id {schema_id}")
        try:
            raw = self._registry.schema(schema_id)
            writer = self._codec.schema_of_writer(raw)
        except RegistryRefused as error:
            if error.status in (401, 403):  # it may be put right
                raise RegistryAway(str(error)) from error
            if len(self._unknown) > 1000:
                self._unknown.clear()
            self._unknown[schema_id] = time.monotonic() + UNKNOWN_S
            raise InvalidEvent(f"avro: the schema registry knows no schema id {schema_id}") from error
        except (
            fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError, TypeError, ValueError,
        ) as error:  # fmt: skip
            raise InvalidEvent(f"avro: schema id {schema_id} of the registry cannot be used: {error}") from error
        self._writers[schema_id] = writer
        return writer


def alert_wire(settings: Common) -> Wire[Alert]:
    """The values of `alerts`. Raises SettingError for a registry's settings that cannot be used."""
    if not settings.schema_registry_url:
        return Wire(alert_codec())
    registry = Registry(settings.schema_registry_url, settings.schema_registry_options)
    return Wire(alert_codec(), subject_of(topic_name("alerts", settings.topic_prefix)), registry)
