"""Schemas in a schema registry that speaks Confluent's protocol: one subject a topic, FULL_TRANSITIVE.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from leadsman_common.topics import Topic, name

TIMEOUT_S = 20
_JSON = "application/vnd.schemaregistry.v1+json"


class RegistryError(Exception):
    """The registry did not answer, or refused; the text says what."""


def register(url: str, topics: Iterable[Topic], schemas: Path, prefix: str = "") -> dict[str, int]:
    """Register the schema of every topic that has one; the ids by subject. It may be done again: ids stay.

    `schemas` is the folder that the topics' paths are relative to. Raises RegistryError.
    """
    if not url.startswith(("http://", "https://")):
        raise RegistryError(f"{url}: no http(s) URL")
    ids = {}
    for topic in topics:
        if not topic.schema.endswith(".avsc"):
            continue
        subject = f"{name(topic.name, prefix)}-value"
        schema = (schemas / topic.schema).read_text(encoding="utf-8")
        answer = _call(url, "POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": schema})
        _call(url, "PUT", f"/config/{quote(subject, safe='')}", {"compatibility": "FULL_TRANSITIVE"})
        ids[subject] = int(answer["id"])
    return ids


def _call(url: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked by register
        url.rstrip("/") + path, json.dumps(body).encode(), {"Content-Type": _JSON}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            told: dict[str, Any] = json.load(answer)
            return told
    except urllib.error.HTTPError as error:
        told_text = error.read(2000).decode("utf-8", "replace")
        raise RegistryError(f"{method} {path}: {error.code} {told_text}") from error
    except (OSError, ValueError) as error:
        raise RegistryError(f"{method} {url}{path}: {error}") from error
