"""Alerts about the notifier itself: a channel that fails, alerts that were given up. They go the way of every alert."""

from __future__ import annotations

from leadsman_common.alerts import Alert, alert_id
from leadsman_common.events import NO_ACTOR, NO_REF

RULE = "notifier-channel"
RULE_ID = "5d3f5c0e-6a57-5d0c-9f6b-0c1f7a8f2f11"
TITLE = "A channel of the notifier takes no alerts"
HOUR_US = 3_600_000_000


def is_alarm(alert: Alert) -> bool:
    """Whether an alert is one of these: none is raised about it, or a dead channel would raise them for ever."""
    return alert["rule"]["id"] == RULE_ID


def channel_alarm(channel: str, what: str, reason: str, now_us: int) -> Alert:
    """The alert that a channel fails or gave alerts up; one an hour and channel, whoever raises it."""
    return {
        "id": alert_id(RULE_ID, "leadsman", channel, what, str(now_us // HOUR_US)),
        "level": "high",
        "rule": {"id": RULE_ID, "name": RULE, "title": TITLE, "level": "high"},
        "title": f"Channel {channel} {what}: {reason}",
        "time": now_us,
        "detected_time": now_us,
        "cluster": {"id": "", "name": "", "provider": "", "account": "", "region": ""},
        "actor": {**NO_ACTOR, "class": ""},
        "objectRef": NO_REF,
        "tags": [],
        "references": [],
        "attempt": False,
        "joins": [],
        "modifiers": [],
        "rules_digest": "",
        "evidence": [],
        "revision": 0,
    }
