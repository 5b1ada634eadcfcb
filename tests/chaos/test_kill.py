"""20,000 events with known alerts through the whole stream: kill -9 of each service loses none and invents none.

Once with nothing disturbed, and once in bursts, with one service killed in the middle of each and started again: first
in full swing, then while what it waits for (Kafka, Redis, the receiver) is held still, so that it dies between reading
and acknowledging. An acknowledgement that comes too early loses records then.
EKS's events all go in at Kinesis (moto). Of GKE's every sixth goes in at Pub/Sub and the others are put on raw.gcp as
ingest-gcp would: the stand-in (pstest) hands out one message in ten milliseconds, and 8,000 would take it minutes.
"""

import collections
import contextlib
import os
import signal
import threading
import time

import pytest

from leadsman_cli.verify import Verifier
from leadsman_common.settings import Common

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EVENTS = 20_000
HELD_S = 2.5  # longer than any service waits before it acknowledges or commits
PART = 400  # records that are put together


@pytest.fixture(scope="module")
def samples(mix):
    return list(enumerate(mix.samples(EVENTS, stories=0.2)))


@pytest.fixture(scope="module")
def start(local, run_dir, stack, moto_endpoint, pubsub_emulator):
    """start(): a pipeline of its own with a receiver, as a context manager."""
    kit, receiver = local("pipeline"), local("receiver")

    class Run:
        def __enter__(self):
            self.receiver = receiver.Receiver()
            redis_url = stack.redis_url.removesuffix("/0") + "/2"
            world = kit.World(stack.bootstrap, redis_url, moto_endpoint, pubsub_emulator, self.receiver.url)
            self.pipeline = kit.Pipeline(run_dir, world).__enter__()
            self.pipeline.services.start_all(self.pipeline.service_names())
            return self.pipeline, self.receiver

        def __exit__(self, *error):
            self.pipeline.__exit__(*error)
            self.receiver.close()

    return Run


def feed(pipeline, mix, samples):
    """Put records, numbered, in at their clouds."""
    for first in range(0, len(samples), PART):
        by_cluster = collections.defaultdict(list)
        for n, sample in samples[first : first + PART]:
            by_cluster[sample.cluster].append((n, sample))
        for cluster, part in by_cluster.items():
            if cluster.cloud == "aws":
                pipeline.put_cloudwatch(cluster.name, cluster.account, [s.value.decode() for _, s in part])
            else:
                pipeline.publish([s.value for n, s in part if not passes_by(n, s)])
                pipeline.produce_raw(mix.raw_of(s, n) for n, s in part if passes_by(n, s))


def passes_by(n, sample):
    """Whether a record is put on its raw topic, past the cloud."""
    return sample.cluster.cloud == "gcp" and n % 6 != 0


# how much a service has done, as the next hop sees it
DONE = {
    "ingest-aws": lambda pipeline, _: pipeline.count("raw.aws"),
    "ingest-gcp": lambda pipeline, _: pipeline.count("raw.gcp"),
    "normalizer": lambda pipeline, _: pipeline.count("audit.events"),
    "detector": lambda pipeline, _: pipeline.count("alerts"),
    "notifier": lambda _, receiver: len(receiver.bodies),
}


def left(pipeline, name):
    """How many records it has not committed; ingest, which is not asked, has some while it is fed."""
    return 1 if name.startswith("ingest") else pipeline.lag(name)


def arrived(pipeline):
    """How many records are on the raw topics, a repeat not counted."""
    if pipeline.count("raw.aws") + pipeline.count("raw.gcp") < EVENTS:
        return 0
    return len({message.value() for base in ("raw.aws", "raw.gcp") for message in pipeline.read(base)})


def through(pipeline):
    """Wait until all is done. A repeat, as Pub/Sub makes of what is not acknowledged in time, is no other record."""
    pipeline.until(lambda: arrived(pipeline) == EVENTS, "every record on the raw topics", 300)
    pipeline.wait_through(raw=EVENTS, timeout_s=300)  # who was killed is waited for before another has its partitions


def outcome(pipeline, receiver):
    """The alerts on the topic by id, and the ids at the receiver."""
    return {alert["id"]: alert for alert in pipeline.alerts()}, {alert["id"] for alert in receiver.bodies}


@pytest.fixture(scope="module")
def undisturbed(start, mix, samples):
    with start() as (pipeline, receiver):
        feed(pipeline, mix, samples)
        through(pipeline)
        return outcome(pipeline, receiver)


def test_undisturbed_the_known_alerts_come(mix, samples, undisturbed):
    on_topic, received = undisturbed
    known = mix.expected(sample for _, sample in samples)
    assert known.total() > 200
    assert known["exec-by-new-role"] > 20
    assert collections.Counter(a["rule"]["name"] for a in on_topic.values() if mix.counted(a)) == known
    assert received == set(on_topic)


@contextlib.contextmanager
def held(name, stack, receiver):
    """Hold still what a service waits for before it may acknowledge."""
    if name == "notifier":
        receiver.open.clear()
        yield
        receiver.open.set()
        return
    pid = stack.redis_pid if name == "detector" else stack.kafka_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill_in_full_swing(pipeline, receiver, name, part, feeding):
    """Kill it as soon as something of the burst is seen behind it; says whether it had work left."""
    done = DONE[name](pipeline, receiver)
    if name == "ingest-gcp":
        done += sum(passes_by(n, sample) for n, sample in part)
    feeding.start()
    pipeline.until(lambda: DONE[name](pipeline, receiver) > done, f"{name} begins")
    pipeline.services.kill9(name)
    return feeding.is_alive() or left(pipeline, name) > 0


def kill_while_waiting(pipeline, receiver, name, stack, feeding):
    """Kill it while what it did cannot be acknowledged."""
    # the normalizer reads from the Kafka that is held, and the detector commits when something before was done
    flowing = name in {"normalizer", "detector"}
    if flowing:
        done = DONE[name](pipeline, receiver)
        feeding.start()
        pipeline.until(lambda: DONE[name](pipeline, receiver) > done, f"{name} begins")
    with held(name, stack, receiver):
        if not flowing:
            feeding.start()
        time.sleep(HELD_S)
        pipeline.services.kill9(name)


def test_killing_each_service_changes_no_alert(start, stack, mix, samples, undisturbed):
    with start() as (pipeline, receiver):
        names = pipeline.service_names()
        assert len(names) == 5
        burst = EVENTS // (2 * len(names))
        busy = collections.Counter()
        for turn, name in enumerate(names * 2):
            part = samples[turn * burst : (turn + 1) * burst]
            feeding = threading.Thread(target=feed, args=(pipeline, mix, part), daemon=True)
            killed = pipeline.services.pid(name)
            if turn < len(names):
                busy[name] += kill_in_full_swing(pipeline, receiver, name, part, feeding)
            else:
                kill_while_waiting(pipeline, receiver, name, stack, feeding)
            assert pipeline.services.restart(name).pid != killed
            feeding.join()
        through(pipeline)
        on_topic, received = outcome(pipeline, receiver)
        settings = Common(kafka_bootstrap=stack.bootstrap, topic_prefix=pipeline.prefix)
        report = Verifier(settings, None, "leadsman-detector").run(recount=True)
        held = {base: pipeline.count(base) for base in ("raw.aws", "raw.gcp", "audit.events", "alerts")}
    assert set(on_topic) == set(undisturbed[0])
    assert received == set(undisturbed[0])
    assert (report.findings, report.missing_alerts) == ([], [])
    accounted = collections.Counter()
    for account in report.accounts:
        accounted[account.topic] += account.totals.total()
    assert +accounted == held  # one outcome for each record, however often it was handled
    assert busy.total() >= len(names) - 1, "kills that came upon no work say nothing"
