"""The OIDC tokens with which Pub/Sub signs its push requests: verified against Google's keys, or refused with a reason.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions: RS256, iss Google, aud as the subscription says,
email the subscription's service account. Keys come from a fixed address and from nowhere a token names. Keys are
fetched on a thread of their own and kept for as long as fetching fails.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

ISSUERS = ("https://accounts.google.com", "accounts.google.com")
SKEW_S = 30
MAX_TOKEN = 8192
MIN_KEY_BITS = 2048
_EVERY_S = 3600.0
_AGAIN_S = 30.0
_MAX_KEYS_BYTES = 256 * 1024

Keys = Mapping[str, rsa.RSAPublicKey]


class BadToken(Exception):
    """The token is not good; the text says why, and nothing of the token."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say: one of these audiences, one of these e-mail addresses."""

    audiences: frozenset[str]
    emails: frozenset[str]


def verify(token: str, keys: Keys, expected: Expected, now_s: float) -> str:
    """The e-mail address that a token is of. Raises BadToken."""
    if len(token) > MAX_TOKEN:
        raise BadToken("too long")
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("no JWT")
    header = _object(parts[0])
    if header.get("alg") != "RS256":
        raise BadToken("alg is not RS256")
    if "crit" in header:
        raise BadToken("crit asks for what is not known")
    kid = header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise UnknownKey("signed by none of Google's keys")
    try:
        key.verify(_bytes(parts[2]), f"{parts[0]}.{parts[1]}".encode("ascii"), padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise BadToken("the signature is wrong") from None
    return _checked(_object(parts[1]), expected, now_s)


class UnknownKey(BadToken):
    """The token names a key that is not among those fetched: they may have changed."""


def _checked(claims: Mapping[str, Any], expected: Expected, now_s: float) -> str:
    if claims.get("iss") not in ISSUERS:
        raise BadToken("iss is not Google")
    if not isinstance(claims.get("aud"), str) or claims["aud"] not in expected.audiences:
        raise BadToken("aud is another")
    if _time(claims, "exp") < now_s - SKEW_S:
        raise BadToken("expired")
    if _time(claims, "iat") > now_s + SKEW_S or ("nbf" in claims and _time(claims, "nbf") > now_s + SKEW_S):
        raise BadToken("not valid yet")
    email = claims.get("email")
    if not isinstance(email, str) or email not in expected.emails:
        raise BadToken("email is another")
    if claims.get("email_verified") is not True:
        raise BadToken("email is not verified")
    return email


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"{name} is no time")
    return float(value)


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part))
    except (ValueError, RecursionError):
        raise BadToken("no JWT") from None
    if not isinstance(found, dict):
        raise BadToken("no JWT")
    return found


def _bytes(part: str) -> bytes:
    """Base64 URL-safe without padding; anything else in it is refused rather than passed over."""
    if not part.isascii() or not all(c.isalnum() or c in "-_" for c in part):
        raise BadToken("no JWT")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (ValueError, binascii.Error):
        raise BadToken("no JWT") from None


def read_keys(data: bytes) -> dict[str, rsa.RSAPublicKey]:
    """The RSA keys of a JWK set, by their id. Raises ValueError where it is none or holds none."""
    document = json.loads(data)
    listed = document.get("keys") if isinstance(document, dict) else None
    found: dict[str, rsa.RSAPublicKey] = {}
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict) or one.get("kty") != "RSA" or one.get("use", "sig") != "sig":
            continue
        if not all(isinstance(one.get(name), str) for name in ("kid", "n", "e")):
            continue
        try:
            n, e = (int.from_bytes(_bytes(one[name])) for name in ("n", "e"))
        except BadToken:
            continue
        if n.bit_length() >= MIN_KEY_BITS:
            found[one["kid"]] = rsa.RSAPublicNumbers(e, n).public_key()
    if not found:
        raise ValueError("no RSA keys in it")
    return found


class KeySet:
    """Google's keys as last fetched from `url`. Empty until the first time; an outage leaves them as they are."""

    def __init__(self, url: str, log: Any, fetch: Callable[[str], bytes] | None = None) -> None:
        self._url, self._log, self._fetch = url, log, fetch or _fetch
        self._keys: Keys = {}
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._fetched_at = 0.0
        self._thread = threading.Thread(target=self._run, name="google-keys", daemon=True)
        self._thread.start()

    def now(self) -> Keys:
        """What is known; never blocks."""
        return self._keys

    def look(self) -> None:
        """A token named a key that is not there: fetch them again soon, at most twice a minute."""
        if time.monotonic() - self._fetched_at >= _AGAIN_S:
            self._wanted.set()

    def close(self) -> None:
        """Fetch no more."""
        self._stopped.set()
        self._wanted.set()
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._keys = read_keys(self._fetch(self._url))
                wait_s = _EVERY_S
            except (OSError, ValueError) as error:
                self._log.warning("Google's keys cannot be fetched; going on with those known", error=str(error))
                wait_s = _AGAIN_S if self._keys else 1.0
            self._fetched_at = time.monotonic()
            self._wanted.clear()
            if not self._stopped.is_set():
                self._wanted.wait(wait_s)


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the setting says https
        data: bytes = answer.read(_MAX_KEYS_BYTES)
    return data
