"""The common HTTP server over real sockets and real Kafka: what clients may do is bounded, and 200 means stored."""

import contextlib
import datetime as dt
import gzip
import http.client
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import floods
import pytest
from confluent_kafka import Consumer, TopicPartition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from floods import MIB, Flood, bomb, status_of
from notifying import until

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parent / "programs" / "http_server.py"


class Server:
    """The program as a process."""

    def __init__(self, bootstrap, topic, **settings):
        env = {f"LEADSMAN_{name.upper()}": str(value) for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), bootstrap],
            env={**os.environ, "LEADSMAN_LISTEN_PORT": "0", "LEADSMAN_TOPIC": topic, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.port = int(self.process.stdout.readline())

    def connect(self, timeout=30):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, *parts, timeout=30):
        """Send raw bytes, then read to the end; the status, and how long it took."""
        begun = time.monotonic()
        with self.connect(timeout) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    connection.sendall(part)
            return status_of(connection), time.monotonic() - begun

    def post(self, body=b"{}", path="/in", context=None, **headers):
        kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
        connection = kind("127.0.0.1", self.port, timeout=30, **({"context": context} if context else {}))
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, {"x-key": "right", **given})
            answer = connection.getresponse()
            answer.text = answer.read().decode()
            return answer
        finally:
            connection.close()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def serve(bootstrap, topics):
    """Give serve(**settings) -> Server; killed at the end."""
    running = []

    def start(**settings):
        running.append(Server(bootstrap, topics["raw.k8s"], **settings))
        return running[-1]

    yield start
    for server in running:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def stored(bootstrap, topics):
    """Give stored(): how many records the topic holds."""

    def count():
        client = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
        try:
            partitions = client.list_topics(topics["raw.k8s"], timeout=10).topics[topics["raw.k8s"]].partitions
            marks = [client.get_watermark_offsets(TopicPartition(topics["raw.k8s"], p), timeout=10) for p in partitions]
            return sum(high for _low, high in marks)
        finally:
            client.close()

    return count


HEAD = b"POST /in HTTP/1.1\r\nHost: x\r\nx-key: right\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def sized(body, length=None, extra=b""):
    return floods.sized(HEAD, body, length, extra)


def test_what_is_stored_and_what_is_refused(serve, stored):
    server = serve()
    assert [server.post().status for _ in range(3)] == [200] * 3
    assert server.post(gzip.compress(b"[1]") + gzip.compress(b"\n"), content_encoding="gzip").status == 200
    assert stored() == 4
    gz = b"Content-Encoding: gzip\r\n"
    refused = {
        "no key": (server.post(x_key="").status, 401),
        "elsewhere": (server.post(path="/").status, 404),
        "no JSON": (server.post(b"{").status, 400),
        "nothing": (server.post(b"").status, 400),
        "no UTF-8": (server.post(b'"\xff"').status, 400),
        "deep": (server.post(b"[" * 100_000 + b"]" * 100_000).status, 400),
        "deep objects": (server.post(b'{"a":' * 100_000 + b"1" + b"}" * 100_000).status, 400),
        "brotli": (server.post(content_encoding="br").status, 415),
        "nested gzip": (server.post(content_encoding="gzip, gzip").status, 415),
        "gzip cut": (server.post(gzip.compress(b"[1]")[:-4], content_encoding="gzip").status, 400),
        "no gzip": (server.post(b"[1]", content_encoding="gzip").status, 400),
        "100 MB announced": (server.send(sized(b"", 100_000_000))[0], 413),
        "two lengths": (server.send(sized(b"{}", extra=b"Content-Length: 3\r\n"))[0], 400),
        "no number": (server.send(HEAD + b"Content-Length: two\r\n\r\n{}")[0], 400),
        "length and chunks": (server.send(CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n0\r\n\r\n")[0], 400),
        "bad chunk": (server.send(CHUNKED + b"zz\r\n")[0], 400),
        "header of 1 MB": (server.send(HEAD + b"x: " + b"y" * MIB + b"\r\n\r\n")[0], 400),
        "no HTTP": (server.send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")[0], 400),
        "bomb": (server.send(sized(bomb(200 * MIB), extra=gz))[0], 413),
    }
    assert {name: got for name, (got, _) in refused.items()} == {name: want for name, (_, want) in refused.items()}
    assert stored() == 4
    assert server.post().status == 200
    assert server.stop() == 0


def test_memory_stays_bounded_and_good_requests_are_answered(serve, stored):
    """SEC-1 and SEC-2: bodies of 100 MB, endless ones, bombs and 200 slow connections at once, and good requests."""
    server = serve(body_timeout_s=5, header_timeout_s=5)
    came = Flood(server.port, server.process.pid, HEAD).run(lambda: server.post(b"[" + b"1," * 1000 + b"1]").status)
    assert set(came.good) <= {200, 429}
    assert came.good[-1] == 200
    assert came.good.count(200) > len(came.good) / 2
    assert set(came.floods) <= {413, 400, 429}
    assert came.grown < 64 * MIB
    assert came.slow == [408] * 200
    assert stored() == 20 + came.good.count(200)


def test_slow_clients_are_dropped(serve, stored):
    server = serve(header_timeout_s=1, body_timeout_s=1)
    status, took = server.send(HEAD)
    assert (status, 0.9 < took < 10) == (408, True)
    status, took = server.send(sized(b"{", 2))
    assert (status, 0.9 < took < 10) == (408, True)
    status, _ = server.send(b"")  # nothing at all
    assert status == 408
    with server.connect() as connection:  # the second request of a connection is no slower
        connection.sendall(sized(b"{}"))
        assert status_of(connection) == 200
        connection.sendall(b"POST /in")
        begun = time.monotonic()
        assert status_of(connection) == 408
        assert time.monotonic() - begun < 10
    assert stored() == 1


def test_who_waits_longest_makes_room(serve):
    server = serve(max_connections=20, header_timeout_s=60)
    idle = [server.connect() for _ in range(40)]
    assert server.post().status == 200
    for connection in idle[:20]:
        assert status_of(connection) == 0
    for connection in idle:
        connection.close()


def test_nothing_is_200_while_kafka_is_away(serve, stored, stack):
    server = serve(answer_timeout_s=3)
    until(lambda: server.post().status == 200)
    os.kill(stack.kafka_pid, signal.SIGSTOP)
    try:
        answer = server.post()
        assert (answer.status, answer.getheader("Retry-After")) == (503, "5")
        begun = time.monotonic()
        answer = server.post(b" " * MIB)  # the next one is refused unread
        assert (answer.status, answer.getheader("Retry-After")) == (503, "5")
        assert time.monotonic() - begun < 3
        assert server.post(x_key="").status == 401
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 503
        connection.close()
    finally:
        os.kill(stack.kafka_pid, signal.SIGCONT)
    until(lambda: server.post().status == 200)
    assert stored() >= 2


def test_what_is_in_hand_at_sigterm_is_answered(serve, stored, stack):
    server = serve(answer_timeout_s=20)
    assert server.post().status == 200
    with server.connect() as waiting:
        os.kill(stack.kafka_pid, signal.SIGSTOP)
        try:
            waiting.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert status_of(waiting) == 100  # now it is in hand
            waiting.sendall(b"{}")
            time.sleep(1)  # with Kafka by now, or read still
            server.process.terminate()
            until(lambda: refuses(server))
        finally:
            os.kill(stack.kafka_pid, signal.SIGCONT)
        assert status_of(waiting) == 200
    assert server.process.wait(60) == 0
    assert stored() == 2


def refuses(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


# --- TLS -------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority that writes PEM files."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name, stem):
        """Write STEM.pem and STEM.key for a certificate of that common name; returns its serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), ca=False)
        (self.folder / f"{stem}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (self.folder / f"{stem}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate.serial_number

    def _sign(self, subject, public_key, *, ca):
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )


def test_tls_certificates_of_clients_and_rotation(serve, tmp_path):
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    ours.issue("server", "server")
    ours.issue("kube-apiserver", "client")
    others.issue("kube-apiserver", "stranger")
    server = serve(
        listen_tls_cert=tmp_path / "server.pem",
        listen_tls_key=tmp_path / "server.key",
        listen_tls_client_ca=ours.file,
    )

    def context(stem):
        made = ssl.create_default_context(cafile=ours.file)
        if stem:
            made.load_cert_chain(tmp_path / f"{stem}.pem", tmp_path / f"{stem}.key")
        return made

    answer = server.post(context=context("client"))
    assert (answer.status, answer.text) == (200, "stored kube-apiserver")
    for stem in ("", "stranger"):
        with pytest.raises(OSError):  # noqa: PT011 - an SSLError, or a reset where ours was quicker
            server.post(context=context(stem))
    assert server.send(sized(b"{}"))[0] == 0  # no plain HTTP

    kept = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context("client"))
    kept.request("POST", "/in", b"{}", {"x-key": "right"})
    kept.getresponse().read()
    (tmp_path / "server.pem").write_bytes(b"half written")
    time.sleep(3)
    assert server.post(context=context("client")).status == 200
    serial = ours.issue("server", "server")

    def served():
        with context("client").wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
            return int(connection.getpeercert()["serialNumber"], 16)

    deadline = time.monotonic() + 30
    while served() != serial:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    kept.request("POST", "/in", b"{}", {"x-key": "right"})  # the connection of before goes on
    assert kept.getresponse().status == 200
    kept.close()
    assert server.stop() == 0
