"""Channel `pagerduty`: an event of the Events API v2, deduplicated by the alert's id: a higher level is no new one.

https://developer.pagerduty.com/docs/events-api-v2-overview/ and .../trigger-events/
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from leadsman_common.visible import clean
from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url, idempotency_key
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.render import instant, lines_of
from leadsman_notifier.story import Story

SEVERITY = {"critical": "critical", "high": "error", "medium": "warning", "low": "info", "informational": "info"}
MAX_SUMMARY = 1024
MAX_DETAILS = 200  # lines; an event may have 512 KB


class Config(ChannelConfig, frozen=True, kw_only=True, tag="pagerduty"):
    """A PagerDuty service."""

    min_level: Annotated[str, about("lowest level that is sent")] = "high"
    routing_key: Annotated[str, about("integration key of the service")]
    url: Annotated[str, about("events API; events.eu.pagerduty.com in the EU")] = (
        "https://events.pagerduty.com/v2/enqueue"
    )
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> PagerDuty:
        """The channel."""
        check_url(self.url, net)
        return PagerDuty(self, net)


def render(message: Message, story: Story, routing_key: str) -> dict[str, Any]:
    """The event."""
    alert = message.alerts[0] if message.alerts else None
    alone = alert is not None and not message.is_digest
    details: dict[str, list[str]] = {}
    heading = ""
    for label, line in list(lines_of(story))[:MAX_DETAILS]:
        heading = label or heading
        details.setdefault(heading, []).append(clean(line, 500))
    payload = {
        "summary": clean(story.headline, MAX_SUMMARY),
        "source": clean(alert["cluster"]["id"] or alert["cluster"]["name"], 255) if alone and alert else "leadsman",
        "severity": SEVERITY.get(message.level, "critical"),
        "component": clean(alert["objectRef"]["resource"], 255) if alone and alert else "",
        "group": clean(alert["objectRef"]["namespace"], 255) if alone and alert else "",
        "class": clean(alert["rule"]["name"], 255) if alone and alert else "digest",
        "custom_details": {name: lines if len(lines) > 1 else lines[0] for name, lines in details.items()},
    }
    if alone and alert and (at := instant(alert["time"])):
        payload["timestamp"] = at
    payload["source"] = payload["source"] or "leadsman"
    return {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": idempotency_key(alert["id"] if alone and alert else message.key),
        "payload": {name: value for name, value in payload.items() if value},
        "links": [{"href": url, "text": label} for label, url in story.links[:5]],
        "client": "Leadsman",
    }


class PagerDuty:
    """Triggers events."""

    def __init__(self, config: Config, net: Net) -> None:
        self._routing_key = config.routing_key
        self._target = HttpTarget(config.url, config.timeout_s, net, ca_file=config.ca_file)

    def send(self, message: Message, story: Story) -> None:
        """Trigger one."""
        self._target.post(json.dumps(render(message, story, self._routing_key)).encode(), message.key)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
