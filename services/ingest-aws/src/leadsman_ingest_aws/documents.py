"""A file of any size as its JSON documents, while it is being read: what Firehose and CloudTrail write to S3.

Pure; for `objects.py`. A file is plain or gzip, in one member or many; what Firehose packs once more (CloudWatch's
records are gzip already) is unpacked twice. Documents follow each other with line ends, commas or nothing between them.
Memory holds one document and a block, whatever the file unpacks to.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from leadsman_common.errors import InvalidEvent

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"
_MAX_MALFORMED = 100
_TRAIL = b'{"Records"'
_WHOLE_BYTES = 16 * 1024 * 1024
_OPENS, _CLOSES = b"{}"
_BETWEEN = re.compile(rb"[\s,]*")
# a brace, or a string as far as it is there; possessive, so nothing is tried twice
_TOKEN = re.compile(rb'[{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_raw = msgspec.json.Decoder(msgspec.Raw)


class _Damaged(Exception):
    """The file cannot be unpacked further."""


def documents(
    chunks: Iterable[bytes], *, max_plain_bytes: int, max_document_bytes: int = MAX_DOCUMENT_BYTES
) -> Iterator[bytes | InvalidEvent]:
    """Yield each JSON object of a file, given as its chunks; an InvalidEvent stands for what is none.

    What is whole before a cut or damage is yielded. Nothing is unpacked past `max_plain_bytes`.
    """
    finder = _Finder(max_document_bytes)
    left = max_plain_bytes
    try:
        for block in _unpacked(_unpacked(chunks)):
            left -= len(block)
            if left < 0:
                yield InvalidEvent(f"more than {max_plain_bytes} bytes when unpacked")
                return
            yield from finder.feed(block)
            if finder.malformed >= _MAX_MALFORMED:
                return
    except _Damaged as damage:
        # the document that was open is cut by the same damage
        yield InvalidEvent(str(damage))
    else:
        yield from finder.end()


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack where it is gzip. Raises _Damaged."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    if head:
        source = chain((head,), source)
    return _members(source) if head.startswith(_GZIP) else source


def _members(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack members that follow each other; blocks end where members end, since documents mostly do too."""
    inflate, block = zlib.decompressobj(wbits=31), bytearray()
    for chunk in chunks:
        packed = chunk
        while packed:
            if inflate.eof:
                yield bytes(block)
                inflate, block = zlib.decompressobj(wbits=31), bytearray()
            try:
                block += inflate.decompress(packed, _BLOCK_BYTES)
            except zlib.error as error:
                yield bytes(block)
                raise _Damaged(f"gzip is damaged: {error}") from error
            packed = inflate.unused_data or inflate.unconsumed_tail
            if len(block) >= _BLOCK_BYTES:
                yield bytes(block)
                block.clear()
        # what is left inside where a piece came out at exactly its size
        while not inflate.eof and (part := inflate.decompress(b"", _BLOCK_BYTES)):
            block += part
    yield bytes(block)
    if not inflate.eof:
        raise _Damaged("gzip is cut short")


class _Finder:
    """Finds where documents begin and end."""

    def __init__(self, max_document_bytes: int) -> None:
        self.malformed = 0
        self._max = max_document_bytes
        self._buffer = bytearray()
        self._at = 0  # all before it was looked at
        self._depth = 0
        self._in_string = False
        self._skipping = False
        self._any = False

    def feed(self, block: bytes) -> Iterator[bytes | InvalidEvent]:
        """Take the next block; yield the documents that are now whole."""
        if not self._buffer and not self._skipping and _is_one_object(block):
            self._any = True
            yield block if block.endswith(b"}") else block.strip()
            return
        self._buffer += block
        # a trail's file is one document: to be taken whole at the end costs a tenth of looking for where it ends
        if self._at or len(self._buffer) > _WHOLE_BYTES or not self._buffer.startswith(_TRAIL):
            yield from self._find()

    def _find(self) -> Iterator[bytes | InvalidEvent]:
        while True:
            if self._skipping and not self._resume():
                return
            if not self._depth and not self._open():
                if not self._buffer:
                    return
                yield self._bad("no JSON object where one should begin")
                continue
            end = self._close()
            if end < 0:
                if len(self._buffer) <= self._max:
                    return
                yield self._bad(f"a document of more than {self._max} bytes")
                continue
            document = bytes(memoryview(self._buffer)[:end])
            del self._buffer[:end]
            self._at = self._depth = 0
            self._any = True
            yield document

    def end(self) -> Iterator[bytes | InvalidEvent]:
        """Yield what is left once all was fed, and what there is to say."""
        if not self._at and self._buffer.startswith(_TRAIL):
            if _is_one_object(self._buffer):
                yield bytes(self._buffer)
                return
            yield from self._find()
        if self._buffer.strip() and not self._skipping:
            yield InvalidEvent("the last document is cut short")
        elif not self._any and not self.malformed:
            yield InvalidEvent("no document in it")

    def _open(self) -> bool:
        """Go to where a document begins; whether one does."""
        between = _BETWEEN.match(self._buffer)
        del self._buffer[: between.end() if between else 0]
        if not self._buffer.startswith(b"{"):
            return False
        self._depth = self._at = 1
        return True

    def _close(self) -> int:
        """Return where the open document ends, or -1 where that is not here yet."""
        if self._in_string:
            rest = _REST_OF_STRING.match(self._buffer, self._at)
            self._at = rest.end() if rest else self._at
            if not (rest and rest[1]):
                return -1
            self._in_string = False
        for token in _TOKEN.finditer(self._buffer, self._at):
            first = self._buffer[token.start()]
            if first == _OPENS:
                self._depth += 1
            elif first == _CLOSES:
                self._depth -= 1
                if not self._depth:
                    return token.end()
            elif not token[1]:
                # up to where it is there, or before a backslash whose other half is not
                self._at, self._in_string = token.end(), True
                return -1
        self._at = len(self._buffer)
        return -1

    def _bad(self, reason: str) -> InvalidEvent:
        self.malformed += 1
        self._skipping = True
        self._in_string = False
        self._depth = self._at = 0
        return InvalidEvent(reason)

    def _resume(self) -> bool:
        """After something malformed, go on at the next line that opens an object."""
        found = self._buffer.find(b"\n{")
        if found < 0:
            del self._buffer[:-1]  # a line end may be the last byte
            return False
        del self._buffer[: found + 1]
        self._skipping = False
        return True


def _is_one_object(block: bytes | bytearray) -> bool:
    """Whether it is one JSON object and nothing more; far cheaper than finding its end."""
    try:
        return memoryview(_raw.decode(block))[:1].tobytes() == b"{"
    except (msgspec.DecodeError, RecursionError):
        return False
