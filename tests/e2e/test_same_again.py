"""The same answer again: a live run, a replay of its events and a scan of its records give the same alerts.

However many partitions, detectors and records a batch. `make test` runs one of the grid; `make test-long` all.
"""

import importlib
import io
import itertools
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from leadsman_cli.__main__ import cli
from leadsman_cli.judge_cases import arrivals_of
from leadsman_cli.readers import Identity, Unreadable, files_below, read
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import to_json
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.raw import Bad, checked

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

GRID = [*itertools.product((1, 3, 12), (1, 3), (1, 500))]
SHORT = (3, 3, 500)
NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
DEMO = ("payments-prod", "analytics-prod")  # its clusters
REPO = Path(__file__).parents[2]
PLACE = ("source", "raw")
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


def of_cases(tests_rules):
    """The records of every case that looks at more than one event, on three clouds, each in a world of its own."""
    rules = load_rules(())
    wanted = {c.name for c in rules.correlations} | {
        r.rule.name for r in rules.rules if r.known_paths or r.rule.regression
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


def scanned(raws):
    scanner = Scanner(load_rules(()))
    scanner.take(raws)
    scanner.finish()
    return {key: to_json(alert) for key, alert in scanner.found.alerts.items()}


def known(alert):
    return alert["revision"], len(alert["evidence"])


def latest(alerts):
    """By id, the highest revision, and of these the one that tells of most: see docs/subscribe.md."""
    found = {}
    for alert in alerts:
        if known(alert) >= known(found.get(alert["id"], alert)):
            found[alert["id"]] = alert
    return {key: to_json(alert) for key, alert in found.items()}


def replayed(world, prefix, *arguments):
    env = {"LEADSMAN_KAFKA_BOOTSTRAP": world.bootstrap, "LEADSMAN_TOPIC_PREFIX": prefix}
    done = CliRunner().invoke(cli, ["replay", "-o", "jsonl", *arguments], env=env, standalone_mode=False)
    assert done.exception is None, done.output
    return {alert["id"]: alert for alert in map(json.loads, done.stdout.splitlines())}


def run(local, run_dir, stack, redis_url, raws, shape):
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
        AckedProducer(stack.bootstrap).send(
            Outgoing(pipeline.names[topic_of(raw)], raw.key(), raw.value, raw.headers()) for raw in raws
        )
        pipeline.until(lambda: not pipeline.lag("normalizer"), "normalized", 900, of=names)
        pipeline.until(lambda: not pipeline.lag("detector"), "detected", 900, of=names)
        return latest(pipeline.alerts()), replayed(world, pipeline.prefix)


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


def waiting():
    """The rules whose verdict waits until nothing earlier can come, and the correlations of them.

    A log that ends leaves them waiting in the stream, and one that tells many stories of the same hour over and over
    is not in order at all. tests/unit/detector holds them to the same promise, with what comes after. Nor are the rules
    held to it that ask what cloud identities may do: a removal that comes late takes no alert back (decision 007).
    """
    rules = load_rules(())
    found = {
        r.rule.name
        for r in rules.rules
        if r.first_seen is not None or any("cloud_identity" in str(path) for path in r.known_paths)
    }
    while more := {c.name for c in rules.correlations if c.name not in found and found & set(c.rules)}:
        found |= more
    return found


@pytest.fixture(scope="module")
def raws():
    """Give one log of all there is: our own cases, the demo's, and the corpora where they are."""
    corpora = Path(os.environ.get("LEADSMAN_CORPORA") or REPO.parent / "shared" / "corpora")
    sys.path.append(str(REPO / "deploy" / "local" / "demo"))
    try:
        stories = importlib.import_module("stories")
    finally:
        sys.path.pop()
    return streamable(
        [*of_cases(REPO / "tests" / "rules"), *of_demo(stories), *(of_files(corpora) if corpora.is_dir() else ())]
    )


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=() if shape == SHORT else pytest.mark.long, id=str(shape)) for shape in GRID]
)
def test_the_same_again(local, run_dir, stack, redis_url, raws, shape):
    aside = waiting()
    live, again, scan = (
        {key: alert for key, alert in found.items() if alert["rule"]["name"] not in aside}
        for found in (*run(local, run_dir, stack, redis_url, raws, shape), scanned(raws))
    )
    assert len(live) > 150
    told = [line for other in (again, scan) for line in differing(live, other, places=False)]
    assert not told, "\n".join(told)
    # where an event was read is the same as well, where it came once
    live, again = (
        {key: alert for key, alert in found.items() if alert["cluster"]["name"] in DEMO} for found in (live, again)
    )
    told = differing(live, again, places=True)
    assert not told, "\n".join(told)
    assert len(live) > 10
