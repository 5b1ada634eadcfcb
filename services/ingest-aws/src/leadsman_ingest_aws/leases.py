"""Who reads what: shards and log groups shared among workers by leases in the rows of the checkpoint table.

A row has an `owner` and a `beat` that its owner raises every third of `lease_s`. A worker that sees a beat stand still
for `lease_s`, by its own clock, takes the lease; one that has two fewer than another takes one of the other's, so that
work spreads over workers that come. Both are conditional writes on the very beat that was seen: of two that try, one
has it. No clocks are compared, and a worker that lost a lease without noticing (stopped, cut off) moves no checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from leadsman_ingest_aws.checkpoints import (
    SHARD_END,
    Checkpoint,
    CheckpointConflict,
    Checkpoints,
    DynamoCheckpoints,
)

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class Leases(Protocol):
    """The leases and checkpoints of one stream, as one worker sees them."""

    def offer(self, shards: Iterable[str]) -> None:
        """Say what there is to read. What is ours and no longer among it is let go."""
        ...

    def held(self) -> dict[str, Checkpoint | None]:
        """Return what is ours now, with its checkpoint."""
        ...

    def stored(self) -> dict[str, Checkpoint]:
        """Return the checkpoint of every shard, whoever has it, as it was a moment ago."""
        ...

    def save(self, shard: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
        """Store a checkpoint of ours. Raises CheckpointConflict where the shard is no longer ours."""
        ...

    def close(self) -> None:
        """Let go of everything, so that others need not wait."""
        ...


class SoleLeases:
    """For one worker that has all there is."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._offered: set[str] = set()

    def offer(self, shards: Iterable[str]) -> None:
        """As the protocol says."""
        self._offered = set(shards)

    def held(self) -> dict[str, Checkpoint | None]:
        """As the protocol says."""
        stored = self._checkpoints.load()
        return {shard: stored.get(shard) for shard in self._offered}

    def stored(self) -> dict[str, Checkpoint]:
        """As the protocol says."""
        return self._checkpoints.load()

    def save(self, shard: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
        """As the protocol says."""
        self._checkpoints.save(shard, checkpoint, previous)

    def close(self) -> None:
        """As the protocol says."""


class DynamoLeases:
    """Leases in DynamoDB, kept alive by a thread of their own from `start` to `close`."""

    def __init__(self, client: DynamoDBClient, table: str, stream: str, worker: str, lease_s: float, log: Any) -> None:
        self._client = client
        self._table = table
        self._checkpoints = DynamoCheckpoints(client, table, stream)
        self._worker = worker
        self._lease_s = lease_s
        self._log = log.bind(stream=stream)
        self._offered: set[str] = set()
        self._held: dict[str, Checkpoint | None] = {}
        self._stored: dict[str, Checkpoint] = {}
        self._seen: dict[str, tuple[str, str, float]] = {}  # owner and beat of a row, and since when
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> DynamoLeases:
        """Read the rows, and begin. Raises what AWS says."""
        self._stored = self._checkpoints.load()
        self._thread.start()
        return self

    def offer(self, shards: Iterable[str]) -> None:
        """As the protocol says."""
        with self._lock:
            before, self._offered = self._offered, set(shards)
        if self._offered != before:
            self._wake.set()

    def held(self) -> dict[str, Checkpoint | None]:
        """As the protocol says."""
        with self._lock:
            return dict(self._held)

    def stored(self) -> dict[str, Checkpoint]:
        """As the protocol says."""
        with self._lock:
            return dict(self._stored)

    def save(self, shard: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
        """As the protocol says."""
        try:
            self._checkpoints.save(shard, checkpoint, previous, self._worker)
        except CheckpointConflict:
            with self._lock:
                self._held.pop(shard, None)
            raise
        with self._lock:
            self._stored[shard] = checkpoint
            if shard in self._held:
                self._held[shard] = checkpoint
        if checkpoint.position == SHARD_END:
            self._wake.set()

    def close(self) -> None:
        """As the protocol says. What cannot be let go now runs out by itself."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        try:
            for shard in list(self._held):
                self._let_go(shard)
        except (BotoCoreError, ClientError) as error:
            self._log.warning("leases could not be let go; others take them in time", error=str(error))

    def _run(self) -> None:
        while not self._closing:
            try:
                self._beat()
            except (BotoCoreError, ClientError) as error:
                self._log.warning("leases could not be renewed; trying again", error=str(error))
            self._wake.wait(self._lease_s / 3)
            self._wake.clear()

    def _beat(self) -> None:
        """One look at the rows: renew ours, note what others do, take what is free or one that another can spare."""
        rows = {item["shard"]["S"]: item for item in self._checkpoints.items()}
        now = time.monotonic()
        with self._lock:
            offered, held = set(self._offered), set(self._held)
            self._stored = {
                **{
                    shard: Checkpoint(row["position"]["S"], int(row["read_to_ms"]["N"]))
                    for shard, row in rows.items()
                    if "position" in row
                },
                # what we saved meanwhile is newer than what was read
                **{shard: kept for shard, kept in self._held.items() if kept is not None},
            }
        for shard in held - offered:
            self._let_go(shard)
        for shard in held & offered:
            if not self._write(shard, _owner(rows.get(shard)), _beat_of(rows.get(shard)), renew=True):
                self._lost(shard)
        owners = {shard: self._living(shard, rows.get(shard), now) for shard in offered}
        mine = sum(owner == self._worker for owner in owners.values())
        workers = {owner for owner in owners.values() if owner} | {self._worker}
        free = sorted(shard for shard, owner in owners.items() if not owner)
        for shard in free[: max(0, -(-len(offered) // len(workers)) - mine)]:
            mine += self._take(shard, rows.get(shard))
        if not free:
            self._even_out(owners, mine, rows)

    def _living(self, shard: str, row: Mapping[str, Any] | None, now: float) -> str:
        """Return who holds the lease; "" for nobody, or for one whose beat stood still too long."""
        owner, beat = _owner(row), _beat_of(row)
        if owner in ("", self._worker):
            return owner if shard in self.held() else ""
        seen = self._seen.get(shard)
        if seen is None or seen[:2] != (owner, beat):
            self._seen[shard] = (owner, beat, now)
            return owner
        return owner if now - seen[2] < self._lease_s else ""

    def _even_out(self, owners: Mapping[str, str], mine: int, rows: Mapping[str, Mapping[str, Any]]) -> None:
        others = Counter(owner for owner in owners.values() if owner != self._worker)
        if others:
            (most, count), *_ = others.most_common(1)
            if count - mine >= 2:
                shard = next(shard for shard, owner in sorted(owners.items()) if owner == most)
                self._take(shard, rows.get(shard))

    def _take(self, shard: str, row: Mapping[str, Any] | None) -> bool:
        if not self._write(shard, _owner(row), _beat_of(row), renew=False):
            return False
        # the position as it is now that nobody else can move it
        item = self._client.get_item(TableName=self._table, Key=self._checkpoints.key(shard), ConsistentRead=True)[
            "Item"
        ]
        checkpoint = Checkpoint(item["position"]["S"], int(item["read_to_ms"]["N"])) if "position" in item else None
        with self._lock:
            self._held[shard] = checkpoint
        self._log.info("took a lease", shard=shard, before=_owner(row))
        return True

    def _write(self, shard: str, owner: str, beat: str, *, renew: bool) -> bool:
        """Raise the beat as the owner, or become it; False where the row is not as it was seen."""
        if renew and owner != self._worker:
            return False
        values: dict[str, Any] = {":me": {"S": self._worker}, ":beat": {"N": str(int(beat or 0) + 1)}}
        if owner:
            condition = "#owner = :owner AND beat = :seen"
            values |= {":owner": {"S": owner}, ":seen": {"N": beat}}
        else:
            condition = "attribute_not_exists(#owner)"
        return self._update(shard, "SET #owner = :me, beat = :beat", condition, values)

    def _let_go(self, shard: str) -> None:
        self._update(shard, "REMOVE #owner", "#owner = :me", {":me": {"S": self._worker}})
        self._lost(shard)

    def _update(self, shard: str, update: str, condition: str, values: dict[str, Any]) -> bool:
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self._checkpoints.key(shard),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def _lost(self, shard: str) -> None:
        with self._lock:
            self._held.pop(shard, None)


def _owner(row: Mapping[str, Any] | None) -> str:
    return str(row["owner"]["S"]) if row and "owner" in row else ""


def _beat_of(row: Mapping[str, Any] | None) -> str:
    return str(row["beat"]["N"]) if row and "beat" in row else ""
