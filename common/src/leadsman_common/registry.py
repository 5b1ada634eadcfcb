"""A schema registry that speaks Confluent's protocol: the id of a schema, the schema of an id.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html. The client is confluent-kafka's own, which
knows basic auth, TLS, bearer tokens and OAuth, and is told of them as every tool of that ecosystem is. It takes 20 MiB
and is imported only where a registry is configured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from leadsman_common.settings import SettingError
from leadsman_common.topics import Topic, name

TIMEOUT_S = 10.0
R = TypeVar("R")


class RegistryAway(Exception):
    """It does not answer now, or not as a registry does: the same may be asked again. The text names the registry."""


class RegistryRefused(Exception):
    """It answered and says no: a schema that is not there, or is incompatible, or no right to ask."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def subject_of(topic: str) -> str:
    """The subject of a topic's values (TopicNameStrategy, what serializers take where they are told nothing)."""
    return f"{topic}-value"


class Registry:
    """One registry. Nothing connects before it is asked."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        """Set up, or raise SettingError for what cannot be used.

        `url`: one, or several that are tried in turn, comma-separated. `options` are the client's own.
        """
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415 - see above

        if not all(_is_plain(one.strip()) for one in url.split(",")):
            raise SettingError(
                "LEADSMAN_SCHEMA_REGISTRY_URL is no http or https URL without credentials, which are"
                " basic.auth.user.info of LEADSMAN_SCHEMA_REGISTRY_OPTIONS"
            )
        self.url = url
        own = {"url": url, "timeout": TIMEOUT_S, "max.retries": 0}
        try:
            self._client = SchemaRegistryClient({**own, **{k: _number(v) for k, v in (options or {}).items()}})
        except (ValueError, TypeError, OSError) as error:
            raise SettingError(f"LEADSMAN_SCHEMA_REGISTRY_OPTIONS: {error}") from error

    def id_of(self, subject: str, schema: str) -> int:
        """The id of a schema (its text) under a subject; it is registered where it is not there.

        Raises RegistryAway, and RegistryRefused where it is incompatible with what is there or may not be registered.
        """
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415

        one = Schema(schema, "AVRO")
        try:
            found = self._ask(lambda: self._client.lookup_schema(subject, one).schema_id)
        except RegistryRefused as error:
            if error.status != 404:
                raise
            found = self._ask(lambda: self._client.register_schema(subject, one))
        if found is None:
            raise RegistryAway(f"schema registry at {self.url}: it told no id")
        return found

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema with that id. Raises RegistryAway, or RegistryRefused where there is none."""
        text = self._ask(lambda: self._client.get_schema(schema_id).schema_str)
        try:
            found: dict[str, Any] = json.loads(text or "")
        except ValueError as error:
            raise RegistryRefused(422, f"schema id {schema_id} is no JSON") from error
        return found

    def must_stay_compatible(self, subject: str) -> None:
        """Have the registry refuse what is not compatible both ways with every version. Raises as `id_of` does."""
        from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig  # noqa: PLC0415

        wanted = ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE)
        self._ask(lambda: self._client.set_config(subject, wanted))

    def _ask(self, question: Callable[[], R]) -> R:
        import httpx2  # noqa: PLC0415
        from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError  # noqa: PLC0415

        try:
            return question()
        except SchemaRegistryError as error:
            text = f"schema registry at {self.url}: HTTP {error.http_status_code}: {error.error_message}"
            if error.http_status_code >= 500 or error.http_status_code in (408, 425, 429):
                raise RegistryAway(text) from error
            raise RegistryRefused(error.http_status_code, text) from error
        except (httpx2.HTTPError, OAuthTokenError, OSError, ValueError, TypeError, KeyError) as error:
            # the last three: something that is no registry answered
            raise RegistryAway(f"schema registry at {self.url}: {type(error).__name__}: {error}") from error


def register(registry: Registry, topics: Iterable[Topic], schemas: Path, prefix: str = "") -> dict[str, int]:
    """Register the schema of every topic that has one; the ids by subject. It may be done again: ids stay.

    `schemas` is the folder that the topics' paths are relative to. Raises RegistryAway or RegistryRefused.
    """
    ids = {}
    for topic in topics:
        if topic.schema.endswith(".avsc"):
            subject = subject_of(name(topic.name, prefix))
            ids[subject] = registry.id_of(subject, (schemas / topic.schema).read_text(encoding="utf-8"))
            registry.must_stay_compatible(subject)
    return ids


def _is_plain(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
