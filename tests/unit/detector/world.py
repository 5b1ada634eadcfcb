"""A small world for the property tests: events of a few kinds, workers that share a state, and everything that goes
wrong between them: disorder, duplicates, batches of any size, workers that die between any two steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from schema_records import defaults

from leadsman_common.events import AuditEvent, Flag, action_of
from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import RuleSet, load
from leadsman_detector.plan import Plan
from leadsman_detector.state import Done, Due, MemoryState

CLUSTERS = ("aws/111122223333/eu-west-1/prod", "aws/111122223333/eu-west-1/test")
EPOCH_MS = 1_700_000_000_000


@dataclass(frozen=True, order=True)
class Happening:
    """Someone did something: `kind` is the resource, which the rule of that name looks at."""

    at_ms: int
    kind: str
    actor: str = "eve"
    name: str = "n"
    cluster: int = 0
    effective: bool = True
    serial: int = 0  # tells apart what is otherwise the same
    groups: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.at_ms}.{self.kind}.{self.actor}.{self.name}.{self.cluster}.{self.serial}"


@lru_cache(maxsize=100_000)
def event_of(one: Happening) -> AuditEvent:
    """The event of it, in the schema's shape."""
    cluster = CLUSTERS[one.cluster]
    return defaults(
        "AuditEvent",
        action=action_of("get", one.kind),
        flags=int(Flag.EFFECTIVE if one.effective else Flag.FAILED),
        id=one.id,
        time=(EPOCH_MS + one.at_ms) * 1000,
        verb="get",
        objectRef=defaults("ObjectRef", resource=one.kind, namespace="shop", name=one.name),
        cluster=defaults("Cluster", id=cluster, provider="aws", account="111122223333"),
        actor=defaults("Actor", name=one.actor, groups=list(one.groups)),
        outcome=defaults("Outcome", effective=one.effective, http=200 if one.effective else 403),
    )


def rules_of(folder: Path, kinds: Iterable[str], *more: str) -> RuleSet:
    """A rule for each kind, which raises nothing itself, and the documents given."""
    for kind in kinds:
        (folder / f"{kind}.yml").write_text(
            f"title: {kind}\nname: {kind}\nlogsource: {{product: kubernetes}}\nlevel: low\nleadsman: {{alert: false}}\n"
            f"detection: {{it: {{objectRef.resource: {kind}}}, condition: it}}\n"
        )
    for n, text in enumerate(more):
        (folder / f"more{n}.yml").write_text(text)
    rules = load([folder])
    assert not rules.problems, [str(p) for p in rules.problems]
    return rules


def in_order(rules: RuleSet, events: Sequence[Happening], state: MemoryState | None = None) -> list[dict[str, Any]]:
    """Every alert of events that come one by one, in the order given, repetitions and revisions too."""
    detector, state, raised = Detector(rules), state or MemoryState(), []
    for offset, one in enumerate(events):
        plan = Plan()
        detector.judge(plan, event_of(one), Where("audit.events", 0, offset))
        raised += state.settle(detector.evaluate(plan))
    return raised


def in_disorder(
    rules: RuleSet,
    events: Sequence[Happening],
    chance: random.Random,
    finish: Callable[[Detector, MemoryState], list[Any]] = lambda _d, _s: [],
    *,
    patient: bool = False,
) -> set[str]:
    """The ids of the alerts, however the events arrive; see `told_in_disorder`."""
    return {alert["id"] for alert in told_in_disorder(rules, events, chance, finish, patient=patient)}


def told_in_disorder(
    rules: RuleSet,
    events: Sequence[Happening],
    chance: random.Random,
    finish: Callable[[Detector, MemoryState], list[Any]] = lambda _d, _s: [],
    *,
    patient: bool = False,
) -> list[Any]:
    """Every alert, however the events arrive: shuffled, some twice, in batches of any size, on workers that take turns
    after each exchange and die at any of them, to be followed by others that begin the batch again."""
    arriving = [*events, *(e for e in events if chance.random() < 0.2)]
    chance.shuffle(arriving)
    placed = [(one, Where("audit.events", chance.randrange(3), offset)) for offset, one in enumerate(arriving)]
    waiting: list[list[tuple[Happening, Where]]] = []
    while placed:
        size = chance.randint(1, 4)
        waiting.append(placed[:size])
        placed = placed[size:]
    detector, state, told = Detector(rules, patient=patient), MemoryState(), []
    running: list[Any] = []  # [batch, generator, the requests it waits with]
    while waiting or running:
        if waiting and (not running or (len(running) < 3 and chance.random() < 0.5)):
            batch = waiting.pop(0)
            plan = Plan()
            for one, where in batch:
                detector.judge(plan, event_of(one), where)
            generator = detector.evaluate(plan)
            running.append([batch, generator, None])
        worker = chance.choice(running)
        batch, generator, asked = worker
        try:
            if asked is None:
                worker[2] = next(generator)
            else:
                replies = state.exchange_now(asked)
                if chance.random() < 0.1:  # dead after the exchange: what it raised is lost, the batch comes again
                    running.remove(worker)
                    waiting.append(batch)
                    continue
                worker[2] = generator.send(replies)
        except StopIteration as done:
            running.remove(worker)
            told += done.value
    return [*told, *finish(detector, state)]


def finish(detector: Detector, state: MemoryState, progress: dict[tuple[str, str], int] | None = None) -> list[Any]:
    """The alerts of what is due: by the progress of each source, or all that waits where there is none."""
    raised = []
    for cluster, source in state.timed():
        upto = 1 << 53 if progress is None else progress.get((cluster, source), -(1 << 53))
        whats = state.exchange_now([Due(cluster, source, upto, 1000)])[0]
        plan = Plan()
        for what in whats:
            detector.due(plan, what)
        raised += state.settle(detector.evaluate(plan))
        state.exchange_now([Done(cluster, source, what) for what in whats])
    return raised


def in_time(rules: RuleSet, events: Sequence[Happening], chance: random.Random, late_ms: int) -> set[str]:
    """The ids of the alerts of events that come late by so much at most; see `told_in_time`."""
    return {alert["id"] for alert in told_in_time(rules, events, chance, late_ms)}


def told_in_time(rules: RuleSet, events: Sequence[Happening], chance: random.Random, late_ms: int) -> list[Any]:
    """Every alert of events that come late by so much at most, some twice, to workers that take turns."""
    arriving = sorted(
        [*events, *(e for e in events if chance.random() < 0.2)],
        key=lambda e: (e.at_ms + chance.randint(0, late_ms), chance.random()),
    )
    state, workers = MemoryState(), [Detector(rules) for _ in range(2)]
    progress: dict[tuple[str, str], int] = {}
    told: list[Any] = []
    for offset, one in enumerate(arriving):
        detector, plan = chance.choice(workers), Plan()
        detector.judge(plan, event_of(one), Where("audit.events", 0, offset))
        told += state.settle(detector.evaluate(plan))
        for place, at_ms in plan.progress.items():
            progress[place] = max(at_ms, progress.get(place, at_ms))
        if chance.random() < 0.5:
            told += finish(detector, state, progress)
    return [*told, *finish(workers[0], state)]
