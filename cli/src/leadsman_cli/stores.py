"""Where an archive's files lie: a folder, a bucket of S3 or of Cloud Storage. A file is there whole or not at all.

Credentials and endpoints are what the SDKs find by themselves: AWS_*, GOOGLE_APPLICATION_CREDENTIALS, the workload's
identity.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage

SPOOLED = 16 * 1024 * 1024


class StoreError(RuntimeError):
    """The place cannot be read or written; the text names it."""


class Store(Protocol):
    """A place for files. What goes wrong is raised as StoreError by `guarded`."""

    def names(self) -> list[str]:
        """The names of all files below the place, in order."""
        ...

    def put(self, name: str, data: BinaryIO) -> None:
        """Keep a file, in place of one of that name."""
        ...

    def get(self, name: str, into: BinaryIO) -> None:
        """Write a file's bytes into another."""
        ...


def open_store(place: str) -> Store:
    """The store of `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or a folder. Raises StoreError for another URL."""
    parts = urlsplit(place)
    if parts.scheme in ("", "file") or "://" not in place:
        return Folder(Path(parts.path if parts.scheme == "file" else place))
    if parts.scheme == "s3":
        return S3(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "gs":
        return CloudStorage(parts.netloc, parts.path.strip("/"))
    raise StoreError(f"{place}: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX is meant")


@contextmanager
def guarded(place: str) -> Iterator[None]:
    """Raise whatever goes wrong with a place as StoreError."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError, GoogleAPIError, GoogleAuthError) as error:
        raise StoreError(f"{place}: {error}") from error


@contextmanager
def fetched(store: Store, name: str) -> Iterator[BinaryIO]:
    """A file's bytes, to be read once; in memory while it is small."""
    with tempfile.SpooledTemporaryFile(SPOOLED) as spooled:
        into = cast("BinaryIO", spooled)
        store.get(name, into)
        into.seek(0)
        yield into


class Folder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """See Store."""
        return sorted(p.relative_to(self._root).as_posix() for p in self._root.rglob("*") if p.is_file())

    def put(self, name: str, data: BinaryIO) -> None:
        """See Store."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as out:
            _copy(data, out)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)

    def get(self, name: str, into: BinaryIO) -> None:
        """See Store."""
        with (self._root / name).open("rb") as source:
            _copy(source, into)


class S3:
    """A bucket of S3."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._client: Any = boto3.client("s3")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""

    def names(self) -> list[str]:
        """See Store."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def put(self, name: str, data: BinaryIO) -> None:
        """See Store."""
        self._client.upload_fileobj(data, self._bucket, self._prefix + name)

    def get(self, name: str, into: BinaryIO) -> None:
        """See Store."""
        self._client.download_fileobj(self._bucket, self._prefix + name, into)


class CloudStorage:
    """A bucket of Google Cloud Storage."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = storage.Client().bucket(bucket)
        self._prefix = f"{prefix}/" if prefix else ""

    def names(self) -> list[str]:
        """See Store."""
        return sorted(blob.name.removeprefix(self._prefix) for blob in self._bucket.list_blobs(prefix=self._prefix))

    def put(self, name: str, data: BinaryIO) -> None:
        """See Store."""
        self._bucket.blob(self._prefix + name).upload_from_file(data)

    def get(self, name: str, into: BinaryIO) -> None:
        """See Store."""
        self._bucket.blob(self._prefix + name).download_to_file(into)


def _copy(source: BinaryIO, into: BinaryIO) -> None:
    while data := source.read(1 << 20):
        into.write(data)
