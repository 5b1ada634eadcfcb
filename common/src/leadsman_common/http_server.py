"""The HTTP server of the ingest services: what clouds and API servers push comes in here.

A service writes an `Endpoint` and runs an `HttpServer` with it:

    outbox = Outbox(AckedProducer(bootstrap, options, timeout_s=settings.answer_timeout_s))
    server = HttpServer(settings, endpoint, outbox, service="ingest-x", log=log)   # settings: a Listening
    server.start()          # listens; server.port
    ...
    server.close()          # takes nothing new, answers what is in hand
    outbox.close()

For each request: `endpoint.admit(head)` before a byte of the body is read (path, method, credentials), then 503 where
Kafka is away, then the body within its limits, then `endpoint.take(head, body)` on a worker thread, then the records it
gave to Kafka with acks=all, and only then its reply. Whoever refuses raises `Refused`; the endpoint's `refusal` gives
that its form. `json_body` decodes what may be nested a hundred thousand deep.

What clients may do is bounded: headers and bodies in size and time, unpacked bodies in size while they are unpacked,
connections and bodies in hand in number and bytes. GET /healthz and /readyz answer here too, for load balancers.
TLS, and certificates of clients (`head.client_certificate`), where the settings name files; changed files are taken up
within seconds without a connection being dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from confluent_kafka import KafkaException

from leadsman_common import metrics
from leadsman_common.http_settings import Listening
from leadsman_common.kafka import DeliveryFailed, Outgoing
from leadsman_common.outbox import Outbox, OutboxFull

T = TypeVar("T")

RETRY_AFTER_S = 5
# longer than the idle time of the load balancers in front, which is 60 s, so that it is they who close
_IDLE_S = 75.0
# a client that still sends what was refused is heard out for that long, or it would not see the answer
_LINGER_S = 2.0
_TLS_LOOK_S = 2.0
_READ_BYTES = 64 * 1024
_WORKERS = 2
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. Header names compare without regard to case; `query` is as it was sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    remote: str
    client_certificate: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request: the records for Kafka, the reply once it has them, and what to do then (metrics)."""

    records: Sequence[Outgoing]
    reply: Reply
    acknowledged: Callable[[], None] | None = None


class Refused(Exception):
    """The request is answered with `status` and nothing of it goes to Kafka. The reason is for the client to read."""

    def __init__(self, status: int, reason: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class Endpoint(Protocol):
    """What a service makes of requests."""

    source: str  # the label of its metrics

    def admit(self, head: Head) -> None:
        """Raise Refused where the request is not to be read. Runs on the server's loop: it must not block."""
        ...

    def take(self, head: Head, body: bytearray) -> Taken:
        """Make records of the body, which is unpacked. Runs on a worker thread. Raises Refused."""
        ...

    def refusal(self, head: Head, refused: Refused) -> Reply:
        """Return the answer to a refused request; `plain_refusal` does where the protocol asks for nothing special."""
        ...


def plain_refusal(refused: Refused) -> Reply:
    """Return the reason as a line of text, and Retry-After."""
    return Reply(refused.status, refused.reason.encode() + b"\n", headers=retry_after(refused))


def retry_after(refused: Refused) -> dict[str, str]:
    """Return the header, where the refusal has one."""
    return {} if refused.retry_after_s is None else {"Retry-After": str(refused.retry_after_s)}


def json_body(decoder: msgspec.json.Decoder[T], body: bytes | bytearray) -> T:
    """Decode JSON from outside. Raises Refused(400) for whatever is wrong with it: its form, types, depth, encoding."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Refused(400, f"the body is not what it should be: {str(error)[:200]}") from error


class HttpServer:
    """Listens on a thread of its own from `start` to `close`."""

    def __init__(
        self,
        settings: Listening,
        endpoint: Endpoint,
        outbox: Outbox,
        *,
        service: str,
        log: Any,
        ready: Callable[[], bool] | None = None,
        alive: Callable[[], bool] = lambda: True,
        drain_s: float = 30.0,
    ) -> None:
        self.port = -1
        self._settings = settings
        self._endpoint = endpoint
        self._outbox = outbox
        self._service = service
        self._log = log
        self._ready = ready or outbox.ready
        self._alive = alive
        self._drain_s = drain_s
        self._buffered = 0
        self._draining = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="http-worker")
        self._asked = ThreadPoolExecutor(1, thread_name_prefix="http-health")
        self._manager: _Manager | None = None
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._tls_seen: tuple[Any, ...] = ()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen. Raises OSError where the port is taken, ssl.SSLError where the TLS files cannot be used."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self._end()
            raise
        self._log.info("taking requests", port=self.port, tls=bool(self._settings.listen_tls_cert))

    def close(self) -> None:
        """Listen no more; what is in hand is finished and answered, for `drain_s` at most."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._end()

    def alive(self) -> bool:
        """Whether the server's thread runs."""
        return self._thread.is_alive()

    # --- listening ---------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self._settings
        manager = self._manager = _Manager(self._answer, settings, self._refused)
        family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
        self._socket = socket.create_server(
            (settings.listen_host, settings.listen_port), family=family, backlog=_BACKLOG
        )
        self.port = self._socket.getsockname()[1]
        self._tls_seen = self._tls_files()
        self._listener = await self._listen(manager, self._socket, self._context())
        if settings.listen_tls_cert:
            self._looking = asyncio.create_task(self._take_up_certificates(manager, self._socket))

    async def _listen(self, manager: _Manager, bound: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        """Accept on a copy of the socket, so that a next listener can take its place without a gap."""
        timeout_s = self._settings.header_timeout_s if context else None
        return await self._loop.create_server(
            manager, sock=bound.dup(), ssl=context, backlog=_BACKLOG, ssl_handshake_timeout=timeout_s
        )

    def _context(self) -> ssl.SSLContext | None:
        settings = self._settings
        if not settings.listen_tls_cert:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.listen_tls_cert, settings.listen_tls_key)
        if settings.listen_tls_client_ca:
            context.load_verify_locations(settings.listen_tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _tls_files(self) -> tuple[Any, ...]:
        settings = self._settings
        paths = (settings.listen_tls_cert, settings.listen_tls_key, settings.listen_tls_client_ca)
        stats = []
        for path in filter(None, paths):
            with contextlib.suppress(OSError):
                stat = Path(path).stat()
                stats.append((path, stat.st_mtime_ns, stat.st_ino, stat.st_size))
        return tuple(stats)

    async def _take_up_certificates(self, manager: _Manager, bound: socket.socket) -> None:
        """Look at the files now and then. Files that cannot be used, or half of a pair, leave things as they are."""
        while True:
            await asyncio.sleep(_TLS_LOOK_S)
            found = self._tls_files()
            if found == self._tls_seen:
                continue
            try:
                listener = await self._listen(manager, bound, self._context())
            except (OSError, ssl.SSLError) as error:
                self._log.warning("the changed TLS files cannot be used; going on with the old", error=str(error))
                continue
            self._tls_seen = found
            before, self._listener = self._listener, listener
            if before is not None:
                before.close()
            self._log.info("took up changed TLS files")

    async def _close(self) -> None:
        self._draining = True
        if self._looking is not None:
            self._looking.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._socket is not None:
            self._socket.close()
        if self._manager is not None:
            self._manager.pre_shutdown()
            await self._manager.shutdown(self._drain_s)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._workers.shutdown()
        self._asked.shutdown()

    # --- a request ---------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        _of(request).begun()
        try:
            reply, whole = await self._reply(request)
        finally:
            _of(request).finished()
        response = web.Response(
            status=reply.status, body=reply.body, content_type=reply.content_type, headers=reply.headers
        )
        if not whole or self._draining:
            response.force_close()
        return response

    async def _reply(self, request: web.BaseRequest) -> tuple[Reply, bool]:
        """Return the reply, and whether the request was read to its end."""
        if request.method == "GET" and request.path in ("/healthz", "/readyz"):
            asked = self._alive if request.path == "/healthz" else self._ready
            good = not self._draining and await self._loop.run_in_executor(self._asked, asked)
            return (Reply(200, b"ok\n") if good else Reply(503, b"not ready\n")), request.content.is_eof()
        head = _head(request)
        reserved = _Reserved(self)
        try:
            self._admit(head)
            body = await self._body(request, reserved)
            with metrics.BATCH_SECONDS.labels(self._service).time():
                taken = await self._loop.run_in_executor(self._workers, self._endpoint.take, head, body)
                del body
                await self._acknowledged(taken.records)
        except Refused as refused:
            self._refused(refused.status)
            return self._endpoint.refusal(head, refused), request.content.is_eof()
        finally:
            reserved.release()
        if taken.acknowledged:
            taken.acknowledged()
        return taken.reply, True

    def _admit(self, head: Head) -> None:
        self._endpoint.admit(head)
        if self._draining or not self._outbox.available():
            raise Refused(503, "not taking anything now: try again", retry_after_s=RETRY_AFTER_S)

    async def _body(self, request: web.BaseRequest, reserved: _Reserved) -> bytearray:
        """Read and unpack the body within all limits. Raises Refused."""
        limit = self._settings.max_body_bytes
        inflate = _inflater(request.headers.get("Content-Encoding", ""))
        if (request.content_length or 0) > limit:
            raise Refused(413, f"a body of more than {limit} bytes")
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, came = bytearray(), 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                async for chunk in request.content.iter_chunked(_READ_BYTES):
                    came += len(chunk)
                    for part in inflate(chunk):
                        if max(came, len(body) + len(part)) > limit:
                            raise Refused(413, f"a body of more than {limit} bytes")
                        reserved.add(len(part))
                        body += part
        except TimeoutError:
            raise Refused(408, "the body did not come in time") from None
        except (zlib.error, web.RequestPayloadError, ConnectionError, ValueError) as error:
            raise Refused(400, f"the body is damaged: {str(error)[:200]}") from error
        if not inflate.ended():
            raise Refused(400, "the body is cut short")
        return body

    async def _acknowledged(self, records: Sequence[Outgoing]) -> None:
        """Wait until Kafka has them. Raises Refused; what was handed over may reach Kafka all the same."""
        try:
            future = self._outbox.submit(records)
            async with asyncio.timeout(self._settings.answer_timeout_s):
                await asyncio.wrap_future(future)
        except OutboxFull as error:
            raise Refused(429, "too much in hand: try again", retry_after_s=RETRY_AFTER_S) from error
        except (TimeoutError, DeliveryFailed, KafkaException) as error:
            self._log.warning("Kafka did not acknowledge in time; answered 503", error=str(error))
            raise Refused(503, "not stored yet: try again", retry_after_s=RETRY_AFTER_S) from error

    def _refused(self, status: int) -> None:
        metrics.REFUSED.labels(self._service, self._endpoint.source, str(status)).inc()

    def reserve(self, size: int) -> None:
        """Count bytes of bodies in hand. Raises Refused(429) where that is too many."""
        if self._buffered + size > self._settings.max_buffered_bytes:
            raise Refused(429, "too much in hand: try again", retry_after_s=1)
        self._buffered += size

    def unreserve(self, size: int) -> None:
        """Take them off the count."""
        self._buffered -= size


class _Reserved:
    """What one request holds of the bytes that bodies may take."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._size = 0

    def add(self, size: int) -> None:
        self._server.reserve(size)
        self._size += size

    def release(self) -> None:
        self._server.unreserve(self._size)


class _Plain:
    """A body that is not packed."""

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def ended(self) -> bool:
        return True


class _Gzip:
    """A gzip body, unpacked piece by piece; members may follow each other."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._begun = False

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(wbits=31)
            self._begun = True
            part = self._inflate.decompress(chunk, _READ_BYTES)
            if part:
                yield part
            chunk = self._inflate.unused_data or self._inflate.unconsumed_tail
        # what is left inside when the output stopped at exactly the piece's size
        while not self._inflate.eof and (part := self._inflate.decompress(b"", _READ_BYTES)):
            yield part

    def ended(self) -> bool:
        return self._inflate.eof or not self._begun


def _inflater(content_encoding: str) -> _Plain | _Gzip:
    match content_encoding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Gzip()
        case _:
            raise Refused(415, "Content-Encoding must be gzip or absent")


def _head(request: web.BaseRequest) -> Head:
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    return Head(
        method=request.method,
        path=request.rel_url.raw_path,
        query=request.rel_url.raw_query_string,
        headers=request.headers,
        remote=request.remote or "",
        client_certificate=certificate or None,
    )


# --- connections -----------------------------------------------------------------------------------------------


class _Connection(RequestHandler):
    """A connection that has `header_timeout_s` for each request's headers, and makes room when there are too many."""

    def __init__(self, manager: _Manager, **options: Any) -> None:
        super().__init__(manager, **options)
        self._guard = manager
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._guard.make_room(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        if not self._busy and self._timer is None:
            self._arm()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        self._guard.gone(self)
        super().connection_lost(exc)

    def begun(self) -> None:
        """The headers are there."""
        self._busy = True
        self._disarm()

    def finished(self) -> None:
        """The request is answered."""
        self._busy = False
        self.waiting_since = time.monotonic()

    def idle(self) -> bool:
        """Whether no request of it is in hand."""
        return not self._busy

    def too_late(self) -> None:
        """Say so, and close."""
        if self.transport is not None and not self._busy:
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP, without a line in the log for each."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        self._guard.malformed(status)
        response = web.Response(status=status, text="malformed request\n")
        response.force_close()
        return response

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._guard.header_timeout_s, self.too_late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Manager(web.Server):
    """Makes the connections of one server."""

    def __init__(self, handler: Any, settings: Listening, malformed: Callable[[int], None]) -> None:
        super().__init__(handler)
        self.malformed = malformed
        self.header_timeout_s = settings.header_timeout_s
        self._max_connections = settings.max_connections
        self._running_loop = asyncio.get_running_loop()
        self._open: dict[_Connection, None] = {}

    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            loop=self._running_loop,
            keepalive_timeout=_IDLE_S,
            access_log=None,
            lingering_time=_LINGER_S,
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )

    def make_room(self, newcomer: _Connection) -> None:
        """Past the bound, close the connection that has been idle or sending headers longest, or else the newcomer."""
        self._open[newcomer] = None
        if len(self._open) <= self._max_connections:
            return
        idle = (connection for connection in self._open if connection is not newcomer and connection.idle())
        longest = min(idle, key=lambda connection: connection.waiting_since, default=newcomer)
        self.gone(longest)
        if longest.transport is not None:
            longest.transport.abort()

    def gone(self, connection: _Connection) -> None:
        """It counts no more."""
        self._open.pop(connection, None)


def _of(request: web.BaseRequest) -> _Connection:
    return cast("_Connection", request.protocol)
