"""Both runners on a real Kafka: killed, stopped, joined and left, broken, stalled; nothing is ever lost."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from leadsman_common.topic_reader import TopicReader
from leadsman_detector.runner import EXIT_BROKEN

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parent / "programs" / "detector_runner.py"
RECORDS = 24_000
PARTITIONS = 3
EVERYTHING = {f"{p}:{o}" for p in range(PARTITIONS) for o in range(RECORDS // PARTITIONS)}
WAIT_S = 150


@pytest.fixture(scope="module")
def source(bootstrap):
    """Create the topic that every test reads, each in a group of its own."""
    topic = f"runner-{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.messages": RECORDS})
    for n in range(RECORDS):
        producer.produce(topic, b"%d" % n, partition=n % PARTITIONS, headers=[("n", b"%d" % n)])
    assert producer.flush(30) == 0
    yield topic
    admin.delete_topics([topic])[topic].result()


@pytest.fixture
def one_partition(bootstrap):
    """Create a topic that only one worker can read."""
    topic = f"runner-{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    yield topic
    admin.delete_topics([topic])[topic].result()


class Run:
    """One test's workers, the topic they write to, and what their group committed."""

    def __init__(self, runner, bootstrap, source, folder):
        self.runner, self.bootstrap, self.source, self.folder = runner, bootstrap, source, folder
        self.group = f"g-{secrets.token_hex(4)}"
        self.out = f"out-{secrets.token_hex(4)}"
        self.workers = []
        self.written = Counter()
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.admin.create_topics([NewTopic(self.out, 1, 1)])[self.out].result()
        self.reader = Consumer({"bootstrap.servers": bootstrap, "group.id": self.out, "fetch.wait.max.ms": 20})
        self.reader.assign([TopicPartition(self.out, 0, 0)])

    def start(self, *options):
        command = [sys.executable, str(PROGRAM), self.runner, "--bootstrap", self.bootstrap, "--topic", self.source]
        command += ["--group", self.group, "--out", self.out, "--data", str(self.folder), *map(str, options)]
        name = self.folder / f"worker-{len(self.workers)}"
        with name.with_suffix(".out").open("w") as out, name.with_suffix(".err").open("w") as err:
            worker = subprocess.Popen(command, stdout=out, stderr=err)
        worker.status = lambda: json.loads(whole_lines(name.with_suffix(".out").read_text())[-1])
        worker.errors = lambda: name.with_suffix(".err").read_text()
        self.workers.append(worker)
        return worker

    def read(self, until, *, wait_s=WAIT_S):
        """Read what the workers wrote until `until()`; True if it came."""
        deadline = time.monotonic() + wait_s
        while not until() and time.monotonic() < deadline:
            for message in self.reader.consume(5000, timeout=0.1):
                assert message.error() is None
                self.written[message.value().decode()] += 1
        return until()

    def read_to(self, count):
        assert self.read(lambda: len(self.written) >= count), self.report()

    def read_all(self):
        """Read what is there by now."""
        _, end = self.reader.get_watermark_offsets(TopicPartition(self.out, 0))
        assert self.read(lambda: self.written.total() >= end), self.report()

    def committed(self):
        """The offset of each partition that the group committed."""
        found = TopicReader(self.bootstrap).committed(self.group, self.source)
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    def handled(self):
        """The offset after the last record of each partition that was written."""
        ends = Counter()
        for name in self.written:
            partition, _, offset = name.partition(":")
            ends[int(partition)] = max(ends[int(partition)], int(offset) + 1)
        return dict(ends)

    def report(self):
        logs = "\n".join(w.errors()[-3000:] for w in self.workers)
        return f"{len(self.written)} of {RECORDS}, committed {self.committed()}\n{logs}"

    def close(self):
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.reader.close()
        self.admin.delete_topics([self.out])[self.out].result()


@pytest.fixture(params=["faust", "plain"])
def run(request, bootstrap, source, tmp_path):
    """Give one test's Run."""
    it = Run(request.param, bootstrap, source, tmp_path)
    yield it
    it.close()


def whole_lines(text):
    """The last one may be half written."""
    return text[: text.rfind("\n") + 1].splitlines()


def stop(worker):
    worker.send_signal(signal.SIGTERM)
    return worker.wait(60)


def kill(worker):
    worker.kill()
    worker.wait()


def test_kill_9_twice_loses_nothing(run):
    for share in (4, 2):
        worker = run.start("--delay-s", 0.05)
        run.read_to(RECORDS // share)
        kill(worker)
    assert len(run.written) < RECORDS
    worker = run.start()
    run.read_to(RECORDS)
    assert run.written.keys() == EVERYTHING
    assert stop(worker) == 0


def test_sigterm_drains_and_commits_what_was_handled(run):
    worker = run.start("--delay-s", 0.15)
    run.read_to(RECORDS // 4)
    assert stop(worker) == 0, run.report()
    run.read_all()
    assert len(run.written) < RECORDS
    assert run.committed() == run.handled()
    worker = run.start()
    run.read_to(RECORDS)
    run.read(lambda: worker.status()["waiting"] is False)
    assert worker.status() == {"ready": True, "waiting": False}  # idle is no stall
    assert stop(worker) == 0
    run.read_all()
    assert run.written == Counter(EVERYTHING)  # each once: a stop in good order repeats nothing
    assert run.committed() == dict.fromkeys(range(PARTITIONS), RECORDS // PARTITIONS)


def test_a_worker_joins_and_leaves_and_nothing_is_lost(run):
    first = run.start("--delay-s", 0.15)
    run.read_to(2000)
    second = run.start("--delay-s", 0.15)
    assert run.read(lambda: second.poll() is None and ready(second)), run.report()
    before = len(run.written)
    run.read_to(min(RECORDS, before + 4000))
    assert stop(second) == 0, run.report()
    run.read_to(RECORDS)
    assert run.written.keys() == EVERYTHING
    assert stop(first) == 0, run.report()
    run.read_all()
    assert run.committed() == run.handled()


@pytest.mark.parametrize("runner", ["faust", "plain"])
def test_a_worker_that_gets_no_partition_stands_by(runner, bootstrap, one_partition, tmp_path):
    """It is ready: else no rollout with more workers than partitions would ever end."""
    with contextlib.closing(Run(runner, bootstrap, one_partition, tmp_path)) as run:
        first, second = run.start(), run.start()
        assert run.read(lambda: ready(first) and ready(second)), run.report()
        assert (stop(first), stop(second)) == (0, 0), run.report()


def ready(worker):
    try:
        return worker.status()["ready"]
    except IndexError:
        return False


def test_an_exception_of_the_handler_ends_the_process_and_the_record_comes_again(run):
    poison = f"1:{RECORDS // PARTITIONS // 2}"
    worker = run.start("--fail-at", poison)
    assert worker.wait(WAIT_S) == EXIT_BROKEN, run.report()
    assert "the handler broke, as it was told" in worker.errors()
    run.read_all()
    assert poison not in run.written
    assert run.committed().get(1, 0) <= RECORDS // PARTITIONS // 2
    worker = run.start("--fail-at", poison)
    run.read_to(RECORDS)
    assert run.written.keys() == EVERYTHING
    assert stop(worker) == 0


@pytest.mark.parametrize("hang", ["await", "block"])
def test_a_handler_that_hangs_ends_the_process(run, hang):
    worker = run.start("--hang", hang, "--stall-s", 3)
    assert worker.wait(WAIT_S) == EXIT_BROKEN, run.report()
    assert "stalled: records wait and none is handled" in worker.errors()
    assert run.committed() == {}


@pytest.mark.parametrize("run", ["faust"], indirect=True)
def test_a_transport_that_commits_on_delivery_is_seen_to_lose(run):
    """The tests above can see a loss: the same kill, with the transport mutated."""
    worker = run.start("--delay-s", 0.3, "--commit-on-delivery")
    assert run.read(lambda: sum(run.committed().values()) == RECORDS), run.report()
    kill(worker)
    run.read_all()
    assert len(run.written) < RECORDS // 2
    worker = run.start()
    assert run.read(lambda: ready(worker)), run.report()
    run.read(lambda: False, wait_s=2)
    assert len(run.written) < RECORDS // 2
    assert stop(worker) == 0
