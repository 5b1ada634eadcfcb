"""Which events of a polled log group Kafka has already, page by page, kept outside the process.

A page's ids are stored once Kafka has acknowledged the page, so a worker that starts again, or takes a group over, in
the middle of a pass sends nothing twice. Pages that end before the checkpoint are dropped. Ids are kept as digests of
twelve bytes: among a hundred million of them two are the same with a chance of one in ten million million.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DIGEST_BYTES = 12


class Page(msgspec.Struct, frozen=True):
    """The digests of a page's events, one after the other, and the time of the newest."""

    newest_ms: int
    digests: bytes

    def ids(self) -> Iterator[bytes]:
        """Yield each digest."""
        for at in range(0, len(self.digests), DIGEST_BYTES):
            yield self.digests[at : at + DIGEST_BYTES]


def digest(event_id: str) -> bytes:
    """Return what stands for an event's id."""
    return hashlib.blake2b(event_id.encode(), digest_size=DIGEST_BYTES).digest()


class SeenPages(Protocol):
    """The pages of one log group."""

    def load(self) -> list[Page]:
        """Return all of them."""
        ...

    def add(self, page: Page) -> None:
        """Store one durably."""
        ...

    def trim(self, final_ms: int) -> None:
        """Drop those whose newest event is not after `final_ms`."""
        ...


class FilePages:
    """One file a group, a JSON line a page; written anew when pages are dropped. One process a file."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"seen-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}.jsonl"

    def load(self) -> list[Page]:
        """As the protocol says. A last line that was cut by a crash was not acknowledged to anybody."""
        pages = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    pages.append(msgspec.json.decode(line, type=Page))
        return pages

    def add(self, page: Page) -> None:
        """As the protocol says; on disk when it returns."""
        # a line end first, in case a crash left half a line
        self._write(self._path, b"\n" + msgspec.json.encode(page), "ab")

    def trim(self, final_ms: int) -> None:
        """As the protocol says."""
        pages = self.load()
        kept = [page for page in pages if page.newest_ms > final_ms]
        if len(kept) < len(pages):
            partial = self._path.with_suffix(".partial")
            self._write(partial, b"\n".join(msgspec.json.encode(page) for page in kept), "wb")
            partial.replace(self._path)

    def _write(self, path: Path, data: bytes, mode: str) -> None:
        with path.open(mode) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


class DynamoPages:
    """Rows of the checkpoint table (checkpoints.py), whose range key begins with the page's newest time."""

    def __init__(self, client: DynamoDBClient, table: str, name: str) -> None:
        self._client = client
        self._table = table
        self._stream = f"seen:{name}"
        self._rows: dict[str, int] = {}

    def load(self) -> list[Page]:
        """As the protocol says; a strongly consistent read."""
        pages = []
        for answer in self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="stream = :stream",
            ExpressionAttributeValues={":stream": {"S": self._stream}},
        ):
            for item in answer["Items"]:
                page = Page(int(item["newest_ms"]["N"]), item["ids"]["B"])
                self._rows[item["shard"]["S"]] = page.newest_ms
                pages.append(page)
        return pages

    def add(self, page: Page) -> None:
        """As the protocol says."""
        name = hashlib.blake2b(page.digests, digest_size=8).hexdigest()
        row = f"{page.newest_ms:015}-{name}"
        self._client.put_item(
            TableName=self._table,
            Item={
                "stream": {"S": self._stream},
                "shard": {"S": row},
                "newest_ms": {"N": str(page.newest_ms)},
                "ids": {"B": page.digests},
            },
        )
        self._rows[row] = page.newest_ms

    def trim(self, final_ms: int) -> None:
        """As the protocol says."""
        for row in [row for row, newest_ms in self._rows.items() if newest_ms <= final_ms]:
            self._client.delete_item(TableName=self._table, Key={"stream": {"S": self._stream}, "shard": {"S": row}})
            del self._rows[row]


def page_of(events: Iterable[tuple[str, int]]) -> Page:
    """Return the page of events given as id and time (ms)."""
    pairs = list(events)
    return Page(max(time_ms for _, time_ms in pairs), b"".join(digest(event_id) for event_id, _ in pairs))
