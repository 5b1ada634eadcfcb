"""A storm: nobody in particular reads secrets over and over."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime

from leadsman_cli.readers import Identity, Unreadable, read
from leadsman_common.raw import RawEvent


def anonymous_reads(times: Iterable[datetime]) -> Iterator[RawEvent | Unreadable]:
    """A record of the API server's log for each time, of the cluster `storm`."""
    for n, time in enumerate(times):
        at = f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"
        request = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": str(uuid.UUID(int=n + 1)),
            "stage": "ResponseComplete",
            "requestURI": "/api/v1/namespaces/shop/secrets",
            "verb": "list",
            "user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]},
            "sourceIPs": ["203.0.113.77"],
            "userAgent": "curl/8.9.1",
            "objectRef": {"resource": "secrets", "namespace": "shop", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 200},
            "requestReceivedTimestamp": at,
            "stageTimestamp": at,
        }
        log = io.BytesIO(json.dumps(request).encode())
        yield from read("storm", log, "auto", Identity(cluster="storm"), lambda _size: None)
