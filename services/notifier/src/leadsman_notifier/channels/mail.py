"""Channel `mail`: a message by SMTP, as text and as HTML, a chain's timeline as an SVG beside it.

Its Message-ID is made of the message's key.

The relay is infrastructure and may be a private address. TLS is asked for unless it is turned off: `starttls` on port
587, `tls` from the first byte on 465, `none`.
"""

from __future__ import annotations

import hashlib
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formataddr, formatdate, parseaddr
from typing import Annotated, Any, Literal

import httpx

from leadsman_common.settings import SettingError
from leadsman_common.visible import clean
from leadsman_notifier.channel import ChannelConfig, Refused, Unavailable, about
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net, NotAllowed
from leadsman_notifier.render import html_text, lines_of, plain_text
from leadsman_notifier.story import Story

SUBJECT_CHARS = 200


class Config(ChannelConfig, frozen=True, kw_only=True, tag="mail"):
    """Mail, through a relay."""

    min_level: Annotated[str, about("lowest level that is mailed")] = "medium"
    host: Annotated[str, about("the relay")]
    port: Annotated[int, about("its port; 0: 587, or 465 for tls, or 25 for none")] = 0
    security: Annotated[Literal["starttls", "tls", "none"], about("starttls, tls or none")] = "starttls"
    sender: Annotated[str, about("From address")]
    to: Annotated[tuple[str, ...], about("recipients")]
    user: Annotated[str, about("login; empty: none")] = ""
    password: Annotated[str, about("its password")] = ""
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Mail:
        """The channel."""
        for address in (self.sender, *self.to):
            name, at = parseaddr(address)
            if "@" not in at or any(c in address for c in "\r\n") or not at.isascii():
                raise SettingError(f"{address!r} is no mail address")
            del name
        if not self.to:
            raise SettingError("to: nobody is named")
        if self.password and self.security == "none":
            raise SettingError("a password is sent over TLS only: security must be starttls or tls")
        return Mail(self, net.as_internal())


def render(message: Message, story: Story, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """The mail."""
    mail = EmailMessage()
    domain = parseaddr(sender)[1].rpartition("@")[2]
    mail["From"] = formataddr(parseaddr(sender))
    mail["To"] = ", ".join(to)
    mail["Subject"] = clean(story.headline, SUBJECT_CHARS)
    mail["Date"] = formatdate()
    digest = hashlib.blake2b(message.key.encode("utf-8", "replace"), digest_size=16).hexdigest()
    mail["Message-ID"] = f"<{digest}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Leadsman-Key"] = clean(message.key, 200)
    mail.set_content(_text(story))
    mail.add_alternative(_html(story), subtype="html")
    if story.drawing:  # beside the text: most mail programs show no SVG inside HTML
        mail.add_attachment(story.drawing.encode("utf-8"), maintype="image", subtype="svg+xml", filename="timeline.svg")
    return mail


def _text(story: Story) -> str:
    lines = [plain_text(story.headline), ""]
    for heading, line in lines_of(story):
        lines.append(f"{heading + ':':16}{plain_text(line)}" if heading else f"{'':16}{plain_text(line)}")
    lines += ["", *(f"{label}: {url}" for label, url in story.links), "", plain_text(story.footer), ""]
    return "\n".join(lines)


def _html(story: Story) -> str:
    rows = "".join(
        f"<tr><th align='left' valign='top'>{html_text(heading)}</th><td>{html_text(line)}</td></tr>"
        for heading, line in lines_of(story)
    )
    links = "".join(f"<p><a href='{html_text(url, 4000)}'>{html_text(label)}</a></p>" for label, url in story.links)
    return (
        f"<!doctype html><html><body><h3>{html_text(story.headline)}</h3><table cellpadding='3'>{rows}</table>"
        f"{links}<p><code>{html_text(story.footer)}</code></p></body></html>"
    )


class _Relay(smtplib.SMTP):
    """SMTP over a connection to a checked address."""

    def __init__(self, net: Net, timeout_s: float, wrap: ssl.SSLContext | None) -> None:
        self._net = net
        self._wrap = wrap
        super().__init__(timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = self._net.connect(host, port, timeout)
        return self._wrap.wrap_socket(plain, server_hostname=host) if self._wrap else plain


class Mail:
    """Sends mails, a connection for each: relays close idle ones."""

    def __init__(self, config: Config, net: Net) -> None:
        self._config = config
        self._net = net
        try:
            self._trust = (
                ssl.create_default_context(cafile=config.ca_file) if config.ca_file else httpx.create_ssl_context()
            )
        except OSError as error:
            raise SettingError(f"ca_file {config.ca_file!r} cannot be read: {error}") from error

    def send(self, message: Message, story: Story) -> None:
        """Send one. What the relay refuses for good (5yz) is Refused, all else Unavailable."""
        config = self._config
        mail = render(message, story, config.sender, config.to)
        port = config.port or {"starttls": 587, "tls": 465, "none": 25}[config.security]
        try:
            with _Relay(self._net, config.timeout_s, self._trust if config.security == "tls" else None) as relay:
                relay._host = config.host  # type: ignore[attr-defined]  # noqa: SLF001 - the name that starttls asks for
                relay.connect(config.host, port)
                if config.security == "starttls":
                    relay.starttls(context=self._trust)
                if config.user:
                    relay.login(config.user, config.password)
                relay.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise _answer(*max(error.recipients.values(), key=lambda r: -r[0])) from error
        except smtplib.SMTPResponseException as error:
            raise _answer(error.smtp_code, error.smtp_error) from error
        except (smtplib.SMTPException, OSError, NotAllowed) as error:
            raise Unavailable(f"{type(error).__name__}: {clean(str(error), 200)}") from error

    def close(self) -> None:
        """Nothing to let go of."""


def _answer(code: int, text: Any) -> Unavailable | Refused:
    # a login that is refused may be put right, as may a relay that does not know TLS
    reason = f"SMTP {code}"
    del text  # it may repeat addresses and, after a login, what was sent
    return Refused(reason) if 500 <= code < 600 and code not in (530, 534, 535, 538, 554) else Unavailable(reason)
