"""The Firehose endpoint as a service over real HTTP: its contract, its keys, killed between steps, Kafka away."""

import base64
import gzip
import http.client
import json
import secrets
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from aws_paths import document, message

pytestmark = pytest.mark.integration

KILLED = str(Path(__file__).parents[1] / "programs" / "ingest_aws_killed.py")
OLD, NEW = "old-key+/=" + "x" * 200, "New-Key-" + "y" * 200
ARN = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/audit"


class Firehose:
    """Delivers as the service of that name does: again and again under one request id, until it is answered rightly."""

    def __init__(self, port):
        self.port = port

    def post(self, body, **headers):
        """Status and decoded JSON answer of one request; (0, None) where there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        given = {
            "Content-Type": "application/json",
            "X-Amz-Firehose-Protocol-Version": "1.0",
            "X-Amz-Firehose-Request-Id": "id-1",
            "X-Amz-Firehose-Source-Arn": ARN,
            "X-Amz-Firehose-Access-Key": OLD,
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("POST", "/firehose", body, {name: value for name, value in given.items() if value})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def deliver(self, messages, timeout_s=60):
        """Return once it was taken."""
        request_id = secrets.token_hex(8)
        deadline = time.monotonic() + timeout_s
        while True:
            status, answer = self.post(delivery(messages, request_id), X_Amz_Firehose_Request_Id=request_id)
            if status == 200 and answer["requestId"] == request_id and isinstance(answer["timestamp"], int):
                return
            assert time.monotonic() < deadline
            time.sleep(0.2)


def delivery(messages, request_id="id-1", **changes):
    """The body of one: a record a message, whose event has an id of its own."""
    records = []
    for text in messages:
        made = document([text])
        made["logEvents"][0]["id"] = f"{abs(hash(text)):056d}"
        records.append({"data": base64.b64encode(gzip.compress(json.dumps(made).encode())).decode()})
    return json.dumps({"requestId": request_id, "timestamp": 1, "records": records} | changes).encode()


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{OLD},{NEW}\n")
    return file


@pytest.fixture
def firehose(run_service, keys, eventually):
    """Give firehose(program) -> (Service, Firehose), which is ready."""

    def start(program=None, **more):
        env = {
            "LEADSMAN_LISTEN_PORT": "0",
            "LEADSMAN_FIREHOSE_ACCESS_KEYS_FILE": str(keys),
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        service = run_service("leadsman_ingest_aws", {**env, **more}, program=program)
        eventually("taking requests", lambda: service.lines("taking requests"), 60)
        return service, Firehose(service.lines("taking requests")[-1]["port"])

    return start


def bodies(records):
    return Counter(record.value().decode() for record in records)


def test_the_contract(firehose, records_of):
    service, sender = firehose()
    wanted = [message(f"{at}") for at in range(5)]
    status, answer = sender.post(delivery(wanted[:2]))
    assert (status, answer["requestId"], set(answer)) == (200, "id-1", {"requestId", "timestamp"})
    assert abs(answer["timestamp"] - time.time() * 1000) < 60_000
    assert sender.post(gzip.compress(delivery(wanted[2:4])), Content_Encoding="gzip")[0] == 200
    assert sender.post(delivery(wanted[4:]), X_Amz_Firehose_Access_Key=NEW)[0] == 200
    assert sender.post(delivery([], "other-id"), X_Amz_Firehose_Request_Id="")[1]["requestId"] == "other-id"
    control = {
        "records": [
            {"data": base64.b64encode(json.dumps(document(["x"], messageType="CONTROL_MESSAGE")).encode()).decode()}
        ]
    }
    assert sender.post(json.dumps(control).encode())[0] == 200
    found = records_of("raw.aws", 5)
    assert bodies(found) == dict.fromkeys(wanted, 1)
    headers = {name: value.decode() for name, value in found[0].headers()}
    assert (headers["cluster"], headers["account"], headers["region"]) == ("harbour", "111122223333", "eu-west-1")

    # what is damaged would be damaged again: dead letters, and the delivery is taken
    bad = [{"data": "%%"}, {"data": base64.b64encode(b"no document").decode()}]
    good = json.loads(delivery([message("beside")]))["records"]
    assert sender.post(json.dumps({"records": [*bad, *good]}).encode())[0] == 200
    assert len(records_of("raw.aws.dlq", 2)) == 2
    assert message("beside") in bodies(records_of("raw.aws", 6))

    refused = {
        "no JSON": sender.post(b"{"),
        "no records": sender.post(b"{}"),
        "records of another kind": sender.post(b'{"records":[1]}'),
        "deep": sender.post(b'{"records":' + b"[" * 100_000),
        "another version": sender.post(delivery([]), X_Amz_Firehose_Protocol_Version="2.0"),
    }
    for status, answer in refused.values():
        assert (status, answer["requestId"], set(answer)) == (400, "id-1", {"requestId", "timestamp", "errorMessage"})
    status, answer = sender.post(b"x" * (17 * 1024 * 1024))
    assert status in (413, 0)  # 0: it was closed on while still sending
    counts = service.metrics()
    assert counts['leadsman_refused_total{service="ingest-aws",source="firehose",status="400"}'] == 5
    assert counts['leadsman_ingested_total{cluster="harbour",service="ingest-aws",source="audit"}'] == 6
    assert service.stop() == 0
    assert len(records_of("raw.aws")) == 6


def test_keys(firehose, keys, records_of, eventually):
    """SEC-4."""
    service, sender = firehose()
    body = delivery([message("never")])
    wrong = ["", "x", OLD[:-1], OLD + "x", OLD.upper(), OLD.swapcase(), " ", f"{OLD},{NEW}", OLD[:10], NEW.lower(), "é"]
    for key in wrong:
        status, answer = sender.post(body, X_Amz_Firehose_Access_Key=key.encode())
        assert (status, set(answer)) == (401, {"requestId", "timestamp", "errorMessage"}), key
    # a third key takes the first one's place, without a restart
    third = "third" * 10
    keys.with_suffix(".new").write_text(f"{NEW},{third}")
    keys.with_suffix(".new").replace(keys)
    eventually("the new key", lambda: sender.post(delivery([]), X_Amz_Firehose_Access_Key=third)[0] == 200)
    assert sender.post(body)[0] == 401
    assert sender.post(delivery([message("new")]), X_Amz_Firehose_Access_Key=NEW)[0] == 200
    assert bodies(records_of("raw.aws", 1)) == {message("new"): 1}
    assert service.stop() == 0


def test_keys_are_compared_in_constant_time():
    """Every key is compared in full, by the library's function for it, whichever is right: seen by counting."""
    from leadsman_ingest_aws import firehose
    from leadsman_ingest_aws.config import Settings

    endpoint = firehose.FirehoseEndpoint(Settings(listen_port=0, firehose_access_keys=("a",)), None, lambda: (OLD, NEW))
    compared = []
    original = firehose.hmac.compare_digest

    class Counted:
        @staticmethod
        def compare_digest(one, other):
            compared.append((len(one), len(other)))
            return original(one, other)

    firehose.hmac, real = Counted, firehose.hmac
    try:
        for key, right in ((OLD, True), (NEW, True), (OLD[:1], False), ("", False), ("z" * 4096, False)):
            compared.clear()
            assert endpoint._known(key) is right
            assert compared == [(32, 32)] * 2
    finally:
        firehose.hmac = real


def test_killed_between_each_pair_of_steps(firehose, records_of):
    wanted = []
    for step in ("read", "produced"):
        batch = [message(f"{step}-{at}") for at in range(3)]
        wanted += batch
        service, sender = firehose(program=[sys.executable, KILLED, step])
        request_id = f"id-{step}"
        assert sender.post(delivery(batch, request_id), X_Amz_Firehose_Request_Id=request_id) == (0, None)
        assert service.process.wait(60) == -9
    service, sender = firehose()
    for step in ("read", "produced"):  # Firehose tries again
        batch = [text for text in wanted if f'"{step}-' in text]
        assert sender.post(delivery(batch, f"id-{step}"), X_Amz_Firehose_Request_Id=f"id-{step}")[0] == 200
    found = records_of("raw.aws", 9)
    assert set(bodies(found)) == set(wanted)
    assert len({(dict(record.headers())["source-id"], record.value()) for record in found}) == len(wanted)
    assert service.stop() == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_kafka_stopped_in_the_middle(firehose, records_of, paused_kafka, seconds):
    """REL-25: no 200 while Kafka is away; an answer within 30 s all the same."""
    service, sender = firehose(LEADSMAN_ANSWER_TIMEOUT_S="2")
    sender.deliver([message("before")])
    paused_kafka(True)
    statuses, longest = [], 0.0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not statuses:
        begun = time.monotonic()
        statuses.append(sender.post(delivery([message("during")]))[0])
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.2)
    assert set(statuses) <= {503, 429}
    assert longest < 30
    delivering = threading.Thread(target=sender.deliver, args=([message("during")],))
    delivering.start()
    paused_kafka(False)
    delivering.join()
    assert set(bodies(records_of("raw.aws", 2))) == {message("before"), message("during")}
    assert service.stop() == 0
