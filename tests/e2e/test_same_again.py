"""The same answer again: a live run, a replay of its events and a scan of its records give the same alerts.

However many partitions, detectors and records a batch. `make test` runs one of the grid; `make test-long` all.
"""

import asyncio
import importlib
import io
import itertools
import json
import os
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from last_word import latest
from normalized import event_of
from storm import anonymous_reads

from leadsman_cli.__main__ import cli
from leadsman_cli.judge_cases import arrivals_of
from leadsman_cli.readers import Identity, Unreadable, files_below, read
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import to_json
from leadsman_common.avro import audit_event_codec
from leadsman_common.events import AuditEvent, Flag
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.raw import Bad, RawEvent, checked
from leadsman_detector.lateness import LATENESS_MS, source_of
from leadsman_detector.state import CLOCK, HOUR_MS
from leadsman_detector.state_redis import RedisState, connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

GRID = [*itertools.product((1, 3, 12), (1, 3), (1, 500))]
SHORT = (3, 3, 500)
NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
DEMO = ("payments-prod", "analytics-prod")  # its clusters
REPO = Path(__file__).parents[2]
PLACE = ("source", "raw")
STORM = 250  # requests that are told as one: more than are told as they come
STRETCHES = 8  # each takes a few seconds
OF_A_RUN = ("detected_time", "revision")  # when it was detected, and how much a worker knew that told it last
LASTING = ("pods/exec", "pods/attach", "pods/portforward")  # GKE tells of their beginning and end, as one event
TOPICS = {
    "eks": "raw.aws",
    "cloudtrail": "raw.aws",
    "gke": "raw.gcp",
    "gcp": "raw.gcp",
    "aks": "raw.azure",
    "azure": "raw.azure",
}


@dataclass
class Log:
    """All records, and how they go through the stream so that no event comes later than its source's may.

    `stretches`: the same records, one stretch after the other. Of each cluster and source a stretch holds what lies
    within the lateness: partitions and workers may take turns over it as they like. `ends`: one harmless event of each
    cluster and source, so late that nothing waits any more. `clusters`: whether the records of each are in order, in
    no more than STRETCHES, and their end is of the past: a source that is ahead of the clock closes nothing.
    """

    raws: list[RawEvent]
    stretches: list[list[RawEvent]] = field(default_factory=lambda: [[]])
    ends: list[AuditEvent] = field(default_factory=list)
    clusters: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stretch, spans, last, objects = Counter(), defaultdict(dict), {}, {}
        now_ms = time.time() * 1000
        for raw in self.raws:
            event = event_of(raw)
            if event is None:
                self.stretches[0].append(raw)
                continue
            cluster, source, at_ms = event["cluster"]["id"], source_of(event), event["time"] // 1000
            late_ms, place = LATENESS_MS[source], (cluster, source)
            latest_ms = last[place]["time"] // 1000 if place in last else at_ms
            told = objects.setdefault(event["id"], event["objectRef"]["name"])
            # two records that are taken for one event, since they have no id, must at least tell the same
            of_one_event = told == event["objectRef"]["name"]
            in_order = latest_ms - late_ms <= at_ms < now_ms - late_ms - HOUR_MS and of_one_event
            self.clusters[cluster] = in_order and self.clusters.get(cluster, True)
            if at_ms >= latest_ms:
                last[place] = event
            first_ms, last_ms = spans[cluster].get(source, (at_ms, at_ms))
            if max(at_ms, last_ms) - min(at_ms, first_ms) > late_ms:
                stretch[cluster] += 1
                spans[cluster] = {}
                first_ms = last_ms = at_ms
            spans[cluster][source] = min(at_ms, first_ms), max(at_ms, last_ms)
            if stretch[cluster] == STRETCHES:
                stretch[cluster], self.clusters[cluster] = STRETCHES - 1, False
            if stretch[cluster] == len(self.stretches):
                self.stretches.append([])
            self.stretches[stretch[cluster]].append(raw)
        self.ends = [end_of(event) for event in last.values()]


def end_of(event):
    """Something harmless in the same cluster and source, after which no event before `event` can come."""
    source = source_of(event)
    actor = {**event["actor"], "name": "system:kube-controller-manager", "class": "control_plane", "groups": []}
    return {
        **event,
        "id": f"end of {event['cluster']['id']} {source}",
        "time": event["time"] + (LATENESS_MS[source] + HOUR_MS) * 1000,  # what is counted by the hour is over as well
        "action": "get secrets",
        "flags": int(Flag.EFFECTIVE),
        "verb": "get",
        "actor": {**actor, "credential_id": "", "pod": ""},
        "impersonatedUser": None,
        "userAgent": "",
        "src_endpoint": {**event["src_endpoint"], "ip": ""},
        "objectRef": dict.fromkeys(event["objectRef"], "") | {"resource": "secrets", "namespace": "end", "name": "end"},
        "facts": None,
        "dryRun": False,
        "requestObject": "",
        "responseObject": "",
    }


def of_cases(tests_rules):
    """The records of every case that looks at more than one event, on three clouds, each in a world of its own."""
    rules = load_rules(())
    wanted = {c.name for c in rules.correlations} | {
        r.rule.name for r in rules.rules if r.known_paths or r.rule.regression or r.first_seen is not None
    }
    cases = [(file, case) for file in read_all(tests_rules, rules)[0] if file.rule in wanted for case in file.cases]
    for number, ((file, case), cloud) in enumerate(itertools.product(cases, ("native", "eks", "gke"))):
        for cluster, enveloped in arrivals_of(file, case, cloud) if cloud in case.on() else ():
            log = enveloped.data.replace(b"harbour", b"harbour%d" % number).replace(b"shipyard", b"shipyard%d" % number)
            log = log.replace(b"111122223333", b"1%011d" % number)
            identity = Identity(cluster=f"{cluster}{number}") if cloud == "native" else Identity()
            yield from read("case", io.BytesIO(log), "auto", identity, lambda _size: None)


def of_files(folder):
    """The records of all files below a folder; what names no cluster is from one of the file's own."""
    for number, path in enumerate(files_below((folder,))):
        with path.open("rb") as stream:
            yield from read(str(path), stream, "auto", Identity(cluster=f"corpora{number}"), lambda _size: None)


def of_demo(stories):
    """The records of the demo's two attacks and the noise around them."""
    for story in stories.built_in(NOW):
        log = b"\n".join(story.records)
        yield from read("demo", io.BytesIO(log), "auto", Identity(story.cluster, story.account), lambda _size: None)


def of_storm():
    """The records of more requests in a few minutes than are told one by one."""
    began = NOW - timedelta(hours=1)
    yield from anonymous_reads(began + timedelta(milliseconds=130 * n) for n in range(STORM))


def streamable(items):
    """What the stream can carry, one after the other; a source's id for each."""
    return [item for item in items if not isinstance(item, Unreadable) and not isinstance(checked(item), Bad)]


def left_out(item, places):
    """What of an item of evidence hangs on where it was read, or on which of an event's two records came first."""
    lasting = item["action"].endswith(LASTING)
    return (*(() if places and not lasting else PLACE), *(("time",) if lasting else ()))


def parts(alert, *, places):
    """What must be the same of an alert: all of it, but what is a run's own; each event of the evidence by its id."""
    evidence = {
        f"event {e['event_id'][:8]} {e['rule']}": {k: v for k, v in e.items() if k not in left_out(e, places)}
        for e in alert["evidence"]
    }
    own = {k: v for k, v in alert.items() if k not in ("evidence", *OF_A_RUN)}
    if any(item["action"].endswith(LASTING) for item in alert["evidence"]):
        del own["time"]
    return {**own, "order": list(evidence), **evidence}


def scanned(log):
    scanner = Scanner(load_rules(()))
    scanner.take(log.raws)
    for event in log.ends:
        scanner._offline.judge(event)
    scanner.finish()
    return {key: to_json(alert) for key, alert in scanner.found.alerts.items()}


def replayed(world, prefix, *arguments):
    env = {"LEADSMAN_KAFKA_BOOTSTRAP": world.bootstrap, "LEADSMAN_TOPIC_PREFIX": prefix}
    done = CliRunner().invoke(cli, ["replay", "-o", "jsonl", *arguments], env=env, standalone_mode=False)
    assert done.exception is None, done.output
    return {alert["id"]: alert for alert in map(json.loads, done.stdout.splitlines())}


def run(local, run_dir, stack, redis_url, log, shape):
    """Give the live run's alerts, and those of a replay of its events."""
    partitions, detectors, batch = shape
    kit = local("pipeline")
    world = kit.World(stack.bootstrap, redis_url)
    # a scan and a replay know no first hours of a cluster, and here each cluster is in its first ones for ever
    extra = {"LEADSMAN_BATCH": str(batch), "LEADSMAN_BASELINE_H": "0"}
    with kit.Pipeline(run_dir, world, max_partitions=partitions, extra=extra) as pipeline:
        names = ["normalizer", *(f"detector-{n}" if n else "detector" for n in range(detectors))]
        for name in names:
            pipeline.services.start(name.partition("-")[0], name)
        for name in names:
            pipeline.services.wait_ready(name)
        producer = AckedProducer(stack.bootstrap)
        for stretch in log.stretches:
            producer.send(
                Outgoing(pipeline.names[topic_of(raw)], raw.key(), raw.value, raw.headers()) for raw in stretch
            )
            pipeline.until(lambda: not pipeline.lag("normalizer"), "normalized", 900, of=names)
            pipeline.until(lambda: not pipeline.lag("detector"), "detected", 900, of=names)
        events, codec = pipeline.names["audit.events"], audit_event_codec()
        producer.send(Outgoing(events, event["id"].encode(), codec.encode(event), []) for event in log.ends)
        pipeline.until(lambda: not pipeline.lag("detector"), "the ends detected", 900, of=names)
        waiting = {cluster for cluster, in_order in log.clusters.items() if in_order}
        pipeline.until(lambda: not waiting & timed(redis_url, pipeline.prefix), "looked at what waited", 900, of=names)
        live = {key: to_json(alert) for key, alert in latest(pipeline.alerts()).items()}
        return live, replayed(world, pipeline.prefix)


def timed(redis_url, prefix):
    """The clusters of which something still waits for later events."""

    async def ask():
        state = RedisState(connect(redis_url), f"{prefix}live:")
        try:
            return {cluster for cluster, source in await state.timed() if source != CLOCK}
        finally:
            await state.close()

    return asyncio.run(ask())


def topic_of(raw):
    """The raw topic that ingest puts such a record on."""
    return TOPICS.get(raw.format.partition("-")[0], "raw.k8s")


def unlike(one, other):
    """Where two parts differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {k: (one.get(k), other.get(k)) for k in one | other if one.get(k) != other.get(k)}
    return one, other


def differing(first, second, *, places):
    """What one has and the other has not, a line each, for a person to read."""
    told = []
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key), second.get(key)
        if a is None or b is None:
            told.append(f"only in the {'second' if a is None else 'first'}: {(a or b)['rule']['name']} {key}")
            continue
        one, other = parts(a, places=places), parts(b, places=places)
        told += [
            f"{a['rule']['name']} {key}: {part}: {unlike(one.get(part), other.get(part))}"
            for part in one | other
            if one.get(part) != other.get(part)
        ]
    return told


def aside():
    """The rules that are not held to it, and the correlations of them.

    Those of versions: the stream looks at what components say once an hour by the clock, a scan does not look at all,
    and `leadsman posture` tells it of files. None is raised for the demo or the corpora.
    """
    rules = load_rules(())
    found = {r.rule.name for r in rules.rules if r.rule.versions}
    return found | fed_by(found, rules)


def fed_by(names, rules):
    """The correlations of these rules, and the correlations of those."""
    found = set()
    while more := {c.name for c in rules.correlations if c.name not in found and (names | found) & set(c.rules)}:
        found |= more
    return found


def firsts():
    """The rules of which the verdict may wait until nothing earlier can come, and the correlations of them."""
    rules = load_rules(())
    names = {r.rule.name for r in rules.rules if r.first_seen is not None}
    return names | fed_by(names, rules)


@pytest.fixture(scope="module")
def log():
    """Give one log of all there is: our own cases, the demo's, and the corpora where they are."""
    corpora = Path(os.environ.get("LEADSMAN_CORPORA") or REPO.parent / "shared" / "corpora")
    sys.path.append(str(REPO / "deploy" / "local" / "demo"))
    try:
        stories = importlib.import_module("stories")
    finally:
        sys.path.pop()
    return Log(
        streamable(
            [
                *of_cases(REPO / "tests" / "rules"),
                *of_demo(stories),
                *of_storm(),
                *(of_files(corpora) if corpora.is_dir() else ()),
            ]
        )
    )


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=() if shape == SHORT else pytest.mark.long, id=str(shape)) for shape in GRID]
)
def test_the_same_again(local, run_dir, stack, redis_url, log, shape):
    left_aside, waiting = aside(), firsts()
    assert sum(log.clusters.values()) > 0.95 * len(log.clusters)
    live, again, scan = (
        {
            key: alert
            for key, alert in found.items()
            if (name := alert["rule"]["name"]) not in left_aside
            # what waits for its source is only held to it where the log is in order; what spans clusters names none
            and (name not in waiting or log.clusters.get(alert["cluster"]["id"], True))
        }
        for found in (*run(local, run_dir, stack, redis_url, log, shape), scanned(log))
    )
    assert len(live) > 150
    assert sum(alert["rule"]["name"] in waiting for alert in live.values()) > 50
    assert any(f"({STORM} requests, " in alert["title"] for alert in live.values())
    told = [line for other in (again, scan) for line in differing(live, other, places=False)]
    assert not told, "\n".join(told)
    # where an event was read is the same as well, where it came once
    live, again = (
        {key: alert for key, alert in found.items() if alert["cluster"]["name"] in DEMO} for found in (live, again)
    )
    told = differing(live, again, places=True)
    assert not told, "\n".join(told)
    assert len(live) > 10
