"""The notifier as a process, with real Kafka and a receiver that answers as it is told."""

import contextlib
import json
import time
import urllib.error
import urllib.request

import pytest
from notifying import Receiver, alert, committed, dead_letters, kept, stop, until
from ports import free_port

from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer
from leadsman_common.topic_reader import TopicReader
from leadsman_notifier.deliveries import Deliveries
from leadsman_notifier.message import Count, digest
from leadsman_notifier.outbox import Member, Outbox, Parcel

pytestmark = pytest.mark.integration


def test_once_per_id_with_its_key_and_token(notifier, receiver, produce, bootstrap, topics, topic_prefix):
    produce(alert(), alert(), alert("a2"))
    first = notifier(webhook_url=receiver.url, webhook_token="planted-token")
    until(lambda: len(receiver.requests) >= 2)
    produce(alert())
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook"))
    stop(first)
    # another worker remembers, since the deliveries topic does
    produce(alert(), alert("a3"))
    second = notifier(webhook_url=receiver.url, webhook_token="planted-token")
    until(lambda: "a3" in receiver.ids())
    stop(second)
    assert sorted(receiver.ids()) == ["a1", "a2", "a3"]
    _, headers, body, path = receiver.requests[0]
    assert headers["Idempotency-Key"] == f"{body['id']}-critical"
    assert headers["Authorization"] == "Bearer planted-token"
    assert headers["Content-Type"] == "application/json"
    assert path == "/hook"
    assert body["time"] == "2026-09-21T14:33:54.567890Z"
    assert body["evidence"][0]["source"] == {"topic": "audit.events", "partition": 2, "offset": 1234}
    assert "planted-token" not in first.err.read_text() + second.err.read_text()
    assert receiver.url not in first.err.read_text()


def test_500_twice_then_200(notifier, receiver, produce, bootstrap, topics, topic_prefix):
    receiver.answers = [(500, {}, b""), (503, {}, b""), (200, {}, b"")]
    produce(alert())
    process = notifier(webhook_url=receiver.url)
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook"))
    stop(process)
    assert receiver.ids() == ["a1"] * 3
    assert {headers["Idempotency-Key"] for _, headers, _, _ in receiver.requests} == {"a1-critical"}


def test_429_waits_as_long_as_it_is_told(notifier, receiver, produce):
    receiver.answers = [(429, {"Retry-After": "2"}, b"")]
    produce(alert())
    process = notifier(webhook_url=receiver.url)
    until(lambda: len(receiver.requests) == 2)
    stop(process)
    (first, *_), (second, *_) = receiver.requests
    assert 1.9 <= second - first < 15


def test_down_then_up(notifier, produce):
    port = free_port()
    produce(alert(), alert("a2"))
    process = notifier(webhook_url=f"http://127.0.0.1:{port}/hook")
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
        ((400, {}, b"invalid_blocks"), b"HTTP 400: invalid_blocks"),
        ((403, {}, b"your token is planted-token"), b"HTTP 403"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), b"HTTP 302: redirects are not followed"),
    ],
    ids=["400", "403", "302"],
)
def test_refused_is_kept_as_undelivered(notifier, receiver, produce, bootstrap, topics, answer, reason):
    receiver.answers = [answer]
    produce(alert())
    process = notifier(webhook_url=receiver.url)
    ((value, headers),) = kept(bootstrap, topics["alerts.undelivered"], 1)
    produce(alert("a2"))
    until(lambda: "a2" in receiver.ids())
    stop(process)
    assert alert_codec().decode(value) == alert()
    assert headers["undelivered-reason"] == reason
    assert headers["undelivered-channel"] == b"webhook"
    assert headers["undelivered-topic"] == topics["alerts"].encode()
    assert [i for i in receiver.ids() if i in {"a1", "a2"}] == ["a1", "a2"]


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
    until(lambda: len(process.out.read_text().splitlines()) >= 20)
    # the other sink has all of them while the failing one has nothing behind it
    assert not committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook")
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-stdout"))
    until(lambda: committed(bootstrap, topics, f"{topic_prefix}leadsman-notifier-webhook"))
    until(lambda: "gave alerts up" in process.out.read_text())
    stop(process)
    ids = sorted(a["id"] for a in alerts)
    # the alert about the channel may stand among them
    found = list(TopicReader(bootstrap).read(topics["alerts.undelivered"]))
    assert sorted(i for m in found if (i := alert_codec().decode(m.value())["id"]) in ids) == ids
    assert all(dict(m.headers())["undelivered-reason"].startswith(b"unavailable for") for m in found)
    assert set(ids) <= set(receiver.ids())  # each was tried
    printed = [json.loads(line) for line in process.out.read_text().splitlines()]
    assert sorted(a["id"] for a in printed if a["rule"]["name"] != "notifier-channel") == ids
    # and the channel that works says that the other does not
    assert "gave alerts up" in next(a["title"] for a in printed if a["rule"]["name"] == "notifier-channel")


def resumed(deliveries, partitions):
    """What a notifier that reads these partitions finds on its way: the ids, and whether the record is its own."""
    outbox = Outbox("hook")
    deliveries.restore(partitions, outbox)
    found = outbox.next(1e9)
    return ([m.id for m in found.members], found.announced, found.message) if found else None


def test_a_digest_on_its_way_is_one_record_whatever_partitions_its_alerts_came_from(bootstrap, topics):
    """Of several records a kill may leave some, and the others' alerts would be told again in another message."""
    deliveries = Deliveries(bootstrap, {}, topics["deliveries"], "hook", AckedProducer(bootstrap))
    members = [Member("a", 4, 1), Member("b", 4, 2), Member("c", 3, 1)]
    message = digest("hook", [m[:2] for m in members], [Count("high", "r", "k", 3)], [alert("a")], "storm")
    parcel = Parcel(message, members, [])
    deliveries.sending(parcel)
    (record,) = TopicReader(bootstrap).read(topics["deliveries"])
    assert (record.partition(), record.key()) == (1, f"hook/sending/{message.key}".encode())
    # whoever has the record's partition settles all of it; another worker sends the same message for its own alerts
    assert resumed(deliveries, {0, 1, 2}) == resumed(deliveries, {1}) == (["a", "b", "c"], True, message)
    assert resumed(deliveries, {2}) == (["b"], False, message)
    assert resumed(deliveries, {0}) is None
    deliveries.settled([parcel], told=True)
    assert resumed(deliveries, {0, 1, 2}) is None
    outbox = Outbox("hook")
    deliveries.restore({0, 1, 2}, outbox)
    assert [outbox.told.rank(m.id) for m in members] == [4, 4, 3]
    outbox = Outbox("hook")
    deliveries.restore({2}, outbox)
    assert [outbox.told.rank(m.id) for m in members] == [-1, 4, -1]


def test_slack_message_minimum_levels_and_what_nobody_is_told(notifier, receiver, produce):
    why = {"by": "our agent", "owner": "platform", "reason": "OPS-17", "until": 1}
    produce(
        alert("suppressed", level="critical", suppressed=why),
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
    assert payloads.keys() == {"high-high", "critical-critical"}
    assert payloads["high-high"]["blocks"][0]["text"]["text"] == (
        "HIGH: &lt;!channel&gt; \uff20here &amp; \\u202e\\x1b[31m"
    )
    for payload in payloads.values():
        assert payload["text"]
        assert [block["type"] for block in payload["blocks"]] == [
            "header",
            "section",
            "section",
            "section",
            "context",
            "context",
        ]
    (line,) = process.out.read_text().splitlines()
    assert line.endswith("id=critical")


def test_sigterm_in_an_outage_drains_and_the_alert_comes_again(notifier, receiver, produce):
    receiver.always = (500, {}, b"")
    produce(alert())
    process = notifier(webhook_url=receiver.url, notify_backoff_s=30, notify_backoff_max_s=30)
    until(lambda: receiver.requests)
    began = time.monotonic()
    stop(process)
    assert time.monotonic() - began < 20  # and not the thirty seconds until the next try
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


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"webhook_url": "ftp://x"}, "channels.webhook: url"),
        ({}, "no channel is configured"),
        ({"stdout_format": "line", "notify_retry_s": "-1"}, "LEADSMAN_NOTIFY_RETRY_S"),
    ],
    ids=["url", "none", "number"],
)
def test_a_wrong_setting_ends_it_at_once(notifier, settings, says):
    process = notifier(**settings)
    assert process.wait(60) == 2
    assert says in process.err.read_text()
