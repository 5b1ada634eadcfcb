"""The topics, as schemas/topics/*.yaml declares them: read, checked, and created on a broker.

Those files are what code, deployment and tests read; a topic's settings stand nowhere else.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in the package's __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from leadsman_common.kafka_tokens import for_librdkafka

_log = logging.getLogger(__name__)

DEAD_LETTER_SUFFIX = ".dlq"


class InvalidTopicError(ValueError):
    """A topic's file, or a setting that changes it, is wrong; the text names it."""


@dataclass(frozen=True)
class Topic:
    """One topic as its file declares it. `retention_ms` is -1 for no limit; paths are relative to schemas/."""

    name: str
    owner: str
    key: str
    partitions: int
    retention_ms: int
    cleanup_policy: str
    max_message_bytes: int
    schema: str
    example: str | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    segment_ms: int = 0  # 0: the broker's own; a compacted topic is compacted up to its last segment

    @property
    def retention_setting(self) -> str:
        """The environment variable that overrides `retention_ms` when the topic is created."""
        return f"LEADSMAN_RETENTION_{self.name.replace('.', '_').upper()}_MS"

    def config(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the broker's settings of this topic; raises InvalidTopicError on a bad retention in `env`."""
        retention = self.retention_ms
        if text := env.get(self.retention_setting, ""):
            try:
                retention = int(text)
            except ValueError:
                retention = 0
            if not _is_retention(retention):
                raise InvalidTopicError(
                    f"{self.retention_setting}={text}: must be a positive number of milliseconds, or -1"
                )
        return {
            "retention.ms": str(retention),
            "cleanup.policy": self.cleanup_policy,
            "max.message.bytes": str(self.max_message_bytes),
            **({"segment.ms": str(self.segment_ms)} if self.segment_ms else {}),
        }


def load(directory: Path) -> dict[str, Topic]:
    """Read every `*.yaml` of the folder, by topic name; raises InvalidTopicError naming the file."""
    files = sorted(directory.glob("*.yaml"))
    if not files:
        raise InvalidTopicError(f"{directory}: no topic files (*.yaml) there")
    return {topic.name: topic for topic in map(_read, files)}


def name(base: str, prefix: str = "") -> str:
    """Return a topic's name on the broker: `LEADSMAN_TOPIC_PREFIX` keeps two installations apart on one broker."""
    return prefix + base


def prefix_of(env: Mapping[str, str]) -> str:
    """Return the prefix of every topic's name, from `LEADSMAN_TOPIC_PREFIX`; empty by default."""
    return env.get("LEADSMAN_TOPIC_PREFIX", "")


def create(
    bootstrap: str,
    topics: Iterable[Topic],
    prefix: str = "",
    *,
    max_partitions: int | None = None,
    replication: int = -1,
    env: Mapping[str, str] | None = None,
    client: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> list[str]:
    """Create the missing topics and bring the settings of the others up to date; returns the names created.

    `max_partitions` caps the partitions (tests); `replication` -1 takes the broker's default; `client` holds
    further options of the Kafka client. The partitions of an existing topic are left as they are, since more of
    them would send a key elsewhere. Raises KafkaException or TimeoutError when the broker does not do it.
    """
    wanted = {name(topic.name, prefix): topic for topic in topics}
    settings = {full: topic.config(os.environ if env is None else env) for full, topic in wanted.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap, **for_librdkafka(client or {}, bootstrap)})
    present = admin.list_topics(timeout=timeout_s).topics
    new = [
        NewTopic(
            full,
            num_partitions=min(topic.partitions, max_partitions or topic.partitions),
            replication_factor=replication,
            config=settings[full],
        )
        for full, topic in wanted.items()
        if full not in present
    ]
    created = _create_missing(admin, new, timeout_s)
    old = {full: settings[full] for full in wanted if full not in created}
    for full in old.keys() & present.keys():
        if len(present[full].partitions) < wanted[full].partitions and max_partitions is None:
            _log.warning(
                "topic %s has %d partitions, its file says %d; left as it is",
                full,
                len(present[full].partitions),
                wanted[full].partitions,
            )
    _apply_settings(admin, old, timeout_s)
    return created


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is on the broker: its partitions, the replicas of the first, and its settings."""

    partitions: int
    replicas: int
    config: dict[str, str]


def found(
    bootstrap: str, names: Iterable[str], client: Mapping[str, str] | None = None, *, timeout_s: float = 30.0
) -> dict[str, Found]:
    """What the broker has of these topics, by full name; one that is not there is left out. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **for_librdkafka(client or {}, bootstrap)})
    present = admin.list_topics(timeout=timeout_s).topics
    there = [full for full in names if full in present]
    resources = [ConfigResource(ResourceType.TOPIC, full) for full in there]
    answers = admin.describe_configs(resources, request_timeout=timeout_s) if resources else {}
    configs = {
        resource.name: {key: entry.value for key, entry in future.result(timeout=timeout_s).items()}
        for resource, future in answers.items()
    }
    return {
        full: Found(
            len(present[full].partitions),
            min((len(p.replicas) for p in present[full].partitions.values()), default=0),
            configs[full],
        )
        for full in there
    }


def unlike(topic: Topic, there: Found | None, env: Mapping[str, str]) -> list[str]:
    """How a topic on the broker differs from what its file and the environment say, a line each."""
    if there is None:
        return ["it is not there"]
    told = []
    if there.partitions < topic.partitions:
        told.append(f"{there.partitions} partitions, not {topic.partitions}")
    for key, wanted in topic.config(env).items():
        has = there.config.get(key, "")
        if sorted(has.split(",")) != sorted(wanted.split(",")):
            told.append(f"{key} is {has}, not {wanted}")
    return told


def delete(bootstrap: str, names: Iterable[str], *, timeout_s: float = 30.0) -> None:
    """Delete these topics; one that does not exist is no error."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    doomed = list(names)
    for future in (admin.delete_topics(doomed, request_timeout=timeout_s) if doomed else {}).values():
        try:
            future.result(timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def _create_missing(admin: AdminClient, new: list[NewTopic], timeout_s: float) -> list[str]:
    created = []
    futures = admin.create_topics(new, operation_timeout=timeout_s, request_timeout=timeout_s) if new else {}
    for full, future in futures.items():
        try:
            future.result(timeout=timeout_s)
            created.append(full)
        except KafkaException as error:
            # two services may start at once and create the same topic
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_shown(admin, [topic.topic for topic in new], timeout_s)
    return created


def _wait_shown(admin: AdminClient, names: list[str], timeout_s: float) -> None:
    """Wait until the broker shows these topics: it answers when they are made, and shows them a moment later.

    Raises TimeoutError.
    """
    deadline = time.monotonic() + timeout_s
    while names:
        shown = admin.list_topics(timeout=timeout_s).topics
        names = [name for name in names if name not in shown or shown[name].error is not None]
        if names and time.monotonic() > deadline:
            raise TimeoutError(f"not shown by the broker after {timeout_s:.0f} s: {', '.join(names)}")
        if names:
            time.sleep(0.05)


def _apply_settings(admin: AdminClient, settings: Mapping[str, Mapping[str, str]], timeout_s: float) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            full,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
            ],
        )
        for full, config in settings.items()
    ]
    if resources:
        for future in admin.incremental_alter_configs(resources, request_timeout=timeout_s).values():
            future.result(timeout=timeout_s)


def _read(path: Path) -> Topic:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidTopicError(f"{path}: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidTopicError(f"{path}: must be a mapping of fields")
    segment_ms = fields.pop("segment_ms", 0)
    if segment_ms != 0 and not _is_positive(segment_ms):
        raise InvalidTopicError(f"{path}: segment_ms must be a positive number of milliseconds, not {segment_ms!r}")
    if wrong := sorted(map(str, fields.keys() ^ _CHECKS.keys())):
        kind = "missing" if wrong[0] in _CHECKS else "unknown"
        raise InvalidTopicError(f"{path}: {kind} field {wrong[0]}")
    for field, (check, what) in _CHECKS.items():
        if not check(fields[field]):
            raise InvalidTopicError(f"{path}: {field} must be {what}, not {fields[field]!r}")
    if fields["name"] != path.stem:
        raise InvalidTopicError(f"{path}: name is {fields['name']!r}, the file says {path.stem!r}")
    names = {key: tuple(fields[key]) for key in ("producers", "consumers")}
    return Topic(**{**fields, **names}, segment_ms=segment_ms)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_retention(value: object) -> bool:
    return _is_positive(value) or value == -1


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_TEXT = (_is_text, "text")
_COUNT = (_is_positive, "a positive number")
_NAMES = (_is_names, "a list of names")
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": _TEXT,
    "owner": _TEXT,
    "key": _TEXT,
    "partitions": _COUNT,
    "retention_ms": (_is_retention, "a positive number of milliseconds, or -1 for no limit"),
    "cleanup_policy": (lambda value: value in {"delete", "compact", "compact,delete"}, "delete, compact or both"),
    "max_message_bytes": _COUNT,
    "schema": (lambda value: value == "bytes" or str(value).endswith(".avsc"), "bytes or an .avsc file"),
    "example": (lambda value: value is None or _is_text(value), "a path or null"),
    "producers": _NAMES,
    "consumers": _NAMES,
}
