"""Who may post the audit events of which cluster: a file of tokens and of names in client certificates.

    # CLUSTER        CREDENTIAL
    payments-prod    token:9c1f...          a bearer token, at least 16 characters
    payments-prod    sha256:5e8848...       a token by its SHA-256, so that the file holds no secret
    payments-prod    cert:payments-prod     a client certificate's common name or DNS name
    *                cert:log-gateway       may post for every cluster

A cluster may have several, so that one can be replaced by another. The file is read again when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
EVERY = "*"
_LOOK_S = 1.0
_MIN_TOKEN = 16


class InvalidSendersError(ValueError):
    """The file cannot be used; the text names it and the line, and no secret."""


class Senders:
    """What the file says. Tokens are kept and compared by their SHA-256, each comparison in constant time."""

    def __init__(self, credentials: Mapping[str, frozenset[str]]) -> None:
        self._credentials = credentials

    def may(self, cluster: str, token: str, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a bearer token (empty: none) or a verified certificate, as ssl gives it, stands for a cluster."""
        given = {f"cert:{name}" for name in certificate_names(certificate)}
        if token:
            given.add(_hashed(token))
        allowed = self._credentials.get(cluster, frozenset()) | self._credentials.get(EVERY, frozenset())
        found = False
        for one in given:
            for known in allowed:
                found |= hmac.compare_digest(one.encode(), known.encode())
        return found

    def __len__(self) -> int:
        return len(self._credentials)


class SendersFile:
    """The file, looked at for changes at most once a second. One that became unusable leaves the old in force."""

    def __init__(self, path: Path, log: Any) -> None:
        self._path, self._log = path, log
        self._seen = _stamp(path)
        self._looked_at = time.monotonic()
        self._senders = load_senders(path)

    def now(self) -> Senders:
        """What is in force."""
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self._looked_at = time.monotonic()
            self._look()
        return self._senders

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._senders = load_senders(self._path)
        except InvalidSendersError as error:
            self._log.error("the changed file of senders cannot be used; the old one stays in force", reason=str(error))
        else:
            self._log.info("the file of senders was read again", clusters=len(self._senders))


def load_senders(path: Path) -> Senders:
    """Read the file. Raises InvalidSendersError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSendersError(f"{path}: {error}") from error
    found: dict[str, set[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        if len(fields) != 2:
            raise InvalidSendersError(f"{where}: must be CLUSTER and CREDENTIAL")
        cluster, credential = fields
        if cluster != EVERY and not NAME.fullmatch(cluster):
            raise InvalidSendersError(f"{where}: {cluster[:64]!r} cannot be a cluster's name")
        found.setdefault(cluster, set()).add(_credential(credential, where))
    if not found:
        raise InvalidSendersError(f"{path}: nobody may send")
    return Senders({cluster: frozenset(credentials) for cluster, credentials in found.items()})


def certificate_names(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """The common names and DNS names of a certificate."""
    for part in (certificate or {}).get("subject", ()):
        yield from (value for key, value in part if key == "commonName")
    yield from (value for key, value in (certificate or {}).get("subjectAltName", ()) if key == "DNS")


def _credential(text: str, where: str) -> str:
    kind, _, value = text.partition(":")
    if kind == "token" and len(value) >= _MIN_TOKEN:
        return _hashed(value)
    if kind == "sha256" and re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return f"sha256:{value.lower()}"
    if kind == "cert" and value:
        return text
    raise InvalidSendersError(
        f"{where}: the credential is not token:TEXT (16 characters at least), sha256:64 hex digits, or cert:NAME"
    )


def _hashed(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode('utf-8', 'replace')).hexdigest()}"


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
