"""Ingest's account over real services and Kafka: it adds up after kill -9; a lost record and a lie are named."""

import json
import sys

import msgspec
import pytest
from confluent_kafka import Producer
from posting import batch

from leadsman_cli.__main__ import main
from leadsman_common.receipts import KEY, read_receipt

pytestmark = pytest.mark.integration

# an ingest service that loses one record between reading and Kafka
LOSSY = """
import sys
from leadsman_common.kafka import AckedProducer
from leadsman_ingest_k8s.__main__ import main
keep = AckedProducer.enqueue
def lose(self, record):
    if b"a-7" not in (record.value or b""):
        keep(self, record)
AckedProducer.enqueue = lose
sys.exit(main())
"""


@pytest.fixture
def verify(bootstrap, topic_prefix, monkeypatch, capsys):
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)

    def run():
        code = main(["verify", "-o", "json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def receipts(records_of, at_least):
    found = [read_receipt(r.value()) for r in records_of("ledger", at_least) if r.key().startswith(KEY)]
    return sorted(found, key=lambda one: (one.at_ms, one.number))


def partition_of(key, records_of):
    return next(r.partition() for r in records_of("ledger", 1) if r.key() == key)


def test_it_adds_up_after_kills_and_a_lie_is_found(serve, records_of, verify, bootstrap, topics):
    for turn in range(3):
        webhook = serve()
        for at in range(4):
            assert webhook.post(batch(turn * 100 + at, turn * 100 + at + 50))[0] == 200
        assert webhook.post(b'{"auditID":"l"}\nno JSON\n')[0] == 200
        webhook.service.kill()  # with or without its last receipt
    webhook = serve()
    assert webhook.post(batch(203, 253))[0] == 200  # an API server repeats what it had no answer to
    assert webhook.service.stop() == 0
    written = receipts(records_of, 4)
    code, report = verify()
    assert (code, report["findings"]) == (0, [])
    (intake,) = report["intake"]
    assert intake["hop"] == "ingest-k8s"
    assert intake["received"] == {"prod": sum(one.received["prod"] for one in written)}
    assert sum(intake["outcomes"].values()) == intake["received"]["prod"] > 2
    in_topic = len(records_of("raw.k8s", 29))
    noted = sum(int(note.split()[1]) for note in report["notes"] if "without a receipt" in note)
    assert in_topic - noted <= intake["outcomes"]["produced"] <= in_topic == 29

    honest = max(written, key=lambda one: one.outcomes.get("produced", 0))
    topic, partition, _, _ = next(run for run in honest.landed if run[0] == topics["raw.k8s"])
    producer = Producer({"bootstrap.servers": bootstrap})
    writers_own = partition_of(honest.key, records_of)  # a later word counts where it is later: in one partition

    def says(lie):
        producer.produce(topics["ledger"], msgspec.json.encode(lie), honest.key, writers_own)
        assert producer.flush(30) == 0
        code, report = verify()
        return code, {(f["topic"], f["partition"], f["start"], f["end"]) for f in report["findings"]}

    more = msgspec.structs.replace(honest, received={"prod": honest.received["prod"] + 1})
    assert says(more)[0] == 1
    beyond = [*honest.landed, (topic, partition, 10_000, 10_001)]  # a record that is gone from its topic
    outcomes = {**honest.outcomes, "produced": honest.outcomes["produced"] + 1}
    gone = msgspec.structs.replace(more, landed=beyond, outcomes=outcomes)
    code, found = says(gone)
    assert (code, found) == (1, {("raw.k8s", partition, 10_000, 10_001)})
    assert says(honest) == (0, set())


def test_a_lost_record_is_named(serve, records_of, verify):
    webhook = serve(program=[sys.executable, "-c", LOSSY])
    for at in (1, 7, 8):
        assert webhook.post(batch(at, at + 20))[0] == 200
    assert webhook.service.stop() == 0
    lossy = next(one for one in receipts(records_of, 3) if one.wrong())
    code, report = verify()
    assert code == 1
    (found,) = report["findings"]
    where = next((t, p, s, e) for t, p, s, e in lossy.landed)
    assert (found["hop"], found["partition"], found["start"], found["end"]) == ("ingest-k8s", *where[1:])
    assert "2 records were handed over, and Kafka took 1" in found["what"]


def test_ingest_from_kafka_counts_events_and_what_holds_none(
    run_service, bootstrap, topics, records_of, eventually, tmp_path, verify
):
    (tmp_path / "sources.yaml").write_text(
        f"sources:\n  - {{topic: {topics['alerts']}, format: k8s-audit, cluster: prod}}\n"
    )
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in (batch(1, 2, 3), b"", b"no JSON", b'{"kind":"EventList","items":[]}'):
        producer.produce(topics["alerts"], value)
    assert producer.flush(30) == 0
    service = run_service("leadsman_ingest_kafka", {"LEADSMAN_KAFKA_SOURCES": str(tmp_path / "sources.yaml")})
    # of what holds no events nothing else tells that it was read
    eventually("all in receipts", lambda: sum(sum(r.received.values()) for r in receipts(records_of, 0)) == 6)
    assert service.stop() == 0
    assert (len(records_of("raw.k8s")), len(records_of("raw.k8s.dlq"))) == (3, 1)
    code, report = verify()
    (intake,) = report["intake"]
    assert (code, intake["received"]) == (0, {topics["alerts"]: 6})
    outcomes = {outcome.partition(":")[0]: count for outcome, count in intake["outcomes"].items()}
    assert outcomes == {"produced": 3, "filtered": 2, "dead": 1}
