"""What the tests of ingest share: a service as a process, a topic's records, Kafka held still."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from posting import TOKEN, Webhook


class Service:
    """A service run as a process, with what it wrote on stderr."""

    def __init__(self, module, env, log, program=None):
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                program or [sys.executable, "-m", module],
                env={**os.environ, "LEADSMAN_HTTP_PORT": "0", **env},
                stdin=subprocess.DEVNULL,
                stderr=out,
            )

    def lines(self, event):
        """The log's entries of that name."""
        whole, _, _ = self.log.read_text().rpartition("\n")  # a line may be half written
        entries = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [entry for entry in entries if str(entry.get("event", "")).startswith(event)]

    def metrics(self):
        """name{labels} -> value; it may take requests a moment before it can be asked for them."""
        deadline = time.monotonic() + 90
        while not (listening := self.lines("listening")):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        port = listening[-1]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            rows = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#"]
        return {name: float(value) for name, value in rows}

    def ready(self):
        """Whether /readyz says so."""
        with contextlib.suppress(OSError, IndexError):
            port = self.lines("listening")[-1]["port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return answer.status == 200
        return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def run_service(tmp_path, bootstrap, topics, topic_prefix):  # noqa: ARG001 - the topics must exist
    """Give run_service(module, env, program) -> Service; `program` runs in place of the module. The topics exist.

    Whatever runs is killed at the end.
    """
    running = []

    def run(module, env, program=None):
        log = tmp_path / f"{module}-{len(running)}.log"
        common = {"LEADSMAN_KAFKA_BOOTSTRAP": bootstrap, "LEADSMAN_TOPIC_PREFIX": topic_prefix}
        running.append(Service(module, {**common, **env}, log, program))
        return running[-1]

    yield run
    for service in running:
        service.kill()


@pytest.fixture
def serve(run_service, eventually, tmp_path):
    """Give serve(lines of the senders file, **settings) -> Webhook."""

    def start(senders=f"prod token:{TOKEN}", context=None, program=None, **settings):
        path = tmp_path / "senders"
        path.write_text(senders)
        env = {"LEADSMAN_LISTEN_PORT": "0", "LEADSMAN_AUDIT_SENDERS": str(path)}
        env |= {f"LEADSMAN_{name.upper()}": str(value) for name, value in settings.items()}
        return Webhook(run_service("leadsman_ingest_k8s", env, program), eventually, context=context)

    return start


def read_all(bootstrap, topic):
    """Read what a topic holds now, over all its partitions."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        partitions = client.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {p: client.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        client.assign([TopicPartition(topic, p, 0) for p, end in ends.items() if end])
        records, wanted, deadline = [], sum(ends.values()), time.monotonic() + 60
        while len(records) < wanted:
            batch = client.consume(wanted - len(records), timeout=1)
            assert batch or time.monotonic() < deadline, f"{topic}: {len(records)} of {wanted} records came"
            records += [record for record in batch if record.error() is None]
        return records
    finally:
        client.close()


@pytest.fixture
def records_of(bootstrap, topics) -> Callable[..., list]:
    """Give records_of(name, at_least): the records of a topic, once there are that many."""

    def records(name, at_least=0, timeout_s=90):
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = read_all(bootstrap, topics[name])
            except KafkaException:  # partitions of a topic just created are still being taken up
                found = []
            if len(found) >= at_least or time.monotonic() > deadline:
                assert len(found) >= at_least, f"{name}: {len(found)} of {at_least} records within {timeout_s} s"
                return found
            time.sleep(0.1)

    return records


@pytest.fixture
def paused_kafka(stack) -> Iterator[Callable[[bool], None]]:
    """Give pause(True) and pause(False): Kafka stopped by SIGSTOP, going on by SIGCONT; it goes on at the end."""

    def pause(still):
        os.kill(stack.kafka_pid, signal.SIGSTOP if still else signal.SIGCONT)

    yield pause
    pause(False)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Give eventually(what, condition): wait until it holds, fail after a while."""

    def wait(what, condition, timeout_s=90):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            time.sleep(0.05)

    return wait
