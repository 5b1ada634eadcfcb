"""Alerts about the notifier itself: a channel that fails, alerts that were given up. They go the way of every alert."""

from __future__ import annotations

from leadsman_common.alerts import Alert, alert_id, own_alert

RULE = "notifier-channel"
RULE_ID = "5d3f5c0e-6a57-5d0c-9f6b-0c1f7a8f2f11"
TITLE = "A channel of the notifier takes no alerts"
HOUR_US = 3_600_000_000


def is_alarm(alert: Alert) -> bool:
    """Whether an alert is one of these: none is raised about it, or a dead channel would raise them for ever."""
    return alert["rule"]["id"] == RULE_ID


def channel_alarm(channel: str, what: str, reason: str, now_us: int) -> Alert:
    """The alert that a channel fails or gave alerts up; one an hour and channel, whoever raises it."""
    return own_alert(
        alert_id(RULE_ID, "leadsman", channel, what, str(now_us // HOUR_US)),
        {"id": RULE_ID, "name": RULE, "title": TITLE, "level": "high"},
        "high",
        f"Channel {channel} {what}: {reason}",
        now_us,
        {"id": "", "name": "", "provider": "", "account": "", "region": ""},
    )
