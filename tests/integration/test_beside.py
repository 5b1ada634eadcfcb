"""The clouds' own counters: CloudWatch's by the stand-in, Cloud Monitoring's REST interface, and verify beside them."""

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.beside import CountersAway, ask, place
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.ledger import Ledger
from leadsman_common.raw import RawEvent

pytestmark = pytest.mark.integration

EKS = "eks:111122223333/eu-west-1/harbour"
SUBSCRIPTION = "pubsub:projects/example-project/subscriptions/audit"
HOUR_MS = 3_600_000


@pytest.fixture
def cloudwatch(moto_endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return boto3.client("cloudwatch", endpoint_url=moto_endpoint, region_name="eu-west-1")


def counted(client, metric, minutes_ago, value, group="/aws/eks/harbour/cluster", **dimensions):
    named = [{"Name": name, "Value": value} for name, value in {"LogGroupName": group, **dimensions}.items()]
    at = datetime.fromtimestamp(time.time() - minutes_ago * 60, UTC)
    client.put_metric_data(
        Namespace="AWS/Logs",
        MetricData=[{"MetricName": metric, "Dimensions": named, "Timestamp": at, "Value": value, "Unit": "Count"}],
    )


def test_cloudwatch(cloudwatch, moto_endpoint):
    for minutes in (10, 20, 30, 300):  # the last one is longer ago
        counted(cloudwatch, "IncomingLogEvents", minutes, 100)
        counted(cloudwatch, "ForwardedLogEvents", minutes, 90, DestinationType="Kinesis", FilterName="leadsman")
    counted(cloudwatch, "IncomingLogEvents", 10, 7, group="/aws/eks/other/cluster")
    now_ms = int(time.time() * 1000)
    found = ask(place(EKS), now_ms - HOUR_MS, now_ms, aws_endpoint=moto_endpoint)
    assert found.counts == {"IncomingLogEvents": 300, "ForwardedLogEvents leadsman": 270}
    assert found.handed == 270
    # two filters: which one is ours is not known
    counted(cloudwatch, "ForwardedLogEvents", 10, 3, DestinationType="Lambda", FilterName="another")
    found = ask(place(EKS), now_ms - HOUR_MS, now_ms, aws_endpoint=moto_endpoint)
    assert (found.counts["ForwardedLogEvents another"], found.handed) == (3, 300)
    found = ask(place("eks:111122223333/eu-west-1/none"), now_ms - HOUR_MS, now_ms, aws_endpoint=moto_endpoint)
    assert found.counts == {"IncomingLogEvents": 0}


SERIES = {
    "sent_message_count": [[5, 7], [3]],
    "ack_message_count": [[5, 6]],
    "num_undelivered_messages": [[2, 900]],
}


class Monitoring(BaseHTTPRequestHandler):
    """projects.timeSeries.list: newest points first, in pages."""

    def do_GET(self):
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, asked))
        found = SERIES[asked["filter"].split('"')[1].rpartition("/")[2]]
        at = int(asked.get("pageToken", "0"))
        series = {"points": [{"interval": {}, "value": {"int64Value": str(n)}} for n in found[at]]}
        answer = {"timeSeries": [series], **({"nextPageToken": str(at + 1)} if at + 1 < len(found) else {})}
        self.send_response(200 if "example-project" in parts.path else 403)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_args):
        pass


@pytest.fixture
def monitoring():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Monitoring)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_pubsub(monitoring):
    found = ask(place(SUBSCRIPTION), 1_767_225_600_000, 1_767_229_200_000, monitoring=monitoring.url)
    assert found.counts == {"sent": 15, "acknowledged": 11, "not delivered yet": 2}
    assert found.handed == 11
    path, asked = monitoring.asked[0]
    assert path == "/v3/projects/example-project/timeSeries"
    assert asked["filter"].split(" AND ") == [
        'metric.type="pubsub.googleapis.com/subscription/sent_message_count"',
        'resource.labels.subscription_id="audit"',
    ]
    assert (asked["interval.startTime"], asked["interval.endTime"]) == ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
    with pytest.raises(CountersAway, match="403"):
        ask(place("pubsub:projects/other/subscriptions/s"), 0, 1, monitoring=monitoring.url)


def test_verify_prints_them_side_by_side(bootstrap, topics, topic_prefix, monkeypatch, capsys, tmp_path):
    """Twelve records of one cluster and five of another in the ledger; the API server says that it handed over 15."""
    producer, ledger = AckedProducer(bootstrap), Ledger("normalizer", topic_prefix)
    started_s = time.time() - 60
    records = [RawEvent(b"{}", "k8s-audit", "harbour" if n < 12 else "pier", source_id=f"{n}") for n in range(17)]
    producer.send([one_record(topics["raw.k8s"], one) for one in records])
    for offset, one in enumerate(records):
        ledger.note(topics["raw.k8s"], 0, offset, "produced", f"///{one.cluster}")
    producer.send(ledger.pages())
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)
    metrics = tmp_path / "metrics"
    metrics.write_text(
        "# TYPE apiserver_audit_event_total counter\napiserver_audit_event_total 20\n"
        'apiserver_audit_error_total{plugin="buffered"} 5\napiserver_audit_requests_rejected_total 0\n'
        f"process_start_time_seconds {started_s:.2f}\n"
    )
    arguments = ["verify", "--no-recount", "--beside", f"apiserver:harbour={metrics}"]
    main([*arguments, "-o", "json"])
    (found,) = json.loads(capsys.readouterr().out)["beside"]
    assert found["counts"] == {"events": 20, "dropped": 5, "requests rejected": 0}
    assert (found["handed"], found["ledger"], found["difference"]) == (15, 12, 3)
    assert abs(found["since_ms"] - started_s * 1000) < 1000
    main(arguments)
    text = " ".join(capsys.readouterr().out.split())
    assert "events 20, dropped 5, requests rejected 0; the ledger has 12: difference +3" in text
    assert main(["verify", "--beside", "s3:bucket"]) != 0
    assert "is none of eks:" in capsys.readouterr().err


def one_record(topic, raw):
    return Outgoing(topic, raw.key(), raw.value, raw.headers(), partition=0)
