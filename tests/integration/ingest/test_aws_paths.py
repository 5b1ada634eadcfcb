"""Every path of AWS against the stand-in: killed between steps, Kafka stopped in the middle, nothing lost."""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from aws_paths import PATHS, Aws, Kinesis, LogGroup, TrailFiles, message

pytestmark = pytest.mark.integration

KILLED = str(Path(__file__).parents[1] / "programs" / "ingest_aws_killed.py")


@pytest.fixture
def aws(moto_endpoint):
    return Aws(moto_endpoint)


@pytest.fixture(params=PATHS)
def path(request, aws):
    made = PATHS[request.param](aws)
    yield made
    if hasattr(made, "close"):
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
        service = run_service("leadsman_ingest_aws", path.env, program=[sys.executable, KILLED, step])
        assert service.process.wait(90) == -9
    path.put([message("after")])
    wanted.append(message("after"))
    service = run_service("leadsman_ingest_aws", path.env)
    ids_wanted = {json.loads(text)["auditID"] for text in wanted}  # the stand-in's EventBridge writes JSON anew
    eventually("everything in Kafka", lambda: {*names(records_of("raw.aws"))} == ids_wanted, 90)
    found = records_of("raw.aws")
    ids = {(dict(record.headers())["source-id"], record.value()) for record in found}
    assert len(ids) == len(wanted)
    assert records_of("raw.aws.dlq") == []
    assert service.stop() == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_kafka_stopped_in_the_middle(path, run_service, records_of, eventually, paused_kafka, seconds):
    path.put([message("before")])
    nothing = path.acknowledged()
    service = run_service("leadsman_ingest_aws", path.env)
    eventually("the first", lambda: names(records_of("raw.aws")) == {"before": 1}, 90)
    # of a queue it is what is left, below nought
    eventually("its acknowledgement", lambda: path.acknowledged() not in (nothing, -1))
    before = path.acknowledged()
    paused_kafka(True)
    path.put([message(f"during-{at}") for at in range(5)])
    time.sleep(seconds)
    assert path.acknowledged() <= before
    assert not service.ready()
    paused_kafka(False)
    wanted = {"before", *(f"during-{at}" for at in range(5))}
    eventually("the others", lambda: {*names(records_of("raw.aws"))} == wanted, 90)
    eventually("acknowledged", lambda: path.acknowledged() != before or path.acknowledged() == 0)
    assert service.stop() == 0


def test_1000_events_of_one_millisecond_late_ones_and_restarts(aws, run_service, records_of, eventually):
    """REL-22: pages of equal timestamps, ten minutes of lateness, restarts between pages: none missed, none twice."""
    group = LogGroup(aws)
    env = {**group.env, "LEADSMAN_POLL_RECORDS": "100"}
    slow = {**env, "LEADSMAN_POLL_RECORDS": "10"}  # many pages, so that it is stopped between two of them
    now_ms = int(time.time() * 1000)
    group.put([message(f"same-{at}") for at in range(1000)], now_ms - 60_000)
    service = run_service("leadsman_ingest_aws", slow)
    eventually("some pages", lambda: len(records_of("raw.aws")) >= 20, 60)
    assert service.stop() == 0
    assert len(records_of("raw.aws")) < 1000, "it was stopped too late to be between pages"
    service = run_service("leadsman_ingest_aws", env)
    eventually("all pages", lambda: len(records_of("raw.aws")) >= 1000, 60)
    group.logs.create_log_stream(logGroupName=group.group, logStreamName="authenticator-0123")
    for minutes in range(11):  # in later, with earlier times; the last one is older than all that was read
        late = [message(f"late-{minutes}-{at}") for at in range(10)]
        group.put(late, now_ms - minutes * 60_000, "authenticator-0123")
    eventually("late ones", lambda: len(records_of("raw.aws")) >= 1110, 60)
    assert service.stop() == 0
    service = run_service("leadsman_ingest_aws", env)
    group.put([message("last")])
    eventually("the last", lambda: "last" in names(records_of("raw.aws")), 60)
    found = records_of("raw.aws")
    wanted = {f"same-{at}" for at in range(1000)} | {f"late-{m}-{at}" for m in range(11) for at in range(10)} | {"last"}
    assert names(found) == dict.fromkeys(wanted, 1)
    headers = {name: value.decode() for name, value in found[0].headers()}
    assert (headers["cluster"], headers["account"], headers["region"]) == (aws.name, "123456789012", "eu-west-1")
    assert {dict(record.headers())["format"] for record in found} == {b"eks-audit", b"eks-authenticator"}
    assert service.stop() == 0


def test_the_past_is_read_once_and_gone_on_with(aws, run_service, records_of):
    group = LogGroup(aws)
    now_ms = int(time.time() * 1000)
    for hour in range(30):
        group.put([message(f"past-{hour}")], now_ms - hour * 3_600_000 - 1000)
    program = [sys.executable, "-m", "leadsman_ingest_aws", "--since", "24h"]
    for _ in range(2):  # the second run finds nothing new
        assert run_service("leadsman_ingest_aws", group.env, program=program).process.wait(90) == 0
    assert names(records_of("raw.aws")) == {f"past-{hour}": 1 for hour in range(24)}


@pytest.mark.timeout(600)
def test_scaled_up_and_down_under_load(aws, run_service, records_of, eventually):
    """1, 3, 2 workers; one leaves in order, nothing is lost and each has had work."""
    path = Kinesis(aws, shards=4)
    env = path.env
    wanted = []

    def put(count):
        batch = [message(f"{len(wanted) + at}") for at in range(count)]
        wanted.extend(batch)
        entries = [
            {
                "Data": json.dumps({**DOCUMENT, "logEvents": [{"id": text, "timestamp": 1, "message": text}]}).encode(),
                "PartitionKey": str(at),
            }
            for at, text in enumerate(batch)
        ]
        assert not path.kinesis.put_records(StreamName=aws.name, Records=entries)["FailedRecordCount"]

    workers = [run_service("leadsman_ingest_aws", env)]
    put(40)
    eventually("the first worker", lambda: len(workers[0].lines("reading a shard")) == 4, 120)
    workers += [run_service("leadsman_ingest_aws", env) for _ in range(2)]
    deadline = time.monotonic() + 180
    while not all(worker.lines("reading a shard") for worker in workers):
        put(20)
        time.sleep(1)
        assert time.monotonic() < deadline
    put(40)
    assert workers[2].stop() == 0
    put(40)
    workers[1].kill()
    workers.append(run_service("leadsman_ingest_aws", env))
    eventually("the work of the killed one", lambda: workers[3].lines("reading a shard"), 120)
    put(40)
    eventually("all", lambda: {r.value().decode() for r in records_of("raw.aws")} == {*wanted}, 120)
    for worker in (workers[0], workers[3]):
        assert worker.stop() == 0


DOCUMENT = {
    "messageType": "DATA_MESSAGE",
    "owner": "111122223333",
    "logGroup": "/aws/eks/harbour/cluster",
    "logStream": "kube-apiserver-audit-0123",
}


def test_what_is_no_file_or_no_news_goes_to_the_dead_letters(aws, run_service, records_of, eventually):
    files = TrailFiles(aws)
    bucket = aws.name
    files.put([message("good")])
    files.s3.put_object(Bucket=bucket, Key="poison", Body=b"\x1f\x8bpoison")
    files.s3.put_object(Bucket=bucket, Key="half", Body=b'{"Records":[' + message("saved").encode() + b',{"x":1}]}')
    files.s3.put_object(Bucket=bucket, Key=files.key().replace("/CloudTrail/", "/CloudTrail-Digest/"), Body=b"{}")
    gone = {
        "Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": "gone"}}}]
    }
    stranger = json.dumps(gone).replace(f'"{bucket}"', '"stranger"')
    asks = {"Type": "SubscriptionConfirmation", "Message": "x", "SubscribeURL": "http://169.254.169.254/latest"}
    for body in ("no news", json.dumps(gone), stranger, json.dumps(asks), json.dumps({"Event": "s3:TestEvent"})):
        files.sqs.send_message(QueueUrl=files.url, MessageBody=body)
    service = run_service("leadsman_ingest_aws", {**files.env, "LEADSMAN_S3_BUCKETS": bucket})
    eventually("an empty queue", lambda: files.left() == 0, 60)
    assert set(names(records_of("raw.aws"))) == {"good", "saved"}
    reasons = sorted(dict(record.headers())["dlq-reason"].decode() for record in records_of("raw.aws.dlq", 5))
    for reason, wanted in zip(
        reasons,
        (
            "Records[1]: no CloudTrail record",
            "gzip is",
            "no notification",
            f"s3://{bucket}/gone is gone",
            "the bucket stranger",
        ),
        strict=True,
    ):
        assert reason.startswith(wanted)
    counts = service.metrics()
    assert counts['leadsman_filtered_total{reason="SNS confirmation",service="ingest-aws"}'] == 1
    assert counts[f'leadsman_gaps_total{{service="ingest-aws",source="{bucket}"}}'] == 1
    assert service.stop() == 0
