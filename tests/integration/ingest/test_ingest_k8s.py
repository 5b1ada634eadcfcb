"""ingest-k8s over real sockets and real Kafka: 200 means stored, who may not post stores nothing, nothing is lost."""

import gzip
import http.client
import json
import ssl
import threading
import time

import pki
import pytest
from posting import TOKEN, batch, ids

pytestmark = pytest.mark.integration


def test_batches_lines_and_repeats(serve, records_of, corpora, eventually):
    webhook = serve()
    recorded = (corpora / "kube-apiserver" / "webhook" / "eventlist-18.json").read_bytes()
    assert webhook.post(recorded)[0] == 200
    assert webhook.post(gzip.compress(recorded), **{"Content-Encoding": "gzip"})[0] == 200  # the same again
    assert webhook.post(b'{"auditID":"l-1"}\n{"auditID":"l-2"}\nno JSON\n')[0] == 200
    seen = b'{"rule":"Terminal shell in container","priority":"Notice"}'
    assert webhook.post(seen, under="signals/falco")[0] == 200
    assert webhook.post(seen, under="signals/falco", cluster="stage")[0] == 401
    found = records_of("raw.k8s", 39)
    assert len({record.value() for record in found}) == 21
    assert len({dict(record.headers())["source-id"] for record in found}) == 21
    assert {dict(record.headers())["cluster"] for record in found} == {b"prod"}
    assert [record.value() for record in found if dict(record.headers())["format"] == b"falco"] == [seen]
    (dead,) = records_of("raw.k8s.dlq", 1)
    assert (dead.value(), dict(dead.headers())["dlq-reason"]) == (b"no JSON", b"no JSON object")
    eventually("readiness", webhook.service.ready)
    counts = webhook.service.metrics()
    assert counts['leadsman_received_total{service="ingest-k8s",source="prod"}'] == 40
    assert webhook.service.stop() == 0
    assert TOKEN not in webhook.service.log.read_text()


def test_who_may_not_post_stores_nothing(serve, records_of, tmp_path):
    authority, stranger = pki.Authority(tmp_path), pki.Authority(tmp_path, "a stranger")
    certificate, key = authority.issue("server")

    def client(by, name, days=10):
        context = ssl.create_default_context(cafile=authority.ca)
        if by:
            context.load_cert_chain(*by.issue(name, days=days))
        return context

    webhook = serve(
        f"prod token:{TOKEN}\nstage cert:stage-apiserver\n",
        listen_tls_cert=certificate,
        listen_tls_key=key,
        listen_tls_client_ca=authority.ca,
    )
    known = client(authority, "stage-apiserver")
    for cluster, token in [
        ("prod", ""),
        ("prod", TOKEN[:-1]),
        ("prod", TOKEN.upper()),
        ("other", TOKEN),
        ("stage", ""),
    ]:
        context = known if cluster != "stage" else client(authority, "prod-apiserver")
        status, _, text = webhook.post(batch(1), cluster, token, context)
        assert (status, text) == (401, "no credentials that are good for this cluster\n")
    for context in (client(None, ""), client(stranger, "stage-apiserver"), client(authority, "stage-apiserver", -1)):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            webhook.post(batch(2), "stage", "", context)
    plain = http.client.HTTPConnection("127.0.0.1", webhook.port, timeout=10)
    plain.request("POST", "/audit/prod", batch(3), {"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.getresponse()

    assert webhook.post(batch(4), "stage", "", known)[0] == 200
    assert webhook.post(batch(5), "prod", TOKEN, known)[0] == 200
    assert ids(records_of("raw.k8s", 2)) == {"a-4", "a-5"}
    assert records_of("raw.k8s.dlq") == []


def test_what_no_body_may_be(serve, records_of):
    webhook = serve(max_body_bytes=1_000_000)
    bomb = gzip.compress(b"a" * 50_000_000)
    for body, headers, status in [
        (b"x" * 1_000_001, {}, 413),
        (bomb, {"Content-Encoding": "gzip"}, 413),
        (b'{"a":' * 100_000, {}, 400),
        (b'{"kind":"EventList","items":[' + b"[" * 100_000, {}, 400),
        (b"", {}, 400),
        (gzip.compress(batch(1))[:-9], {"Content-Encoding": "gzip"}, 400),
        (batch(1), {"Content-Encoding": "br"}, 415),
    ]:
        assert webhook.post(body, **headers)[0] == status
    assert webhook.post(batch(2))[0] == 200
    assert ids(records_of("raw.k8s", 1)) == {"a-2"}


def test_no_answer_before_kafka_has_it(serve, records_of, paused_kafka, eventually):
    webhook = serve(answer_timeout_s=2)
    eventually("the first", lambda: webhook.post(batch(0))[0] == 200)
    paused_kafka(True)
    begun = time.monotonic()
    refused = [webhook.post(batch(1)), webhook.post(batch(2))]
    # an API server tries again ten times, after as many seconds as it is told, for each try of its own
    assert [(status, int(after) >= 1) for status, after, _ in refused] == [(503, True), (503, True)]
    assert time.monotonic() - begun < 20
    paused_kafka(False)
    for at in (1, 2):
        eventually("stored", lambda at=at: webhook.post(batch(at))[0] == 200)
    assert ids(records_of("raw.k8s", 3)) == {"a-0", "a-1", "a-2"}

    paused_kafka(True)
    answers = []

    def post():
        try:
            answers.append(webhook.post(batch(3))[0])
        except (OSError, http.client.HTTPException):
            answers.append(0)

    waiting = threading.Thread(target=post)
    waiting.start()
    time.sleep(1)
    webhook.service.kill()  # between the hand-over to Kafka and its acknowledgement: the sender has no answer
    waiting.join()
    paused_kafka(False)
    assert answers in ([0], [503])  # 503: it gave up before the kill reached it
    webhook = serve()
    assert webhook.post(batch(3))[0] == 200
    assert ids(records_of("raw.k8s", 4)) == {"a-0", "a-1", "a-2", "a-3"}


def test_two_hundred_clusters_at_one_port(serve, records_of):
    names = [f"cluster-{at}" for at in range(200)]
    webhook = serve("\n".join(f"{one} token:{one}-{TOKEN}" for one in names))
    for at, one in enumerate(names):
        assert webhook.post(batch(at, 1000 + at), one, f"{one}-{TOKEN}")[0] == 200
        assert webhook.post(batch(9999), one, f"{names[at - 1]}-{TOKEN}")[0] == 401
    of = {json.loads(r.value())["auditID"]: dict(r.headers())["cluster"].decode() for r in records_of("raw.k8s", 400)}
    assert of == {f"a-{at + more}": one for at, one in enumerate(names) for more in (0, 1000)}


@pytest.mark.timeout(600)
def test_scaled_up_and_down_under_load(serve, records_of):
    """1, 3, 2 workers behind senders that try again elsewhere; one leaves in order, one is killed, nothing is lost."""
    workers = [serve()]
    gone = threading.Event()
    answered = set()
    posted = [0] * 3

    def send(first):
        """A sender: each batch until somebody stored it, with another worker each time."""
        at = first
        while not gone.is_set():
            for turn in range(1000):
                there = list(workers)
                to = there[(at + turn) % len(there)]
                try:
                    status = to.post(batch(at), timeout=5)[0]
                except (OSError, http.client.HTTPException):  # killed, perhaps in the middle of an answer
                    status = 0
                if status == 200:
                    answered.add(f"a-{at}")
                    posted[to.number] += 1
                    break
                time.sleep(0.05)
            at += 4

    workers[0].number = 0
    senders = [threading.Thread(target=send, args=(first,), daemon=True) for first in range(4)]
    for sender in senders:
        sender.start()

    def until(holds):
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, posted
            time.sleep(0.05)

    until(lambda: posted[0] > 20)
    for number in (1, 2):
        worker = serve()
        worker.number = number
        workers.append(worker)
    until(lambda: min(posted) > 20)
    third = workers.pop()
    assert third.service.stop() == 0
    before = sum(posted)
    until(lambda: sum(posted) > before + 40)
    second = workers.pop()
    second.service.kill()
    before = posted[0]
    until(lambda: posted[0] > before + 20)
    gone.set()
    for sender in senders:
        sender.join(30)
    assert ids(records_of("raw.k8s", len(answered))) >= answered  # more: stored, and killed before it could say so
    assert workers[0].service.stop() == 0
