"""The audit webhook without a socket: what becomes of a body, and who is turned away."""

import json

import pytest

from leadsman_common.http_server import Head, Refused
from leadsman_common.raw import MAX_VALUE_BYTES
from leadsman_ingest_k8s.senders import SendersFile
from leadsman_ingest_k8s.webhook import Webhook

TOKEN = "0123456789abcdef"


class Log:
    def warning(self, event, **fields):
        pass


def head(path="/audit/prod", method="POST", query="timeout=30s", **headers):
    return Head(method, path, query, {k.title(): v for k, v in headers.items()}, "10.0.0.1", None)


@pytest.fixture
def webhook(tmp_path):
    path = tmp_path / "senders"
    path.write_text(f"prod token:{TOKEN}")
    return Webhook("raw.k8s", SendersFile(path, Log()), Log())


def test_a_batch_of_the_api_server_as_it_was_recorded(webhook, corpora):
    body = (corpora / "kube-apiserver" / "webhook" / "eventlist-18.json").read_bytes()
    taken = webhook.take(head(), bytearray(body))
    assert len(taken.records) == 18
    assert [json.loads(r.value) for r in taken.records] == json.loads(body)["items"]
    assert all(r.value in body for r in taken.records)
    headers = [dict(r.headers) for r in taken.records]
    assert {(h["format"], h["cluster"]) for h in headers} == {(b"k8s-audit", b"prod")}
    # the same batch again has the same ids; every event has its own
    again = [dict(r.headers)["source-id"] for r in webhook.take(head(), bytearray(body)).records]
    assert again == [h["source-id"] for h in headers]
    assert len(set(again)) == 18
    assert (taken.reply.status, taken.reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("body", "query", "good", "bad"),
    [
        (b'{"a":1}\n{"b":2}\n', "", [b'{"a":1}', b'{"b":2}'], []),
        (b'{"a":1}\nnot JSON\n', "", [b'{"a":1}'], [b"not JSON"]),
        (b'[{"a":1},2]', "", [b'{"a":1}'], [b"2"]),
        (b'{"log":"{\\"a\\":1}\\n"}\n{"message":"x"}', "field=log", [b'{"a":1}'], [b'{"message":"x"}']),
        (b'{"kind":"EventList","items":[]}', "", [], []),
        (b'{"a":"%s"}' % (b"x" * MAX_VALUE_BYTES), "", [], [b'{"a":"' + b"x" * (MAX_VALUE_BYTES - 6)]),
    ],
    ids=["lines", "a line that is none", "an array", "wrapped", "nothing", "too large"],
)
def test_what_becomes_of_a_body(webhook, body, query, good, bad):
    records = webhook.take(head(query=query), bytearray(body)).records
    assert [r.value for r in records if r.topic == "raw.k8s"] == good
    assert [r.value for r in records if r.topic == "raw.k8s.dlq"] == bad


@pytest.mark.parametrize(
    ("path", "source_format", "cluster"),
    [
        ("/signals/falco/prod", "falco", "prod"),
        ("/signals/guardduty/prod", "guardduty", "prod"),
        ("/signals/guardduty", "guardduty", ""),
        ("/signals/scc", "scc", ""),
    ],
)
def test_what_other_sensors_saw_keeps_its_bytes(webhook, path, source_format, cluster):
    bodies = [b'{"rule": "a", "priority": "Notice"}', b'{"rule": "b"}']
    taken = webhook.take(head(path), bytearray(b"\n".join(bodies)))
    assert [r.value for r in taken.records] == bodies
    headers = [dict(r.headers) for r in taken.records]
    assert {(h["format"].decode(), h.get("cluster", b"").decode()) for h in headers} == {(source_format, cluster)}
    taken.acknowledged()


def test_who_may_post_for_every_cluster_need_not_name_one(tmp_path):
    path = tmp_path / "senders"
    path.write_text(f"* token:{TOKEN}")
    Webhook("raw.k8s", SendersFile(path, Log()), Log()).admit(head("/signals/scc", authorization=f"Bearer {TOKEN}"))


@pytest.mark.parametrize("body", [b"", b"x", b'{"kind":"EventList","items":1}', b"[" * 100_000])
def test_a_body_that_is_none_is_refused(webhook, body):
    with pytest.raises(Refused) as refused:
        webhook.take(head(), bytearray(body))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (head(authorization=f"Bearer {TOKEN}"), 0),
        (head(authorization=f"bearer  {TOKEN} "), 0),
        (head(), 401),
        (head(authorization="Bearer"), 401),
        (head(authorization=f"Basic {TOKEN}"), 401),
        (head(authorization=f"Bearer {TOKEN[:-1]}"), 401),
        (head("/audit/stage", authorization=f"Bearer {TOKEN}"), 401),
        (head(method="GET", authorization=f"Bearer {TOKEN}"), 405),
        (head("/audit", authorization=f"Bearer {TOKEN}"), 404),
        (head("/audit/", authorization=f"Bearer {TOKEN}"), 404),
        (head("/audit/prod/", authorization=f"Bearer {TOKEN}"), 404),
        (head("/audit/a/../prod", authorization=f"Bearer {TOKEN}"), 404),
        (head("/audit/%70rod", authorization=f"Bearer {TOKEN}"), 404),
        (head("/signals/falco/prod", authorization=f"Bearer {TOKEN}"), 0),
        (head("/signals/falco/stage", authorization=f"Bearer {TOKEN}"), 401),
        (head("/signals/guardduty/prod", authorization=f"Bearer {TOKEN}"), 0),
        (head("/signals/guardduty", authorization=f"Bearer {TOKEN}"), 401),  # of any cluster: not with prod's token
        (head("/signals/falco", authorization=f"Bearer {TOKEN}"), 404),  # Falco does not name its cluster
        (head("/signals/falco/", authorization=f"Bearer {TOKEN}"), 404),
        (head("/signals/pigeon/prod", authorization=f"Bearer {TOKEN}"), 404),
        (head("/signals/scc/a/b", authorization=f"Bearer {TOKEN}"), 404),
        (head("/", authorization=f"Bearer {TOKEN}"), 404),
    ],
)
def test_who_is_turned_away_before_the_body_is_read(webhook, asked, status):
    if not status:
        webhook.admit(asked)
        return
    with pytest.raises(Refused) as refused:
        webhook.admit(asked)
    assert refused.value.status == status
    reply = webhook.refusal(asked, refused.value)
    assert reply.status == status
    assert TOKEN.encode() not in reply.body
