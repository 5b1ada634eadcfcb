"""Files of S3 taken apart while they are read: every form that Firehose and CloudTrail write, cut anywhere."""

import gzip
import json
import random
import zlib

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_ingest_aws.documents import documents

# strings with braces, quotes, escapes and what looks like the end of a document
DOCUMENTS = [
    b'{"a":1}',
    b'{"message":"{\\"kind\\":\\"Event\\",\\"x\\":\\"}{\\\\\\"\\"}"}',
    b'{"deep":{"er":[{"x":"\\\\"},{"y":"]}"}]}}',
    b'{"long":"' + b'x}{\\n\\"' * 2_000 + b'"}',
    '{"é":"ü\\u007d"}'.encode(),
]


TRAIL = b'{"Records":[{"a":"}"},{"b":1}]}'


def chunked(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


def read(data, size=65536, **limits):
    """The documents and the reasons for what is none."""
    found = list(documents(chunked(data, size), **{"max_plain_bytes": 10**9, **limits}))
    good = [one for one in found if isinstance(one, bytes)]
    return good, [one.reason for one in found if isinstance(one, InvalidEvent)]


def members(parts):
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


FORMS = {
    "concatenated": b"".join(DOCUMENTS),
    "lines": b"\n".join(DOCUMENTS) + b"\n",
    "commas": b" ,\r\n".join(DOCUMENTS),
    "one member": gzip.compress(b"".join(DOCUMENTS), mtime=0),
    "a member a document": members(DOCUMENTS),
    "members cut anywhere": members(chunked(b"".join(DOCUMENTS), 1000)),
    "packed twice": gzip.compress(members(DOCUMENTS), mtime=0),
    "packed twice, each": members(chunked(members(DOCUMENTS), 700)),
}


@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_in_chunks_of_any_size(data, size):
    assert read(data, size) == (DOCUMENTS, [])


def test_random_documents_cut_at_random():
    chance = random.Random(7)  # noqa: S311
    for _ in range(50):
        made = [
            json.dumps({chance.choice('{}"\\ax'): chance.choice(['}{"', "\\", [], {"x": '"'}, "\\\\}"])}).encode()
            for _ in range(chance.randrange(1, 20))
        ]
        data = b"".join(one + chance.choice([b"", b"\n", b" "]) for one in made)
        assert read(data, chance.randrange(1, 50)) == (made, [])


@pytest.mark.parametrize(
    ("data", "good", "reason"),
    [
        (b"", [], "no document in it"),
        (b" \n", [], "no document in it"),
        (b'{"a":1}{"b":', [b'{"a":1}'], "the last document is cut short"),
        (b'{"a":1}{"b":"x', [b'{"a":1}'], "the last document is cut short"),
        (b'garbage\n{"a":1}', [b'{"a":1}'], "no JSON object where one should begin"),
        (b'{"a":1} ]\n{"b":1}\n', [b'{"a":1}', b'{"b":1}'], "no JSON object where one should begin"),
        (b"[1]", [], "no JSON object where one should begin"),
        (gzip.compress(b'{"a":1}', mtime=0)[:-4], [b'{"a":1}'], "gzip is cut short"),
        (members([b'{"a":1}', b'{"b":1}'])[:-4], [b'{"a":1}', b'{"b":1}'], "gzip is cut short"),
        (gzip.compress(b'{"a":1}', mtime=0) + b"\x1f\x8bgarbage", [b'{"a":1}'], "gzip is damaged"),
        (b"\x1f\x8b", [], "gzip is cut short"),
    ],
)
def test_what_is_whole_before_damage_is_given(data, good, reason):
    for size in (1, 3, 10**9):
        found, reasons = read(data, size)
        assert found == good
        assert len(reasons) == 1
        assert reasons[0].startswith(reason)


@pytest.mark.parametrize("size", [1, 5, 10**9])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_of_a_trail(pack, size):
    assert read(pack(TRAIL), size) == ([TRAIL], [])
    assert read(pack(TRAIL + b"\n" + TRAIL), size) == ([TRAIL, TRAIL], [])
    assert read(pack(TRAIL + DOCUMENTS[0]), size) == ([TRAIL, DOCUMENTS[0]], [])
    assert read(pack(TRAIL[:-1]), size) == ([], ["the last document is cut short"])
    assert read(gzip.compress(TRAIL, mtime=0)[:-9], size)[1] == ["gzip is cut short"]
    large = b'{"Records":[' + b",".join([b'{"x":"' + b"y" * 1000 + b'"}'] * 17_000) + b"]}"
    assert read(pack(large), max(size, 2**16)) == ([large], [])


def test_bounds():
    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join(bomb.compress(b" " * 2**20) for _ in range(50)) + bomb.flush()
    assert read(packed, max_plain_bytes=2**20) == ([], [f"more than {2**20} bytes when unpacked"])
    long = b'{"x":"' + b"y" * 5000 + b'"}'
    found, reasons = read(long + b'\n{"a":1}', 100, max_document_bytes=1000)
    assert (found, reasons) == ([b'{"a":1}'], ["a document of more than 1000 bytes"])
    assert len(read(b"x\n{\n" * 100_000)[1]) <= 100
