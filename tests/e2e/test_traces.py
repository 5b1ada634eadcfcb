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
    """The spans from the record's to that of the alert's message, each the child of the one before.

    Each service sends its own when it likes, so that the last one may come before those that it hangs on.
    """

    def whole(spans):
        by_id = {s.span: s for s in spans}
        told = [s for s in spans if s.service == "leadsman-notifier"]
        sent = [s for s in told if s.attributes.get("leadsman.alert.id") == alert["id"]]
        if not sent:
            return None
        (last,) = sent
        chain = [last]
        while chain[0].parent:
            if chain[0].parent not in by_id:
                return None
            chain.insert(0, by_id[chain[0].parent])
        return chain

    return collector.until(whole)


@pytest.mark.parametrize("rule", ["privileged-container", "exec-by-new-role"])
def test_one_trace_spans_every_hop(collector, stream, alerts, rule):
    alert = alerts[rule]
    chain = trace_of(collector, alert)
    assert len({s.trace for s in chain}) == 1
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
    assert chain[-1].attributes["leadsman.channel"] == "webhook"


def test_each_record_of_ingest_has_a_trace_of_its_own(collector, alerts):
    def begun(spans):
        found = [s for s in spans if s.service == "leadsman-ingest-aws"]
        return found if len(found) >= len(alerts) else None

    found = collector.until(begun)
    assert len({s.trace for s in found}) == len(found)
