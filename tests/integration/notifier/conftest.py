"""A notifier as a process, what it is told, and where alerts are written for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from notifying import Receiver

from leadsman_common.alert_stream import alert_record
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, Outgoing

WITH_HOSTS = Path(__file__).parents[2] / "lib" / "with_hosts.py"


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def produce(bootstrap, topics):
    """produce(*alerts): alerts as the detector writes them; bytes go as they are."""
    producer = AckedProducer(bootstrap)

    def send(*alerts):
        producer.send(
            Outgoing(topics["alerts"], b"key", a, (("ce-id", b"1"),))
            if isinstance(a, bytes)
            else alert_record(topics["alerts"], a, alert_codec().encode(a), "detector")
            for a in alerts
        )

    return send


@pytest.fixture
def notifier(bootstrap, topic_prefix, tmp_path):
    """notifier(**settings) starts one; whatever still runs at the end is killed. Kafka is the test's.

    `hosts` is a file of names that it resolves (tests/lib/with_hosts.py).
    """
    running = []

    def start(hosts=None, **settings):
        number = len(running)
        env = {
            **{
                k: v
                for k, v in os.environ.items()
                if not k.startswith("LEADSMAN_") and not k.lower().endswith("_proxy")
            },
            "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
            "LEADSMAN_TOPIC_PREFIX": topic_prefix,
            "LEADSMAN_NOTIFY_ALLOW": "127.0.0.0/8",
            "LEADSMAN_WEBHOOK_LIMIT_PER_MINUTE": "0",
            "LEADSMAN_STDOUT_FORMAT": "off",
            "LEADSMAN_NOTIFY_BACKOFF_S": "0.05",
            "LEADSMAN_NOTIFY_BACKOFF_MAX_S": "0.5",
            **{f"LEADSMAN_{name.upper()}": str(value) for name, value in settings.items()},
        }
        out, err = tmp_path / f"out{number}", tmp_path / f"err{number}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            program = ["-m", "leadsman_notifier"] if hosts is None else [WITH_HOSTS, hosts, "leadsman_notifier"]
            process = subprocess.Popen([sys.executable, *program], env=env, stdout=stdout, stderr=stderr)
        process.out, process.err = out, err
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
