"""A first picture of a cluster: objects of `kubectl get -o json` as if their creation had been logged.

Only what the events leave in the state is kept; nothing of it is judged. `leadsman state import` calls it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leadsman_detector.detect import AuditRecord, Detector
from leadsman_detector.history import plural
from leadsman_detector.state import CorrelationState, Put, StateReply, StateRequest, settle

BY = "leadsman:import"  # who did it, in the state: nobody knows who really did


class NotAPicture(ValueError):
    """A file that is no answer of `kubectl get -o json`; the text says why."""


def objects_of(data: bytes) -> Iterator[Mapping[str, Any]]:
    """The objects of a file: one, a List, or several of both, one after the other. Raises NotAPicture."""
    decoder = json.JSONDecoder()
    try:
        text, at = data.decode("utf-8"), 0
        while text[at:].strip():
            at += len(text[at:]) - len(text[at:].lstrip())
            value, at = decoder.raw_decode(text, at)
            yield from _objects(value)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise NotAPicture(f"no JSON: {error}") from error


def record_of(found: Mapping[str, Any]) -> bytes | None:
    """An object as the audit event of its creation, native JSON; None for one without kind, name or creation time."""
    meta = found.get("metadata")
    kind, api, meta = found.get("kind"), found.get("apiVersion"), meta if isinstance(meta, dict) else {}
    name, at = meta.get("name"), meta.get("creationTimestamp")
    if not all(isinstance(text, str) and text for text in (kind, api, name, at)):
        return None
    namespace = str(meta.get("namespace") or "")
    group, _, version = str(api).rpartition("/")
    resource = plural(str(kind))
    place = f"namespaces/{namespace}/" if namespace else ""
    identity = "/".join((str(api), str(kind), namespace, str(name), str(meta.get("uid", ""))))
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": hashlib.blake2b(identity.encode("utf-8", "replace"), digest_size=16).hexdigest(),
        "stage": "ResponseComplete",
        "requestURI": f"/{'apis' if group else 'api'}/{api}/{place}{resource}",
        "verb": "create",
        "user": {"username": BY},
        "objectRef": {
            "resource": resource,
            "namespace": namespace,
            "name": name,
            "apiGroup": group,
            "apiVersion": version,
        },
        "responseStatus": {"code": 201},
        "requestObject": found,
        "responseObject": found,
        "requestReceivedTimestamp": at,
        "stageTimestamp": at,
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    return json.dumps(event).encode()


async def remember(detector: Detector, records: Sequence[AuditRecord], state: CorrelationState) -> list[Put]:
    """Put what these events leave in the state; gives what was put. `detector` is one that only keeps, unwatching."""
    put: list[Put] = []

    async def exchange(requests: list[StateRequest]) -> list[StateReply]:
        put.extend(request for request in requests if isinstance(request, Put))
        return await state.exchange(requests)

    await settle(detector.evaluate(detector.plan(records)), exchange)
    return put


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, dict):
        raise NotAPicture("a value that is no object")
    items = value.get("items")
    if isinstance(items, list) and str(value.get("kind", "")).endswith("List"):
        # items of a typed list leave out what the list says of all of them
        kind, api = str(value["kind"]).removesuffix("List"), value.get("apiVersion")
        for item in items:
            if not isinstance(item, dict):
                raise NotAPicture("an item that is no object")
            yield {**({"kind": kind} if kind else {}), "apiVersion": api, **item}
    else:
        yield value
