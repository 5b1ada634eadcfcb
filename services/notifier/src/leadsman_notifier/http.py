"""One POST, and what its answer means: delivered, to be tried again, or refused for good."""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx

from leadsman_common.settings import SettingError
from leadsman_notifier.channel import Refused, Unavailable
from leadsman_notifier.net import CheckedTransport, Dialler, Net, NotAllowed

# 408 and 425 are the client errors that by their own meaning pass: Request Timeout, Too Early
TRIED_AGAIN = (408, 425, 429)
MAX_ANSWER_BYTES = 64 * 1024
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# what Slack says in the body of a 4xx: invalid_blocks, no_service. Only a word of this kind enters a reason, since
# any other body may repeat the token or the URL
_WORD = re.compile(rb"[a-z_]{1,40}")


def check_url(url: str, net: Net) -> None:
    """Raise SettingError unless `url` is http(s) with a host and no credentials; the text never shows the URL.

    A host that is an address, however it is spelled, is checked here already.
    """
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except (ValueError, httpx.InvalidURL):
        good = False
    if not good:
        raise SettingError("url is no http or https URL with a host and without credentials")
    if reason := net.literal(parts.hostname or ""):
        raise SettingError(f"url: its host is {reason}; notify.yaml can allow it")


class HttpTarget:
    """A URL that JSON is posted to. Redirects are not followed: the operator named this URL and no other."""

    def __init__(
        self, url: str, timeout_s: float, net: Net, headers: Mapping[str, str] | None = None, ca_file: str = ""
    ) -> None:
        """`ca_file`: a bundle of certificates to trust instead of the usual ones. Raises SettingError."""
        self._url = url
        self._timeout_s = timeout_s
        try:
            trust = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
        except OSError as error:
            raise SettingError(f"ca_file {ca_file!r} cannot be read: {error}") from error
        self._dialler = Dialler(net)
        self._client = httpx.Client(
            transport=CheckedTransport(self._dialler, trust),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={
                "User-Agent": f"leadsman-notifier/{version('leadsman-notifier')}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )

    def post(self, body: bytes, key: str, headers: Mapping[str, str] | None = None) -> None:
        """Post `body`; returns on 2xx. Raises Unavailable (5xx, 408, 425, 429, no answer) or Refused (the rest)."""
        self._dialler.begin(self._timeout_s)
        sent = {"Idempotency-Key": idempotency_key(key), **(headers or {})}
        try:
            with self._client.stream("POST", self._url, content=body, headers=sent) as response:
                if response.is_success:
                    self._read(response)
                    return
                raise _failure(response, self._read(response))
        except NotAllowed as error:  # it may be put right: in notify.yaml, or where the name is kept
            raise Unavailable(str(error)) from error
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise Refused(f"the request cannot be sent: {type(error).__name__}") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _read(self, response: httpx.Response) -> bytes:
        """The answer's body up to a limit of size and time: read to its end, the connection serves again."""
        body = b""
        limit = time.monotonic() + self._timeout_s
        with contextlib.suppress(httpx.TransportError):  # the status has been given; what follows decides nothing
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES or time.monotonic() > limit:
                    break
        return body


def _failure(response: httpx.Response, body: bytes) -> Unavailable | Refused:
    status = response.status_code
    if status >= 500 or status in TRIED_AGAIN:
        return Unavailable(f"HTTP {status}", retry_after_s(response.headers.get("Retry-After", ""), datetime.now(UTC)))
    if response.is_redirect:
        return Refused(f"HTTP {status}: redirects are not followed")
    word = body.strip()
    return Refused(f"HTTP {status}" + (f": {word.decode()}" if _WORD.fullmatch(word) else ""))


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 10.2.3: seconds or a date); None where it says nothing."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def idempotency_key(key: str) -> str:
    """The key itself, or its hash where the id holds what no header can."""
    if _KEY.fullmatch(key):
        return key
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
