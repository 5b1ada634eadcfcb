"""Pub/Sub pulled and pushing, and the webhook: killed between steps, Kafka stopped, flooded; nothing lost."""

import http.client
import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from aws_paths import message
from floods import MIB, Flood
from other_paths import ACK_DEADLINE_S, Gcp, Pull, Push, Webhook
from push_tokens import token

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning"),
]

KILLED = str(Path(__file__).parents[1] / "programs" / "ingest_killed.py")
MADE = {
    "pull": lambda ask: Pull(Gcp(ask("pubsub_emulator"))),
    "push": lambda _: Push(),
    "webhook": lambda ask: Webhook(ask("tmp_path")),
}


@pytest.fixture(params=MADE)
def path(request, monkeypatch):
    if request.param == "pull":
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", request.getfixturevalue("pubsub_emulator"))
    made = MADE[request.param](request.getfixturevalue)
    yield made
    made.close()


def names(records):
    return Counter(json.loads(record.value())["auditID"] for record in records)


def test_killed_between_each_pair_of_steps(path, run_service, records_of, eventually):
    """Read, produce, ack: whatever was lost is given again, and a repeat has the same id and the same bytes."""
    wanted = []
    for step in ("read", "produced", "acked"):
        batch = [message(f"{step}-{at}") for at in range(3)]
        path.put(batch)
        wanted += batch
        service = run_service(path.module, path.env, program=[sys.executable, KILLED, path.module, step])
        path.reach(service)
        assert service.process.wait(90) == -9
        if step == "read":
            assert records_of(path.topic) == []
    path.put([message("after")])
    wanted.append(message("after"))
    service = run_service(path.module, path.env)
    path.reach(service)
    ids_wanted = {json.loads(text)["auditID"] for text in wanted}
    eventually("everything in Kafka", lambda: {*names(records_of(path.topic))} == ids_wanted, 90)
    eventually("everything acknowledged", lambda: path.waiting() == 0)
    found = records_of(path.topic)
    assert {record.value().decode() for record in found} == {*wanted}
    assert len({dict(record.headers())["source-id"] for record in found}) == len(wanted)
    assert len(found) > len(wanted), "killed after Kafka had it and before upstream knew: it must come again"
    assert records_of(f"{path.topic}.dlq") == []
    assert service.stop() == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_kafka_stopped_in_the_middle(path, run_service, records_of, eventually, paused_kafka, seconds):
    service = run_service(path.module, path.env)
    path.reach(service)
    path.put([message("before")])
    # what is answered 503 at first, since keys or Kafka are not reached yet, is in Kafka twice perhaps
    eventually("the first", lambda: {*names(records_of(path.topic))} == {"before"}, 90)
    eventually("its ack", lambda: path.waiting() == 0)
    answered = 0 if isinstance(path, Pull) else len(path.statuses)

    def counted(what):
        return sum(n for name, n in service.metrics().items() if name.startswith(f"leadsman_{what}_total"))

    eventually("the count", lambda: counted("produced") == 1)
    paused_kafka(True)
    path.put([message(f"during-{at}") for at in range(5)])
    time.sleep(seconds)
    assert counted("produced") == 1
    assert not service.ready()
    if isinstance(path, Pull):
        assert path.waiting() == 0  # it is in hand, its lease extended however long it takes
    else:
        assert path.waiting() == 5
        assert {*path.statuses[answered:]} <= {503, 429}
    paused_kafka(False)
    wanted = {"before", *(f"during-{at}" for at in range(5))}
    eventually("the others", lambda: {*names(records_of(path.topic))} == wanted, 90)
    eventually("acknowledged", lambda: counted("produced") == 6)
    if isinstance(path, Pull):
        assert counted("received") == 6  # none was given twice, whatever Kafka has twice
    assert service.stop() == 0
    if isinstance(path, Pull):
        time.sleep(ACK_DEADLINE_S + 1)
    assert path.waiting() == 0


HEADS = {
    "push": lambda: f"POST /pubsub/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token()}\r\n",
    "webhook": lambda: f"POST /audit/prod HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {Webhook.token}\r\n",
}


@pytest.mark.parametrize("path", HEADS, indirect=True)
def test_memory_stays_bounded_and_good_requests_are_answered(path, request, run_service, records_of, eventually):
    """SEC-1 and SEC-2, here too: bodies of 100 MB, endless ones, bombs, depth and 200 slow connections at once."""
    bounds = {"LEADSMAN_BODY_TIMEOUT_S": "5", "LEADSMAN_HEADER_TIMEOUT_S": "5", "LEADSMAN_ANSWER_TIMEOUT_S": "20"}
    service = run_service(path.module, {**path.env, **bounds})
    path.reach(service)
    eventually("readiness", service.ready)
    port, asked = service.lines("taking requests")[-1]["port"], []

    def good():
        asked.append(message(f"good-{len(asked)}"))
        where, body, headers = path.request(asked[-1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", where, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    eventually("the keys", lambda: good() < 300)
    kind = request.node.callspec.params["path"]
    came = Flood(port, service.process.pid, HEADS[kind]().encode()).run(good)
    stored = {200, 204}
    assert {*came.good} <= stored | {429}
    assert came.good[-1] in stored
    assert sum(status in stored for status in came.good) > len(came.good) / 2
    assert {*came.floods} <= {413, 400, 429}
    assert len(came.floods) == 8
    assert came.slow == [408] * 200
    assert came.grown < 64 * MIB
    assert {*names(records_of(path.topic))} <= {json.loads(text)["auditID"] for text in asked}
    assert records_of(f"{path.topic}.dlq") == []
    assert service.stop() == 0
