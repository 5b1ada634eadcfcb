"""What must add up: books against what was found on the topics."""

import pytest

from leadsman_cli.conservation import Marks, account, unnoted, unsent, untold, untrue
from leadsman_common.ledger import Book, Ledger, read_page

OUTCOMES = ["produced"] * 5 + ["filtered:no request"] * 3 + ["dead:malformed JSON"] * 2 + ["produced"] * 10


def book(outcomes=OUTCOMES, start=100, made=()):
    ledger = Ledger("normalizer")
    for n, outcome in enumerate(outcomes):
        if outcome:
            ledger.note("raw.aws", 1, start + n, outcome, "aws/1")
    ledger.made(made)
    return Book([read_page(page.value) for page in ledger.pages()])


def marks(*offsets):
    found = Marks()
    for offset in offsets:
        found.add(offset)
    return found


def judged(noted, produced, dead, start=0):
    of = account(noted, "normalizer", "raw.aws", 1, 100, 120, lag=0)
    return [
        (f.start, f.end, f.what.partition(",")[0]) for f in untrue(noted, of, start, marks(*produced), marks(*dead))
    ]


ALL_PRODUCED = [*range(100, 105), *range(110, 120)]


def test_what_adds_up():
    noted = book()
    of = account(noted, "normalizer", "raw.aws", 1, 100, 120, lag=4)
    assert dict(of.by_kind) == {"produced": 15, "filtered": 3, "dead": 2}
    assert of.totals["filtered:no request"] == 3
    assert of.sources == {"aws/1": {"produced": 15, "filtered": 3, "dead": 2}}
    assert list(unnoted(noted, of)) == []
    assert judged(noted, ALL_PRODUCED, [108, 109]) == []


def test_a_record_that_is_gone_is_named():
    assert judged(book(), [o for o in ALL_PRODUCED if o != 103], [108, 109]) == [(103, 104, "the ledger says produced")]


def test_neighbours_are_one_finding():
    assert judged(book(), range(100, 105), [108, 109]) == [(110, 120, "the ledger says produced")]


def test_a_dead_letter_that_is_gone_is_named():
    assert judged(book(), ALL_PRODUCED, [109]) == [(108, 109, "the ledger says dead-lettered")]


def test_a_counter_that_lies_is_found_by_what_was_produced():
    lying = book([*OUTCOMES[:2], "filtered:no request", *OUTCOMES[3:]])
    assert judged(lying, ALL_PRODUCED, [108, 109]) == [(102, 103, "the ledger says filtered")]
    lying = book([*OUTCOMES[:8], "filtered:no request", *OUTCOMES[9:]])
    assert judged(lying, ALL_PRODUCED, [108, 109]) == [(108, 109, "the ledger says filtered")]


def test_what_is_not_noted_is_named():
    noted = book([*OUTCOMES[:7], "", "", *OUTCOMES[9:]])
    of = account(noted, "normalizer", "raw.aws", 1, 100, 125, lag=0)
    assert [(f.start, f.end) for f in unnoted(noted, of)] == [(107, 109), (120, 125)]


def test_what_aged_out_of_the_topics_is_not_asked_for():
    assert judged(book(), range(115, 120), [], start=115) == []


def test_alerts_that_are_not_there_are_named():
    noted = book(made=["a", "b", "c"])
    of = account(noted, "detector", "audit.events", 1, 100, 120, lag=0)
    assert list(unsent(noted, of, {"b"})) == ["a", "c"]


def test_marks_are_a_set():
    assert [o for o in (0, 7, 8, 65_535, 65_536, 10**9) if o in marks(0, 8, 65_536, 10**9)] == [0, 8, 65_536, 10**9]


@pytest.mark.parametrize(
    ("told", "kept", "found"),
    [
        ((100, 102), (103,), []),
        ((100,), (103,), [(102, 103, "the ledger says delivered")]),
        ((100, 102), (), [(103, 104, "the ledger says undelivered")]),
        # given up and then told after all, or suppressed and told before: no contradiction
        ((100, 101, 102, 103), (103,), []),
    ],
    ids=["adds up", "not told", "not kept", "told besides"],
)
def test_what_became_of_alerts(told, kept, found):
    noted = book(["delivered", "suppressed:repeated", "delivered", "undelivered:HTTP 400"])
    of = account(noted, "notifier/pager", "alerts", 1, 100, 104, lag=0)
    said = untold(noted, of, 0, marks(*told), marks(*kept))
    assert [(f.start, f.end, f.what.partition(",")[0]) for f in said] == found
    assert untold(noted, of, 104, marks(), marks()) == []
