"""Files in S3: one that a message names is read as it comes, split, and given to Kafka document by document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from leadsman_common.errors import InvalidEvent
from leadsman_ingest_aws.accounts import Accounts
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.documents import documents
from leadsman_ingest_aws.envelope import Split, split_document
from leadsman_ingest_aws.intake import Carried
from leadsman_ingest_aws.notifications import Object

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import GetObjectRequestTypeDef

_CHUNK_BYTES = 256 * 1024
_GONE = ("NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "InvalidObjectState")


class Gone(Exception):
    """The file is not there, or cannot be had any more: trying again will not help."""


class Objects:
    """Reads files with the clients of one queue's account."""

    def __init__(self, settings: Settings, accounts: Accounts, account: str) -> None:
        self._settings = settings
        self._accounts = accounts
        self._account = account

    def allowed(self, file: Object) -> bool:
        """Whether a message may name that file's bucket."""
        return not self._settings.s3_buckets or file.bucket in self._settings.s3_buckets

    def read(self, file: Object, body: bytes, now_ms: int) -> Iterator[Carried]:
        """Yield what the file holds, part by part. Raises Gone, and what the SDK raises (also between parts).

        What is no document has no end: its dead letter is `body`, the message that names the file, which stays in S3.
        """
        wanted: GetObjectRequestTypeDef = {"Bucket": file.bucket, "Key": file.key}
        if file.version and file.version != "null":
            wanted["VersionId"] = file.version
        try:
            answer = self._accounts.client("s3", file.region, self._account).get_object(**wanted)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _GONE:
                raise Gone(str(error)) from error
            raise
        source_id = f"s3://{file.bucket}/{file.key}"
        with closing(answer["Body"]) as stream:
            chunks = stream.iter_chunks(_CHUNK_BYTES)
            for document in documents(chunks, max_plain_bytes=self._settings.max_object_plain_bytes):
                if isinstance(document, InvalidEvent):
                    yield Carried(body, Split(invalid=document.reason), source_id, file.region)
                else:
                    parts = split_document(
                        document, region=file.region, received_ms=now_ms, groups=self._settings.subscribed_groups
                    )
                    yield Carried(document, parts, source_id, file.region)
