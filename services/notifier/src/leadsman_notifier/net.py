"""Where a channel may connect to: every address is checked after its name was resolved, and that address is dialled.

A channel's URL is often given by the team that reads its messages. It must not let them post into the cloud's metadata
service, to a neighbour in the pod's network or to the notifier's own host. What is refused: all that is not a public
address, whatever way it is spelled and whatever a name resolves to at that moment, unless `allow` names it. Channels
that are infrastructure (SMTP, syslog, Alertmanager) may be private addresses, but never those of metadata services.
"""

from __future__ import annotations

import contextlib
import contextvars
import ipaddress
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx

from leadsman_common.settings import SettingError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# link-local holds AWS', GCP's, Azure's and most others'; these lie elsewhere
METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS over IPv6: metadata, DNS, time, pod identity
        "fd20:ce::254/128",  # GCP over IPv6
        "168.63.129.16/32",  # Azure's host
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle, before
    )
)
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_V4_COMPATIBLE = ipaddress.ip_network("::/96")


class NotAllowed(Exception):
    """The address is one that this channel may not connect to. The text holds the host, no URL."""


class Net:
    """The rules for one channel; `internal` where private addresses are its trade."""

    def __init__(self, allow: Iterable[str] = (), *, internal: bool = False) -> None:
        """`allow`: addresses, networks and host names. Raises SettingError for one that is none of these."""
        self.internal = internal
        self._networks: list[Network] = []
        self._names: set[str] = set()
        for entry in allow:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                if not entry or any(c in entry for c in " /@:") or entry[0].isdigit():
                    raise SettingError(f"allow: {entry!r} is no address, network or host name") from None
                self._names.add(entry.lower().rstrip("."))

    def as_internal(self) -> Net:
        """The same rules, for a channel that is infrastructure."""
        net = Net(internal=True)
        net._networks, net._names = self._networks, self._names
        return net

    def refusal(self, address: Address) -> str:
        """Why an address may not be connected to; empty where it may."""
        if any(address in network for network in self._networks if network.version == address.version):
            return ""
        for inner in _embedded(address):
            if reason := self.refusal(inner):
                return reason
        if any(address in network for network in METADATA if network.version == address.version):
            return "an address of a metadata service"
        if address.is_multicast or address.is_unspecified or (address.is_reserved and not _is_nat64(address)):
            return "no address of a host"
        if address.is_global or self.internal:
            return ""
        return "no public address"

    def literal(self, host: str) -> str:
        """Why a host that is an address may not be connected to; empty where it may, or where it is a name."""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return ""
        return self.refusal(ipaddress.ip_address(str(found[0][4][0]).partition("%")[0]))

    def addresses(self, host: str, port: int) -> list[tuple[int, str]]:
        """Resolve and check: (family, address) of each that may be dialled. Raises NotAllowed, or OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if host.lower().rstrip(".") in self._names:
            return [(int(family), str(at[0])) for family, _, _, _, at in found]
        good: list[tuple[int, str]] = []
        reasons: list[str] = []
        for family, _, _, _, at in found:
            reason = self.refusal(ipaddress.ip_address(str(at[0]).partition("%")[0]))
            reasons.append(reason)
            if not reason:
                good.append((family, str(at[0])))
        if not good:
            raise NotAllowed(f"{host[:253]!r} is {next(filter(None, reasons), 'nowhere')}; notify.yaml can allow it")
        return good

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A TCP connection to a checked address of `host`. Raises NotAllowed or OSError."""
        error: OSError | None = None
        for family, address in self.addresses(host, port):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout_s)
                sock.connect((address, port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as failed:
                sock.close()
                error = failed
            else:
                return sock
        raise error or OSError(f"{host!r} has no address")

    @contextlib.contextmanager
    def guarding(self) -> Iterator[None]:
        """Check every connection that this thread makes meanwhile, whatever library makes it.

        Python announces each connect with the address that is dialled, so no second resolution lies in between.
        """
        _install()
        token = _guard.set(self)
        try:
            yield
        finally:
            _guard.reset(token)


_guard: contextvars.ContextVar[Net | None] = contextvars.ContextVar("guard", default=None)
_installed: list[bool] = []


def _install() -> None:
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_on_audit)  # cannot be taken back; it does nothing outside `guarding`


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or (net := _guard.get()) is None:
        return
    at = arguments[1]
    if not isinstance(at, tuple):  # a Unix socket
        raise NotAllowed("a socket of this machine is no target")
    try:
        address = ipaddress.ip_address(str(at[0]).partition("%")[0])
    except ValueError:
        raise NotAllowed(f"{at[0]!r} was not resolved before it was dialled") from None
    if reason := net.refusal(address):
        raise NotAllowed(f"{address} is {reason}; notify.yaml can allow it")


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 one stands for: mapped, compatible, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner: list[Address] = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
    inner += address.teredo or ()
    if _is_nat64(address) or (address in _V4_COMPATIBLE and int(address) > 1):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return inner


def _is_nat64(address: Address) -> bool:
    return any(address in network for network in _NAT64)


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait also ends at the request's deadline: an answer in drops ends in time."""

    def __init__(self, inner: httpcore.NetworkStream, dialler: Dialler) -> None:
        self._inner = inner
        self._dialler = dialler

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._dialler.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._dialler.left_s(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(
            self._inner.start_tls(ssl_context, server_hostname, self._dialler.left_s(timeout)), self._dialler
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class Dialler(httpcore.NetworkBackend):
    """How httpx connects: to checked addresses only, and never past the deadline. TLS still asks for the name."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._plain = httpcore.SyncBackend()
        self._deadline = 0.0

    def begin(self, timeout_s: float) -> None:
        """A request begins and must end by then."""
        self._deadline = time.monotonic() + timeout_s

    def left_s(self, timeout: float | None) -> float:
        """What is left of the time. Raises httpcore.ReadTimeout where nothing is."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this request is over")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._net.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name does not resolve: {error.strerror}") from error
        for at, (_, address) in enumerate(addresses, 1):
            try:
                stream = self._plain.connect_tcp(address, port, self.left_s(timeout), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if at == len(addresses):
                    raise
            else:
                return _Stream(stream, self)
        raise httpcore.ConnectError("the name has no address")

    def connect_unix_socket(self, *_args: Any, **_named: Any) -> httpcore.NetworkStream:
        raise NotAllowed("a socket of this machine is no target")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class CheckedTransport(httpx.HTTPTransport):
    """httpx over such a dialler. httpx takes no network backend; its pool, which does, is made here."""

    def __init__(self, dialler: Dialler, verify: ssl.SSLContext) -> None:
        super().__init__(verify=verify, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify, max_connections=2, keepalive_expiry=30.0, network_backend=dialler
        )
