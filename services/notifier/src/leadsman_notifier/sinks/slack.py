"""Sink `slack`: an incoming webhook's message, blocks with a text to fall back on.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and, for the limits,
https://docs.slack.dev/reference/block-kit/blocks. Every string of an alert may be an attacker's: it enters the
message only through `slack_text` and `slack_code` of render.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from leadsman_common.alerts import Alert, delivery_key, iso_time
from leadsman_common.settings import setting
from leadsman_notifier.config import check_level
from leadsman_notifier.http import HttpTarget, check_url
from leadsman_notifier.render import actor_text, cluster_text, object_text, one_line, slack_code, slack_text

HEADER_CHARS = 150
SECTION_CHARS = 3000
EVIDENCE_SHOWN = 5


@dataclass(frozen=True)
class Config:
    """Settings of the sink."""

    slack_url: str = setting("Slack incoming webhook; empty: none", "", secret=True)
    slack_min_level: str = setting("lowest level that is posted", "medium")
    slack_timeout_s: float = setting("how long one step of a request may take", 10.0)

    def open(self) -> Slack | None:
        """The sink, or None without a URL."""
        if not self.slack_url:
            return None
        check_url("slack_url", self.slack_url)
        check_level("slack_min_level", self.slack_min_level)
        return Slack(self)


def render(alert: Alert) -> dict[str, Any]:
    """The message: {text, blocks} and the switches that keep Slack from reading more into the text."""
    blocks = [
        {
            "type": "header",
            "text": {"type": "plain_text", "emoji": False, "text": slack_text(_headline(alert), HEADER_CHARS)},
        },
        {"type": "section", "fields": [_mrkdwn(text) for text in _fields(alert)]},
    ]
    if alert["evidence"]:
        blocks.append({"type": "section", "text": _mrkdwn(_evidence(alert))})
    blocks.append({"type": "context", "elements": [_mrkdwn(text) for text in _context(alert)]})
    return {
        "text": slack_text(one_line(alert), SECTION_CHARS),
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def _headline(alert: Alert) -> str:
    attempt = " (attempt)" if alert["attempt"] else ""
    return f"{alert['level'].upper()}{attempt}: {alert['title'] or alert['rule']['title'] or alert['rule']['name']}"


def _fields(alert: Alert) -> list[str]:
    pairs = (
        ("Rule", alert["rule"]["name"]),
        ("Level", alert["level"]),
        ("Cluster", cluster_text(alert["cluster"])),
        ("Actor", actor_text(alert["actor"])),
        ("Object", object_text(alert["objectRef"])),
        ("Time", iso_time(alert["time"])),
    )
    return [f"*{label}*\n{slack_code(value)}" for label, value in pairs if value]


def _evidence(alert: Alert) -> str:
    shown = alert["evidence"][:EVIDENCE_SHOWN]
    each = (SECTION_CHARS - 200) // EVIDENCE_SHOWN
    lines = [
        "• " + slack_code(f"{iso_time(item['time'])} {item['summary'] or item['action']}".strip(), each)
        for item in shown
    ]
    more = len(alert["evidence"]) - len(shown)
    return "\n".join(["*Evidence*", *lines, *([f"and {more} more"] if more else [])])


def _context(alert: Alert) -> list[str]:
    tags = " ".join(alert["tags"][:20])
    return [slack_code(f"id {alert['id']}"), *([slack_code(tags)] if tags else [])]


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: no links, channels or mentions are made out of plain words
    return {"type": "mrkdwn", "verbatim": True, "text": text}


class Slack:
    """Posts messages."""

    def __init__(self, config: Config) -> None:
        self.min_level = config.slack_min_level
        self._target = HttpTarget(config.slack_url, config.slack_timeout_s)

    def send(self, alert: Alert) -> None:
        """Post one alert's message."""
        self._target.post(json.dumps(render(alert), separators=(",", ":")).encode(), delivery_key(alert))

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
