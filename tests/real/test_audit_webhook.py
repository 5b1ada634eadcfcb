"""The audit webhook of a real API server: nothing that it still holds is lost, and what it dropped it says itself."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pki
import pytest

from leadsman_cli.doctor import dropped_by_server
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, resources: [{group: "", resources: [configmaps]}]}
  - {level: None}
"""
TOKEN = secrets.token_hex(16)


@pytest.fixture
def webhook(bootstrap, topics, topic_prefix, tmp_path, local):  # noqa: ARG001 - the topics must exist
    """A running ingest-k8s behind TLS: (process, port, CA file)."""
    authority = pki.Authority(tmp_path)
    certificate, key = authority.issue("ingest-k8s")
    (tmp_path / "senders").write_text(f"real token:{TOKEN}\n")
    port = local("processes").free_port()
    env = {
        **os.environ,
        "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
        "LEADSMAN_TOPIC_PREFIX": topic_prefix,
        "LEADSMAN_LISTEN_PORT": str(port),
        "LEADSMAN_LISTEN_TLS_CERT": str(certificate),
        "LEADSMAN_LISTEN_TLS_KEY": str(key),
        "LEADSMAN_AUDIT_SENDERS": str(tmp_path / "senders"),
        "LEADSMAN_ANSWER_TIMEOUT_S": "5",
    }
    process = subprocess.Popen([sys.executable, "-m", "leadsman_ingest_k8s"], env=env)
    yield port, authority.ca
    process.terminate()
    process.wait(30)


def configure(monkeypatch, webhook):
    port, ca = webhook
    monkeypatch.setenv("AUDIT_WEBHOOK_URL", f"https://127.0.0.1:{port}/audit/real")
    monkeypatch.setenv("AUDIT_WEBHOOK_CA", str(ca))
    monkeypatch.setenv("AUDIT_WEBHOOK_TOKEN", TOKEN)


def act(server, start, count):
    """Requests that are audited; their names tell them apart."""
    objects = "\n---\n".join(
        json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"made-{n}", "namespace": "default"}})
        for n in range(start, start + count)
    )
    server.kubectl("create", "-f", "-", send=objects)


def stored(bootstrap, topic):
    """What stands on the raw topic: audit ids of finished requests, less repeats."""
    try:
        found = [json.loads(m.value()) for m in TopicReader(bootstrap).read(topic)]
    except TopicUnreadableError:  # a broker that was held still has no leaders for a moment
        return set()
    return {e["auditID"] for e in found if e["stage"] == "ResponseComplete"}


def logged(server):
    """The same by the server's own log backend, which blocks and so drops nothing."""
    return {e["auditID"] for e in server.audit_events() if e["stage"] == "ResponseComplete"}


def until(condition, timeout_s):
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def policy(tmp_path):
    path = Path(tmp_path) / "policy.yaml"
    path.write_text(POLICY)
    return path


def test_an_outage_of_a_minute_loses_nothing_that_the_server_holds(
    api_server, webhook, bootstrap, topics, stack, tmp_path, monkeypatch
):
    configure(monkeypatch, webhook)
    extra = "--audit-webhook-batch-max-wait=1s --audit-webhook-initial-backoff=2s"
    with api_server(policy(tmp_path), extra=extra) as server:
        act(server, 0, 20)
        assert until(lambda: len(stored(bootstrap, topics["raw.k8s"])) >= 20, 60)
        os.kill(stack.kafka_pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            for step in range(6):
                act(server, 100 + step * 20, 20)
                time.sleep(max(0.0, begun + (step + 1) * 10 - time.monotonic()))
        finally:
            os.kill(stack.kafka_pid, signal.SIGCONT)
        act(server, 300, 20)
        expected = logged(server)
        assert len(expected) >= 160
        assert until(lambda: expected <= stored(bootstrap, topics["raw.k8s"]), 180), (
            f"{len(expected - stored(bootstrap, topics['raw.k8s']))} of {len(expected)} lost"
        )
        assert dropped_by_server(server.kubectl("get", "--raw", "/metrics")) == {}


def test_what_the_server_drops_is_told_by_its_own_counters(
    api_server, webhook, bootstrap, topics, stack, tmp_path, monkeypatch
):
    """A batch of five a second is handed over at most and ten events are held; hundreds come meanwhile."""
    configure(monkeypatch, webhook)
    small = (
        "--audit-webhook-batch-buffer-size=10 --audit-webhook-batch-max-size=5 --audit-webhook-batch-max-wait=1s "
        "--audit-webhook-batch-throttle-qps=1 --audit-webhook-batch-throttle-burst=1 --audit-webhook-initial-backoff=1s"
    )
    with api_server(policy(tmp_path), extra=small) as server:
        act(server, 0, 5)
        os.kill(stack.kafka_pid, signal.SIGSTOP)
        try:
            act(server, 100, 500)
            time.sleep(5)
        finally:
            os.kill(stack.kafka_pid, signal.SIGCONT)

        def told():
            return dropped_by_server(server.kubectl("get", "--raw", "/metrics"))

        def lost():
            return logged(server) - stored(bootstrap, topics["raw.k8s"])

        assert sum(told().values()) > 100, f"the server dropped next to nothing: {told()}"
        # what it still held is handed over in the end; what is missing then, it has counted
        until(lambda: 0 < len(lost()) <= sum(told().values()), 120)
        missing, counted = len(lost()), sum(told().values())
        assert 100 < missing <= counted
