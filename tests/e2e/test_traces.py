"""One trace from the record that ingest wrote to the message that the notifier sent, as a collector gets it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e

ACCOUNT, CLUSTER = "111122223333", "breakwater"
# the hops in order, each the child of the one before: service, operation, topic
HOPS = [
    ("leadsman-ingest-aws", "send", "raw.aws"),
    ("leadsman-normalizer", "process", "raw.aws"),
    ("leadsman-detector", "process", "audit.events"),
    ("leadsman-detector", "send", "alerts"),
    ("leadsman-notifier", "process", "alerts"),
]


@pytest.fixture(scope="module")
def alerts(stream, records):
    """The alerts of a cluster of its own, all through."""
    lines = [line.decode() for line in records("eks")]
    before = stream.count("raw.aws") + stream.count("raw.gcp")
    stream.put_cloudwatch(CLUSTER, ACCOUNT, lines)
    stream.wait_through(raw=before + len(lines))
    return {a["rule"]["name"]: a for a in stream.alerts() if a["cluster"]["name"] == CLUSTER}


def trace_of(collector, alert):
    """The spans of the trace that an alert's span is in, once the notifier's is there."""

    def whole(spans):
        sent = [s for s in spans if s.attributes.get("leadsman.alert.id") == alert["id"]]
        (trace,) = {s.trace for s in sent} or {""}
        found = [s for s in spans if trace and s.trace == trace]
        return found if any(s.service == "leadsman-notifier" and s in sent for s in found) else None

    return collector.until(whole)


@pytest.mark.parametrize("rule", ["privileged-container", "exec-by-new-role"])
def test_one_trace_spans_every_hop(collector, stream, alerts, rule):
    alert = alerts[rule]
    by_id = {s.span: s for s in trace_of(collector, alert)}
    (last,) = (
        s
        for s in by_id.values()
        if s.service == "leadsman-notifier" and s.attributes["leadsman.alert.id"] == alert["id"]
    )
    chain = [last]
    while chain[0].parent:
        chain.insert(0, by_id[chain[0].parent])
    found = [
        (
            s.service,
            s.attributes["messaging.operation.name"],
            s.attributes["messaging.destination.name"].removeprefix(stream.prefix),
        )
        for s in chain
    ]
    assert found == HOPS
    assert all(
        s.name == f"{s.attributes['messaging.operation.name']} {s.attributes['messaging.destination.name']}"
        for s in chain
    )
    assert not [s.error for s in chain if s.error]
    assert all(s.start_ns <= s.end_ns for s in chain)
    read = chain[2].attributes  # of its events the newest that came in one batch with the last one
    place = read["messaging.destination.partition.id"], read["messaging.kafka.offset"]
    assert place in {(str(event["partition"]), event["offset"]) for event in alert["evidence"]}
    assert chain[3].attributes["leadsman.rule.name"] == rule
    assert last.attributes["leadsman.channel"] == "webhook"


def test_each_record_of_ingest_has_a_trace_of_its_own(collector, alerts):
    begun = [s for s in collector.spans if s.service == "leadsman-ingest-aws"]
    assert len({s.trace for s in begun}) == len(begun) >= len(alerts)
