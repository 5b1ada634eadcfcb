"""Channel `apprise`: any service that Apprise knows, by its URL: https://appriseit.com/services/.

The payload is Apprise's. It is given text in which nothing is Markdown, HTML or a mention, whatever the service makes
of it, and each of its connections is checked as ours are.
"""

from __future__ import annotations

from typing import Annotated

import apprise

from leadsman_common.settings import SettingError
from leadsman_notifier.channel import ChannelConfig, Unavailable, about
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net, NotAllowed
from leadsman_notifier.render import lines_of, plain_text
from leadsman_notifier.story import Story

BODY_CHARS = 4000
# they are no services of others: they run programs or write where the notifier runs
LOCAL = ("dbus", "glib", "gnome", "kde", "qt", "macosx", "syslog", "windows")


class Config(ChannelConfig, frozen=True, kw_only=True, tag="apprise"):
    """A service of Apprise's."""

    min_level: Annotated[str, about("lowest level that is sent")] = "medium"
    url: Annotated[str, about("Apprise URL of the service")]

    def open(self, net: Net) -> Apprise:
        """The channel."""
        service = None
        if self.url.partition("://")[0].lower() not in LOCAL:
            service = apprise.Apprise.instantiate(self.url, suppress_exceptions=True)
        if service is None:
            raise SettingError("url is none that Apprise knows as a service of others")
        if isinstance(host := getattr(service, "host", ""), str) and host and (reason := net.literal(host)):
            raise SettingError(f"url: its host is {reason}; notify.yaml can allow it")
        return Apprise(service, net, self.timeout_s)


def render(story: Story) -> tuple[str, str]:
    """(title, body)."""
    lines = [f"{h}: {plain_text(t)}" if h else f"- {plain_text(t)}" for h, t in lines_of(story)]
    links = [f"{label}: {url}" for label, url in story.links[:3]]
    body = "\n".join([*lines, *links, plain_text(story.footer)])
    return plain_text(story.headline, 200), body if len(body) <= BODY_CHARS else body[: BODY_CHARS - 1] + "…"


class Apprise:
    """Sends by one service."""

    def __init__(self, service: apprise.NotifyBase, net: Net, timeout_s: float) -> None:
        self._service = service
        self._net = net
        service.socket_connect_timeout = timeout_s
        service.socket_read_timeout = timeout_s

    def send(self, message: Message, story: Story) -> None:
        """Send one. Apprise says whether it went, not why not: it is tried again until the bound."""
        title, body = render(story)
        kind = apprise.NotifyType.FAILURE if message.level in ("critical", "high") else apprise.NotifyType.WARNING
        try:
            with self._net.guarding():
                sent = self._service.notify(
                    body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
                )
        except NotAllowed as error:
            raise Unavailable(str(error)) from error
        except Exception as error:
            raise Unavailable(f"Apprise: {type(error).__name__}") from error
        if not sent:
            raise Unavailable("Apprise could not send it")

    def close(self) -> None:
        """Nothing to let go of."""
