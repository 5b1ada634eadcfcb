"""The notifier as a process, with real Kafka and Redis and a receiver that answers as it is told."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, TopicPartition

from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, Outgoing

EXAMPLE = Path(__file__).parents[2] / "schemas" / "examples" / "alerts" / "privileged-container.json"

pytestmark = pytest.mark.integration


class Receiver:
    """A real HTTP server: keeps each request, answers with the script's next answer, and 200 after its end."""

    def __init__(self, port=0):
        self.requests = []
        self.answers = []
        self.always = (200, {}, b"ok")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((time.monotonic(), dict(self.headers), json.loads(body), self.path))
                status, headers, answer = receiver.answers.pop(0) if receiver.answers else receiver.always
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ids(self):
        return [body["id"] for _, _, body, _ in list(self.requests)]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def produce(bootstrap, topics):
    """produce(*alerts): alerts as the detector writes them; bytes go as they are."""
    producer = AckedProducer(bootstrap)

    def send(*alerts):
        producer.send(
            Outgoing(topics["alerts"], b"key", a, (("ce-id", b"1"),))
            if isinstance(a, bytes)
            else Outgoing(topics["alerts"], a["id"].encode(), alert_codec().encode(a))
            for a in alerts
        )

    return send


def alert(alert_id="a1", **changes):
    return {**copy.deepcopy(json.loads(EXAMPLE.read_text(encoding="utf-8"))), "id": alert_id, **changes}


@pytest.fixture
def notifier(bootstrap, redis_url, topic_prefix, tmp_path):
    """notifier(**settings) starts one; whatever still runs at the end is killed. Redis and Kafka are the test's."""
    running = []

    def start(**settings):
        number = len(running)
        env = {
            **{
                k: v
                for k, v in os.environ.items()
                if not k.startswith("LEADSMAN_") and not k.lower().endswith("_proxy")
            },
            "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
            "LEADSMAN_TOPIC_PREFIX": topic_prefix,
            "LEADSMAN_REDIS_URL": redis_url,
            "LEADSMAN_STDOUT_FORMAT": "off",
            "LEADSMAN_NOTIFY_BACKOFF_S": "0.05",
            "LEADSMAN_NOTIFY_BACKOFF_MAX_S": "0.5",
            **{f"LEADSMAN_{name.upper()}": str(value) for name, value in settings.items()},
        }
        out, err = tmp_path / f"out{number}", tmp_path / f"err{number}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "leadsman_notifier"], env=env, stdout=stdout, stderr=stderr
            )
        process.out, process.err = out, err
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def until(condition, timeout_s=40.0):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return value


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0, process.err.read_text()


def dead_letters(bootstrap, topics, count):
    """The first `count` records of alerts.dlq, as (value, headers)."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "dlq-reader", "enable.auto.commit": False})
    client.assign([TopicPartition(topics["alerts.dlq"], 0, 0)])
    found = []
    try:
        until(lambda: found.extend(client.consume(10, timeout=0.2)) or len(found) >= count)
    finally:
        client.close()
    assert not any(message.error() for message in found)
    return [(message.value(), dict(message.headers())) for message in found]


def committed(bootstrap, topics, group):
    """Whether a group has committed the end of every partition of alerts."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        partitions = [TopicPartition(topics["alerts"], p) for p in range(3)]
        offsets = client.committed(partitions, timeout=10)
        ends = [client.get_watermark_offsets(p, timeout=10)[1] for p in partitions]
        return all(max(o.offset, 0) == end for o, end in zip(offsets, ends, strict=True))
    finally:
        client.close()


def test_once_per_id_with_its_key_and_token(notifier, receiver, produce, bootstrap, topics, topic_prefix, redis_url):
    produce(alert(), alert(), alert("a2"))
    first = notifier(webhook_url=receiver.url, webhook_token="planted-token")
    until(lambda: len(receiver.requests) >= 2)
    produce(alert())
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook"))
    stop(first)
    # another worker remembers, since Redis does
    produce(alert(), alert("a3"))
    second = notifier(webhook_url=receiver.url, webhook_token="planted-token")
    until(lambda: "a3" in receiver.ids())
    stop(second)
    assert sorted(receiver.ids()) == ["a1", "a2", "a3"]
    _, headers, body, path = receiver.requests[0]
    assert headers["Idempotency-Key"] == body["id"]
    assert headers["Authorization"] == "Bearer planted-token"
    assert headers["Content-Type"] == "application/json"
    assert path == "/hook"
    assert body["time"] == "2026-09-21T14:33:54.567890Z"
    assert body["evidence"][0]["source"] == {"topic": "audit.events", "partition": 2, "offset": 1234}
    assert "planted-token" not in first.err.read_text() + second.err.read_text()
    assert receiver.url not in first.err.read_text()
    with redis.Redis.from_url(redis_url) as client:
        keys = client.keys("*")
        assert len(keys) == 3
        assert all(0 < client.ttl(key) <= 7 * 24 * 3600 for key in keys)


def test_500_twice_then_200(notifier, receiver, produce, bootstrap, topics, topic_prefix):
    receiver.answers = [(500, {}, b""), (503, {}, b""), (200, {}, b"")]
    produce(alert())
    process = notifier(webhook_url=receiver.url)
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook"))
    stop(process)
    assert receiver.ids() == ["a1"] * 3
    assert {headers["Idempotency-Key"] for _, headers, _, _ in receiver.requests} == {"a1"}


def test_429_waits_as_long_as_it_is_told(notifier, receiver, produce):
    receiver.answers = [(429, {"Retry-After": "2"}, b"")]
    produce(alert())
    process = notifier(webhook_url=receiver.url)
    until(lambda: len(receiver.requests) == 2)
    stop(process)
    (first, *_), (second, *_) = receiver.requests
    assert 1.9 <= second - first < 6


def test_down_then_up(notifier, receiver, produce):
    port = receiver.port
    receiver.close()
    produce(alert(), alert("a2"))
    process = notifier(webhook_url=receiver.url)
    time.sleep(6)
    again = Receiver(port)
    try:
        until(lambda: len(again.requests) == 2)
        stop(process)
        assert sorted(again.ids()) == ["a1", "a2"]
    finally:
        again.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, {}, b"invalid_blocks"), b"webhook: HTTP 400: invalid_blocks"),
        ((403, {}, b"your token is planted-token"), b"webhook: HTTP 403"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), b"webhook: HTTP 302: redirects are not followed"),
    ],
    ids=["400", "403", "302"],
)
def test_refused_goes_to_the_dead_letters(notifier, receiver, produce, bootstrap, topics, answer, reason):
    receiver.answers = [answer]
    produce(alert())
    process = notifier(webhook_url=receiver.url)
    ((value, headers),) = dead_letters(bootstrap, topics, 1)
    produce(alert("a2"))
    until(lambda: "a2" in receiver.ids())
    stop(process)
    assert alert_codec().decode(value) == alert()
    assert headers["dlq-reason"] == reason
    assert headers["dlq-stage"] == b"notify:webhook"
    assert headers["dlq-topic"] == topics["alerts"].encode()
    assert receiver.ids() == ["a1", "a2"]


def test_undecodable_goes_to_the_dead_letters_once_whatever_the_sinks(notifier, receiver, produce, bootstrap, topics):
    bad = alert_codec().encode(alert())[:-3]
    produce(bad, b"", alert("a2"))
    process = notifier(webhook_url=receiver.url, slack_url=receiver.url.replace("hook", "slack"))
    until(lambda: len(receiver.requests) == 2)
    found = dead_letters(bootstrap, topics, 2)
    time.sleep(1)
    assert len(dead_letters(bootstrap, topics, 2)) == len(found) == 2
    stop(process)
    assert {value for value, _ in found} == {bad, b""}
    assert all(headers["dlq-stage"] == b"notify" and headers["ce-id"] == b"1" for _, headers in found)


def test_a_failing_sink_holds_up_no_other_and_is_given_up_after_the_bound(
    notifier, receiver, produce, bootstrap, topics, topic_prefix
):
    receiver.always = (500, {}, b"")
    alerts = [alert(f"a{n}") for n in range(20)]
    produce(*alerts)
    process = notifier(webhook_url=receiver.url, stdout_format="json", notify_retry_s=8)
    until(lambda: len(process.out.read_text().splitlines()) == 20)
    # the other sink has all of them while the failing one has nothing behind it
    assert not committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook")
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-stdout"))
    found = dead_letters(bootstrap, topics, 20)
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook"))
    stop(process)
    assert sorted(alert_codec().decode(value)["id"] for value, _ in found) == sorted(a["id"] for a in alerts)
    assert all(headers["dlq-reason"].startswith(b"webhook: unavailable for") for _, headers in found)
    assert set(receiver.ids()) == {a["id"] for a in alerts}  # each was tried
    assert sorted(json.loads(line)["id"] for line in process.out.read_text().splitlines()) == sorted(
        a["id"] for a in alerts
    )


def test_kill_in_the_middle_loses_no_alert(notifier, receiver, produce):
    wanted = {f"a{n}" for n in range(300)}
    produce(*(alert(i) for i in sorted(wanted)))
    for seen in (40, 150):
        process = notifier(webhook_url=receiver.url, kafka_options="session.timeout.ms=6000")
        until(lambda seen=seen: len(receiver.requests) >= seen, 60)
        process.kill()
        process.wait()
    last = notifier(webhook_url=receiver.url)
    until(lambda: set(receiver.ids()) == wanted, 60)
    time.sleep(1)
    stop(last)
    assert len(receiver.requests) <= len(wanted) + 2  # one may repeat for each kill


def test_slack_message_and_minimum_levels(notifier, receiver, produce):
    produce(
        alert("low", level="low"),
        alert("high", level="high", title="<!channel> @here & \u202e\x1b[31m", tags=[]),
        alert("critical"),
    )
    process = notifier(
        slack_url=receiver.url, slack_min_level="high", stdout_format="line", stdout_min_level="critical"
    )
    until(lambda: len(receiver.requests) == 2)
    until(process.out.read_text)
    stop(process)
    payloads = {headers["Idempotency-Key"]: body for _, headers, body, _ in receiver.requests}
    assert payloads.keys() == {"high", "critical"}
    assert payloads["high"]["blocks"][0]["text"]["text"] == ("HIGH: &lt;!channel&gt; \uff20here &amp; \\u202e\\x1b[31m")
    for payload in payloads.values():
        assert payload["text"]
        assert [block["type"] for block in payload["blocks"]] == ["header", "section", "section", "context"]
    (line,) = process.out.read_text().splitlines()
    assert line.endswith("id=critical")


def test_sigterm_in_an_outage_drains_and_the_alert_comes_again(notifier, receiver, produce):
    receiver.always = (500, {}, b"")
    produce(alert())
    process = notifier(webhook_url=receiver.url, notify_backoff_s=30, notify_backoff_max_s=30)
    until(lambda: receiver.requests)
    began = time.monotonic()
    stop(process)
    assert time.monotonic() - began < 8
    receiver.always = (200, {}, b"")
    again = notifier(webhook_url=receiver.url)
    until(lambda: len(receiver.requests) == 2)
    stop(again)


@pytest.mark.usefixtures("topics")
def test_health(notifier, receiver):
    process = notifier(webhook_url=receiver.url, http_port=0)

    def port():
        for line in process.err.read_text().splitlines():
            with contextlib.suppress(ValueError):
                if (said := json.loads(line)).get("event") == "listening":
                    return said["port"]
        return None

    base = f"http://127.0.0.1:{until(port)}"

    def answer(path):
        try:
            with urllib.request.urlopen(base + path, timeout=5) as response:  # noqa: S310 - our own port
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    assert answer("/healthz") == (200, "ok\n")
    until(lambda: answer("/readyz") == (200, "ok\n"))
    assert "leadsman_deliveries" in answer("/metrics")[1]
    assert answer("/elsewhere")[0] == 404
    stop(process)


def test_redis_gone_is_a_broken_world(notifier, receiver, produce):
    produce(alert())
    process = notifier(webhook_url=receiver.url, redis_url="redis://127.0.0.1:9/0")
    assert process.wait(40) == 1
    assert receiver.requests == []  # what cannot be remembered is not sent
    again = notifier(webhook_url=receiver.url)
    until(lambda: receiver.ids() == ["a1"])
    stop(again)


def test_without_redis_the_process_remembers(notifier, receiver, produce):
    process = notifier(webhook_url=receiver.url, redis_url="")
    produce(alert(), alert(), alert("a2"))
    until(lambda: "a2" in receiver.ids())
    produce(alert(), alert("a3"))
    until(lambda: "a3" in receiver.ids())
    stop(process)
    assert sorted(receiver.ids()) == ["a1", "a2", "a3"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"webhook_url": "ftp://x"}, "LEADSMAN_WEBHOOK_URL"),
        ({}, "no sink is configured"),
        ({"stdout_format": "line", "notify_retry_s": "-1"}, "LEADSMAN_NOTIFY_RETRY_S"),
    ],
    ids=["url", "none", "number"],
)
def test_a_wrong_setting_ends_it_at_once(notifier, settings, says):
    process = notifier(**settings)
    assert process.wait(20) == 2
    assert says in process.err.read_text()
