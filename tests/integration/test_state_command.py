"""`leadsman state import` and `show`, with a real Redis and Kafka: what a picture leaves, here and there."""

from __future__ import annotations

import json

import pytest

from leadsman_cli.__main__ import main
from leadsman_common.sightings import Sightings, decode
from leadsman_common.topic_reader import TopicReader
from leadsman_detector.state_topic import put_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("topics")]

CLUSTER = "aws/111122223333/eu-west-1/prod"
AT = "2026-11-01T08:00:00Z"


def pod(name, **spec):
    meta = {"name": name, "namespace": "shop", "uid": f"u-{name}", "creationTimestamp": AT}
    containers = [{"name": "a", "image": "nginx", "securityContext": {"privileged": name == "root"}}]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": containers, **spec}}


PICTURE = {"kind": "List", "apiVersion": "v1", "items": [pod("root"), pod("plain"), pod("host", hostNetwork=True)]}


@pytest.fixture
def leadsman(bootstrap, redis_url, topic_prefix, tmp_path, monkeypatch, capsys):
    """Give what runs the command with the settings of a detector: exit code, stdout, stderr."""
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_REDIS_URL", redis_url)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["state", *arguments])
        return code, *capsys.readouterr()

    return run


def kept_on(bootstrap, topic):
    """Give every Put that the topic `state` holds."""
    times = ((m.value(), m.timestamp()[1]) for m in TopicReader(bootstrap).read(topic))
    return [put for value, time_ms in times if (put := put_of(value, time_ms, time_ms)) is not None]


def test_a_picture_is_known_and_kept_and_raises_nothing(leadsman, bootstrap, topics, tmp_path):
    (tmp_path / "now.json").write_text(json.dumps(PICTURE))
    code, out, err = leadsman("import", CLUSTER, "now.json")
    assert (code, err) == (0, ""), err
    assert out.startswith("3 objects, ")

    code, out, _ = leadsman("show", CLUSTER, "-o", "jsonl")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    about = {name: [line for line in lines if f"shop/{name}" in line["series"]] for name in ("root", "plain", "host")}
    assert about["root"]
    assert about["host"]
    code, out, _ = leadsman("show", CLUSTER)
    assert {line["kind"] for line in lines} == {row.split()[1] for row in out.splitlines()[3:-1]}

    puts = kept_on(bootstrap, topics["state"])
    assert {put.cluster for put in puts} == {CLUSTER}
    # what lives longer than a day stands on the topic as well; windows of correlations may be shorter
    kept, shown = {put.series for put in puts}, {line["series"] for line in lines}
    assert kept <= shown
    assert {line["series"] for line in lines if line["kind"] == "versions"} <= kept
    assert kept_on(bootstrap, topics["alerts"]) == []

    again, out, _ = leadsman("import", CLUSTER, "now.json")
    assert again == 0
    assert leadsman("show", CLUSTER, "-o", "jsonl")[1].count("\n") == len(lines)


def test_another_cluster_is_not_shown(leadsman, tmp_path):
    (tmp_path / "now.json").write_text(json.dumps(pod("root")))
    assert leadsman("import", CLUSTER, "now.json")[0] == 0
    code, out, err = leadsman("show", CLUSTER + "*")
    assert (code, out) == (0, "")
    assert "nothing is known" in err


@pytest.mark.parametrize(
    ("text", "says"),
    {
        "no json": ("{", "now.json: no JSON"),
        "no object": ("[1]", "now.json: a value that is no object"),
        "no name": (json.dumps({"kind": "Pod", "apiVersion": "v1"}), "now.json: left out: Pod None"),
    }.values(),
    ids=str,
)
def test_what_cannot_be_read_is_told(leadsman, tmp_path, text, says):
    (tmp_path / "now.json").write_text(text)
    code, _, err = leadsman("import", CLUSTER, "now.json")
    assert code == 3
    assert says in err


def test_a_cluster_that_was_made_anew_is_begun_afresh(leadsman, bootstrap, topics):
    code, _, err = leadsman("forget", CLUSTER, "--at", "2026-11-01T08:00:00Z")
    assert code == 0, err
    code, out, err = leadsman("forget", f"{CLUSTER}@20261101T080000Z", "--at", "2026-11-02T08:00:00Z")
    assert (code, out) == (0, f"from 2026-11-02 08:00:00 on it is {CLUSTER}@20261102T080000Z\n"), err
    *_, last = [decode(message.value()) for message in TopicReader(bootstrap).read(topics["sightings"])]
    view = Sightings([last])  # what compaction leaves
    day_ms = 86_400_000
    first_ms = 1_793_520_000_000  # 2026-11-01T08:00:00Z
    found = [view.current(CLUSTER, first_ms + at) for at in (-1, 0, day_ms - 1, day_ms)]
    assert found == [CLUSTER, *[f"{CLUSTER}@20261101T080000Z"] * 2, f"{CLUSTER}@20261102T080000Z"]
