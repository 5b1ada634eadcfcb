"""The alerts are those of the events, whatever happens to the workers and to Redis.

Workers are killed with kill -9 and added and taken away, and in the middle of it Redis is emptied, killed, or put back
to a copy that is two seconds old. What must come of the events is computed from them beforehand, in one process and
with nothing between. `make test` runs all of it once, in short; `make test-long` each alone, over 200,000 events.
"""

import collections
import json
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

from leadsman_common.avro import audit_event_codec
from leadsman_detector.config import Settings
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.runner import Record
from leadsman_detector.state import MemoryState

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PART = 500
AGE_S = 2.0
BASELINE_MS = int(Settings().baseline_h * 3_600_000)
OWN_RULES = Path(__file__).parent / "rules"


@pytest.fixture(scope="module")
def bench(mix):
    """Give the benchmark's modules mix and part_normalizer."""
    import part_normalizer

    return mix, part_normalizer


def rules_dirs():
    return [default_rules_dir(), *([OWN_RULES] if OWN_RULES.is_dir() else [])]


def truth(events):
    """The ids that come of these events, in one process."""
    state, detector = MemoryState(), Detector(load(rules_dirs()), baseline_ms=BASELINE_MS)
    encode = audit_event_codec().encode
    found = {}
    for at in range(0, len(events), PART):
        records = [Record("t", 0, at + n, None, encode(e), (), 0) for n, e in enumerate(events[at : at + PART])]
        plan = detector.plan(records, 0)
        for alert in state.settle(detector.evaluate(plan)):
            found[alert["id"]] = alert["rule"]["name"]
    return found


class Redis:
    """A Redis of the run's own, that can be hurt."""

    def __init__(self, local, folder):
        self.server, self.processes, self.folder = local("redis_server"), local("processes"), folder
        folder.mkdir()
        self.port = self.processes.free_port()
        self.start()

    def start(self):
        self.process = self.server.start(self.folder, port=self.port, tie_to_parent=True)
        with redis.Redis(port=self.port) as client:
            client.config_set("auto-aof-rewrite-percentage", 0)  # a copy of the folder is then a state that was

    def stop(self, grace_s=5):
        self.processes.stop(self.folder, [self.process], grace_s=grace_s)

    def empty(self):
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def kill_and_start(self):
        self.stop(grace_s=0)
        self.start()

    def put_back(self):
        """Put it back to what its file held two seconds ago."""
        data, copy = self.folder / "redis-data", self.folder / "copy"
        shutil.copytree(data, copy)
        time.sleep(AGE_S)
        self.stop(grace_s=0)
        shutil.rmtree(data)
        copy.rename(data)
        self.start()


class Run:
    """One run: the pipeline, its Redis, what is fed and what comes."""

    def __init__(self, local, run_dir, stack, bench, count):
        self.mix, self.kit = bench[0], local("pipeline")
        self.folder = run_dir / f"chaos-{time.monotonic_ns()}"
        self.folder.mkdir()
        self.redis = Redis(local, self.folder / "redis")
        self.samples = list(enumerate(self.mix.samples(count, stories=0.2)))
        world = self.kit.World(stack.bootstrap, self.redis.server.url(self.redis.port))
        extra = {
            "LEADSMAN_RULES_DIR": ",".join(map(str, rules_dirs())),
            "LEADSMAN_SESSION_TIMEOUT_S": "6",
            "LEADSMAN_BATCH": "200",
        }
        self.pipeline = self.kit.Pipeline(run_dir, world, max_partitions=6, extra=extra).__enter__()
        self.services = self.pipeline.services
        self.workers = {"normalizer": ["normalizer"], "detector": ["detector"]}
        self.killed = collections.Counter()
        self.fed = 0

    def close(self):
        self.pipeline.__exit__()
        self.redis.stop()

    def start(self, service, number=1):
        name = service if number == 1 else f"{service}-{number}"
        self.services.start(service, name)
        self.services.wait_ready(name)
        if name not in self.workers[service]:
            self.workers[service].append(name)

    def stop(self, service, number):
        name = f"{service}-{number}"
        self.services.stop(name)
        self.workers[service].remove(name)

    def kill(self, service, number=1):
        names = self.workers[service]
        name = names[number % len(names)]
        self.killed[service] += self.pipeline.lag(service) > 0
        self.services.kill9(name)
        self.services.restart(name)

    def feed(self, pause_s):
        """Put all records on the raw topics, a part after the other."""
        for first in range(0, len(self.samples), PART):
            part = self.samples[first : first + PART]
            self.pipeline.produce_raw(self.mix.raw_of(sample, n) for n, sample in part)
            self.fed += len(part)
            time.sleep(pause_s)

    def wait(self, holds, what, timeout_s=300):
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                names = [name for some in self.workers.values() for name in some]
                logs = "\n".join(f"--- {name}\n{self.services.log_tail(name, 40)}" for name in names)
                pytest.fail(f"{what} did not come about\n{logs}")
            time.sleep(0.1)

    def play(self, steps, pause_s):
        """Do each step when its share of the records is fed, and wait until all is done."""
        self.start("normalizer")
        self.start("detector")
        feeding = threading.Thread(target=self.feed, args=(pause_s,), daemon=True)
        feeding.start()
        for share, step, *arguments in steps:
            self.wait(lambda due=share: self.fed >= due * len(self.samples), f"{share:.0%} fed")
            step(self, *arguments)
        feeding.join()
        # how often it is rebuilt is chance: what comes while it is rebuilt, or kills who leads it, is one with the next
        self.wait(self.is_whole, "the last rebuilding's end")
        for service in ("normalizer", "detector"):
            # long on a machine that does other things too; the test's own timeout ends what never comes
            self.wait(lambda of=service: self.pipeline.lag(of) == 0, f"{service} done", timeout_s=1800)

    def is_whole(self):
        """Whether the last rebuilding that a detector began has an end."""
        return self.last_logged("rebuilding the state") < self.last_logged("the state is rebuilt")

    def alerts(self):
        return {alert["id"]: alert["rule"]["name"] for alert in self.pipeline.alerts()}

    def lines(self, text):
        """The lines of the detectors' logs that say this."""
        logs = self.services.run_dir.rglob("detector*.log")
        return [line for path in logs for line in path.read_text(errors="replace").splitlines() if text in line]

    def last_logged(self, text):
        """When a detector said this last, as its log writes times; empty for never."""
        return max((json.loads(line)["timestamp"] for line in self.lines(text)), default="")


def kills(count, first=0.05, last=0.95):
    """`count` kills over the run, four of five of a detector, and the scaling between."""
    width = (last - first) / count
    steps = [(first + n * width, Run.kill, "normalizer" if n % 5 == 4 else "detector", n) for n in range(count)]
    scaling = [
        (0.2, Run.start, "detector", 2),
        (0.2, Run.start, "detector", 3),
        (0.4, Run.start, "normalizer", 2),
        (0.7, Run.stop, "detector", 3),
    ]
    return steps + scaling


def in_order(*steps):
    return sorted(steps, key=lambda step: step[0])


EMPTIED = lambda run: run.redis.empty()  # noqa: E731
KILLED = lambda run: run.redis.kill_and_start()  # noqa: E731
PUT_BACK = lambda run: run.redis.put_back()  # noqa: E731


@pytest.fixture
def start_run(local, run_dir, stack, bench):
    """Give what starts a run of so many records."""
    runs = []

    def start(count):
        runs.append(Run(local, run_dir, stack, bench, count))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def check(run, bench, count, least_kills):
    mix, part_normalizer = bench
    expected = truth(part_normalizer.events_of([mix.raw_of(sample, n) for n, sample in run.samples]))
    known = mix.expected(sample for _, sample in run.samples)
    assert known.keys() <= set(expected.values()), "the truth lacks what the records are known for"
    found = run.alerts()
    lost, new = expected.keys() - found.keys(), found.keys() - expected.keys()
    tell = collections.Counter
    assert not lost, f"{len(lost)} of {len(expected)} lost: {tell(expected[i] for i in lost)}"
    assert not new, f"{len(new)} new: {tell(found[i] for i in new)}"
    assert run.killed.total() >= least_kills, f"kills that came upon no work say nothing: {run.killed}"
    assert len(run.samples) == count
    return expected


def test_in_short_all_of_it(start_run, bench):
    run = start_run(12_000)
    steps = in_order(*kills(4), (0.3, EMPTIED), (0.55, PUT_BACK), (0.8, KILLED))
    run.play(steps, pause_s=1.0)
    check(run, bench, 12_000, least_kills=1)
    assert len(run.lines('"lost": true')) >= 2  # at the start, and when it was emptied


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "hurt",
    {"nothing": (), "flushall": (EMPTIED,), "restart": (KILLED,), "put back": (PUT_BACK,)}.items(),
    ids=lambda item: item[0],
)
def test_at_length(start_run, bench, hurt, record_property):
    run = start_run(200_000)
    began = time.monotonic()
    run.play(in_order(*kills(10), *((0.5, step) for step in hurt[1])), pause_s=0.5)
    seconds = time.monotonic() - began
    expected = check(run, bench, 200_000, least_kills=5)
    for name, value in {"seconds": round(seconds), "alerts": len(expected), "kills": dict(run.killed)}.items():
        record_property(name, value)
        sys.stderr.write(f"{hurt[0]}: {name} {value}\n")
