"""Channel `jira`: an alert of Jira Service Management Operations, by an API integration's key.

https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v2/ and, for the integration's way in,
https://support.atlassian.com/jira-service-management-cloud/docs/create-an-alert-with-the-integration-events-api/.
The alias is the alert's id, so that it is one alert there, however often it is sent.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from leadsman_common.settings import SettingError
from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url, idempotency_key
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.render import lines_of, plain_text
from leadsman_notifier.story import Story

PRIORITY = {"critical": "P1", "high": "P2", "medium": "P3", "low": "P4", "informational": "P5"}
MAX_MESSAGE = 130
MAX_DESCRIPTION = 15_000
MAX_TAGS, TAG_CHARS = 20, 50
DETAIL_CHARS = 500


class Config(ChannelConfig, frozen=True, kw_only=True, tag="jira"):
    """Jira Service Management."""

    min_level: Annotated[str, about("lowest level that is sent")] = "medium"
    api_key: Annotated[str, about("key of the API integration")]
    url: Annotated[str, about("where alerts are created")] = "https://api.atlassian.com/jsm/ops/integration/v2/alerts"
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Jira:
        """The channel."""
        check_url(self.url, net)
        if not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise SettingError("api_key holds what no header can")
        return Jira(self, net)


def render(message: Message, story: Story) -> dict[str, Any]:
    """The request."""
    alert = message.alerts[0] if not message.is_digest else None
    text = "\n".join(
        f"{heading}: {plain_text(line)}" if heading else f"- {plain_text(line)}" for heading, line in lines_of(story)
    )
    links = "\n".join(f"{label}: {url}" for label, url in story.links)
    description = f"{text}\n{links}".strip()
    tags = [plain_text(tag, TAG_CHARS) for tag in (alert["tags"] if alert else []) if tag]
    fields = {
        "message": plain_text(story.headline, MAX_MESSAGE),
        "alias": idempotency_key(alert["id"] if alert else message.key),
        "description": description if len(description) <= MAX_DESCRIPTION else description[: MAX_DESCRIPTION - 1] + "…",
        "details": {label: plain_text(value, DETAIL_CHARS) for label, value in story.fields},
        "entity": plain_text(alert["objectRef"]["name"], 512) if alert else "",
        "source": "Leadsman",
        "priority": PRIORITY.get(message.level, "P1"),
        "tags": tags[:MAX_TAGS],
    }
    return {name: value for name, value in fields.items() if value}


class Jira:
    """Creates alerts."""

    def __init__(self, config: Config, net: Net) -> None:
        headers = {"Authorization": f"GenieKey {config.api_key}"}
        self._target = HttpTarget(config.url, config.timeout_s, net, headers, config.ca_file)

    def send(self, message: Message, story: Story) -> None:
        """Create one."""
        self._target.post(json.dumps(render(message, story)).encode(), message.key)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
