"""A scan of some records gives the alerts that the stream gives, however their events are cut into batches there."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from last_word import last_of
from normalized import event_of

from leadsman_cli.envelopes import REGION
from leadsman_cli.judge_cases import arrivals_of
from leadsman_cli.readers import Identity, Unreadable, read
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_cli.scan import Scanner
from leadsman_common.avro import audit_event_codec
from leadsman_detector.detect import Detector
from leadsman_detector.plan import Plan
from leadsman_detector.state import Done, Due, MemoryState

CLOUDS = ("native", "eks", "gke")


@dataclass(frozen=True)
class Record:
    partition: int
    offset: int
    value: bytes
    topic: str = "audit.events"


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


def stories(rules):
    """The cases of correlations, of rules that look at what is known, and of those that tell once of an object."""
    of_objects = {r.rule.name for r in rules.rules if r.rule.changed or r.rule.anchor == "owner"}
    wanted = {c.name for c in rules.correlations} | {r.rule.name for r in rules.rules if r.known_paths}
    # their cases tell of days that go by, and what comes days late is later than the stream waits for what is first
    slow = {r.rule.name for r in rules.rules if r.rule.first_seen and not r.rule.first_seen.every_s}
    wanted -= {c.name for c in rules.correlations if slow & set(c.rules)}
    files, _ = read_all(Path(__file__).parent, rules)
    return [
        (file, case)
        for file in files
        for case in file.cases
        if file.rule in wanted or (file.rule in of_objects and len(case.steps) > 1)
    ]


def raws_of(file, case, cloud):
    for cluster, enveloped in arrivals_of(file, case, cloud):
        identity = Identity(cluster=cluster) if cloud == "native" else Identity(region=REGION if cloud == "eks" else "")
        yield from read("case", io.BytesIO(enveloped.data), "auto", identity, lambda _size: None)


def records_of(raws, chance):
    """Their events on audit.events, in any order."""
    records = []
    for n, raw in enumerate(raws):
        if not isinstance(raw, Unreadable) and (event := event_of(raw)) is not None:
            records.append(Record(chance.randrange(3), n, audit_event_codec().encode(event)))
    chance.shuffle(records)
    return records


def streamed(rules, raws, chance):
    """The alerts that workers raise between them, of batches in any order."""
    records = records_of(raws, chance)
    state, workers, told = MemoryState(), [Detector(rules) for _ in range(2)], []
    while records:
        size = chance.randint(1, 4)
        batch, records = records[:size], records[size:]
        detector = chance.choice(workers)
        told += state.settle(detector.evaluate(detector.plan(batch)))
    for cluster, source in state.timed():
        for what in state.exchange_now([Due(cluster, source, 1 << 53, 1000)])[0]:
            plan = Plan()
            workers[0].due(plan, what)
            told += state.settle(workers[0].evaluate(plan))
            state.exchange_now([Done(cluster, source, what)])
    return told


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_same_alerts(rules, cloud):
    chance = random.Random(11)  # noqa: S311 - to shuffle
    alerts, differing = 0, []
    for file, case in stories(rules):
        if cloud not in case.on():
            continue
        scanner = Scanner(rules)
        scanner.take(raws_of(file, case, cloud))
        scanner.finish()
        found = last_of(streamed(rules, raws_of(file, case, cloud), chance))
        alerts += len(found)
        if found != last_of(scanner.found.alerts.values()):
            differing.append(f"{file.rule}: {case.name}")
    assert not differing
    assert alerts > 20


def left(detector, records):
    """What batches leave in the state: every member of every series, and the timers.

    Left aside is what a rebuild has from the topic `state`, since it reaches over weeks (who had to do with what, what
    changed, since when a cluster is watched), and what the events to come say anew: a log's beats, and when it or an
    alert is looked at again.
    """
    state = MemoryState()
    for at in range(0, len(records), 3):
        state.settle(detector.evaluate(detector.plan(records[at : at + 3])))
    series = {
        key: series.between(-(1 << 60), 1 << 60)
        for key, series in state._series.items()
        if not key[1].startswith(("risk/", "first_seen.risk/", "silence/"))
        and not key[2].endswith(("/heads", "/start"))
    }
    timers = {
        (place, what)
        for place, due in state._timers.items()
        for what in due
        if not what.startswith((b"\x96\xa7silence", b"\x96\xa4risk"))
    }
    return series, timers


def test_what_is_only_kept_is_what_the_stream_leaves(rules):
    """A state that is rebuilt passes over what leaves nothing, and asks for nothing that only an alert needs."""
    series, differing = 0, []
    files, _ = read_all(Path(__file__).parent, rules)
    for file, case in [(f, c) for f in files for c in f.cases if "native" in c.on()]:
        records = records_of(raws_of(file, case, "native"), random.Random(11))  # noqa: S311 - to shuffle
        expected = left(Detector(rules), records)
        series += len(expected[0])
        if left(Detector(rules, keeping=True), records) != expected:
            differing.append(f"{file.rule}: {case.name}")
    assert not differing
    assert series > 1000
