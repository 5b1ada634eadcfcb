"""ingest-gcp --since: Cloud Logging's exports in a bucket, read once, across kills and while Kafka stands still."""

import secrets
import sys
import time

import pytest
from google.cloud import storage

from leadsman_ingest_gcp.envelope import MAX_VALUE_BYTES

pytestmark = pytest.mark.integration

LOG = "cloudaudit.googleapis.com%2Factivity"


class Bucket:
    def __init__(self, env, tmp_path):
        self.name = f"logs-{secrets.token_hex(4)}"
        self.bucket = storage.Client().create_bucket(self.name)
        done = str(tmp_path / "done")
        places = f"gs://{self.name}/audit"
        self.env = {**env, "LEADSMAN_STORAGE_EXPORTS": places, "LEADSMAN_STORAGE_DONE_FILE": done}

    def put(self, hour, lines, *, day="2026/11/01", part="S0"):
        """One hour's object as a sink writes it; gives the lines."""
        name = f"audit/{LOG}/{day}/{hour:02}:00:00_{hour:02}:59:59_{part}.json"
        self.bucket.blob(name).upload_from_string(b"".join(line + b"\n" for line in lines))
        return list(lines)


@pytest.fixture
def bucket(gcs_emulator, monkeypatch, tmp_path):
    env = {"STORAGE_EMULATOR_HOST": gcs_emulator, "GOOGLE_CLOUD_PROJECT": "local"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Bucket(env, tmp_path)


@pytest.fixture
def read_since(run_service):
    """Give what starts a reading of the exports since a time."""

    def start(env, since="2026-11-01T00:00:00Z"):
        return run_service("exports", env, [sys.executable, "-m", "leadsman_ingest_gcp", "--since", since])

    return start


def entries(first, count):
    return [
        f'{{"insertId":"{n}",  "protoPayload":{{"methodName":"io.k8s.core.v1.pods.create"}}}}'.encode()
        for n in range(first, first + count)
    ]


def values(records):
    return sorted(record.value() for record in records)


def test_every_line_once_and_only_since_then(bucket, read_since, records_of):
    bucket.put(23, entries(9000, 5), day="2026/10/30")
    wanted = (
        bucket.put(0, entries(0, 700)) + bucket.put(1, entries(700, 1)) + bucket.put(1, entries(701, 3), part="A0:1")
    )
    assert read_since(bucket.env).process.wait(60) == 0
    found = records_of("raw.gcp", len(wanted))
    assert values(found) == sorted(wanted)
    headers = [{name: value.decode() for name, value in record.headers()} for record in found]
    assert all(one["format"] == "gke-logentry" and one["provider"] == "gcp" for one in headers)
    first = next(one for one, record in zip(headers, found, strict=True) if record.value() == wanted[0])
    assert first["source-id"] == f"{bucket.name}/audit/{LOG}/2026/11/01/00:00:00_00:59:59_S0.json#1"
    more = bucket.put(2, entries(800, 4))
    assert read_since(bucket.env).process.wait(60) == 0  # goes on where it was
    assert values(records_of("raw.gcp")) == sorted(wanted + more)


def test_what_cannot_stand_on_the_topic_is_a_dead_letter(bucket, read_since, records_of):
    good = entries(0, 2)
    bucket.put(0, [good[0], b"x" * (MAX_VALUE_BYTES + 100_000), b"", good[1]])
    assert read_since(bucket.env).process.wait(60) == 0
    assert values(records_of("raw.gcp", 2)) == good
    (dead,) = records_of("raw.gcp.dlq", 1)
    assert dict(dead.headers())["dlq-reason"].startswith(b"cut; a message of ")


def test_kills_lose_nothing(bucket, read_since, records_of, eventually, paused_kafka):
    wanted = bucket.put(0, entries(0, 2000))
    service = read_since({**bucket.env, "LEADSMAN_BATCH_MESSAGES": "5"})

    def begun():
        return any(n for name, n in service.metrics().items() if name.startswith("leadsman_produced_total"))

    eventually("the first of many batches", begun)
    paused_kafka(True)
    time.sleep(3)
    assert service.process.poll() is None
    paused_kafka(False)
    assert service.process.wait(120) == 0

    wanted += [line for hour in range(1, 6) for line in bucket.put(hour, entries(hour * 3000, 3000))]
    env = {**bucket.env, "LEADSMAN_BATCH_MESSAGES": "100"}
    for seen in (2500, 6000, 11_000):
        service = read_since(env)
        records_of("raw.gcp", seen)
        service.kill()
    assert read_since(env).process.wait(120) == 0
    found = values(records_of("raw.gcp"))
    assert sorted(set(found)) == sorted(wanted)
    assert len(found) < 2 * len(wanted)  # whole objects are not read again


@pytest.mark.parametrize(
    ("env", "since", "says"),
    [
        ({"LEADSMAN_STORAGE_EXPORTS": "logs"}, "1d", "is not gs://BUCKET"),
        ({"LEADSMAN_STORAGE_EXPORTS": "gs://some-bucket"}, "soon", "is neither a span"),
        ({"LEADSMAN_PUBSUB_SUBSCRIPTIONS": "projects/a/subscriptions/b"}, "1d", "LEADSMAN_STORAGE_EXPORTS is not set"),
    ],
)
def test_mistakes_are_told(read_since, env, since, says):
    service = read_since(env, since)
    assert service.process.wait(60) == 2
    assert says in service.log.read_text()
