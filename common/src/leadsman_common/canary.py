"""A canary: a harmless request that a cluster sends through its own API server, to come back as a test alert.

    PATCH /api/v1/namespaces/N/configmaps/C     User-Agent: leadsman-canary/0.1.0 sent=1764320000000 every=300s

Every audit log tells of such a request with its user agent, also where the provider chose what is logged. `sent` is
when it was sent, Unix milliseconds; `every` is when the next one is due, and 0s says that none will come any more.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import NamedTuple

from leadsman_common.alerts import Alert
from leadsman_common.events import AuditEvent

RULE = "canary"  # the rule whose alert it comes back as
_PRODUCT = "leadsman-canary/"
_AGENT = re.compile(_PRODUCT + r"\S{1,64} sent=([0-9]{13}) every=([0-9]{1,6})s(?:[\s,].*)?", re.DOTALL)


class Told(NamedTuple):
    """What a canary says of itself."""

    sent_ms: int
    every_s: int


def user_agent(sent_ms: int, every_s: int) -> str:
    """The header of a canary."""
    return f"{_PRODUCT}{version('leadsman-common')} sent={sent_ms} every={every_s}s"


def told_by(user_agent: str) -> Told | None:
    """What a user agent says; None where it is no canary's."""
    if not user_agent.startswith(_PRODUCT):
        return None
    found = _AGENT.fullmatch(user_agent)
    return Told(int(found[1]), int(found[2])) if found else None


def canary_of(event: AuditEvent) -> Told | None:
    """The canary that a request is, as the rule `canary` has it; None for nearly every event.

    What was refused is none: whoever may not write the ConfigMap can neither pose as a canary nor end one.
    """
    if not event["userAgent"].startswith(_PRODUCT):
        return None
    done = event["verb"] == "patch" and event["objectRef"]["resource"] == "configmaps"
    return told_by(event["userAgent"]) if done and event["outcome"]["effective"] else None


def hops_ms(alert: Alert) -> dict[str, int]:
    """The way of the canary that an alert is of, by hop; empty for any other alert.

    request is from its sending to the API server, delivery from there to ingest, detection from there to the alert.
    """
    if alert["rule"]["name"] != RULE or not alert["evidence"]:
        return {}
    event = alert["evidence"][-1]
    told, received_ms = told_by(event["user_agent"]), event["source"]["received_ms"]
    if told is None:
        return {}
    at_ms = event["time"] // 1000
    hops = {"request": (told.sent_ms, at_ms), "delivery": (at_ms, received_ms)}
    hops["detection"] = (received_ms, alert["detected_time"] // 1000)
    return {name: max(0, end - start) for name, (start, end) in hops.items() if start and end}
