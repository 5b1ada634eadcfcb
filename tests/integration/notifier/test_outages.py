"""What a channel can do wrong: every alert arrives afterwards, others are not delayed, kill -9 repeats nothing."""

import collections
import contextlib
import itertools
import random
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from notifying import Receiver, alert, stop, until
from pki import Authority
from ports import free_port

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


ANSWERS = {
    "500": (500, {}, b""),
    "429": (429, {"Retry-After": "2"}, b""),
}
HOLES = ("hang", "close", "garbage")
CERTIFICATES = ("expired", "untrusted")
WAYS = (*ANSWERS, *HOLES, *CERTIFICATES, "nobody", "nowhere")


class Bad:
    """A channel's receiver that fails in one way until it is `back`: then it answers on the same port.

    `nobody` listens on no port, and the name of `nowhere` does not resolve.
    """

    def __init__(self, way, folder):
        self.way, self.port = way, free_port()
        authority = Authority(folder, f"{way}'s authority")
        scheme = "https" if way in CERTIFICATES else "http"
        host = f"{way}.test" if way == "nowhere" else "127.0.0.1"
        self.hook = {"type": "webhook", "limit_per_minute": 0, "timeout_s": 5, "ca_file": str(authority.ca)}
        self.hook["url"] = f"{scheme}://{host}:{self.port}/hook"
        self._good = self._context(*authority.issue("receiver")) if way in CERTIFICATES else None
        self._server = None
        if way in ANSWERS:
            self._server = Receiver(self.port)
            self._server.always = ANSWERS[way]
        elif way in HOLES:
            self._server = Hole(self.port, way)
        elif way in CERTIFICATES:
            other = authority if way == "expired" else Authority(folder, "another authority")
            files = other.issue("receiver", days=-1 if way == "expired" else 10)
            self._server = Receiver(self.port, self._context(*files))
        self.failed_at_s = []

    def _context(self, certificate, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def back(self):
        if self._server is not None:
            self.failed_at_s = [at for at, *_ in getattr(self._server, "requests", [])]
            self._server.close()
        self._server = Receiver(self.port, self._good)

    def told(self):
        return [headers["Idempotency-Key"] for _, headers, _, _ in list(self._server.requests)]

    def close(self):
        if self._server is not None:
            self._server.close()


def configured(tmp_path, channels):
    path = tmp_path / "notify.yaml"
    path.write_text(yaml.safe_dump({"channels": channels, "allow": ["127.0.0.0/8"]}), encoding="utf-8")
    return path


def outage(seconds, notifier, receiver, produce, tmp_path, **settings):
    """A notifier with a channel that fails in each way beside a good one for so long, then all of them good.

    Returns the times that the good one took, in seconds, and the bad ones, each told of every alert once.
    """
    bad = [Bad(way, tmp_path) for way in WAYS]
    good = {"type": "webhook", "limit_per_minute": 0, "url": receiver.url}
    path = configured(tmp_path, {"good": good, **{f"bad-{one.way}": one.hook for one in bad}})
    hosts = tmp_path / "hosts"
    hosts.write_text("", encoding="utf-8")
    try:
        process = notifier(hosts, notify_config=path, notify_failing_s=0, **settings)
        produce(alert("warm"))
        sent = {}
        until(lambda: receiver.ids() == ["warm"])
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            name = f"a{len(sent)}"
            sent[name] = time.monotonic()
            produce(alert(name))
            time.sleep(0.2)
        until(lambda: len(receiver.ids()) == len(sent) + 1)
        until(lambda: process.err.read_text().count("channel fails") == len(WAYS))
        for one in bad:
            one.back()
        hosts.write_text("127.0.0.1 nowhere.test\n", encoding="utf-8")
        wanted = {f"{name}-critical" for name in ("warm", *sent)}
        for one in bad:
            until(lambda one=one: set(one.told()) >= wanted, 60 + seconds)
        stop(process)
        assert process.err.read_text().count("channel answers again") == len(WAYS)
        for one in bad:
            assert collections.Counter(one.told()) == collections.Counter(wanted), one.way
        return sorted(at - sent[body["id"]] for at, _, body, _ in receiver.requests if body["id"] in sent), bad
    finally:
        for one in bad:
            one.close()


def held_apart_s(bad):
    """The shortest time between two tries of the channel that asked for two seconds."""
    tries = next(one.failed_at_s for one in bad if one.way == "429")
    return min(after - before for before, after in itertools.pairwise(tries))


def p99(took):
    return took[len(took) * 99 // 100]


def test_every_alert_arrives_once_a_channel_is_back_and_the_others_are_not_delayed(
    notifier, receiver, produce, tmp_path
):
    took, bad = outage(6, notifier, receiver, produce, tmp_path)
    assert took[len(took) // 2] < 2  # who waited for the others would wait three seconds in the middle of it, and more
    assert held_apart_s(bad) >= 1.9


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_same_for_ten_minutes(notifier, receiver, produce, tmp_path, capsys):
    took, bad = outage(600, notifier, receiver, produce, tmp_path, notify_backoff_max_s=30)
    with capsys.disabled():
        print(  # noqa: T201 - what the run is for
            f"\n{len(took)} alerts to {len(bad)} failing channels; the good one took {took[len(took) // 2]:.3f} s at"
            f" the median, {p99(took):.3f} s at the 99th percentile, {took[-1]:.3f} s at most;"
            f" Retry-After 2: {held_apart_s(bad):.2f} s between two tries at least"
        )
    assert p99(took) < 2
    assert held_apart_s(bad) >= 1.9


def killed(notifier, receiver, produce, tmp_path, *, seconds, seed, limit):
    """Kill -9 at random moments while alerts come: one channel with a message for each, one that tells many together.

    `limit` is the second one's; 0 lets it collect by rule instead. At least two rounds.
    """
    chance = random.Random(seed)  # noqa: S311 - when to kill
    few = Receiver()
    hook = {"type": "webhook", "url": receiver.url, "limit_per_minute": 0}
    together = {"limit_per_minute": limit} if limit else {"group_by": ["rule"], "group_s": 1}
    path = configured(tmp_path, {"all": hook, "few": {**hook, "url": few.url, **together}})
    wanted = []
    until_s, round_ = time.monotonic() + seconds, 0
    while round_ < 2 or time.monotonic() < until_s:
        process = notifier(notify_config=path, kafka_options="session.timeout.ms=6000")
        fresh = [f"r{round_}-{n}" for n in range(60)]
        wanted += fresh
        produce(*(alert(i) for i in fresh))
        seen = len(receiver.requests)
        until(lambda seen=seen: len(receiver.requests) > seen + chance.randrange(40), 90)
        time.sleep(chance.random())
        process.kill()
        process.wait()
        round_ += 1
    last = notifier(notify_config=path)
    until(lambda: set(receiver.ids()) >= set(wanted), 120)
    until(lambda: told(few) >= len(wanted), 300)
    time.sleep(2)
    stop(last)
    few.close()
    keys = {headers["Idempotency-Key"] for _, headers, _, _ in receiver.requests}
    assert keys == {f"{i}-critical" for i in wanted}
    assert len(receiver.requests) <= len(wanted) + round_  # the one that was on its way at a kill comes again
    assert told(few) == len(wanted)  # and in digests too: none lost, none in two messages
    return round_, len(wanted), len(receiver.requests) - len(wanted)


def told(few):
    """How many alerts a channel was told of, a message that came again under its key not counted."""
    messages = {headers["Idempotency-Key"]: body for _, headers, body, _ in list(few.requests)}
    return sum(body.get("count", 1) for body in messages.values())


def test_kill_9_loses_none_and_repeats_none_under_another_key(notifier, receiver, produce, tmp_path):
    killed(notifier, receiver, produce, tmp_path, seconds=0, seed=1, limit=0)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kill_9_for_ten_minutes(notifier, receiver, produce, tmp_path, capsys):
    rounds, alerts, again = killed(notifier, receiver, produce, tmp_path, seconds=600, seed=2, limit=20)
    with capsys.disabled():
        print(f"\n{rounds} kills, {alerts} alerts, {again} requests came again under their key")  # noqa: T201


def memory_mib(process):
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def storm(count, notifier, receiver, bootstrap, topics, tmp_path, *, timeout_s):
    """So many alerts at once to two channels with a limit of 20; returns the peak of memory in MiB, and messages."""
    hook = {"type": "webhook", "url": receiver.url}
    path = configured(tmp_path, {"hook": hook, "other": {**hook, "url": receiver.url.replace("hook", "other")}})
    producer = AckedProducer(bootstrap)
    base = alert("x")
    for n in range(count):
        one = {**base, "id": f"s{n}", "rule": {**base["rule"], "name": f"rule-{n % 20}"}}
        producer.enqueue(Outgoing(topics["alerts"], one["id"].encode(), alert_codec().encode(one)))
    producer.flush()
    process = notifier(notify_config=path, notify_ocsf="false")

    def counted(where):
        return [(at, body.get("count", 1)) for at, _, body, path in list(receiver.requests) if path == where]

    until(lambda: all(sum(c for _, c in counted(w)) >= count for w in ("/hook", "/other")), timeout_s)
    peak_mib = memory_mib(process)
    stop(process)
    for where in ("/hook", "/other"):
        found = counted(where)
        assert sum(told for _, told in found) == count
        for at, _ in found:
            assert sum(at <= other < at + 50 for other, _ in found) <= 20
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    ends = [client.get_watermark_offsets(TopicPartition(topics["alerts"], p), timeout=10)[1] for p in range(3)]
    client.close()
    assert sum(ends) == count  # the topic has each
    return peak_mib, len(receiver.requests)


def test_a_storm_is_at_most_20_messages_a_minute_and_the_counts_add_up(notifier, receiver, bootstrap, topics, tmp_path):
    peak_mib, _ = storm(5_000, notifier, receiver, bootstrap, topics, tmp_path, timeout_s=120)
    assert peak_mib <= 256


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_storm_of_50000(notifier, receiver, bootstrap, topics, tmp_path, capsys):
    peak_mib, messages = storm(50_000, notifier, receiver, bootstrap, topics, tmp_path, timeout_s=1200)
    with capsys.disabled():
        print(f"\n50,000 alerts: {messages} messages to two channels, {peak_mib:.0f} MiB at most")  # noqa: T201
    assert peak_mib <= 256


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
