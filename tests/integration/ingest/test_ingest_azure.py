"""Others' Kafka as a source: Event Hubs as a Kafka with SASL/PLAIN within TLS, and any topic of any broker."""

import json
import shutil
import tempfile
import time
from pathlib import Path

import pki
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

pytestmark = pytest.mark.integration

KEY = "c2VjcmV0c2VjcmV0c2VjcmV0=="
CONNECTION = f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey={KEY}"


class Hubs:
    """A Kafka of somebody else's, with one listener as Event Hubs has it and a plain one for the test."""

    def __init__(self, process, port, ca):
        self.secured = f"127.0.0.1:{port}"
        self.plain, self.ca = f"127.0.0.1:{process.port}", ca
        self.producer = Producer({"bootstrap.servers": self.plain})

    def make(self, *topics, partitions=3):
        admin = AdminClient({"bootstrap.servers": self.plain})
        for future in admin.create_topics([NewTopic(t, partitions, 1) for t in topics], operation_timeout=20).values():
            future.result(20)

    def send(self, topic, *values, **more):
        for value in values:
            self.producer.produce(topic, value, **more)
        assert self.producer.flush(20) == 0

    def env(self, hubs, **more):
        return {
            "LEADSMAN_EVENTHUBS_CONNECTION": CONNECTION,
            "LEADSMAN_EVENTHUBS": hubs,
            "LEADSMAN_EVENTHUBS_BOOTSTRAP": self.secured,
            "LEADSMAN_EVENTHUBS_OPTIONS": f"ssl.ca.location={self.ca}",
            **more,
        }


@pytest.fixture(scope="module")
def hubs(local):
    kafka, processes = local("kafka_broker"), local("processes")
    folder = Path(tempfile.mkdtemp(prefix="leadsman-hubs-"))
    authority = pki.Authority(folder)
    certificate, key = authority.issue("ns.servicebus.windows.net")
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    port, name = processes.free_port(), "listener.name.secured"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    more = {
        "listeners": f"SECURED://127.0.0.1:{port}",
        "advertised.listeners": f"SECURED://127.0.0.1:{port}",
        "listener.security.protocol.map": "SECURED:SASL_SSL",
        f"{name}.ssl.keystore.type": "PEM",
        f"{name}.ssl.keystore.location": str(both),
        f"{name}.sasl.enabled.mechanisms": "PLAIN",
        f"{name}.plain.sasl.jaas.config": f'{login} "user_$ConnectionString"="{CONNECTION}";',
    }
    process = kafka.start(folder, port=None, tie_to_parent=True, more=more)
    yield Hubs(process, port, authority.ca)
    processes.stop(folder, [process], grace_s=5)
    shutil.rmtree(folder, ignore_errors=True)


def aks(at, cluster="PAYMENTS"):
    """A record as a diagnostic setting writes it; the audit event is a text inside."""
    event = {
        "kind": "Event",
        "auditID": f"a-{at}",
        "verb": "get",
        "requestURI": "/api/v1/pods",
        "stage": "ResponseComplete",
    }
    resource = f"/SUBSCRIPTIONS/5F/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/{cluster}"
    return json.dumps(
        {"category": "kube-audit", "resourceId": resource, "properties": {"log": json.dumps(event) + "\n"}, "n": at}
    )


def message(*records):
    return f'{{"records": [{", ".join(records)}]}}'.encode()


def values(records):
    return {record.value().decode() for record in records}


def test_event_hubs_messages_become_records_untouched(hubs, run_service, records_of, eventually):
    hubs.make("audit", "guard")
    records = [aks(at) for at in range(30)]
    hubs.send("audit", *(message(*records[at : at + 3]) for at in range(0, 24, 3)))
    hubs.send("guard", message(*records[24:]), b"not an envelope \xff")
    service = run_service("leadsman_ingest_azure", hubs.env("audit,guard"))

    found = records_of("raw.azure", 30)
    assert values(found) == set(records)
    headers = [{name: value.decode() for name, value in record.headers()} for record in found]
    assert {one["format"] for one in headers} == {"aks-audit"}
    assert {one["provider"] for one in headers} == {"azure"}
    assert len({one["source-id"] for one in headers}) == 30
    (dead,) = records_of("raw.azure.dlq", 1)
    assert dead.value() == b"not an envelope \xff"
    assert dict(dead.headers())["dlq-reason"].startswith(b"no Event Hubs envelope")
    eventually("readiness", service.ready)
    assert KEY not in service.log.read_text()

    # what was read is committed there: another worker begins where this one ended
    assert service.stop() == 0
    hubs.send("audit", message(aks(99)))
    run_service("leadsman_ingest_azure", hubs.env("audit,guard"))
    assert values(records_of("raw.azure", 31)) == {*records, aks(99)}
    assert len(records_of("raw.azure")) == 31


def test_a_wrong_key_reads_nothing_and_is_said(hubs, run_service, records_of):
    hubs.make("closed")
    hubs.send("closed", message(aks(1)))
    wrong = hubs.env("closed") | {
        "LEADSMAN_EVENTHUBS_CONNECTION": CONNECTION.replace(KEY, "d3Jvbmc="),
        "LEADSMAN_BROKEN_S": "3",
    }
    service = run_service("leadsman_ingest_azure", wrong)
    assert service.process.wait(90) == 1
    assert records_of("raw.azure") == []
    assert "uthentication" in service.log.read_text()


def test_kill_9_and_our_broker_away_lose_nothing(hubs, run_service, records_of, eventually, paused_kafka):
    hubs.make("kills")
    env = hubs.env("kills", LEADSMAN_BATCH_MESSAGES="7")
    records = [aks(at) for at in range(120)]
    service = run_service("leadsman_ingest_azure", env)
    hubs.send("kills", *(message(r) for r in records[:40]))
    records_of("raw.azure", 5)
    service.kill()

    service = run_service("leadsman_ingest_azure", env)
    eventually("ready again", service.ready)
    paused_kafka(True)  # ours; theirs goes on
    hubs.send("kills", *(message(r) for r in records[40:80]))
    time.sleep(2)
    service.kill()  # what it sent stands in the stopped broker's socket, and nothing of it was committed
    paused_kafka(False)
    hubs.send("kills", *(message(r) for r in records[80:]))
    service = run_service("leadsman_ingest_azure", env)
    eventually("all of them", lambda: values(records_of("raw.azure")) == set(records), timeout_s=120)
    again = [dict(r.headers())["source-id"] for r in records_of("raw.azure")]
    assert len(set(again)) == 120  # a repeat has the same id
    assert service.stop() == 0


def test_what_aged_out_before_it_was_read_is_told(hubs, run_service, records_of):
    hubs.make("short", partitions=1)
    service = run_service("leadsman_ingest_azure", hubs.env("short"))
    hubs.send("short", message(aks(0)))
    records_of("raw.azure", 1)
    assert service.stop() == 0
    hubs.send("short", *(message(aks(at)) for at in range(1, 6)))
    admin = AdminClient({"bootstrap.servers": hubs.plain})
    for future in admin.delete_records([TopicPartition("short", 0, 4)]).values():
        future.result(20)
    service = run_service("leadsman_ingest_azure", hubs.env("short"))
    assert values(records_of("raw.azure", 3)) == {aks(0), aks(4), aks(5)}
    (gap,) = service.lines("records aged out")
    assert (gap["topic"], gap["lost"]) == ("short", 3)
    assert service.metrics()['leadsman_gaps_total{service="ingest-azure",source="short"}'] == 1


def test_any_topic_with_its_cluster_where_the_sender_put_it(hubs, run_service, records_of, tmp_path):
    sources = tmp_path / "sources.yaml"
    sources.write_text(
        """
sources:
  - {topic: vector, format: k8s-audit, cluster_from: "header:cluster", field: message, provider: onprem}
  - {topic: "^audit[.](.+)", format: k8s-audit, cluster_from: topic}
  - {topic: trail, format: cloudtrail, account: "111122223333"}
"""
    )
    hubs.make("vector", "audit.blue", "audit.green", "trail")
    event = '{"auditID":"%s","verb":"get"}'
    for at in range(200):
        wrapped = json.dumps({"message": event % at, "file": "/var/log/audit.log"})
        hubs.send("vector", wrapped, headers=[("cluster", f"cluster-{at}".encode())])
    hubs.send("vector", '{"message":"{}"}')  # of nobody
    hubs.send("audit.blue", f'{{"kind":"EventList","items":[{event % "b1"},{event % "b2"}]}}')
    hubs.send("audit.green", event % "g1" + "\n" + event % "g2" + "\n")
    hubs.send("trail", '{"Records":[{"eventName":"CreateCluster"}]}')
    service = run_service(
        "leadsman_ingest_kafka",
        {"LEADSMAN_KAFKA_SOURCES": str(sources), "LEADSMAN_SOURCE_BOOTSTRAP": hubs.plain},
    )
    found = records_of("raw.k8s", 204)
    of = {record.value().decode(): dict(record.headers()) for record in found}
    assert {of[event % at]["cluster"].decode() for at in range(200)} == {f"cluster-{at}" for at in range(200)}
    assert all(of[event % at]["cluster"] == f"cluster-{at}".encode() for at in range(200))
    assert {of[event % at]["cluster"] for at in ("b1", "b2")} == {b"blue"}
    assert {of[event % at]["cluster"] for at in ("g1", "g2")} == {b"green"}
    (call,) = records_of("raw.aws", 1)
    assert dict(call.headers())["account"] == b"111122223333"
    (dead,) = records_of("raw.k8s.dlq", 1)
    assert dict(dead.headers())["dlq-reason"] == b"no name of a cluster in header:cluster"
    assert service.stop() == 0


def test_one_worker_three_and_two_under_load(hubs, run_service, records_of, eventually):
    hubs.make("load", partitions=6)
    env = hubs.env("load", LEADSMAN_BATCH_MESSAGES="20")
    sent = []

    def more(count):
        new = [aks(len(sent) + at) for at in range(count)]
        hubs.send("load", *(message(r) for r in new))
        sent.extend(new)

    workers = [run_service("leadsman_ingest_azure", env)]
    more(300)
    records_of("raw.azure", 50)
    workers += [run_service("leadsman_ingest_azure", env) for _ in range(2)]
    more(300)
    eventually("three at work", lambda: all(w.ready() for w in workers), timeout_s=90)
    more(300)
    assert workers[0].stop() == 0
    more(300)
    eventually("all", lambda: len(values(records_of("raw.azure"))) == 1200, timeout_s=120)
    assert values(records_of("raw.azure")) == set(sent)
