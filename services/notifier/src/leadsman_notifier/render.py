"""Alerts as text for people: pure functions that the sinks share.

Names, images, user agents and commands in an alert are whatever an attacker chose. Nothing here lets them act on a
terminal, end a line, turn the reading direction, call people together or pass for a field of ours.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leadsman_common.alerts import Alert, iso_time
from leadsman_common.events import Actor, Cluster, ObjectRef
from leadsman_common.visible import VALUE_CHARS, clean, joined

if TYPE_CHECKING:
    from leadsman_notifier.story import Step, Story

_PLAIN = re.compile(r"[\w@:./+-]+")
# a mention stands where no mail address goes on before the sign; the words that call everyone do so anywhere
_MENTION = re.compile(r"(?<![\w.+-])@|@(?=(?:here|channel|everyone|all|group)(?!\w))", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def quoted(text: str, limit: int = VALUE_CHARS) -> str:
    """A value of a `name=value` line: in quotes where it holds more than one plain word."""
    shown = clean(text, limit)
    return shown if _PLAIN.fullmatch(shown) else json.dumps(shown, ensure_ascii=False)


def slack_text(text: str, limit: int = VALUE_CHARS) -> str:
    """Text for Slack, at most `limit` characters after escaping: &, < and > as entities, mentions made plain.

    https://docs.slack.dev/messaging/formatting-message-text#escaping . The sign of a mention becomes the
    full-width one, which also holds where a receiver other than Slack reads the same format.
    """
    safe = _MENTION.sub("\uff20", clean(text, limit))
    return joined((_ENTITIES.get(char, char) for char in safe), limit)


def slack_code(text: str, limit: int = VALUE_CHARS) -> str:
    """The same in a code span, where no markup is read; a backtick inside becomes an apostrophe."""
    return f"`{slack_text(text.replace('`', chr(39)), limit - 2)}`" if text else ""


def one_line(alert: Alert) -> str:
    """One line: time, level, rule, title, then name=value pairs of what is known."""
    attempt = "attempt" if alert["attempt"] else ""
    head = (iso_time(alert["time"]), alert["level"].upper(), alert["rule"]["name"], attempt)
    pairs = (
        ("title", alert["title"] or alert["rule"]["title"]),
        ("cluster", cluster_text(alert["cluster"])),
        ("actor", actor_text(alert["actor"])),
        ("object", object_text(alert["objectRef"])),
        ("author", alert["rule"].get("author", "")),
        ("id", alert["id"]),
    )
    return " ".join(
        [*(quoted(word) for word in head if word), *(f"{name}={quoted(value)}" for name, value in pairs if value)]
    )


def instant(micros: int) -> str:
    """A time for a field that must be RFC 3339; empty where there is none, or one that no calendar has."""
    shown = iso_time(micros)
    return shown if shown.endswith("Z") else ""


def cluster_text(cluster: Cluster) -> str:
    """The cluster's id, or its name where there is no id."""
    return cluster["id"] or cluster["name"]


def actor_text(actor: Actor) -> str:
    """The effective name, and who stands behind it where it is impersonated."""
    if actor["impersonating"] and actor["authenticated"]:
        return f"{actor['name']} (impersonated by {actor['authenticated']})"
    return actor["name"]


def object_text(ref: ObjectRef) -> str:
    """`deployments.apps shop/web`, `pods/exec shop/web-1`; empty for a request about no object."""
    kind = ref["resource"] + (f".{ref['apiGroup']}" if ref["apiGroup"] else "")
    kind += f"/{ref['subresource']}" if ref["subresource"] else ""
    name = "/".join(part for part in (ref["namespace"], ref["name"]) if part)
    return f"{kind} {name}".strip()


# the same to the eye, and no markup: angle quotes, full-width brackets, asterisk operator, division slash
_LOOKALIKES = str.maketrans({"<": "\u2039", ">": "\u203a", "[": "\uff3b", "]": "\uff3d", "`": "'", "*": "\u2217"})
_EDGE = re.compile(r"(?<!\w)_|_(?!\w)|~~|\|\||://")
_WIDE = {"_": "\uff3f", "~~": "\uff5e\uff5e", "||": "\uff5c\uff5c", "://": ":\u2215\u2215"}


def plain_text(text: str, limit: int = VALUE_CHARS) -> str:
    """Text for who knows what: nothing in it is Markdown, HTML, a mention, or a link that a client would make of it."""
    shown = _MENTION.sub("\uff20", clean(text, limit)).translate(_LOOKALIKES)
    return _EDGE.sub(lambda found: _WIDE[found[0]], shown)


def html_text(text: str, limit: int = VALUE_CHARS) -> str:
    """Text inside HTML, elements or attributes."""
    return html.escape(clean(text, limit))


def lines_of(story: Story) -> Iterator[tuple[str, str]]:
    """A story as paragraphs for channels that take text alone: (heading, line), no heading for what goes on."""
    yield from story.fields
    for heading, lines in (
        ("What happened", [f"{step.time} {step.text}{_facts(step)}".strip() for step in story.timeline]),
        ("", [f"and {story.left_out} more"] if story.left_out else []),
        ("Joined by", [story.joins] if story.joins else []),
        ("Counts", list(story.counts)),
        ("Among them", list(story.examples)),
        ("Why it matters", [story.why] if story.why else []),
        ("Check first", list(story.check)),
    ):
        for at, line in enumerate(lines):
            yield (heading if at == 0 else ""), line


def _facts(step: Step) -> str:
    return f" [{', '.join(f'{name}={value}' for name, value in step.facts)}]" if step.facts else ""
