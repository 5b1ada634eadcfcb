"""Admission webhooks: whom the API server calls, for what, and what it does where nobody answers (DETECTIONS K17)."""

from __future__ import annotations

from typing import Any

import msgspec

from leadsman_common.events import WebhookConfig, WebhookFacts, WebhookRule
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, texts
from leadsman_normalizer.lenient import note
from leadsman_normalizer.redact import mask

MAX_WEBHOOKS = 100
MAX_RULES = 100
MAX_SELECTOR_BYTES = 4096


def webhook_facts(kind: str, name: str, body: Tree, why: list[str]) -> WebhookFacts:
    """A webhook configuration's facts; a fragment of a patch gives what it holds."""
    return {
        "kind": kind,
        "name": name,
        "configs": [_config(found, why) for found in mappings(body, "webhooks", why)[:MAX_WEBHOOKS]],
    }


def _config(found: Tree, why: list[str]) -> WebhookConfig:
    client = mapping(found, "clientConfig", why)
    service = mapping(client, "service", why)
    return {
        "name": text(found, "name", why),
        "url": mask(text(client, "url", why).partition("?")[0]),
        "service": f"{text(service, 'namespace', why)}/{text(service, 'name', why)}" if service else "",
        "failure_policy": text(found, "failurePolicy", why),
        "namespace_selector": _selector(found.get("namespaceSelector"), why),
        "object_selector": _selector(found.get("objectSelector"), why),
        "rules": [_rule(rule, why) for rule in mappings(found, "rules", why)[:MAX_RULES]],
    }


def _rule(found: Tree, why: list[str]) -> WebhookRule:
    return {
        "operations": texts(found, "operations", why),
        "groups": texts(found, "apiGroups", why),
        "resources": texts(found, "resources", why),
        "scope": text(found, "scope", why),
    }


def _selector(found: Any, why: list[str]) -> str:
    if not found:
        return ""
    try:
        data = msgspec.json.encode(found, order="sorted")
    except (RecursionError, ValueError, TypeError, OverflowError):
        data = b""
    if not data or len(data) > MAX_SELECTOR_BYTES:
        note(why, "a webhook's selector is too large to keep")
        return "{...}"  # not empty: that would say that every namespace is meant
    return data.decode()
