"""The settings of a service that takes requests, whichever cloud sends them: where it listens, TLS, limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leadsman_common.settings import setting


@dataclass(frozen=True)
class Listening:
    """Mixed into a service's settings. `listen_port` is -1 unless the service is to listen."""

    listen_host: str = setting("address to take requests at", "127.0.0.1")
    listen_port: int = setting("port to take requests at; 0 chooses a free one, -1 none", -1)
    listen_tls_cert: str = setting(
        "file of the TLS certificate chain; empty: no TLS here, something in front has it", ""
    )
    listen_tls_key: str = setting("file of its private key; both are read again when they change", "")
    listen_tls_client_ca: str = setting("file of CA certificates that clients must have one of; empty: none asked", "")
    max_body_bytes: int = setting("a longer body is refused with 413, packed or unpacked", 16 * 1024 * 1024)
    max_buffered_bytes: int = setting("bodies in hand at most, over all connections", 24 * 1024 * 1024)
    max_connections: int = setting("connections at most; the one that has kept us waiting longest makes room", 1024)
    header_timeout_s: float = setting("seconds for a request's headers", 10.0)
    body_timeout_s: float = setting("seconds for a request's body", 30.0)
    answer_timeout_s: float = setting("seconds to wait for Kafka before answering 503", 20.0)

    def listening_problems(self) -> list[str]:
        """What is wrong with them, one line a mistake."""
        if self.listen_port < 0:
            return []
        found = []
        if bool(self.listen_tls_cert) != bool(self.listen_tls_key):
            found.append("LEADSMAN_LISTEN_TLS_CERT and LEADSMAN_LISTEN_TLS_KEY go together; one of them is not set")
        if self.listen_tls_client_ca and not self.listen_tls_cert:
            found.append("LEADSMAN_LISTEN_TLS_CLIENT_CA is set and LEADSMAN_LISTEN_TLS_CERT is not")
        for name in ("listen_tls_cert", "listen_tls_key", "listen_tls_client_ca"):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                found.append(f"LEADSMAN_{name.upper()}={path!r} is no file")
        found += [
            f"LEADSMAN_{name.upper()}={getattr(self, name)} must be positive"
            for name in (
                "max_body_bytes",
                "max_buffered_bytes",
                "max_connections",
                "header_timeout_s",
                "body_timeout_s",
                "answer_timeout_s",
            )
            if getattr(self, name) <= 0
        ]
        if 0 < self.max_buffered_bytes < self.max_body_bytes:
            found.append("LEADSMAN_MAX_BUFFERED_BYTES is less than LEADSMAN_MAX_BODY_BYTES: no such body would fit")
        return found
