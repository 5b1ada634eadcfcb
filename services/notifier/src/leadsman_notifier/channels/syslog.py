"""Channel `syslog`: RFC 5424 over TCP, TLS or UDP. A message over UDP is sent and no more: nobody says whether it came.

https://www.rfc-editor.org/rfc/rfc5424 and, for the frames over TCP (octet counting), rfc6587 and rfc5425.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from typing import Annotated, Literal

import httpx

from leadsman_common.settings import SettingError
from leadsman_common.visible import clean
from leadsman_notifier.channel import ChannelConfig, Unavailable, about
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net, NotAllowed
from leadsman_notifier.render import instant
from leadsman_notifier.story import Story

SEVERITY = {"critical": 2, "high": 3, "medium": 4, "low": 5, "informational": 6}
MAX_BYTES = 8192
MAX_UDP_BYTES = 1400
_ENTERPRISE = "leadsman@32473"  # the number that RFC 5612 keeps for documentation and the like


class Config(ChannelConfig, frozen=True, kw_only=True, tag="syslog"):
    """A syslog server, which may be a private address."""

    limit_per_minute: Annotated[int, about("messages in any minute; 0: no limit")] = 0
    host: Annotated[str, about("the server")]
    port: Annotated[int, about("its port")] = 6514
    transport: Annotated[Literal["tcp", "tls", "udp"], about("tcp, tls or udp")] = "tls"
    facility: Annotated[int, about("number of the facility: 16 is local0, 13 is log audit")] = 13
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    @property
    def keyed(self) -> bool:
        """A log: many at a time."""
        return False

    def open(self, net: Net) -> Syslog:
        """The channel."""
        if not 0 <= self.facility <= 23:
            raise SettingError("facility is 0 to 23")
        return Syslog(self, net.as_internal())


def render(message: Message, story: Story, facility: int, host: str, limit: int = MAX_BYTES) -> bytes:
    """The message, without a frame."""
    time = instant(message.alerts[0]["time"]) if not message.is_digest else ""
    data = {"key": message.key, "level": message.level, "count": str(message.total)}
    elements = " ".join(f'{name}="{_quoted(value)}"' for name, value in data.items())
    priority = facility * 8 + SEVERITY.get(message.level, 2)
    head = f"<{priority}>1 {time or '-'} {host} leadsman - alert [{_ENTERPRISE} {elements}] "
    body = story.line.encode()[: max(0, limit - len(head.encode()))]
    return head.encode() + body.decode("utf-8", "ignore").encode()


def _quoted(text: str) -> str:
    return clean(text, 200).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


class Syslog:
    """Sends messages over one connection, which is made when it is needed."""

    def __init__(self, config: Config, net: Net) -> None:
        self._config = config
        self._net = net
        self._socket: socket.socket | None = None
        self._host = clean(os.uname().nodename, 255).replace(" ", "") or "-"
        try:
            self._trust = (
                ssl.create_default_context(cafile=config.ca_file) if config.ca_file else httpx.create_ssl_context()
            )
        except OSError as error:
            raise SettingError(f"ca_file {config.ca_file!r} cannot be read: {error}") from error

    def send(self, message: Message, story: Story) -> None:
        """Send one. A connection that the server closed meanwhile is noticed before the message is written."""
        udp = self._config.transport == "udp"
        data = render(message, story, self._config.facility, self._host, MAX_UDP_BYTES if udp else MAX_BYTES)
        try:
            if self._socket is not None and self._closed():
                self.close()
            if self._socket is None:
                self._socket = self._connect()
            self._socket.sendall(data if udp else f"{len(data)} ".encode() + data)
        except (OSError, NotAllowed) as error:
            self.close()
            raise Unavailable(f"{type(error).__name__}: {clean(str(error), 200)}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        config = self._config
        if config.transport == "udp":
            family, address = self._net.addresses(config.host, config.port)[0]
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.connect((address, config.port))
            return sock
        plain = self._net.connect(config.host, config.port, config.timeout_s)
        return self._trust.wrap_socket(plain, server_hostname=config.host) if config.transport == "tls" else plain

    def _closed(self) -> bool:
        """Whether the server has closed: it never says anything, so whatever can be read is the end."""
        if self._config.transport == "udp" or self._socket is None:
            return False
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(self._config.timeout_s)
