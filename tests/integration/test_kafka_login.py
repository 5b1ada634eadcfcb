"""A real broker with TLS that wants a login: every mechanism, by confluent-kafka and by Faust's aiokafka."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from leadsman_common import topics
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing, consumer
from leadsman_detector.runner_faust import credentials

pytestmark = pytest.mark.integration

TOPIC = "login"
PASSWORD = "s3cret/with=signs"
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "oidc", "file"]


def jwt(**claims):
    now = time.time()
    parts = ({"alg": "none"}, {"sub": "leadsman", "iat": now, "exp": now + 3600, **claims})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."


def self_signed(folder):
    """A CA that is its own server's certificate, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "broker.pem").write_bytes(private + public)
    (folder / "ca.pem").write_bytes(public)


@pytest.fixture(scope="module")
def broker(local, tmp_path_factory):
    """(bootstrap that wants a login, its CA) of a broker of its own."""
    kafka_broker, processes = local("kafka_broker"), local("processes")
    folder = tmp_path_factory.mktemp("kafka-login")
    self_signed(folder)
    port = processes.free_port()
    package, name = "org.apache.kafka.common.security", "listener.name.secured"
    more = {
        "listeners": f"SECURED://localhost:{port}",
        "advertised.listeners": f"SECURED://localhost:{port}",
        "listener.security.protocol.map": "SECURED:SASL_SSL",
        f"{name}.ssl.keystore.type": "PEM",
        f"{name}.ssl.keystore.location": str(folder / "broker.pem"),
        f"{name}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        f"{name}.plain.sasl.jaas.config": f'{package}.plain.PlainLoginModule required user_leadsman="{PASSWORD}";',
        f"{name}.scram-sha-256.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;",
        f"{name}.scram-sha-512.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;",
        f"{name}.oauthbearer.sasl.jaas.config": (
            f'{package}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    process = kafka_broker.start(folder, port=None, tie_to_parent=True, more=more)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{process.port}"})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        info = ScramCredentialInfo(mechanism, 4096)
        user = UserScramCredentialUpsertion("leadsman", info, PASSWORD.encode())
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result(timeout=20)
    yield f"localhost:{port}", folder / "ca.pem"
    processes.stop(folder, [process], grace_s=5)


@pytest.fixture(scope="module")
def provider():
    """An identity provider that gives unsigned tokens, which Kafka's own validator for tests takes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            data = json.dumps({"access_token": jwt(), "expires_in": 3600}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    server.server_close()


@pytest.fixture
def options(broker, provider, tmp_path):
    """options(mechanism, good): LEADSMAN_KAFKA_OPTIONS for it."""

    def of(mechanism, good=True):
        common = {"security.protocol": "sasl_ssl", "ssl.ca.location": str(broker[1])}
        if mechanism == "oidc":
            own = {"method": "oidc", "client.id": "a", "client.secret": "b", "token.endpoint.url": provider}
            login = {f"sasl.oauthbearer.{k}": v for k, v in own.items()} | {"sasl.mechanism": "OAUTHBEARER"}
        elif mechanism == "file":
            token = tmp_path / "token"
            token.write_text(jwt() if good else jwt(exp=time.time() - 60, iat=time.time() - 3600))
            login = {"sasl.mechanism": "OAUTHBEARER", "leadsman.token": f"file:{token}"}
        else:
            password = PASSWORD if good else "wrong"
            login = {"sasl.mechanism": mechanism, "sasl.username": "leadsman", "sasl.password": password}
        return common | login

    return of


def topic_of(bootstrap, client):
    declared = topics.Topic(TOPIC, "t", "t", 1, -1, "delete", 1_000_000, "bytes", None, (), ())
    topics.create(bootstrap, [declared], client=client, env={})
    return TOPIC


def read_by_faust(bootstrap, client):
    async def read():
        auth = credentials_to_aiokafka_auth(credentials(client, bootstrap))
        reader = AIOKafkaConsumer(TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **auth)
        await reader.start()
        try:
            return (await asyncio.wait_for(reader.getone(), 30)).value
        finally:
            await reader.stop()

    return asyncio.run(read())


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_client_logs_in(broker, options, mechanism):
    bootstrap, client = broker[0], options(mechanism)
    topic_of(bootstrap, client)
    producer = AckedProducer(bootstrap, client)
    producer.send([Outgoing(TOPIC, None, b"told")])
    assert producer.ready()
    reader = consumer(bootstrap, f"login-{mechanism}", client)
    reader.subscribe([TOPIC])
    deadline, got = time.monotonic() + 60, []
    while not got and time.monotonic() < deadline:
        got = [m.value() for m in reader.consume(1, timeout=1) if not m.error()]
    reader.close()
    assert got == [b"told"]
    assert read_by_faust(bootstrap, client) == b"told"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512", "file"])
def test_a_wrong_login_is_refused(broker, options, mechanism):
    bootstrap, client = broker[0], options(mechanism, good=False)
    with pytest.raises((DeliveryFailed, KafkaException)):
        AckedProducer(bootstrap, client, timeout_s=3).send([Outgoing(TOPIC, None, b"never")])
    with pytest.raises(KafkaError):
        read_by_faust(bootstrap, client)
