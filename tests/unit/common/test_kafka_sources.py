"""Any Kafka topic as a source: the file, whose the records are, what is taken apart and what is said."""

import pytest

from leadsman_common.kafka_sources import FORMATS, InvalidSourcesError, Record, Source, load_sources, source_of, split
from leadsman_common.raw import MAX_VALUE_BYTES, Bad

EVENT = b'{"auditID":"a"}'


def record(value=EVENT, *, topic="audit", key=b"", headers=None):
    return Record(topic, 2, 7, key, value, headers or {})


def load(tmp_path, text):
    path = tmp_path / "sources.yaml"
    path.write_text(text)
    return load_sources(path)


def test_a_file_of_sources(tmp_path):
    found = load(
        tmp_path,
        """
sources:
  - {topic: k8s-audit, format: k8s-audit, cluster_from: "header:cluster", provider: onprem, region: ber}
  - {topic: "^audit[.]([a-z-]+)$", format: k8s-audit, cluster_from: topic, field: message}
  - {topic: hub, format: aks-audit}
""",
    )
    assert [s.raw_topic for s in found] == ["raw.k8s", "raw.k8s", "raw.azure"]
    assert source_of(found, "audit.payments") is found[1]
    assert source_of(found, "k8s-audit") is found[0]
    assert source_of(found, "other") is None
    assert source_of((Source("^.*", "cloudtrail"), found[0]), "k8s-audit") is found[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be a map with a list named sources"),
        ("sources: []", "sources is empty"),
        ("sources: [a]", "number 1: must be a map"),
        ("sources: [{topic: a}]", "number 1: has no format"),
        ("sources: [{topic: a, format: k8s}]", "unknown format k8s; known are k8s-audit,"),
        ("sources: [{topic: a, format: k8s-audit, cluster: b, colour: c}]", "unknown colour"),
        ("sources: [{topic: a, format: cloudtrail, account: 111122223333}]", "account must be text; put quotes"),
        ("sources: [{topic: a, format: k8s-audit}]", "does not name its cluster"),
        ("sources: [{topic: a, format: k8s-audit, cluster: b, cluster_from: key}]", "both cluster and cluster_from"),
        ("sources: [{topic: a, format: k8s-audit, cluster_from: value}]", "cluster_from is key, topic, header:NAME"),
        ("sources: [{topic: '^a(', format: k8s-audit, cluster: b}]", "topic: missing"),
        ("sources: [{topic: '^a', format: k8s-audit, cluster_from: topic}]", "needs a group"),
        ("sources: [{topic: a, format: cloudtrail}, {topic: a, format: cloudtrail}]", "a stands in it twice"),
        ("a: b: c", "mapping values"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_place(tmp_path, text, said):
    with pytest.raises(InvalidSourcesError) as raised:
        load(tmp_path, text)
    assert str(raised.value).startswith(str(tmp_path))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("source", "given", "cluster"),
    [
        (Source("audit", "k8s-audit", cluster="prod"), record(), "prod"),
        (Source("audit", "k8s-audit", cluster_from="key"), record(key=b"prod"), "prod"),
        (Source("audit", "k8s-audit", cluster_from="header:c"), record(headers={"c": b"prod"}), "prod"),
        (Source("audit", "k8s-audit", cluster_from="topic"), record(topic="prod"), "prod"),
        (Source("^a[.](.+)", "k8s-audit", cluster_from="topic"), record(topic="a.prod"), "prod"),
        (
            Source("audit", "k8s-audit", cluster_from="field:k8s.name", field="log"),
            record(b'{"k8s":{"name":"prod"},"log":' + EVENT + b"}"),
            "prod",
        ),
    ],
    ids=["fixed", "key", "header", "topic", "expression", "field"],
)
def test_whose_an_event_is(source, given, cluster):
    (event,) = split(source, given, 5)
    assert (event.value, event.cluster, event.format) == (EVENT, cluster, "k8s-audit")
    assert event.source_id == f"{given.topic}/2/7/0"
    assert event.received_ms == 5


@pytest.mark.parametrize("where", ["key", "header:c", "field:c"])
def test_an_event_without_its_cluster_is_told_of(where):
    (bad,) = split(Source("audit", "k8s-audit", cluster_from=where), record(), 5)
    assert isinstance(bad, Bad)
    assert bad.reason == f"no name of a cluster in {where}"
    assert bad.raw.value == EVENT


@pytest.mark.parametrize(
    ("name", "value", "events", "provider"),
    [
        ("k8s-audit", b'{"kind":"EventList","items":[{"a":1},{"b":2}]}', [b'{"a":1}', b'{"b":2}'], ""),
        ("eks-audit", b'{"a":1}\n{"b":2}', [b'{"a":1}', b'{"b":2}'], "aws"),
        ("eks-authenticator", b"time=1 msg=x", [b"time=1 msg=x"], "aws"),
        ("cloudtrail", b'{"Records":[{"a":1}]}', [b'{"a":1}'], "aws"),
        ("gke-logentry", b'{"insertId":"a"}', [b'{"insertId":"a"}'], "gcp"),
        ("aks-audit", b'{"records":[{"category":"a"}]}', [b'{"category":"a"}'], "azure"),
        ("falco", b'{"rule":"a"}\n{"rule":"b"}', [b'{"rule":"a"}', b'{"rule":"b"}'], ""),
        ("guardduty", b'{"detail":{}}', [b'{"detail":{}}'], "aws"),
        ("scc", b'{"finding":{}}', [b'{"finding":{}}'], "gcp"),
        ("aks-audit", b'{"category":"kube-audit"}', [b'{"category":"kube-audit"}'], "azure"),
        ("azure-activity", b'{"records":[{"a":1}]}', [b'{"a":1}'], "azure"),
    ],
)
def test_every_format_is_taken_apart(name, value, events, provider):
    found = split(Source("audit", name, cluster="c"), record(value), 0)
    assert [e.value for e in found] == events
    assert {e.provider for e in found} == {provider}


def test_every_format_was_tried():
    tried = next(m for m in test_every_format_is_taken_apart.pytestmark if m.name == "parametrize").args[1]
    assert {case[0] for case in tried} == set(FORMATS)


def test_every_format_can_be_normalized():
    from leadsman_normalizer.sources import SOURCES

    assert set(FORMATS) <= set(SOURCES)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("k8s-audit", b"text", "no EventList, Event or JSON lines"),
        ("aks-audit", b"{}", "no Event Hubs envelope"),
        ("gke-logentry", b"x" * (MAX_VALUE_BYTES + 1), "more than the"),
    ],
)
def test_what_cannot_be_used_is_told_whole(name, value, reason):
    (bad,) = split(Source("audit", name, cluster="c"), record(value), 0)
    assert isinstance(bad, Bad)
    assert reason in bad.reason
    assert bad.raw.value == value


def test_a_tombstone_holds_nothing():
    assert split(Source("audit", "cloudtrail"), record(b""), 0) == []
