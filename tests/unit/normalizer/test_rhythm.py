"""A fortnight of five sources with rhythms of their own, by a clock that the test turns: who stops is told of.

Two workers share what they see by a topic that is compacted, are started anew, lag behind, and are away with
everything else for some hours. Production's own functions decide; only the topic and the clock are the test's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from leadsman_common.clusters import NO_CLUSTERS
from leadsman_common.rhythm import MOST, Gap, expected_ms, merged, paused
from leadsman_common.sightings import decode, encode
from leadsman_normalizer.sightings import Known
from leadsman_normalizer.silence import changes, looked, troubles

MIN = 1
HOUR = 60
DAY = 24 * HOUR
START = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) // 60  # a Monday
LOOK = 2  # minutes between looks
STOP_DAY = 9  # a Wednesday: the second weekend is still to come
# all in minutes since START
ALL_DOWN = range(4 * DAY + 10 * HOUR, 4 * DAY + 15 * HOUR)  # nothing is received, and nobody looks
LAG = range(6 * DAY, 6 * DAY + 7 * HOUR)  # received, but only handled at its end


def office(rng):
    """From eight to seven on weekdays, with a burst now and then."""
    at = 0
    while at < 30 * DAY:
        if at // DAY % 7 < 5 and 8 * HOUR <= at % DAY < 19 * HOUR:
            yield from [at] * (50 if rng.random() < 0.02 else 1)
            at += rng.randint(2, 15)
        else:
            at += 5


def rare(rng):
    """Some calls a day, whenever they come."""
    at = 0.0
    while (at := at + min(rng.expovariate(1 / (5 * HOUR)), 20 * HOUR)) < 30 * DAY:
        yield int(at)


def batch(rng):
    """Once a night, all at once."""
    for day in range(30):
        yield from [day * DAY + 3 * HOUR + rng.randint(-20, 20)] * 100


RHYTHMS = {  # what the test knows of it: at most so long is nothing of it there
    "eks-audit": (lambda _: range(0, 30 * DAY, 4), 10 * MIN),
    "gke-logentry": (rare, 21 * HOUR),
    "cloudtrail": (office, 62 * HOUR),
    "azure-activity": (batch, 25 * HOUR),
    "eks-authenticator": (lambda rng: (n * 40 + rng.randint(0, 10) for n in range(30 * 36)), 51 * MIN),
}


@dataclass
class World:
    """The topic, two workers that follow it, and what they raised: (source, minute, level)."""

    topic: dict[str, bytes] = field(default_factory=dict)
    told: list[tuple[str, int, str]] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.workers = [self.worker(), self.worker()]
        self.seen = 0

    def worker(self):
        known = Known()
        for value in self.topic.values():
            known.apply(decode(value))
        known.there.set()
        return known

    def write(self, key, value):
        self.topic[key] = value
        record = decode(value)
        for known in self.workers:
            known.apply(record)

    def place(self, source, at):
        """One worker or the other handles it: a source is on all partitions."""
        self.seen += 1
        known = self.workers[self.seen % 2]
        ms = (START + at) * 60_000
        known.place(
            {
                "cluster": {"id": "c", "name": "c", "provider": "", "account": "", "region": ""},
                "time": (ms - 5_000) * 1000,
                "source": {"format": source, "received_ms": ms, "topic": "raw.aws"},
                "userAgent": "",
                "action": "get pods",
                "facts": None,
            }
        )
        for record in known.due("sightings"):
            self.write(record.key.decode(), record.value)
        self.last[source] = at

    def look(self, at):
        now_ms = (START + at) * 60_000
        leader = self.workers[0]
        watch = leader.look(lambda view: looked(view.watch, now_ms, LOOK * 60_000))
        self.write(watch.key, encode(watch))
        news = leader.look(lambda view: list(changes(view, troubles(view, NO_CLUSTERS, now_ms), now_ms)))
        for raised, alert in news:
            if alert is not None:
                self.told.append((raised.about.rpartition("|")[2], at, alert["level"]))
            self.write(raised.key, encode(raised))

    def live(self, begin, end, events, stopped=()):
        """What happens from one minute to another."""
        waiting = []
        for at in range(begin, end):
            here = [] if at in ALL_DOWN else [source for source in events.get(at, ()) if source not in stopped]
            if at in LAG:
                waiting += [(source, at) for source in here]
                continue
            for source, came in sorted(waiting):  # a partition after the other
                self.place(source, came)
            waiting = []
            for source in here:
                self.place(source, at)
            if at % DAY == 12 * HOUR + 1:
                self.workers[at // DAY % 2] = self.worker()
            if at not in ALL_DOWN and at % LOOK == 0:
                self.look(at)


def everything():
    """Source by minute, once for each thing that came."""
    rng = random.Random(13)  # noqa: S311
    events: dict[int, list[str]] = {}
    for source, (times, _) in RHYTHMS.items():
        for at in times(rng):
            events.setdefault(at, []).append(source)
    return events


@pytest.fixture(scope="module")
def events():
    return everything()


@pytest.fixture(scope="module")
def topic(events):
    """What is on the topic after STOP_DAY days, and that nobody was told of anything."""
    world = World()
    world.live(0, STOP_DAY * DAY + 11 * HOUR, events)
    assert world.told == []
    return world.topic, world.last


@pytest.mark.parametrize("source", [None, *RHYTHMS])
def test_who_stops_is_told_of_within_two_intervals_and_nobody_else(topic, events, source):
    begin = STOP_DAY * DAY + 11 * HOUR
    world = World(dict(topic[0]), last=dict(topic[1]))
    if source is None:
        world.live(begin, 15 * DAY, events)
        assert world.told == []
        return
    seen = world.workers[0].look(lambda view: view.seen["c", source])
    usual = expected_ms(seen.gaps, seen.last_ms - seen.came_ms) // 60_000
    assert usual <= RHYTHMS[source][1]  # what was learned is what it is
    due = world.last[source] + 2 * usual
    world.live(begin, max(due + 1, begin + DAY), events, stopped=(source,))
    assert [(who, level) for who, _, level in world.told] == [(source, "high")]
    assert world.told[0][1] <= due


def test_what_two_workers_saw_is_the_same_in_whatever_order():
    rng = random.Random(5)  # noqa: S311
    for _ in range(200):
        seen = [
            paused((), start * 60_000, (start + rng.randint(1, 500)) * 60_000, told=rng.random() < 0.2)
            for start in (rng.randint(0, 3000) for _ in range(6))
        ]
        one: tuple[Gap, ...] = ()
        for gaps in seen:
            one = merged(one, gaps, 10_000 * 60_000)
        rng.shuffle(seen)
        other: tuple[Gap, ...] = ()
        for gaps in [*seen, *seen]:
            other = merged(other, gaps, 10_000 * 60_000)
        assert one == other


@pytest.mark.parametrize(
    ("gaps", "days", "minutes"),
    [
        pytest.param([], 9, 10, id="no pauses"),
        pytest.param([Gap(0, 300)], 28, 10, id="an outage of ours, once"),
        pytest.param([Gap(0, 3720)], 9, 3720, id="a weekend"),
        pytest.param([Gap(0, 3000, told=True)], 9, 10, id="a silence that was told of"),
        pytest.param([Gap(0, 900, told=True), Gap(2000, 600, told=True)], 9, 600, id="told of twice: it is its rhythm"),
        pytest.param([Gap(n * 100, 40) for n in range(MOST)], 28, 40, id="as many as are kept"),
    ],
)
def test_what_is_usual(gaps, days, minutes):
    assert expected_ms(gaps, days * DAY * 60_000) == minutes * 60_000


def test_only_the_longest_of_four_weeks_are_kept():
    gaps: tuple[Gap, ...] = ()
    for n in range(300):
        gaps = paused(gaps, n * 600 * 60_000, (n * 600 + 20 + n % 7) * 60_000)
    assert len(gaps) <= MOST
    assert gaps[0].start > 300 * 600 - 29 * DAY
    assert len(encode_size(gaps)) < 1_500


def encode_size(gaps):
    """The record with them."""
    from leadsman_common.sightings import Seen

    cluster = {"id": "c", "name": "c", "provider": "", "account": "", "region": ""}
    return encode(Seen(cluster, "eks-audit", 0, 0, 0, 0, gaps))
