"""Pub/Sub's pushes over real sockets and real Kafka: signed by Google's keys or refused, and 204 means stored."""

import base64
import http.client
import json

import pytest
from other_paths import push_env, serve_keys
from push_tokens import FORGED, token

pytestmark = pytest.mark.integration

SUBSCRIPTION = "projects/example-project/subscriptions/audit-push"


@pytest.fixture
def keys():
    server = serve_keys()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def push(request, run_service, eventually, keys):
    """Post to a service, which waits 20 s for Kafka unless the parameter says otherwise."""
    settings = {**push_env(keys), "LEADSMAN_ANSWER_TIMEOUT_S": str(getattr(request, "param", 20))}
    service = run_service("leadsman_ingest_gcp", settings)
    eventually("taking requests", lambda: service.lines("taking requests"))
    port = service.lines("taking requests")[-1]["port"]

    def post(body, bearer=None, path="/pubsub/push", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        given = {} if bearer == "" else {"Authorization": f"Bearer {bearer or token()}"}
        try:
            connection.request("POST", path, body, {**given, **headers})
            return connection.getresponse().status
        finally:
            connection.close()

    post.service = service
    eventually("the keys", lambda: post(b"", "x") == 401)
    return post


def wrapped(data, message_id="1"):
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id, "publishTime": "2026-11-28T00:00:00Z"}
    return json.dumps({"message": {**message, "message_id": message_id}, "subscription": SUBSCRIPTION}).encode()


def test_both_forms_become_events_untouched(push, records_of):
    entry, other, bare = (f'{{"insertId":"{n}",  "é":1}}'.encode() for n in "abc")
    assert push(wrapped(entry, "11")) == 204
    assert push(other, **{"X-Goog-Pubsub-Message-Id": "12", "X-Goog-Pubsub-Subscription-Name": SUBSCRIPTION}) == 204
    assert push(bare) == 204  # unwrapped, and the subscription writes no metadata
    assert push(wrapped(b"", "13")) == 204
    assert push(b'{"message":{"data":"%%%","messageId":"14"},"subscription":"s"}') == 204
    assert push(b"no JSON") == 400
    assert push(b"", path="/pubsub/other") == 404
    found = {r.value(): dict(r.headers()) for r in records_of("raw.gcp", 3)}
    assert set(found) == {entry, other, bare}
    assert [found[one]["source-id"] for one in (entry, other)] == [b"11", b"12"]
    assert {h["format"] for h in found.values()} == {b"gke-logentry"}
    dead = {dict(r.headers())["dlq-reason"] for r in records_of("raw.gcp.dlq", 2)}
    assert dead == {b"a message without data", b"message.data is no base64"}
    counts = push.service.metrics()
    assert counts[f'leadsman_received_total{{service="ingest-gcp",source="{SUBSCRIPTION}"}}'] == 3


def test_forged_tokens_store_nothing(push, records_of, keys):
    sendable = {name: forged for name, forged in FORGED.items() if forged.isascii() and len(forged) < 8000}
    assert len(sendable) > 40
    answers = {name: push(wrapped(b"{}"), forged) for name, forged in sendable.items()}
    assert set(answers.values()) == {401}, answers
    assert push(wrapped(b"{}"), Authorization=f"Basic {token()}", bearer="") == 401
    assert push(wrapped(b"{}"), token(email="other@other-project.iam.gserviceaccount.com")) == 401
    keys.away = True  # what was fetched stays good
    assert push(wrapped(b'{"a":1}')) == 204
    assert [r.value() for r in records_of("raw.gcp", 1)] == [b'{"a":1}']
    assert records_of("raw.gcp.dlq") == []


@pytest.mark.parametrize("push", [3], indirect=True)
def test_no_answer_before_kafka_has_it(push, records_of, paused_kafka, eventually):
    eventually("the first", lambda: push(wrapped(b'{"n":0}', "0")) == 204)
    paused_kafka(True)
    assert push(wrapped(b'{"n":1}', "1")) == 503
    paused_kafka(False)
    eventually("stored at last", lambda: push(wrapped(b'{"n":1}', "1")) == 204)
    assert {r.value() for r in records_of("raw.gcp", 2)} == {b'{"n":0}', b'{"n":1}'}
    assert push.service.stop() == 0
