"""How far each shard was read, kept outside the process: in a DynamoDB table, or in a file for one machine.

A save names the position it supersedes and is refused where another is stored, or where the lease (leases.py, which are
attributes of the same rows) is another worker's: a worker that lost a shard without knowing it moves nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# positions that are no sequence number; the names are the Kinesis Client Library's
TRIM_HORIZON = "TRIM_HORIZON"
SHARD_END = "SHARD_END"


class Checkpoint(msgspec.Struct, frozen=True):
    """A shard's position: a sequence number whose record and all before it are in Kafka, or a name from above.

    Records that arrived before `read_to_ms` (Unix time) were read; it tells whether unread ones may have aged out.
    """

    position: str
    read_to_ms: int


class CheckpointConflict(Exception):
    """Another worker moved the shard: this one must stop reading it."""


class Checkpoints(Protocol):
    """The checkpoints of one stream."""

    def load(self) -> dict[str, Checkpoint]:
        """Return the stored checkpoint of each shard id."""
        ...

    def save(self, shard: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
        """Store durably what follows `previous`; raises CheckpointConflict where that is not what is stored.

        Saving what is stored already is no conflict, so a save whose answer was lost can be repeated.
        """
        ...


class FileCheckpoints:
    """One JSON file a stream, replaced at each save. Holds a lock while it lives: one process a file."""

    def __init__(self, directory: Path, stream: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        name = stream.replace("/", "_").replace(":", "_")
        self._path = directory / f"kinesis-{name}.json"
        self._lock = (directory / f"kinesis-{name}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise CheckpointConflict(f"another process uses {self._path}") from error
        self._stored: dict[str, Checkpoint] = {}
        with contextlib.suppress(FileNotFoundError):
            self._stored = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Checkpoint])

    def load(self) -> dict[str, Checkpoint]:
        """As the protocol says."""
        return dict(self._stored)

    def save(self, shard: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
        """As the protocol says; on disk when it returns."""
        _check(shard, checkpoint, previous, self._stored.get(shard))
        stored = {**self._stored, shard: checkpoint}
        partial = self._path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(stored)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name must outlive a crash too
        finally:
            os.close(folder)
        self._stored = stored

    def close(self) -> None:
        """Let the lock go."""
        self._lock.close()


class DynamoCheckpoints:
    """Rows of a DynamoDB table with the hash key `stream` and the range key `shard`, both strings."""

    def __init__(self, client: DynamoDBClient, table: str, stream: str) -> None:
        self._client = client
        self._table = table
        self._stream = stream

    def load(self) -> dict[str, Checkpoint]:
        """As the protocol says; a strongly consistent read."""
        return {item["shard"]["S"]: _of_item(item) for item in self.items() if "position" in item}

    def items(self) -> Iterator[Mapping[str, Any]]:
        """Return every row of the stream as DynamoDB has it; a strongly consistent read."""
        for page in self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="stream = :stream",
            ExpressionAttributeValues={":stream": {"S": self._stream}},
        ):
            yield from page["Items"]

    def key(self, shard: str) -> dict[str, Any]:
        """Return the key of a shard's row."""
        return {"stream": {"S": self._stream}, "shard": {"S": shard}}

    def save(self, shard: str, checkpoint: Checkpoint, previous: Checkpoint | None, owner: str = "") -> None:
        """As the protocol says, and only while `owner`, where it is given, has the lease. Nothing else changes."""
        values = {":p": {"S": checkpoint.position}, ":r": {"N": str(checkpoint.read_to_ms)}}
        condition = "attribute_not_exists(#position)" if previous is None else "#position = :previous"
        names = {"#position": "position"}
        if previous is not None:
            values[":previous"] = {"S": previous.position}
        if owner:
            condition, names, values = (
                f"{condition} AND #owner = :owner",
                {**names, "#owner": "owner"},
                {**values, ":owner": {"S": owner}},
            )
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self.key(shard),
                UpdateExpression="SET #position = :p, read_to_ms = :r",
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            answer = self._client.get_item(TableName=self._table, Key=self.key(shard), ConsistentRead=True)
            item = answer.get("Item", {})
            if owner and item.get("owner", {}).get("S") != owner:
                raise CheckpointConflict(f"{shard} is no longer ours") from error
            _check(shard, checkpoint, previous, _of_item(item) if "position" in item else None)


def create_table(client: DynamoDBClient, table: str) -> None:
    """Create the table as `DynamoCheckpoints` wants it, paid by request, and wait until it serves."""
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "stream", "KeyType": "HASH"},
            {"AttributeName": "shard", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "stream", "AttributeType": "S"},
            {"AttributeName": "shard", "AttributeType": "S"},
        ],
    )
    client.get_waiter("table_exists").wait(TableName=table)


def _of_item(item: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(item["position"]["S"], int(item["read_to_ms"]["N"]))


def _check(shard: str, new: Checkpoint, previous: Checkpoint | None, stored: Checkpoint | None) -> None:
    """Raise unless `stored` is what is to be superseded, or is the new position already."""
    position = stored.position if stored else None
    if position not in (previous.position if previous else None, new.position):
        raise CheckpointConflict(f"{shard} is at {position}, not at {previous.position if previous else None}")
