"""Dead letters as a person sees them: heaps, filters, what goes back, and bytes that do nothing to a terminal."""

import pytest

from leadsman_cli.dead_letters import Decision, Mending, Wanted, again, heaps, letter_of, read_decision, safe
from leadsman_common.errors import InvalidEvent

HEADERS = [
    ("format", b"k8s-audit"),
    ("provider", b"aws"),
    ("cluster", b"harbour"),
    ("dlq-reason", b"malformed JSON: line 1"),
    ("dlq-stage", b"normalize"),
    ("dlq-topic", b"raw.aws"),
    ("dlq-offset", b"7"),
]


def letter(offset=0, at_ms=1_000, **headers):
    given = {**dict(HEADERS), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return letter_of("raw.aws.dlq", 0, offset, at_ms, b"k", b"{", list(given.items()))


def test_what_a_letter_says():
    found = letter(3)
    assert (found.place, found.to, found.stage, found.source) == (
        "raw.aws.dlq/0/3",
        "raw.aws",
        "normalize",
        "aws/harbour",
    )


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Wanted(), True),
        (Wanted(topics=("raw.aws",)), True),
        (Wanted(topics=("raw.aws.dlq",)), True),
        (Wanted(topics=("raw.gcp",)), False),
        (Wanted(why="MALFORMED"), True),
        (Wanted(why="truncated"), False),
        (Wanted(source="harbour"), True),
        (Wanted(source="gcp"), False),
        (Wanted(stage="normalize"), True),
        (Wanted(stage="detect"), False),
        (Wanted(since_ms=1_000, until_ms=1_001), True),
        (Wanted(since_ms=1_001), False),
        (Wanted(until_ms=1_000), False),
        (Wanted(places=("raw.aws.dlq/0/0",)), True),
        (Wanted(places=("raw.aws.dlq/0/1",)), False),
    ],
)
def test_which_letters_are_meant(wanted, takes):
    assert wanted.takes(letter()) is takes


def test_heaps_by_reason_the_largest_first():
    letters = [
        letter(0, 3_000, dlq_reason=b"truncated before objectRef"),
        letter(1, 1_000),
        letter(2, 2_000, dlq_reason=b"malformed JSON: line 9"),
    ]
    decided = {"raw.aws.dlq/0/1": Decision("raw.aws.dlq/0/1", "dropped", "noise", "me", 5)}
    first, second = heaps(letters, decided)
    assert (first.reason, first.count, first.decided, first.first_ms, first.last_ms) == (
        "malformed JSON",
        2,
        1,
        1_000,
        2_000,
    )
    assert first.sample == "raw.aws.dlq/0/2"
    assert (second.reason, second.count) == ("truncated before objectRef", 1)


def test_what_goes_back_is_what_came():
    record = again(letter(), Mending())
    assert (record.topic, record.key, record.value) == ("raw.aws", b"k", b"{")
    assert dict(record.headers) == {"format": b"k8s-audit", "provider": b"aws", "cluster": b"harbour"}


def test_what_goes_back_mended():
    record = again(letter(), Mending({"format": "eks-audit", "cluster": ""}, b"{}"))
    assert record.value == b"{}"
    assert dict(record.headers) == {"format": b"eks-audit", "provider": b"aws"}


@pytest.mark.parametrize("to", [b"", b"raw.aws.dlq"])
def test_a_letter_from_nowhere_goes_nowhere(to):
    with pytest.raises(InvalidEvent, match="does not say which topic"):
        again(letter(dlq_topic=to), Mending())


def test_a_decision_reads_back():
    decision = Decision("raw.aws.dlq/0/1", "dropped", "noise", "me", 5)
    record = decision.record("p-")
    assert (record.topic, record.key) == ("p-dlq.decisions", b"raw.aws.dlq/0/1")
    assert read_decision(record.value) == decision
    with pytest.raises(InvalidEvent, match="no decision"):
        read_decision(b"{}")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred\r\n", "\\x1b[31mred\\r\\n"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        (b"\xff\x00", "\\xff\\x00"),
        (b"x" * 20, "x" * 10 + "... (20 bytes)"),
    ],
)
def test_bytes_are_shown_safely(data, shown):
    assert safe(data, 10 if len(data) == 20 else 100) == shown
