"""What is sent to a channel at once: one alert, or many told together (a digest) with counts that add up.

A digest is written to the deliveries topic before it is sent, so that a notifier that dies in between sends the very
same one again: its JSON form holds all that a channel needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from leadsman_common.alerts import Alert, level_rank

SAMPLES = 20
_BRIEF_CHARS = 300
_BRIEF_ITEMS = 5


class Count(msgspec.Struct, frozen=True):
    """How many alerts of a digest are of one level, rule and cluster."""

    level: str
    rule: str
    cluster: str
    count: int


class Message(msgspec.Struct, frozen=True):
    """One message. Of a digest `alerts` are some, the highest levels first, and `counts` are all of them."""

    key: str
    alerts: tuple[Alert, ...]
    counts: tuple[Count, ...] = ()
    why: str = ""  # of a digest: storm, group, quiet hours
    before: str = ""  # the level at which this channel was told of the alert before, where it has risen

    @property
    def is_digest(self) -> bool:
        """Whether it tells of many."""
        return bool(self.counts)

    @property
    def total(self) -> int:
        """How many alerts it tells of."""
        return sum(c.count for c in self.counts) if self.counts else 1

    @property
    def level(self) -> str:
        """The highest level of what it tells."""
        levels = [c.level for c in self.counts] or [self.alerts[0]["level"]]
        return max(levels, key=rank)


def rank(level: str) -> int:
    """0 to 4; a level that nobody knows ranks as the highest: better one too many than an alert that nobody sees."""
    try:
        return level_rank(level)
    except ValueError:
        return 4


def single(alert: Alert, before: str = "") -> Message:
    """The message of one alert. Its key is the alert's id and level: it comes again only when the level rises."""
    return Message(key=f"{alert['id']}-{alert['level']}", alerts=(alert,), before=before)


def digest(
    channel: str, members: Iterable[tuple[str, int]], counts: Iterable[Count], samples: Iterable[Alert], why: str
) -> Message:
    """The message of many: `members` are their ids and level ranks, of which the key is the hash."""
    text = "\x1f".join([channel, *(f"{alert}-{level}" for alert, level in sorted(members))])
    key = "digest-" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    ordered = sorted(counts, key=lambda c: (-rank(c.level), -c.count, c.rule, c.cluster))
    return Message(key=key, alerts=tuple(samples), counts=tuple(ordered), why=why)


def brief(alert: Alert) -> Alert:
    """The alert as a digest keeps it: long texts cut, few items of each list. An alert may have 2 MiB."""
    cut: Alert = _cut(alert)
    return cut


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _BRIEF_CHARS else value[: _BRIEF_CHARS - 1] + "…"
    if isinstance(value, list):
        return [_cut(item) for item in value[:_BRIEF_ITEMS]]
    return {key: _cut(item) for key, item in value.items()} if isinstance(value, dict) else value


def encode(message: Message) -> str:
    """The message as JSON text."""
    return msgspec.json.encode(message).decode()


def decode(text: str) -> Message:
    """The message of that JSON. Raises msgspec.MsgspecError for anything else."""
    loose = msgspec.json.decode(text, type=_Loose)
    return Message(loose.key, tuple(loose.alerts), loose.counts, loose.why, loose.before)


class _Loose(msgspec.Struct):
    """A message whose alerts are taken as they are: another release may have written them."""

    key: str
    alerts: tuple[Any, ...]
    counts: tuple[Count, ...] = ()
    why: str = ""
    before: str = ""
