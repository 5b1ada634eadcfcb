"""What a channel can do wrong: every alert arrives afterwards, others are not delayed, kill -9 repeats nothing."""

import collections
import contextlib
import random
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from notifying import Receiver, alert, stop, until

from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, Outgoing

pytestmark = pytest.mark.integration


class Hole:
    """A port that does what it is told with each connection: `hang`, `close`, or `garbage` instead of TLS or HTTP."""

    def __init__(self, port, what):
        self._what, self._open = what, []
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            if self._what == "close":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()
            elif self._what == "garbage":
                with contextlib.suppress(OSError):
                    peer.sendall(b"\x15\x03\x01\x00\x02\x02\x28" * 20)
                peer.close()
            else:
                self._open.append(peer)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept, and lets go of the port
        self._listener.close()
        for peer in self._open:
            peer.close()


@contextlib.contextmanager
def failing(what, port):
    """A channel's port in that state; gives nothing."""
    if what in ("hang", "close", "garbage"):
        hole = Hole(port, what)
        try:
            yield
        finally:
            hole.close()
    elif what == "nobody":
        yield
    else:
        server = Receiver(port)
        server.always = {
            "500": (500, {}, b""),
            "429": (429, {"Retry-After": "2"}, b""),
            "302": (302, {"Location": "/"}, b""),
        }[what]
        try:
            yield
        finally:
            server.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as made:
        return made.getsockname()[1]


def outage(what, seconds, notifier, receiver, produce, tmp_path):
    """Run a failing channel beside a good one for so long; returns the times that the good one took, in seconds."""
    port = free_port()
    hook = {"type": "webhook", "limit_per_minute": 0, "timeout_s": 2}
    path = tmp_path / "notify.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "channels": {
                    "bad": {**hook, "url": f"http://127.0.0.1:{port}/hook"},
                    "good": {**hook, "url": receiver.url},
                },
                "allow": ["127.0.0.0/8"],
            }
        ),
        encoding="utf-8",
    )
    process = notifier(notify_config=path, notify_failing_s=0)
    produce(alert("warm"))
    sent = {}
    with failing(what, port):
        until(lambda: receiver.ids() == ["warm"])
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            name = f"a{len(sent)}"
            sent[name] = time.monotonic()
            produce(alert(name))
            time.sleep(0.2)
        until(lambda: len(receiver.ids()) == len(sent) + 1)
    back = Receiver(port)
    try:
        until(lambda: {i for i in back.ids() if i.startswith("a")} == set(sent), 60 + seconds)
        stop(process)
    finally:
        back.close()
    keys = collections.Counter(headers["Idempotency-Key"] for _, headers, _, _ in back.requests)
    assert set(keys.values()) == {1}
    return [at - sent[body["id"]] for at, _, body, _ in receiver.requests if body["id"] in sent]


@pytest.mark.parametrize("what", ["500", "429", "hang", "close", "garbage", "nobody"])
def test_every_alert_arrives_once_it_is_back_and_the_other_channel_is_not_delayed(
    what, notifier, receiver, produce, tmp_path
):
    took = outage(what, 5, notifier, receiver, produce, tmp_path)
    assert sorted(took)[len(took) * 99 // 100] < 2


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["500", "429", "hang"])
def test_the_same_for_ten_minutes(what, notifier, receiver, produce, tmp_path):
    took = outage(what, 600, notifier, receiver, produce, tmp_path)
    assert sorted(took)[len(took) * 99 // 100] < 2


def test_a_name_that_does_not_resolve_and_a_certificate_of_nobodys(notifier, receiver, produce, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1",
         "-subj", "/CN=hooks.example", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = Receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    tls._server.socket = context.wrap_socket(tls._server.socket, server_side=True)
    hook = {"type": "webhook", "limit_per_minute": 0}
    channels = {
        "nowhere": {**hook, "url": "https://nowhere.invalid/hook"},
        "untrusted": {**hook, "url": f"https://127.0.0.1:{tls.port}/hook"},
        "good": {**hook, "url": receiver.url},
    }
    path = tmp_path / "notify.yaml"

    def write():
        path.write_text(yaml.safe_dump({"channels": channels, "allow": ["127.0.0.0/8"]}), encoding="utf-8")

    write()
    process = notifier(notify_config=path, notify_failing_s=0, notify_reload_s=0.5)
    produce(alert("a1"))
    until(lambda: receiver.ids() == ["a1"])
    until(lambda: process.err.read_text().count("channel fails") == 2)
    assert tls.requests == []
    # put right, it is told
    channels["untrusted"]["ca_file"] = str(cert)
    channels["nowhere"]["url"] = f"http://127.0.0.1:{receiver.port}/other"
    write()
    until(lambda: tls.ids() == ["a1"])
    until(lambda: [path for *_, path in receiver.requests] == ["/hook", "/other"])
    stop(process)
    tls.close()


def killed(notifier, receiver, produce, tmp_path, *, rounds, seed):
    """Kill -9 at random moments while alerts come, one channel with a limit and one without."""
    chance = random.Random(seed)  # noqa: S311 - when to kill
    limited = Receiver()
    hook = {"type": "webhook", "url": receiver.url, "limit_per_minute": 0}
    path = tmp_path / "notify.yaml"
    channels = {"all": hook, "few": {**hook, "url": limited.url, "limit_per_minute": 20}}
    path.write_text(yaml.safe_dump({"channels": channels, "allow": ["127.0.0.0/8"]}), encoding="utf-8")
    wanted = []
    for round_ in range(rounds):
        process = notifier(notify_config=path, kafka_options="session.timeout.ms=6000")
        fresh = [f"r{round_}-{n}" for n in range(60)]
        wanted += fresh
        produce(*(alert(i) for i in fresh))
        seen = len(receiver.requests)
        until(lambda seen=seen: len(receiver.requests) > seen + chance.randrange(40), 90)
        time.sleep(chance.random())
        process.kill()
        process.wait()
    last = notifier(notify_config=path)
    until(lambda: set(receiver.ids()) >= set(wanted), 120)
    until(lambda: told(limited) >= len(wanted), 200)
    time.sleep(2)
    stop(last)
    limited.close()
    return wanted, limited


def told(limited):
    """How many alerts a limited channel was told of, a message that came again under its key not counted."""
    messages = {headers["Idempotency-Key"]: body for _, headers, body, _ in list(limited.requests)}
    return sum(body.get("count", 1) for body in messages.values())


def test_kill_9_loses_none_and_repeats_none_under_another_key(notifier, receiver, produce, tmp_path):
    wanted, limited = killed(notifier, receiver, produce, tmp_path, rounds=2, seed=1)
    keys = {headers["Idempotency-Key"] for _, headers, _, _ in receiver.requests}
    assert keys == {f"{i}-critical" for i in wanted}
    assert told(limited) == len(wanted)  # and in digests too: none lost, none in two messages


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kill_9_for_ten_minutes(notifier, receiver, produce, tmp_path):
    wanted, limited = killed(notifier, receiver, produce, tmp_path, rounds=20, seed=2)
    assert {headers["Idempotency-Key"] for _, headers, _, _ in receiver.requests} == {f"{i}-critical" for i in wanted}
    assert told(limited) == len(wanted)


def memory_mib(process):
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@pytest.mark.timeout(1500)
def test_a_storm_of_50000_is_at_most_20_messages_a_minute_and_the_counts_add_up(
    notifier, receiver, bootstrap, topics, tmp_path
):
    hook = {"type": "webhook", "url": receiver.url}
    path = tmp_path / "notify.yaml"
    channels = {"hook": hook, "other": {**hook, "url": receiver.url.replace("hook", "other")}}
    path.write_text(yaml.safe_dump({"channels": channels, "allow": ["127.0.0.0/8"]}), encoding="utf-8")
    producer = AckedProducer(bootstrap)
    base = alert("x")
    for n in range(50_000):
        one = {**base, "id": f"s{n}", "rule": {**base["rule"], "name": f"rule-{n % 20}"}}
        producer.enqueue(Outgoing(topics["alerts"], one["id"].encode(), alert_codec().encode(one)))
    producer.flush()
    process = notifier(notify_config=path, notify_ocsf="false")

    def counted(where):
        return [(at, body.get("count", 1)) for at, _, body, path in list(receiver.requests) if path == where]

    until(lambda: all(sum(c for _, c in counted(w)) >= 50_000 for w in ("/hook", "/other")), 1200)
    assert memory_mib(process) <= 256
    stop(process)
    for where in ("/hook", "/other"):
        found = counted(where)
        assert sum(count for _, count in found) == 50_000
        for at, _ in found:
            assert sum(at <= other < at + 59 for other, _ in found) <= 20
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    ends = [client.get_watermark_offsets(TopicPartition(topics["alerts"], p), timeout=10)[1] for p in range(3)]
    client.close()
    assert sum(ends) == 50_000  # the topic has each


def test_a_flushed_redis_sends_nothing_again(notifier, receiver, produce, redis_url):
    import redis

    produce(*(alert(f"a{n}") for n in range(5)))
    first = notifier(webhook_url=receiver.url, redis_url=redis_url)
    until(lambda: len(receiver.requests) == 5)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    produce(*(alert(f"a{n}") for n in range(6)))  # a detector that builds its state anew raises them again
    until(lambda: len(receiver.requests) == 6)
    stop(first)
    second = notifier(webhook_url=receiver.url, redis_url=redis_url)
    produce(*(alert(f"a{n}") for n in range(7)))
    until(lambda: len(receiver.requests) == 7)
    stop(second)
    assert sorted(receiver.ids()) == [f"a{n}" for n in range(7)]
