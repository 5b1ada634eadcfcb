"""What a channel is: the interface between the stream and the files of channels/."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import msgspec

from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.story import Story


class Unavailable(Exception):
    """The channel cannot take it now; the same message may be tried again, `after_s` later where it said so."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class Refused(Exception):
    """The channel will never take this message: it goes to alerts.undelivered with `reason`, which holds no secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Channel(Protocol):
    """A configured channel. One thread uses it."""

    def send(self, message: Message, story: Story) -> None:
        """Deliver one message; returns once the other side has accepted it. Raises Unavailable or Refused.

        `story` is the message for people. `message.key` is the same at every try, for receivers that tell by it.
        """

    def close(self) -> None:
        """Let go of connections."""


def about(meaning: str) -> Any:
    """The line of meaning of a channel's field, for docs/notifications.md."""
    return msgspec.Meta(description=meaning)


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every channel of notify.yaml may say; each type adds its own and has `open`."""

    min_level: Annotated[str, about("lowest level that it is told of")] = "informational"
    limit_per_minute: Annotated[int, about("messages in any minute, more are told together; 0: no limit")] = 20
    group_by: Annotated[
        tuple[str, ...], about("of rule, cluster, namespace, actor, level: what follows in a group is told together")
    ] = ()
    group_s: Annotated[float, about("how long a group collects after its first message")] = 60.0
    timeout_s: Annotated[float, about("how long one try may take")] = 10.0

    @property
    def keyed(self) -> bool:
        """Whether each message is written down by itself once it was taken; else many at a time, which logs need."""
        return True

    def open(self, net: Net) -> Channel:
        """The channel. Raises SettingError for what cannot work. Nothing connects yet."""
        raise NotImplementedError
