"""ingest-aws on real Kafka, and moto's Kinesis and DynamoDB: untouched bytes, no checkpoint before Kafka has them."""

import gzip
import json
import os
import secrets
import threading
import time

import boto3
import pytest
import structlog

from leadsman_common.kafka import AckedProducer
from leadsman_common.outbox import Outbox
from leadsman_ingest_aws.checkpoints import SHARD_END, Checkpoint, DynamoCheckpoints, create_table
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.intake import Intake
from leadsman_ingest_aws.kinesis import StreamReader
from leadsman_ingest_aws.leases import SoleLeases

pytestmark = pytest.mark.integration

REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Aws:
    """One stream and one table of the stand-in."""

    def __init__(self, endpoint, shards):
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.endpoint = endpoint
        self.kinesis = boto3.client("kinesis", endpoint_url=endpoint, region_name=REGION, **keys)
        self.dynamo = boto3.client("dynamodb", endpoint_url=endpoint, region_name=REGION, **keys)
        self.stream = f"audit-{secrets.token_hex(4)}"
        self.kinesis.create_stream(StreamName=self.stream, ShardCount=shards)
        create_table(self.dynamo, self.stream)
        self.checkpoints = DynamoCheckpoints(self.dynamo, self.stream, self.stream)
        self.env = {
            **CREDENTIALS,
            "LEADSMAN_AWS_ENDPOINT_URL": endpoint,
            "LEADSMAN_AWS_REGION": REGION,
            "LEADSMAN_KINESIS_STREAM": self.stream,
            "LEADSMAN_CHECKPOINT_TABLE": self.stream,
            "LEADSMAN_SHARD_REFRESH_S": "1",
            "LEADSMAN_POLL_INTERVAL_S": "0.05",
            "LEADSMAN_LEASE_S": "3",
        }

    def put(self, *datas):
        """Write records over all shards."""
        entries = [{"Data": data, "PartitionKey": secrets.token_hex(4)} for data in datas]
        for at in range(0, len(entries), 100):
            answer = self.kinesis.put_records(StreamName=self.stream, Records=entries[at : at + 100])
            assert not answer["FailedRecordCount"]

    def put_each(self, messages):
        """Write each message in a record of its own."""
        self.put(*(zipped(document([message])) for message in messages))

    def positions(self):
        return {shard: checkpoint.position for shard, checkpoint in self.checkpoints.load().items()}

    def tips(self):
        """The position behind each shard's last record, as the stand-in counts (1, 2, ...)."""
        shards = self.kinesis.list_shards(StreamName=self.stream)["Shards"]
        found = {}
        for shard in shards:
            iterator = self.kinesis.get_shard_iterator(
                StreamName=self.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            records = self.kinesis.get_records(ShardIterator=iterator)["Records"]
            if records:
                found[shard["ShardId"]] = records[-1]["SequenceNumber"]
        return found


@pytest.fixture
def aws(moto_endpoint):
    return lambda shards=2: Aws(moto_endpoint, shards)


def document(messages, stream="kube-apiserver-audit-0123456789abcdef", **changes):
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "/aws/eks/harbour/cluster",
        "logStream": stream,
        "subscriptionFilters": ["to-kinesis"],
        "logEvents": [
            {"id": f"{secrets.randbelow(10**56):056d}", "timestamp": 1, "message": message} for message in messages
        ],
    } | changes


def zipped(value):
    return gzip.compress(json.dumps(value).encode())


def event(at):
    return f'{{"kind":"Event",  "auditID":"{at}","user":{{"username":"é"}}}}'


def values(records):
    return {record.value().decode() for record in records}


def test_records_become_events_untouched(aws, run_service, records_of, eventually):
    aws = aws()
    service = run_service("leadsman_ingest_aws", aws.env)
    audit, klog = [event(at) for at in range(250)], ["I1123 10:00:00 klog text"]
    # hardly compressible, so that it fills a good part of a record
    large = json.dumps({"kind": "Event", "auditID": "large", "x": os.urandom(750_000).hex()})
    assert len(large) > 1_500_000
    record = zipped(document([large]))
    assert len(record) < 1024 * 1024
    garbage = [zipped(document(["cut"]))[:-40], b"\xf3\x89\x9a\xc2aggregated", b"no document"]
    aws.put(*(zipped(document(audit[at : at + 25])) for at in range(0, 250, 25)))
    aws.put(zipped(document(klog, stream="kube-scheduler-0123")), record, *garbage)
    aws.put(zipped(document(["check"], messageType="CONTROL_MESSAGE")))

    found = records_of("raw.aws", 252)
    assert sorted(record.value() for record in found) == sorted(text.encode() for text in (*audit, *klog, large))
    by_value = {record.value().decode(): record for record in found}
    headers = {name: value.decode() for name, value in by_value[audit[0]].headers()}
    assert abs(int(headers.pop("received-ms")) - time.time() * 1000) < 600_000
    assert len(headers.pop("source-id")) == 56
    assert headers == {
        "format": "eks-audit",
        "cluster": "harbour",
        "account": "111122223333",
        "region": REGION,
        "provider": "aws",
        "log-stream": "kube-apiserver-audit-0123456789abcdef",
    }
    assert dict(by_value[klog[0]].headers())["format"] == b"eks-scheduler"
    assert len({record.partition() for record in found}) == 3

    dead = records_of("raw.aws.dlq", 3)
    assert {record.value() for record in dead} == set(garbage)
    by_value = {record.value(): {k: v.decode() for k, v in record.headers()} for record in dead}
    assert by_value[garbage[0]]["dlq-reason"] == "gzip is cut short"
    assert "checksum" in by_value[garbage[1]]["dlq-reason"]
    first = by_value[garbage[0]]
    assert (first["dlq-stage"], first["format"]) == ("ingest-aws", "cloudwatch-envelope")
    assert first["source-id"].startswith("shardId-")

    eventually("checkpoints at the tips", lambda: aws.positions().items() >= aws.tips().items())
    counts = service.metrics()
    topic = found[0].topic()
    eventually("readiness", service.ready)
    assert counts[f'leadsman_received_total{{service="ingest-aws",source="{aws.stream}"}}'] == 256
    assert counts[f'leadsman_produced_total{{service="ingest-aws",topic="{topic}"}}'] == 252
    assert counts[f'leadsman_dead_lettered_total{{service="ingest-aws",topic="{topic}.dlq"}}'] == 3
    assert counts['leadsman_filtered_total{reason="control message",service="ingest-aws"}'] == 1

    # a restart goes on where the first one stopped: nothing comes twice
    assert service.stop() == 0
    aws.put_each([event("after")])
    second = run_service("leadsman_ingest_aws", aws.env)
    assert event("after") in values(records_of("raw.aws", 253))
    assert second.stop() == 0
    assert len(records_of("raw.aws")) == 253


@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed between produce and ack"])
def test_no_checkpoint_before_kafka_has_it(aws, run_service, records_of, eventually, paused_kafka, killed):
    aws = aws(1)
    service = run_service("leadsman_ingest_aws", aws.env)
    aws.put_each([event("first")])
    records_of("raw.aws", 1)
    eventually("the first checkpoint", lambda: aws.positions() == aws.tips())
    before = aws.positions()

    paused_kafka(True)
    later = [event(at) for at in range(20)]
    aws.put_each(later)
    time.sleep(2)
    assert aws.positions() == before
    if killed:
        service.kill()  # what it sent stands in the stopped broker's socket: written, and never acknowledged
    paused_kafka(False)
    if killed:
        assert aws.positions() == before
        service = run_service("leadsman_ingest_aws", aws.env)

    eventually("the last checkpoint", lambda: aws.positions() == aws.tips(), 90)
    found = records_of("raw.aws", 21)
    assert values(found) == {event("first"), *later}
    if not killed:
        assert len(found) == 21
    assert service.stop() == 0


def test_the_child_of_merged_shards_is_read(aws, run_service, records_of, eventually):
    aws = aws(2)
    service = run_service("leadsman_ingest_aws", aws.env)
    messages = [event(at) for at in range(20)]
    aws.put_each(messages)
    records_of("raw.aws", 20)
    left, right = (shard["ShardId"] for shard in aws.kinesis.list_shards(StreamName=aws.stream)["Shards"])
    # the stand-in copies the parents' records into the child, so there they come once more
    aws.kinesis.merge_shards(StreamName=aws.stream, ShardToMerge=left, AdjacentShardToMerge=right)
    found = records_of("raw.aws", 40)
    assert values(found) == set(messages)
    child = "shardId-000000000002"
    eventually("all read", lambda: aws.positions() == {left: SHARD_END, right: SHARD_END, child: aws.tips()[child]})
    order = [line["shard"] for line in service.lines("reading a shard")]
    assert (sorted(order[:2]), order[2:]) == ([left, right], [child])
    assert service.stop() == 0


class AsAws:
    """What the real Kinesis answers and the stand-in never does: put into the answers of a client."""

    def __init__(self, client):
        self.errors = ["ExpiredIteratorException", *["ProvisionedThroughputExceededException"] * 5]
        self.closed = threading.Event()
        client.meta.events.register("after-call.kinesis.GetRecords", self)

    def __call__(self, http_response, parsed, **_):
        if self.errors:
            http_response.status_code = 400
            parsed["Error"] = {"Code": self.errors.pop(0), "Message": ""}
        elif self.closed.is_set() and not parsed["Records"]:
            parsed.pop("NextShardIterator")


def test_expired_iterators_throttling_and_the_end_of_a_shard(aws, bootstrap, topic_prefix, records_of, eventually):
    aws = aws(1)
    settings = Settings(
        kinesis_stream=(aws.stream,), topic_prefix=topic_prefix, poll_interval_s=0.01, shard_refresh_s=3600
    )
    stop, kinesis = threading.Event(), AsAws(aws.kinesis)
    log = structlog.get_logger()
    outbox = Outbox(AckedProducer(bootstrap))
    (stream,) = settings.streams
    leases = SoleLeases(aws.checkpoints)
    reader = StreamReader(settings, stream, aws.kinesis, leases, Intake(settings, outbox, log), stop, log)
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        aws.put_each([event(at) for at in range(5)])
        assert values(records_of("raw.aws", 5)) == {event(at) for at in range(5)}
        assert kinesis.errors == []
        eventually("the checkpoint", aws.positions)  # Kafka has the records before it is written
        (parent,) = aws.positions()
        aws.kinesis.split_shard(StreamName=aws.stream, ShardToSplit=parent, NewStartingHashKey=str(2**127))
        assert aws.positions().keys() == {parent}
        kinesis.closed.set()  # the missing iterator alone makes it look for children: the next listing is an hour off
        eventually("the children", lambda: len(aws.positions()) == 3)
        assert aws.positions()[parent] == SHARD_END
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    outbox.close()


def test_a_checkpoint_that_aged_out_is_said_loudly(aws, run_service, records_of, eventually):
    aws = aws(1)
    aws.put_each([event(at) for at in range(5)])
    (shard,) = aws.kinesis.list_shards(StreamName=aws.stream)["Shards"]
    a_day_and_an_hour_ago = int((time.time() - 25 * 3600) * 1000)
    aws.checkpoints.save(shard["ShardId"], Checkpoint("3", a_day_and_an_hour_ago), None)
    aws.checkpoints.save("shardId-000000000099", Checkpoint("7", a_day_and_an_hour_ago), None)
    service = run_service("leadsman_ingest_aws", aws.env)
    # all that the stream still has, not only what follows the checkpoint
    assert values(records_of("raw.aws", 5)) == {event(at) for at in range(5)}
    # its lease may be taken after the other one's: it is told when its end is written
    eventually("the end of the shard that is gone", lambda: aws.positions()["shardId-000000000099"] == SHARD_END)
    assert {line["level"] for line in service.lines("a checkpoint is older than")} == {"error"}
    assert len(service.lines("the stream no longer has a shard")) == 1
    assert service.metrics()[f'leadsman_gaps_total{{service="ingest-aws",source="{aws.stream}"}}'] == 2
    assert service.stop() == 0


def test_a_flood_of_bad_records_stops_the_service(aws, run_service):
    aws = aws(1)
    aws.put(*[b"no document"] * 20)
    service = run_service("leadsman_ingest_aws", {**aws.env, "LEADSMAN_MAX_BAD_IN_A_ROW": "10"})
    assert service.process.wait(60) == 1
    assert aws.positions() == {}


def test_a_broken_world_is_borne_for_a_bound(aws, run_service):
    aws = aws(1)
    env = {**aws.env, "LEADSMAN_KINESIS_STREAM": "absent", "LEADSMAN_BROKEN_S": "4"}
    service = run_service("leadsman_ingest_aws", env)
    assert service.process.wait(60) == 1
    assert len(service.lines("reading failed")) > 2


def test_checkpoints_in_a_file(aws, run_service, records_of, tmp_path, eventually):
    aws = aws(1)
    state = tmp_path / "state"
    env = {**aws.env, "LEADSMAN_CHECKPOINT_TABLE": "", "LEADSMAN_STATE_DIR": str(state)}
    aws.put_each([event(1)])
    service = run_service("leadsman_ingest_aws", env)
    records_of("raw.aws", 1)
    ((shard, tip),) = aws.tips().items()
    file = state / f"kinesis-{aws.stream}.json"

    def position():  # there is no file before the first checkpoint, which follows the records
        return json.loads(file.read_text()).get(shard, {}).get("position") if file.exists() else None

    eventually("the checkpoint", lambda: position() == tip)
    assert service.stop() == 0
    aws.put_each([event(2)])
    service = run_service("leadsman_ingest_aws", env)
    assert values(records_of("raw.aws", 2)) == {event(1), event(2)}
    assert service.stop() == 0
    assert len(records_of("raw.aws")) == 2
