"""One contract for checkpoints, held by the file and by DynamoDB."""

import secrets

import boto3
import pytest

from leadsman_ingest_aws.checkpoints import (
    SHARD_END,
    TRIM_HORIZON,
    Checkpoint,
    CheckpointConflict,
    DynamoCheckpoints,
    FileCheckpoints,
    create_table,
)

START, NEXT, OTHER = Checkpoint(TRIM_HORIZON, 1), Checkpoint("4" * 56, 2), Checkpoint("5" * 56, 3)


@pytest.fixture
def open_file(tmp_path):
    held = []

    def open_(stream="audit"):
        for one in held:
            one.close()
        held.append(FileCheckpoints(tmp_path / "state", stream))
        return held[-1]

    yield open_
    for one in held:
        one.close()


@pytest.fixture
def open_dynamo(moto_endpoint):
    client = boto3.client(
        "dynamodb",
        endpoint_url=moto_endpoint,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    table = f"checkpoints-{secrets.token_hex(4)}"
    create_table(client, table)
    return lambda stream="audit": DynamoCheckpoints(client, table, stream)


@pytest.fixture(params=["file", pytest.param("dynamo", marks=pytest.mark.integration)])
def reopen(request):
    """Give a function that opens the same store anew, as after a restart."""
    return request.getfixturevalue(f"open_{request.param}")


def test_a_new_stream_has_none(reopen):
    assert reopen().load() == {}


def test_what_is_saved_outlives_the_process(reopen):
    store = reopen()
    store.save("shard-0", START, None)
    store.save("shard-0", NEXT, START)
    store.save("shard-1", Checkpoint(SHARD_END, 7), None)
    assert reopen().load() == {"shard-0": NEXT, "shard-1": Checkpoint(SHARD_END, 7)}


def test_the_time_alone_may_move(reopen):
    store = reopen()
    store.save("shard-0", NEXT, None)
    later = Checkpoint(NEXT.position, 99)
    store.save("shard-0", later, NEXT)
    assert store.load() == {"shard-0": later}


@pytest.mark.parametrize("previous", [None, START, OTHER], ids=["none", "older", "unknown"])
def test_another_workers_position_is_not_overwritten(reopen, previous):
    store = reopen()
    store.save("shard-0", START, None)
    store.save("shard-0", NEXT, START)
    with pytest.raises(CheckpointConflict, match="shard-0"):
        store.save("shard-0", Checkpoint("6" * 56, 9), previous)
    assert reopen().load() == {"shard-0": NEXT}


def test_a_repeated_save_is_no_conflict(reopen):
    store = reopen()
    store.save("shard-0", START, None)
    store.save("shard-0", NEXT, START)
    store.save("shard-0", NEXT, START)
    assert store.load() == {"shard-0": NEXT}


def test_a_save_without_predecessor_needs_one(reopen):
    with pytest.raises(CheckpointConflict):
        reopen().save("shard-0", NEXT, START)


def test_streams_are_apart(reopen):
    reopen("one").save("shard-0", NEXT, None)
    assert reopen("two").load() == {}


def test_one_process_a_file(open_file, tmp_path):
    open_file()
    with pytest.raises(CheckpointConflict, match="another process"):
        FileCheckpoints(tmp_path / "state", "audit")


@pytest.mark.integration
def test_other_attributes_of_a_row_stay(open_dynamo):
    store = open_dynamo()
    store.save("shard-0", START, None)
    key = {"stream": {"S": "audit"}, "shard": {"S": "shard-0"}}
    store._client.update_item(
        TableName=store._table,
        Key=key,
        UpdateExpression="SET lease_owner = :o",
        ExpressionAttributeValues={":o": {"S": "me"}},
    )
    store.save("shard-0", NEXT, START)
    assert store._client.get_item(TableName=store._table, Key=key)["Item"]["lease_owner"] == {"S": "me"}
