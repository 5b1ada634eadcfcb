"""ingest-gcp on real Kafka and Google's own fake of Pub/Sub: untouched bytes, no ack before Kafka has them."""

import secrets
import time

import pytest
from other_paths import ACK_DEADLINE_S, Gcp

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning"),
]


@pytest.fixture
def gcp(pubsub_emulator, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    made = []

    def make(subscriptions=1, **more):
        made.append(Gcp(pubsub_emulator, subscriptions, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def entry(at):
    return f'{{"insertId":"{at}",  "protoPayload":{{"methodName":"io.k8s.core.v1.pods.create","é":1}}}}'.encode()


def values(records):
    return {record.value() for record in records}


def test_messages_become_events_untouched(gcp, run_service, records_of, eventually):
    gcp = gcp(2)
    service = run_service("leadsman_ingest_gcp", gcp.env)
    large = b'{"x":"' + secrets.token_hex(750_000).encode() + b'"}'
    first, second = [entry(at) for at in range(150)], [entry(at) for at in range(150, 300)]
    ids = gcp.publish(first) + gcp.publish(second, at=1) + gcp.publish([large, b"not JSON \xff"])
    gcp.publish([b""], note="a message may be attributes alone")

    found = records_of("raw.gcp", 302)
    assert values(found) == {*first, *second, large, b"not JSON \xff"}
    headers = [{name: value.decode() for name, value in record.headers()} for record in found]
    assert {one.pop("source-id") for one in headers} == set(ids)
    assert all(abs(int(one.pop("received-ms")) - time.time() * 1000) < 600_000 for one in headers)
    assert all(one == {"format": "gke-logentry", "provider": "gcp"} for one in headers)
    assert len({record.partition() for record in found}) == 3
    (dead,) = records_of("raw.gcp.dlq", 1)
    assert dict(dead.headers())["dlq-reason"] == b"a message without data"
    assert dict(dead.headers())["dlq-stage"] == b"ingest-gcp"

    eventually("readiness", service.ready)
    topic = found[0].topic()

    def counted():
        counts = service.metrics()
        received = [
            counts.get(f'leadsman_received_total{{service="ingest-gcp",source="{s}"}}') for s in gcp.subscriptions
        ]
        produced = counts.get(f'leadsman_produced_total{{service="ingest-gcp",topic="{topic}"}}')
        dead = counts.get(f'leadsman_dead_lettered_total{{service="ingest-gcp",topic="{topic}.dlq"}}')
        return sum(filter(None, received)), produced, dead

    # when Kafka's answer came, a moment after the records are there
    eventually("the counts", lambda: counted() == (303, 302, 1))

    # it leaves with everything acknowledged: nothing comes again
    assert service.stop() == 0
    time.sleep(ACK_DEADLINE_S + 1)
    assert [gcp.waiting(0), gcp.waiting(1)] == [0, 0]
    assert len(records_of("raw.gcp")) == 302


def test_no_ack_before_kafka_has_it(gcp, run_service, records_of, eventually, paused_kafka):
    gcp = gcp()
    service = run_service("leadsman_ingest_gcp", gcp.env)
    gcp.publish([entry("first")])
    topic = records_of("raw.gcp", 1)[0].topic()
    produced = f'leadsman_produced_total{{service="ingest-gcp",topic="{topic}"}}'
    eventually("the first", lambda: service.metrics().get(produced) == 1)

    paused_kafka(True)
    later = [entry(at) for at in range(20)]
    gcp.publish(later)
    time.sleep(2)
    assert service.metrics()[produced] == 1
    paused_kafka(False)
    assert values(records_of("raw.gcp", 21)) == {entry("first"), *later}
    eventually("the acks", lambda: service.metrics()[produced] == 21)
    assert len(records_of("raw.gcp")) == 21

    paused_kafka(True)
    last = [entry(at) for at in range(20, 40)]
    gcp.publish(last)
    time.sleep(2)
    service.kill()  # what it sent stands in the stopped broker's socket: written, and never acknowledged
    paused_kafka(False)

    service = run_service("leadsman_ingest_gcp", gcp.env)
    # every one of the last was delivered again, so none had been acknowledged; and none of the others
    eventually("the messages again", lambda: service.ready() and service.metrics().get(produced, 0) >= 20, 120)
    assert service.metrics()[produced] == 20
    assert values(records_of("raw.gcp", 41)) == {entry("first"), *later, *last}
    assert service.stop() == 0


def test_scaled_up_and_down_under_load(gcp, run_service, records_of, eventually):
    """1, 3, 2 workers of one subscription; one leaves in order, one is killed, nothing is lost, each has had work."""
    gcp = gcp()
    env = {**gcp.env, "LEADSMAN_PULL_MESSAGES": "20"}
    wanted = []

    def publish(count):
        batch = [entry(len(wanted) + at) for at in range(count)]
        gcp.publish(batch)
        wanted.extend(batch)

    def stored(worker):
        return sum(n for name, n in worker.metrics().items() if name.startswith("leadsman_produced_total"))

    workers = [run_service("leadsman_ingest_gcp", env)]
    publish(40)
    eventually("the first worker", lambda: workers[0].ready() and stored(workers[0]), 60)
    workers += [run_service("leadsman_ingest_gcp", env) for _ in range(2)]
    eventually("three workers", lambda: all(worker.ready() for worker in workers), 60)
    deadline = time.monotonic() + 120
    while not all(stored(worker) for worker in workers):
        publish(30)
        assert time.monotonic() < deadline
    publish(30)
    assert workers[2].stop() == 0
    publish(30)
    workers[1].kill()
    publish(30)
    eventually("all", lambda: values(records_of("raw.gcp")) == {*wanted}, 120)
    assert workers[0].stop() == 0


def test_exactly_once_delivery_is_honoured(gcp, run_service, records_of, eventually):
    """Each message once, though the stand-in would give it again after its deadline; and every ack is taken."""
    gcp = gcp(exactly_once=True)
    service = run_service("leadsman_ingest_gcp", gcp.env)
    wanted = [entry(at) for at in range(60)]
    gcp.publish(wanted)
    assert values(records_of("raw.gcp", 60)) == {*wanted}
    eventually("the acks", lambda: gcp.waiting() == 0)
    assert service.stop() == 0
    time.sleep(ACK_DEADLINE_S + 1)
    assert gcp.waiting() == 0
    assert len(records_of("raw.gcp")) == 60


def test_a_subscription_that_appears_later_is_pulled(gcp, run_service, records_of, eventually):
    gcp = gcp()
    absent = gcp.subscriptions[0].replace("audit-0", "later")
    service = run_service("leadsman_ingest_gcp", {**gcp.env, "LEADSMAN_PUBSUB_SUBSCRIPTIONS": absent})
    eventually("the refusal", lambda: service.lines("a pull ended"))
    assert not service.ready()
    gcp.subscriber.create_subscription(name=absent, topic=gcp.topics[0])
    gcp.publish([entry(1)])
    assert values(records_of("raw.gcp", 1)) == {entry(1)}
    assert service.stop() == 0


def test_a_flood_of_bad_messages_stops_the_service(gcp, run_service):
    gcp = gcp()
    gcp.publish([b""] * 20, a="b")
    service = run_service("leadsman_ingest_gcp", {**gcp.env, "LEADSMAN_MAX_BAD_IN_A_ROW": "10"})
    assert service.process.wait(60) == 1


def test_a_broken_world_is_borne_for_a_bound(gcp, run_service):
    gcp = gcp()
    absent = gcp.subscriptions[0].replace("audit-0", "absent")
    env = {**gcp.env, "LEADSMAN_PUBSUB_SUBSCRIPTIONS": absent, "LEADSMAN_BROKEN_S": "4"}
    service = run_service("leadsman_ingest_gcp", env)
    assert service.process.wait(60) == 1
    assert len(service.lines("a pull ended")) > 2
