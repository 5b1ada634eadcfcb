"""`leadsman tail-file`: an audit log on disk, line by line, to the audit webhook of ingest-k8s.

For API servers whose webhook backend cannot be set, and for hosts that may not reach Kafka. The place in the file is
kept beside it once the webhook has answered that the lines are stored; so a crash repeats lines and loses none.
"""

from __future__ import annotations

import gzip
import http.client
import signal
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from leadsman_cli.follow import Follower, Piece, Position

_TIMEOUT_S = 60.0
_LONGEST_WAIT_S = 30.0


class Refused(Exception):
    """The webhook will not take it now; wait `after_s` and try again."""

    def __init__(self, status: int, reason: str, after_s: float) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status, self.after_s = status, after_s


@dataclass(frozen=True)
class Target:
    """Where lines are posted, and with what."""

    url: str
    token_file: Path | None
    context: ssl.SSLContext | None

    def post(self, lines: bytes) -> None:
        """Post lines; returns once they are stored. Raises Refused, OSError, http.client.HTTPException."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self.context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        )
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        if self.token_file is not None:  # read each time: it may have been replaced
            headers["Authorization"] = f"Bearer {self.token_file.read_text(encoding='utf-8').strip()}"
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, gzip.compress(lines, 1), headers)
            answer = connection.getresponse()
            text = answer.read(1000).decode("utf-8", "replace").strip()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            after = answer.headers.get("Retry-After") or ""
            raise Refused(answer.status, text, float(after) if after.isascii() and after.isdigit() else 0.0)


@click.command("tail-file")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--url", required=True, help="The webhook: https://HOST:PORT/audit/CLUSTER.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its bearer token.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="CA file of the webhook's certificate.")
@click.option("--cert", type=click.Path(exists=True, dir_okay=False), help="Client certificate.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False), help="Its private key.")
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path), help="Default: FILE.leadsman.")
@click.option(
    "--from-end", is_flag=True, help="Without a checkpoint: begin at the end of FILE, not with what is there."
)
@click.option("--once", is_flag=True, help="End when there is nothing more, instead of waiting for it.")
@click.option("--poll-s", type=float, default=0.5, show_default=True, help="Seconds between two looks at FILE.")
def tail_file(
    file: Path,
    url: str,
    token_file: Path | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    checkpoint: Path | None,
    from_end: bool,
    once: bool,
    poll_s: float,
) -> int:
    """Post the lines of an audit log to the audit webhook, through rotations, until SIGTERM.

    Whatever the webhook answers but success is tried again for as long as it takes: the file is the buffer. Run one for
    each API server's log; keep rotated files for as long as an outage may last.
    """
    if urlsplit(url).scheme not in ("http", "https") or "/audit/" not in urlsplit(url).path:
        raise click.UsageError("--url must be http(s)://HOST:PORT/audit/CLUSTER")
    if bool(cert) != bool(key):
        raise click.UsageError("--cert and --key go together")
    if (
        token_file is not None
        and url.startswith("http://")
        and urlsplit(url).hostname not in ("127.0.0.1", "localhost")
    ):
        raise click.UsageError("--token-file: a token is sent over https only")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    kept = checkpoint or file.with_name(f"{file.name}.leadsman")
    position = load_position(kept)
    follower = Follower(file, position, _say)
    if from_end and position is None:
        follower.skip_to_end()
    target = Target(url, token_file, _context(ca, cert, key) if url.startswith("https") else None)
    tail(follower, target.post, lambda piece: store_position(kept, piece.position), stop, once=once, poll_s=poll_s)
    return 0


def tail(
    follower: Follower,
    post: Callable[[bytes], None],
    stored: Callable[[Piece], None],
    stop: threading.Event,
    *,
    once: bool,
    poll_s: float,
) -> None:
    """Read, post, keep the place; until `stop`, or with `once` until nothing more is there."""
    while not stop.is_set():
        piece = follower.read()
        if piece is None:
            if once:
                return
            stop.wait(poll_s)
        elif _posted(piece.lines, post, stop):
            stored(piece)


def _posted(lines: bytes, post: Callable[[bytes], None], stop: threading.Event) -> bool:
    """Whether they are stored; False where it was told to stop before."""
    wait_s, said = 0.5, ""
    while True:
        try:
            post(lines)
            return True
        except Refused as refused:
            if refused.status == 413 and lines.count(b"\n") > 1:
                half = lines.index(b"\n", len(lines) // 2 - 1) + 1 or len(lines)
                half = half if half < len(lines) else lines.rindex(b"\n", 0, len(lines) - 1) + 1
                return _posted(lines[:half], post, stop) and _posted(lines[half:], post, stop)
            reason, wait_s = str(refused), max(wait_s, refused.after_s)
        except (OSError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        if reason != said:
            _say(f"not stored, trying again: {reason}")
            said = reason
        if stop.wait(min(wait_s, _LONGEST_WAIT_S)):
            return False
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)


def load_position(path: Path) -> Position | None:
    """Read a checkpoint; None where there is none. Raises ClickException for one that is damaged."""
    try:
        return _position.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise click.ClickException(f"{path}: {error}; remove it to begin with the oldest file there is") from error


def store_position(path: Path, position: Position) -> None:
    """Write a checkpoint, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(msgspec.json.encode(position))
    partial.replace(path)


def _context(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


def _say(what: str) -> None:
    click.echo(f"tail-file: {what}", err=True)


_position = msgspec.json.Decoder(Position)
