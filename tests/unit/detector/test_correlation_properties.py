"""The alert ids of a correlation are a function of the set of events: hypothesis against the plain definition.

Each definition here is written a second time, without cells, caps or series: over all pairs of events.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from last_word import last_of

from leadsman_common.alerts import alert_id

sys.path.append(str(Path(__file__).parent))
from world import (
    CLUSTERS,
    EPOCH_MS,
    Happening,
    finish,
    in_disorder,
    in_order,
    in_time,
    rules_of,
    told_in_disorder,
    told_in_time,
)

W = 10_000  # the timespan of every correlation here
INCIDENT = 30_000
CHANCE = st.integers(0, 2**32).map(random.Random)  # st.randoms would draw each choice, at ten times the cost
KINDS = ("a", "b", "c")
EXAMPLES = settings(
    max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def correlation(name, kind, rules, condition="", own="incident: 30s", group="group-by: [actor.name]"):
    text = f"title: {name}\nname: {name}\nlevel: high\nleadsman: {{{own}}}\ncorrelation:\n  type: {kind}\n"
    text += f"  rules: [{', '.join(rules)}]\n  timespan: 10s\n  {group}\n"
    return text + (f"  condition: {condition}\n" if condition else "")


def happenings(most=14, kinds=KINDS, names=("n",)):
    """A few events close to one another: on whole seconds and beside them, so that borders are met."""
    times = st.builds(lambda s, ms: s * 1000 + ms, st.integers(-2, 45), st.sampled_from([0, 0, 0, -1, 1]))
    one = st.builds(
        Happening,
        times,
        st.sampled_from(kinds),
        st.sampled_from(["eve", "eve", "bob"]),
        st.sampled_from(names),
        st.sampled_from([0, 0, 0, 1]),
        serial=st.integers(0, 2),
    )
    return st.lists(one, max_size=most, unique=True)


def incident(name, event, at_ms):
    return alert_id(name, CLUSTERS[event.cluster], event.actor, str((EPOCH_MS + at_ms) // INCIDENT))


def windows(events):
    """Each event with its group's events of the window that ends in it."""
    for end in events:
        group = [e for e in events if (e.actor, e.cluster) == (end.actor, end.cluster)]
        yield end, [e for e in group if end.at_ms - W <= e.at_ms <= end.at_ms]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Give the rules of one correlation."""
    made = {}

    def rules(*documents):
        if documents not in made:
            made[documents] = rules_of(tmp_path_factory.mktemp("rules"), KINDS, *documents)
        return made[documents]

    return rules


@EXAMPLES
@given(events=happenings(), chance=CHANCE)
def test_event_count(world, events, chance):
    rules = world(correlation("many", "event_count", ["a", "b"], "{gte: 3}"))
    expected = {
        incident("many", end, end.at_ms)
        for end, window in windows([e for e in events if e.kind in "ab"])
        if len(window) >= 3
    }
    assert in_disorder(rules, events, chance) == expected


@EXAMPLES
@given(events=happenings(names=("n", "m", "o", "p")), chance=CHANCE)
def test_value_count(world, events, chance):
    rules = world(correlation("distinct", "value_count", ["a", "b"], "{field: objectRef.name, gt: 2}"))
    expected = {
        incident("distinct", end, end.at_ms)
        for end, window in windows([e for e in events if e.kind in "ab"])
        if len({e.name for e in window}) > 2
    }
    assert in_disorder(rules, events, chance) == expected


@EXAMPLES
@given(events=happenings(), chance=CHANCE)
def test_temporal(world, events, chance):
    rules = world(correlation("together", "temporal", ["a", "b", "c"]))
    expected = {
        incident("together", end, end.at_ms)
        for end, window in windows(events)
        if {e.kind for e in window} == set(KINDS)
    }
    assert in_disorder(rules, events, chance) == expected


@EXAMPLES
@given(events=happenings(), chance=CHANCE)
def test_temporal_with_a_condition(world, events, chance):
    rules = world(correlation("some", "temporal", ["a", "b", "c"], "a and (b or c)"))
    expected = {
        incident("some", end, end.at_ms)
        for end, window in windows(events)
        if any(e.kind == "a" for e in window) and any(e.kind in "bc" for e in window)
    }
    assert in_disorder(rules, events, chance) == expected


def chains(end, window, kinds):
    """Whether events of these kinds, in this order and no two the same, end in `end`."""
    if end.kind != kinds[-1]:
        return False
    tails = [(end,)]
    for kind in reversed(kinds[:-1]):
        tails = [(e, *t) for t in tails for e in window if e.kind == kind and e.at_ms <= t[0].at_ms and e not in t]
    return bool(tails)


@EXAMPLES
@given(events=happenings(), chance=CHANCE, kinds=st.sampled_from([("a", "b"), ("c", "a", "b")]))
def test_temporal_ordered(world, events, chance, kinds):
    rules = world(correlation("then", "temporal_ordered", kinds))
    expected = {incident("then", end, end.at_ms) for end, window in windows(events) if chains(end, window, kinds)}
    assert in_disorder(rules, events, chance) == expected


@EXAMPLES
@given(events=happenings(), chance=CHANCE, kinds=st.sampled_from([("a", "b"), ("c", "a", "b")]))
def test_temporal_ordered_with_an_anchor(world, events, chance, kinds):
    """An alert for each event of the anchor's rule that is part of a chain."""
    rules = world(correlation("then", "temporal_ordered", kinds, own="anchor: a"))
    expected = set()
    for end, window in windows(events):
        for anchor in window:
            with_it = [e for e in window if e.kind != "a" or e == anchor]
            if anchor.kind == "a" and chains(end, with_it, kinds):
                expected.add(alert_id("then", CLUSTERS[end.cluster], end.actor, anchor.id))
    assert in_disorder(rules, events, chance) == expected


@EXAMPLES
@given(events=happenings(), chance=CHANCE)
def test_a_chain_of_correlations(world, events, chance):
    """Three a, then a b, within the timespan of the last a: the inner one hands on its hot events."""
    rules = world(
        correlation("burst", "event_count", ["a"], "{gte: 3}", own="alert: false"),
        correlation("then", "temporal_ordered", ["burst", "b"]),
    )
    hot = [end for end, window in windows([e for e in events if e.kind == "a"]) if len(window) >= 3]
    expected = {
        incident("then", end, end.at_ms)
        for end in events
        for begin in hot
        if end.kind == "b" and (end.actor, end.cluster) == (begin.actor, begin.cluster)
        if 0 <= end.at_ms - begin.at_ms <= W
    }
    assert in_disorder(rules, events, chance) == expected


# --- all of it, not the ids alone ---------------------------------------------------------------------------------

LEVELS = "incident: 30s, levels: [{level: critical, count: 4}]"
WHOLE = {
    "event_count": [correlation("many", "event_count", ["a", "b"], "{gte: 3}")],
    "event_count with levels": [correlation("many", "event_count", ["a", "b"], "{gte: 2}", own=LEVELS)],
    "value_count": [correlation("distinct", "value_count", ["a", "b"], "{field: objectRef.name, gt: 1}")],
    "value_count with levels": [
        correlation("distinct", "value_count", ["a", "b"], "{field: objectRef.name, gte: 2}", own=LEVELS)
    ],
    "temporal": [correlation("together", "temporal", ["a", "b", "c"])],
    "temporal with a condition": [correlation("some", "temporal", ["a", "b", "c"], "a and (b or c)")],
    "temporal with an anchor": [correlation("beside", "temporal", ["a", "b"], own="anchor: a")],
    "two in order": [correlation("then", "temporal_ordered", ["a", "b"])],
    "three in order": [correlation("then", "temporal_ordered", ["c", "a", "b"])],
    "in order, with an anchor": [correlation("then", "temporal_ordered", ["a", "b"], own="anchor: a")],
    "a chain": [
        correlation("burst", "event_count", ["a"], "{gte: 2}"),
        correlation("then", "temporal_ordered", ["burst", "b"]),
    ],
}


@pytest.mark.parametrize("documents", WHOLE.values(), ids=WHOLE)
@settings(EXAMPLES, max_examples=100)
@given(events=happenings(names=("n", "m", "o")), chance=CHANCE)
def test_the_whole_of_an_alert(world, documents, events, chance):
    """What people are left with is the same in any disorder as if the events had come in order."""
    rules = world(*documents)
    expected = last_of(in_order(rules, sorted(events)))
    assert last_of(told_in_disorder(rules, events, chance)) == expected


# --- first_seen -------------------------------------------------------------------------------------------------

MINUTE = 60_000
FIRST = """\
title: new
name: new
logsource: {product: kubernetes}
level: high
leadsman: {first_seen: {fields: [actor.name], window: 336m, learning: %s}}
detection: {it: {objectRef.resource: a}, condition: it}
"""
FIRST_W, CELL = 336 * MINUTE, MINUTE


def sightings():
    """Sightings over some windows, many close to borders: of cells, of windows, of the learning period."""
    base = st.sampled_from([0, CELL, FIRST_W, 2 * FIRST_W, 2 * FIRST_W - 10 * MINUTE, 3 * FIRST_W + CELL])
    near = st.integers(-12, 12).map(lambda n: n * MINUTE) | st.sampled_from([-1, 0, 1, CELL, -CELL])
    one = st.builds(
        Happening,
        st.builds(lambda b, n: b + n, base, near),
        st.sampled_from("aab"),
        st.sampled_from(["eve", "bob"]),
        cluster=st.sampled_from([0, 0, 1]),
    )
    return st.lists(one, max_size=10, unique=True)


def firsts(events, learning_ms):
    """By the definition: nothing in the cells of the window before, nothing earlier in the own cell."""
    found = set()
    for event in events:
        at, cluster = EPOCH_MS + event.at_ms, [e for e in events if e.cluster == event.cluster]
        # what no rule may meet is not decoded: it is no history
        began = min(EPOCH_MS + e.at_ms for e in cluster)
        cells = [
            (EPOCH_MS + e.at_ms) // CELL
            for e in cluster
            if e.kind == "a" and e.actor == event.actor and e.at_ms < event.at_ms
        ]
        before = any(at // CELL - 336 <= c <= at // CELL for c in cells)
        if event.kind == "a" and not before and at - began >= learning_ms:
            found.add(alert_id("new", CLUSTERS[event.cluster], event.actor, str(at // FIRST_W)))
    return found


@EXAMPLES
@given(events=sightings(), chance=CHANCE, learning=st.sampled_from(["0", "336m", "10h"]))
def test_first_seen(world, events, chance, learning):
    """Events come late by ten minutes at most; what hangs on later ones is told when those cannot come any more."""
    rules = world(FIRST % learning)
    expected = firsts(events, {"0": 0, "336m": FIRST_W, "10h": 36_000_000}[learning])
    assert in_time(rules, events, chance, late_ms=10 * MINUTE) == expected
    assert in_disorder(rules, events, chance, finish, patient=True) == expected


@settings(EXAMPLES, max_examples=400)
@given(events=sightings(), chance=CHANCE, learning=st.sampled_from(["0", "10h"]))
def test_the_whole_of_what_is_first_seen(world, events, chance, learning):
    """Which event is told of, what was seen before it and since when, is the same in a scan and in the stream."""
    rules = world(FIRST % learning)
    expected = last_of(told_in_disorder(rules, events, chance, finish, patient=True))
    assert last_of(told_in_time(rules, sorted(events), random.Random(0), late_ms=0)) == expected  # noqa: S311
    assert last_of(told_in_time(rules, events, chance, late_ms=10 * MINUTE)) == expected


# --- what is judged when its time is over -----------------------------------------------------------------------

FEWER = settings(EXAMPLES, max_examples=500)


def cells(events):
    """The events of each group and cell."""
    found = {}
    for event in events:
        found.setdefault((event.actor, event.cluster, (EPOCH_MS + event.at_ms) // W), []).append(event)
    return found.values()


OVER = {
    "{lt: 3}": lambda group: len(group) < 3,
    "{eq: 2}": lambda group: len(group) == 2,
    "{neq: 2}": lambda group: len(group) != 2,
}


@FEWER
@given(events=happenings(), chance=CHANCE, condition=st.sampled_from(list(OVER)))
def test_a_count_that_is_not_reached(world, events, chance, condition):
    rules = world(correlation("few", "event_count", ["a", "b"], condition))
    expected = {
        incident("few", group[0], group[0].at_ms)
        for group in cells([e for e in events if e.kind in "ab"])
        if OVER[condition](group)
    }
    assert in_time(rules, events, chance, late_ms=10 * MINUTE) == expected
    assert in_disorder(rules, events, chance, finish, patient=True) == expected


@FEWER
@given(events=happenings(), chance=CHANCE)
def test_temporal_with_not(world, events, chance):
    rules = world(correlation("without", "temporal", ["a", "b", "c"], "a and not (b or c)"))
    expected = {
        incident("without", end, end.at_ms) for end, window in windows(events) if {e.kind for e in window} == {"a"}
    }
    assert in_time(rules, events, chance, late_ms=10 * MINUTE) == expected
    assert in_disorder(rules, events, chance, finish, patient=True) == expected
