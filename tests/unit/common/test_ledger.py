"""The ledger's account of a partition: whatever is handled twice, cut or lost, each offset counts once or is a gap."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadsman_common.errors import InvalidEvent
from leadsman_common.ledger import PAGE, Book, Ledger, read_page

TOPIC = "raw.aws"


def kept(records):
    """What a compacted topic keeps of these, as pages."""
    return [read_page(value) for value in {record.key: record.value for record in records}.values()]


def outcome_of(offset: int) -> str:
    """Each offset has one outcome, however often it is handled."""
    return ("produced", "filtered:not a request", "produced", "produced", "dead:malformed JSON")[offset * 7 % 5]


def runs_of(start: int, end: int):
    """[start, end) cut where the outcome or the source changes, or at random places: all the same to the reader."""
    while start < end:
        last = start
        while last < end and (outcome_of(last), last // 13) == (outcome_of(start), start // 13):
            last += 1
        yield start, last - start
        start = last


def work_in_runs(start: int, end: int, batch: int) -> list:
    """The same as `work`, noted a run at a time."""
    ledger = Ledger("normalizer")
    written = []
    for first in range(start, end, batch):
        for at, count in runs_of(first, min(first + batch, end)):
            ledger.note_run(TOPIC, 0, at, count, outcome_of(at), f"aws/{at // 13 % 3}")
        written += ledger.pages()
    return written


def work(start: int, end: int, batch: int) -> list:
    """What a worker writes that handles [start, end) in batches."""
    ledger = Ledger("normalizer")
    written = []
    for first in range(start, end, batch):
        for offset in range(first, min(first + batch, end)):
            ledger.note(TOPIC, 0, offset, outcome_of(offset), f"aws/{offset // 13 % 3}")
        written += ledger.pages()
    return written


spans = st.tuples(st.integers(0, 4_000), st.integers(1, 2_500), st.integers(1, 700))


@settings(deadline=None, max_examples=60)
@given(st.lists(spans, min_size=1, max_size=6))
def test_each_offset_counts_once_or_is_a_gap(worked):
    book = Book(kept([page for start, size, batch in worked for page in work(start, start + size, batch)]))
    handled = {offset for start, size, _ in worked for offset in range(start, start + size)}
    end = 7_000
    noted = {at: n.outcome for n in book.noted(0, end) for at in range(n.start, n.end)}
    assert noted == {offset: outcome_of(offset) for offset in handled}
    missing = {at for first, last in book.gaps(0, end) for at in range(first, last)}
    assert missing == set(range(end)) - handled
    assert book.totals(0, end).total() == len(handled)
    by_source = book.by_source(0, end)
    assert sum(sum(counts.values()) for counts in by_source.values()) == len(handled)
    assert by_source.keys() == {f"aws/{offset // 13 % 3}" for offset in handled}


@settings(deadline=None, max_examples=60)
@given(spans)
def test_a_run_is_noted_as_its_records_are(worked):
    start, size, batch = worked
    book, same = (Book(kept(how(start, start + size, batch))) for how in (work, work_in_runs))
    assert list(book.noted(0, 7_000)) == list(same.noted(0, 7_000))


def test_a_run_longer_than_a_page_is_cut():
    ledger = Ledger("detector")
    ledger.note_run(TOPIC, 0, PAGE - 3, 2 * PAGE, "passed")
    ledger.note_run(TOPIC, 0, 3 * PAGE - 3, 3, "passed")
    pages = kept(ledger.pages())
    assert [(p.start, p.end) for p in pages] == [(PAGE - 3, PAGE), (PAGE, 2 * PAGE), (2 * PAGE, 3 * PAGE)]


def test_what_is_read_again_replaces_no_longer_page():
    ledger = Ledger("detector")
    ledger.note_run(TOPIC, 0, 0, 500, "passed")
    written = ledger.pages()
    ledger.note_run(TOPIC, 0, 0, 20, "passed")
    book = Book(kept(written + ledger.pages()))
    assert book.gaps(0, 500) == []


def test_a_page_is_written_again_under_its_key_until_it_is_full():
    written = work(0, PAGE + 10, 100)
    assert len(written) == 11  # ten forms of the first page, one of the second
    assert len(kept(written)) == 2
    assert [(p.start, p.end) for p in kept(written)] == [(0, PAGE), (PAGE, PAGE + 10)]


def test_what_did_not_change_is_not_written_again():
    ledger = Ledger("normalizer")
    ledger.note(TOPIC, 0, 0, "produced")
    assert len(ledger.pages()) == 1
    assert ledger.pages() == []
    ledger.note(TOPIC, 1, 0, "produced")
    assert [read_page(page.value).partition for page in ledger.pages()] == [1]


def test_a_page_that_was_turned_between_two_calls_is_not_forgotten():
    ledger = Ledger("normalizer")
    for offset in (*range(PAGE - 5, PAGE + 5), 7, 8):
        ledger.note(TOPIC, 0, offset, "produced")
    assert [(p.start, p.end) for p in kept(ledger.pages())] == [(PAGE - 5, PAGE), (PAGE, PAGE + 5), (7, 9)]


def test_alerts_stand_on_the_page_of_what_was_noted_last():
    ledger = Ledger("detector")
    ledger.note("audit.events", 2, 40, "passed")
    ledger.made(["a", "b"])
    ledger.made(["b"])
    pages = kept(ledger.pages())
    assert sorted(pages[0].made) == ["a", "b"]
    book = Book(pages)
    assert book.made(0, 41) == {"a", "b"}
    assert book.made(41, 100) == set()


def test_off_writes_nothing():
    ledger = Ledger("normalizer", on=False)
    ledger.note(TOPIC, 0, 0, "produced")
    ledger.made(["a"])
    assert ledger.pages() == []


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b'{"hop":"x"}',
        b'{"hop":"x","topic":"t","partition":0,"start":0,"writer":"w","texts":["produced"],"outcomes":[[1,5]]}',
        b'{"hop":"x","topic":"t","partition":0,"start":0,"writer":"w","texts":["produced"],"outcomes":[[0,-5]]}',
        b'{"hop":"x","topic":"t","partition":0,"start":0,"writer":"w","texts":["produced"],"outcomes":[[0]]}',
    ],
)
def test_what_is_no_page_is_told(value):
    with pytest.raises(InvalidEvent, match="no page of the ledger"):
        read_page(value)


def test_a_page_says_what_it_is():
    (record,) = work(3, 4, 1)
    assert record.topic == "ledger"
    page = msgspec.json.decode(record.value)
    assert (page["hop"], page["topic"], page["partition"], page["start"]) == ("normalizer", TOPIC, 0, 3)
