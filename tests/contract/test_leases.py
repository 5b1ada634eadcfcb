"""Leases in DynamoDB among workers of one process: shared, taken over, evened out, and a zombie moves nothing."""

import secrets
import time

import boto3
import pytest
import structlog

from leadsman_ingest_aws.checkpoints import SHARD_END, Checkpoint, CheckpointConflict, create_table
from leadsman_ingest_aws.leases import DynamoLeases

pytestmark = pytest.mark.integration

LEASE_S = 1.5
SHARDS = [f"shard-{at}" for at in range(4)]


@pytest.fixture
def join(moto_endpoint):
    """Give join(name) -> the leases of a worker of that name, offered all shards."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=moto_endpoint,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    table = f"leases-{secrets.token_hex(4)}"
    create_table(client, table)
    joined = []

    def worker(name):
        leases = DynamoLeases(client, table, "audit", name, LEASE_S, structlog.get_logger()).start()
        leases.offer(SHARDS)
        joined.append(leases)
        return leases

    yield worker
    for leases in joined:
        leases.close()


def wait(condition):
    """What it gives once it gives something."""
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def shared(workers, *numbers):
    """Whether these hold so many each, in any order, and all shards together, at one look."""
    held = [list(worker.held()) for worker in workers]
    return (
        sorted(map(len, held)) == sorted(numbers) and sorted(shard for one in held for shard in one) == SHARDS and held
    )


def die(leases):
    """What kill -9 does: it beats no more, and lets nothing go."""
    leases._closing = True
    leases._wake.set()
    leases._thread.join()
    held, leases._held = dict(leases._held), {}
    return held


def test_work_spreads_over_workers_that_come_and_falls_back(join):
    one = join("one")
    wait(lambda: len(one.held()) == 4)
    two, three = join("two"), join("three")
    wait(lambda: shared((one, two, three), 1, 1, 2))
    three.close()
    wait(lambda: sorted([*one.held(), *two.held()]) == SHARDS)
    assert die(two)
    wait(lambda: len(one.held()) == 4)


def test_a_worker_that_was_stopped_moves_no_checkpoint(join):
    one = join("one")
    wait(lambda: len(one.held()) == 4)
    one.save("shard-0", Checkpoint("5", 1), None)
    die(one)
    two = join("two")
    wait(lambda: len(two.held()) == 4)
    assert two.held()["shard-0"] == Checkpoint("5", 1)
    two.save("shard-0", Checkpoint("9", 2), Checkpoint("5", 1))
    for position, previous in (("6", Checkpoint("5", 1)), ("10", Checkpoint("9", 2))):
        with pytest.raises(CheckpointConflict):
            one.save("shard-0", Checkpoint(position, 3), previous)
    with pytest.raises(CheckpointConflict):
        one.save("shard-1", Checkpoint("1", 3), None)
    assert two.stored()["shard-0"] == Checkpoint("9", 2)


def test_what_is_not_offered_is_let_go(join):
    one, two = join("one"), join("two")
    ((first, _), _) = wait(lambda: shared((one, two), 2, 2))
    one.save(first, Checkpoint(SHARD_END, 1), None)
    rest = [shard for shard in SHARDS if shard != first]
    one.offer(rest)
    two.offer(rest)
    wait(lambda: sorted([*one.held(), *two.held()]) == rest)
    wait(lambda: two.stored().get(first) == Checkpoint(SHARD_END, 1))


def test_a_save_whose_answer_was_lost_can_be_repeated(join):
    one = join("one")
    wait(lambda: len(one.held()) == 4)
    for _ in range(2):
        one.save("shard-0", Checkpoint("5", 1), None)
