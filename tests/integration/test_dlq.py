"""`leadsman dlq` on a real Kafka: bad records die, are mended and sent again, each once; others are dropped."""

import json

import pytest
from confluent_kafka import Producer

from leadsman_cli.__main__ import main
from leadsman_common.kafka import DeadLetter, dead_letter
from leadsman_common.topic_reader import TopicReader

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("topics")]


@pytest.fixture
def dlq(bootstrap, topic_prefix, monkeypatch, capsys):
    """Give a command that returns its exit code and what it printed."""
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)

    def run(*arguments):
        code = main(["dlq", *arguments])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def letters(bootstrap, topics):
    """1,203 letters of two reasons."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for n in range(1_203):
        reason = "truncated before objectRef" if n % 401 == 0 else "no such format: eks-v9"
        headers = [("format", b"eks-v9"), ("provider", b"aws"), ("cluster", b"harbour")]
        letter = dead_letter(
            DeadLetter(topics["raw.aws"], n % 3, n, b"k%d" % n, b'{"n":%d}\x1b[2J' % n, headers, reason, "normalize")
        )
        producer.produce(letter.topic, letter.value, letter.key, headers=list(letter.headers))
    assert producer.flush(60) == 0


@pytest.mark.usefixtures("letters")
def test_look_mend_send_again_and_drop(dlq, bootstrap, topics):
    code, out, _ = dlq("ls", "-o", "jsonl")
    heaps = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(h["count"], h["reason"], h["source"]) for h in heaps] == [
        (1200, "no such format", "aws/harbour"),
        (3, "truncated before objectRef", "aws/harbour"),
    ]

    code, out, _ = dlq("show", heaps[1]["sample"])
    assert code == 0
    assert "dlq-reason: truncated before objectRef" in out
    assert "\x1b" not in out

    asked = ("redrive", "--topic", "raw.aws", "--why", "no such format", "--set-header", "format=eks-audit")
    assert dlq(*asked, "--dry-run")[1] == "1200 letters would be sent again\n"
    assert dlq(*asked)[1] == "1200 letters sent again\n"
    assert dlq(*asked)[1] == "0 letters sent again\n"
    back = list(TopicReader(bootstrap).read(topics["raw.aws"]))
    assert sorted(int(m.key()[1:]) for m in back) == [n for n in range(1_203) if n % 401]
    assert {tuple(m.headers()) for m in back} == {
        (("provider", b"aws"), ("cluster", b"harbour"), ("format", b"eks-audit")),
    }
    assert back[0].value().endswith(b"\x1b[2J")

    assert dlq("drop", "--reason", "cut by the cloud")[1] == "3 letters dropped\n"
    assert "no dead letters" in dlq("ls")[1]
    assert "1200" in dlq("ls", "--all")[1]
    shown = dlq("show", heaps[1]["sample"])[1]
    assert "dropped" in shown
    assert "cut by the cloud" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "raw.aws.dlq/0/999999"), "there is no"),
        (("show", "raw.aws.dlq"), "is no TOPIC/PARTITION/OFFSET"),
        (("redrive", "--value", __file__), "name it with --place"),
        (("redrive", "--set-header", "=x"), "NAME=VALUE"),
        (("drop", "--reason", " "), "--reason is empty"),
        (("ls", "--since", "soon"), "is neither a span"),
    ],
)
def test_what_is_refused(dlq, arguments, message):
    code, _, err = dlq(*arguments)
    assert code == 1
    assert message in err
