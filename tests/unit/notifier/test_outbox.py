"""What a channel is told and in which messages: limits, groups, quiet hours, rising levels, restarts. No clock runs."""

import collections
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadsman_common.schemas import schemas_dir
from leadsman_notifier.message import Count, decode, digest, encode
from leadsman_notifier.outbox import Member, Outbox, Place

EXAMPLE = json.loads((schemas_dir() / "examples" / "alerts" / "privileged-container.json").read_text(encoding="utf-8"))


def send_all(outbox, now_s, most=1000):
    """Everything that may be sent now, in order."""
    sent = []
    while len(sent) < most and (parcel := outbox.next(now_s)):
        outbox.done(parcel, now_s)
        sent.append(parcel.message)
    return sent


def feed(outbox, make_alert, ids, now_s=1000.0, start=0, **changes):
    return [outbox.accept(make_alert(id=i, **changes), Place(0, start + n), now_s) for n, i in enumerate(ids)]


def ids_of(messages):
    return [m.alerts[0]["id"] for m in messages if not m.is_digest]


def test_once_per_alert(make_alert):
    box = Outbox("c")
    assert feed(box, make_alert, ["a", "a", "b"]) == ["waiting", "repeated", "waiting"]
    assert ids_of(send_all(box, 1000)) == ["a", "b"]
    assert feed(box, make_alert, ["a", "b"], start=3) == ["repeated", "repeated"]
    assert send_all(box, 1000) == []
    assert box.commits() == {0: 5}


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        (["low", "low", "low"], ["low"]),
        (["low", "high", "high", "critical"], ["low", "high", "critical"]),
        (["high", "low", "high"], ["high"]),
    ],
)
def test_again_only_when_the_level_rises(make_alert, levels, told):
    box = Outbox("c")
    messages = []
    for n, level in enumerate(levels):
        box.accept(make_alert(id="a", level=level, revision=n), Place(0, n), 1000)
        messages += send_all(box, 1000)
    assert [m.level for m in messages] == told
    assert [m.before for m in messages] == ["", *told[:-1]]
    assert len({m.key for m in messages}) == len(told)
    assert [m.key for m in messages] == [f"a-{level}" for level in told]


def test_a_level_that_rises_while_it_waits_is_told_once(make_alert):
    box = Outbox("c")
    box.accept(make_alert(id="a", level="low"), Place(0, 0), 1000)
    assert box.accept(make_alert(id="a", level="high"), Place(0, 1), 1000) == "repeated"
    (message,) = send_all(box, 1000)
    assert message.level == "high"
    assert box.commits() == {0: 2}


def test_nothing_is_committed_past_what_waits(make_alert):
    box = Outbox("c")
    feed(box, make_alert, ["a", "b", "c"])
    assert box.commits() == {0: 0}
    parcel = box.next(1000)
    assert box.next(1000) is parcel  # until it is settled
    box.done(parcel, 1000)
    assert box.commits() == {0: 1}
    box.passed(Place(1, 7))
    assert box.commits() == {0: 1, 1: 8}
    send_all(box, 1000)
    assert box.commits() == {0: 3, 1: 8}


def sent_at(box, make_alert, arrivals, seconds):
    """(second, message) of what is sent while `arrivals` (second -> ids) come."""
    sent, offset = [], 0
    for now_s in range(seconds):
        for alert_id in arrivals.get(now_s, ()):
            box.accept(make_alert(id=alert_id), Place(0, offset), float(now_s))
            offset += 1
        sent += [(now_s, m) for m in send_all(box, float(now_s))]
    return sent


def test_a_storm_is_told_in_at_most_so_many_messages_of_any_minute_and_the_counts_add_up(make_alert):
    box = Outbox("c", per_minute=20)
    arrivals = {s: [f"{s}-{n}" for n in range(40)] for s in range(60)}
    sent = sent_at(box, make_alert, arrivals, 200)
    for begin in range(140):
        assert sum(begin <= at < begin + 60 for at, _ in sent) <= 20
    assert sum(m.total for _, m in sent) == 2400
    assert [m.total for _, m in sent[:15]] == [1] * 15
    assert sent[15][0] <= 15  # and the first digest soon after
    assert box.waiting == 0
    assert box.commits() == {0: 2400}


def test_a_digest_counts_by_level_rule_and_cluster_and_shows_the_highest(make_alert):
    box = Outbox("c", per_minute=1)
    feed(box, make_alert, ["first"])
    feed(box, make_alert, [f"l{n}" for n in range(30)], start=1, level="low", rule__name="r1")
    feed(box, make_alert, ["top"], start=31, level="critical", rule__name="r2", cluster__id="k")
    send_all(box, 1000)
    (digest,) = send_all(box, 1061)
    assert digest.is_digest
    assert (digest.total, digest.level, digest.why) == (31, "critical", "storm")
    assert [(c.level, c.rule, c.count) for c in digest.counts] == [("critical", "r2", 1), ("low", "r1", 30)]
    assert digest.alerts[0]["id"] == "top"
    assert decode(encode(digest)) == digest


def test_one_alert_over_the_limit_is_told_as_itself(make_alert):
    box = Outbox("c", per_minute=1)
    feed(box, make_alert, ["a", "b"])
    assert ids_of(send_all(box, 1000)) == ["a"]
    assert ids_of(send_all(box, 1060)) == ["b"]


def test_what_follows_in_a_group_is_told_together(make_alert):
    box = Outbox("c", group_by=("rule", "cluster"), group_s=60)
    feed(box, make_alert, ["a", "b", "c"])
    feed(box, make_alert, ["other"], start=3, rule__name="other")
    assert ids_of(send_all(box, 1000)) == ["a", "other"]
    assert send_all(box, 1059) == []
    (digest,) = send_all(box, 1060)
    assert (digest.total, digest.why) == (2, "group")
    feed(box, make_alert, ["d"], start=4, now_s=1061)
    assert ids_of(send_all(box, 1061)) == ["d"]


def test_quiet_hours_hold_back(make_alert):
    box = Outbox("c", per_minute=20)
    for n, alert_id in enumerate("abc"):
        box.accept(make_alert(id=alert_id), Place(0, n), 1000, quiet_until_s=5000)
    assert send_all(box, 4999) == []
    assert box.commits() == {0: 0}
    (digest,) = send_all(box, 5000)
    assert (digest.total, digest.why) == (3, "quiet hours")


def test_a_digest_that_was_begun_is_sent_again_as_it_was(make_alert):
    box = Outbox("c", per_minute=1)
    feed(box, make_alert, ["z", "a", "b", "c"])
    send_all(box, 1000)
    parcel = box.next(1060)
    body = encode(parcel.message)  # written down, then the process dies
    after = Outbox("c", per_minute=1)
    after.told.add("z", 4)
    after.again(decode(body), parcel.members)
    assert feed(after, make_alert, ["z", "a", "b", "c", "d"], now_s=1070.0) == ["repeated"] * 4 + ["waiting"]
    assert after.commits() == {0: 1}
    (again, new) = send_all(after, 1070)[:1] + send_all(after, 1131)
    assert again == parcel.message
    assert ids_of([new]) == ["d"]
    assert after.commits() == {0: 5}


def test_a_single_that_was_begun_is_told_as_itself_even_in_a_storm(make_alert):
    box = Outbox("c", per_minute=4)
    box.begun("x", 4)
    feed(box, make_alert, [*map(str, range(10)), "x"])
    assert "x" not in ids_of(send_all(box, 1000))
    later = send_all(box, 1061)
    assert "x" in ids_of(later)


def test_partitions_that_go_take_what_waits_with_them(make_alert):
    box = Outbox("c", per_minute=1)
    for n in range(10):
        box.accept(make_alert(id=f"a{n}"), Place(n % 2, n), 1000)
    send_all(box, 1000)
    box.forget(1)
    (digest,) = send_all(box, 1061)
    assert digest.total == 4
    assert box.commits() == {0: 9}
    assert box.waiting == 0


def test_a_worker_takes_its_share_of_the_limit(make_alert):
    box = Outbox("c", per_minute=21)
    box.share(1, 3)
    feed(box, make_alert, [str(n) for n in range(50)])
    assert len(send_all(box, 1000)) == 7  # six alerts and, at once, the first digest


def test_without_a_limit_all_are_told_as_themselves(make_alert):
    box = Outbox("c")
    feed(box, make_alert, [str(n) for n in range(150)])
    assert box.full
    assert ids_of(send_all(box, 1000)) == [str(n) for n in range(150)]
    assert not box.full


def test_it_asks_to_be_left_alone_when_too_much_waits(make_alert):
    box = Outbox("c", per_minute=1, capacity=100)
    feed(box, make_alert, [str(n) for n in range(101)])
    assert box.full


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["low", "high", "critical"]), st.integers(0, 40)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([0, 1, 5]), st.booleans())
def test_every_alert_is_told_at_its_highest_level_and_no_level_twice(steps, per_minute, grouped):
    box = Outbox("c", per_minute=per_minute, group_by=("rule",) if grouped else (), group_s=30)
    now_s, messages, highest = 0.0, [], collections.defaultdict(int)
    ranks = {"low": 1, "high": 3, "critical": 4}
    for offset, (alert_id, level, pause) in enumerate(steps):
        now_s += pause
        messages += send_all(box, now_s)
        box.accept({**EXAMPLE, "id": alert_id, "level": level}, Place(0, offset), now_s)
        highest[alert_id] = max(highest[alert_id], ranks[level])
    for _ in range(200):
        now_s += 61
        messages += send_all(box, now_s)
    assert box.waiting == 0
    assert box.commits() == ({0: len(steps)} if steps else {})
    assert len({m.key for m in messages}) == len(messages)
    assert {a: box.told.rank(a) for a in highest} == dict(highest)


def test_members_keep_their_partition(make_alert):
    box = Outbox("c", per_minute=1)
    for n in range(3):
        box.accept(make_alert(id=f"a{n}"), Place(n, 0), 1000)
    send_all(box, 1000)
    parcel = box.next(1061)
    assert parcel.members == [Member("a1", 4, 1), Member("a2", 4, 2)]


def test_a_digest_found_twice_is_one_message(make_alert):
    outbox = Outbox("c", per_minute=20)
    parcel = digest("c", [("a", 4), ("b", 4)], [Count("high", "r", "k", 2)], [make_alert()], "storm")
    outbox.again(parcel, [Member("a", 4, 0)], announced=False)
    outbox.again(parcel, [Member("a", 4, 0), Member("b", 4, 1)])
    found = outbox.next(0)
    assert ([m.id for m in found.members], found.announced) == (["a", "b"], True)
    outbox.done(found, 0)
    assert outbox.next(0) is None
    assert outbox.told.rank("a") == outbox.told.rank("b") == 4
