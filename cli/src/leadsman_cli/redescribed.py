"""From events back to the description of requests that a case holds (cases.py). Pure.

Bodies are as the normalizer left them: secrets are masked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from leadsman_cli.described import START
from leadsman_common.events import AuditEvent, Flag, User

LEVELS = ("Metadata", "Request", "RequestResponse")
_MADE_BY_RUNNER = ("authorization.k8s.io/decision", "authorization.k8s.io/reason")


def requests_of(events: Sequence[AuditEvent]) -> list[dict[str, Any]] | None:
    """The requests, at the times at which they were; None where one is no request to an API server."""
    if not events or any(not event["verb"] or event["flags"] & Flag.CLOUD_CALL for event in events):
        return None
    start_us = int(START.timestamp()) * 1_000_000
    return [_request(event, (event["time"] - start_us) / 1_000_000) for event in events]


def _request(event: AuditEvent, at_s: float) -> dict[str, Any]:
    ref, outcome, status = event["objectRef"], event["outcome"], event["responseStatus"]
    path, _, query = event["requestURI"].partition("?")
    resource = ref["resource"] + (f".{ref['apiGroup']}" if ref["apiGroup"] else "")
    body, response = _json(event["requestObject"]), _json(event["responseObject"])
    annotations = {k: v for k, v in event["annotations"].items() if k not in _MADE_BY_RUNNER}
    found: dict[str, Any] = {
        "verb": event["verb"],
        "resource": resource + (f"/{ref['subresource']}" if ref["subresource"] else ""),
        "path": "" if ref["resource"] else path,
        "version": ref["apiVersion"],
        "namespace": ref["namespace"],
        "name": ref["name"],
        "user": _user(event["user"]),
        "as": _user(event["impersonatedUser"]) if event["impersonatedUser"] else None,
        "query": "&".join(part for part in query.split("&") if not part.startswith(("dryRun=", "watch="))),
        "dry_run": event["dryRun"],
        "body": body,
        "code": status["code"],
        "decision": "forbid" if outcome["authz"] == "forbid" else "",
        "reason": outcome["reason"],
        "level": event["level"] if event["level"] in LEVELS else "",
        "source_ip": event["sourceIPs"],
        "user_agent": event["userAgent"],
        "annotations": annotations,
        "cluster": event["cluster"]["name"],
        "at": at_s,
    }
    if event["verb"] == "patch":
        found["patch"] = "json" if isinstance(body, list) else "merge"
    kept = {key: value for key, value in found.items() if value or key in ("at", "user")}
    return {**kept, "response": response}


def _user(user: User) -> dict[str, Any]:
    return {key: value for key, value in user.items() if value}


def _json(text: str) -> Any:
    """A body; None for none, and for one that was cut."""
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, dict | list) else None
