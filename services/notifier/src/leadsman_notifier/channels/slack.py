"""Channel `slack`: an incoming webhook's message, blocks with a text to fall back on.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and, for the limits,
https://docs.slack.dev/reference/block-kit/blocks. Every string of an alert may be an attacker's: it enters the
message only through `slack_text` and `slack_code` of render.py.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.render import slack_code, slack_text
from leadsman_notifier.story import Step, Story

HEADER_CHARS = 150
SECTION_CHARS = 3000
LINE_CHARS = 250
LINES = 11


class Config(ChannelConfig, frozen=True, kw_only=True, tag="slack"):
    """Slack, or what reads its incoming webhooks."""

    min_level: Annotated[str, about("lowest level that is posted")] = "medium"
    url: Annotated[str, about("incoming webhook")]
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Slack:
        """The channel."""
        check_url(self.url, net)
        return Slack(self, net)


def render(story: Story) -> dict[str, Any]:
    """The message: {text, blocks} and the switches that keep Slack from reading more into the text."""
    blocks = [
        {
            "type": "header",
            "text": {"type": "plain_text", "emoji": False, "text": slack_text(story.headline, HEADER_CHARS)},
        },
        {"type": "section", "fields": [_mrkdwn(f"*{label}*\n{slack_code(text)}") for label, text in story.fields[:10]]},
        *_list("Evidence", [_step(step) for step in story.timeline], story.left_out),
        *([_section(f"*Joined by*\n{slack_code(story.joins)}")] if story.joins else []),
        *_list("Counts", list(story.counts)),
        *_list("Among them", list(story.examples)),
    ]
    if story.why:
        checks = [f"• {slack_text(line, LINE_CHARS)}" for line in story.check]
        blocks.append(
            _section("\n".join([f"*Why it matters*\n{slack_text(story.why, 600)}", "*Check first*", *checks]))
        )
    blocks.append({"type": "context", "elements": [_mrkdwn(slack_code(story.footer))]})
    links = [_link(label, url) for label, url in story.links if len(url) < 2000]
    if links:
        blocks.append({"type": "context", "elements": [_mrkdwn(link) for link in links[:9]]})
    return {
        "text": slack_text(story.line, SECTION_CHARS),
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def _step(step: Step) -> str:
    facts = ", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in step.facts)
    return f"{step.time} {step.text}" + (f" [{facts}]" if facts else "")


def _list(title: str, lines: list[str], left_out: int = 0) -> list[dict[str, Any]]:
    if not lines:
        return []
    shown = ["• " + slack_code(line.strip(), LINE_CHARS) for line in lines[:LINES]]
    more = len(lines) - len(shown) + left_out
    return [_section("\n".join([f"*{title}*", *shown, *([f"and {more} more"] if more else [])]))]


def _link(label: str, url: str) -> str:
    """A link of our own making: the URL's own <, > and | are encoded, so that it ends where we end it."""
    safe = url.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
    return f"<{safe}|{slack_text(label, 60)}>"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: no links, channels or mentions are made out of plain words
    return {"type": "mrkdwn", "verbatim": True, "text": text}


class Slack:
    """Posts messages."""

    def __init__(self, config: Config, net: Net) -> None:
        self._target = HttpTarget(config.url, config.timeout_s, net, ca_file=config.ca_file)

    def send(self, message: Message, story: Story) -> None:
        """Post one message."""
        self._target.post(json.dumps(render(story), separators=(",", ":")).encode(), message.key)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
