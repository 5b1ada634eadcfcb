"""A canary as a line of an audit log, sent a moment ago."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

from leadsman_common.canary import user_agent

ACCOUNT = "system:serviceaccount:leadsman:leadsman-canary"


def line(every_s: int = 300) -> str:
    """The line; 0 seconds: the last one."""
    now = datetime.now(UTC)
    at = now.isoformat().replace("+00:00", "Z")
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "auditID": secrets.token_hex(16),
        "stage": "ResponseComplete",
        "level": "Metadata",
        "verb": "patch",
        "requestURI": "/api/v1/namespaces/leadsman/configmaps/leadsman-canary",
        "user": {"username": ACCOUNT},
        "userAgent": user_agent(int(now.timestamp() * 1000) - 20, every_s),
        "objectRef": {
            "resource": "configmaps",
            "namespace": "leadsman",
            "name": "leadsman-canary",
            "apiVersion": "v1",
        },
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": at,
        "stageTimestamp": at,
    }
    return json.dumps(event)
