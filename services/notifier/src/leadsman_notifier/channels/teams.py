"""Channel `teams`: an Adaptive Card for a Microsoft Teams workflow ("when a Teams webhook request is received").

https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook and
https://adaptivecards.io/explorer/TextRun.html: text stands in TextRuns alone, which know no Markdown; a mention
needs an entity beside the text, and none is sent. A message may have 28 KB.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.render import lines_of, plain_text
from leadsman_notifier.story import Story

MAX_BYTES = 24_000
LINE_CHARS = 300


class Config(ChannelConfig, frozen=True, kw_only=True, tag="teams"):
    """A Teams channel or chat, by a workflow's URL."""

    min_level: Annotated[str, about("lowest level that is posted")] = "medium"
    url: Annotated[str, about("the workflow's URL")]
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Teams:
        """The channel."""
        check_url(self.url, net)
        return Teams(self, net)


def render(story: Story) -> dict[str, Any]:
    """The workflow's request; lines at the end are left out where it would be too long."""
    lines = [_line(heading, line) for heading, line in lines_of(story)]
    links = [{"type": "Action.OpenUrl", "title": plain_text(label, 60), "url": url} for label, url in story.links[:5]]
    head = {
        "type": "RichTextBlock",
        "inlines": [{"type": "TextRun", "text": plain_text(story.headline, 200), "size": "Large", "weight": "Bolder"}],
    }
    while True:
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [head, *lines, _line("", story.footer)],
            "actions": links,
        }
        content = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        message = {"type": "message", "attachments": [content]}
        if len(json.dumps(message)) <= MAX_BYTES or not lines:
            return message
        lines = lines[: len(lines) * 3 // 4]


def _line(heading: str, line: str) -> dict[str, Any]:
    runs = [{"type": "TextRun", "text": plain_text(line, LINE_CHARS) or "-"}]
    if heading:
        runs.insert(0, {"type": "TextRun", "text": f"{heading}: ", "weight": "Bolder"})
    return {"type": "RichTextBlock", "inlines": runs}


class Teams:
    """Posts cards."""

    def __init__(self, config: Config, net: Net) -> None:
        self._target = HttpTarget(config.url, config.timeout_s, net, ca_file=config.ca_file)

    def send(self, message: Message, story: Story) -> None:
        """Post one card."""
        self._target.post(json.dumps(render(story)).encode(), message.key)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
