"""What the settings make of names, ARNs and URLs, and what they say of mistakes: one line each, all at once."""

import pytest

from leadsman_common.settings import SettingError, load, shown
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.places import Place, log_group, queue, stream

ARN = "arn:aws:kinesis:eu-central-1:111122223333:stream/audit"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/trail"
GROUP = "arn:aws:logs:us-gov-west-1:111122223333:log-group:/aws/eks/harbour/cluster"


@pytest.mark.parametrize(
    ("read", "text", "place"),
    [
        (stream, "audit", Place("audit", "audit")),
        (stream, ARN, Place(ARN, "audit", "eu-central-1", "111122223333")),
        (queue, QUEUE, Place(QUEUE, "trail", "eu-west-1", "111122223333", QUEUE)),
        (
            queue,
            "https://eu-west-1.queue.amazonaws.com/111122223333/trail",
            Place(
                "https://eu-west-1.queue.amazonaws.com/111122223333/trail",
                "trail",
                "eu-west-1",
                "111122223333",
                "https://eu-west-1.queue.amazonaws.com/111122223333/trail",
            ),
        ),
        (
            queue,
            "arn:aws:sqs:cn-north-1:111122223333:trail",
            Place("arn:aws:sqs:cn-north-1:111122223333:trail", "trail", "cn-north-1", "111122223333"),
        ),
        (log_group, "/aws/eks/harbour/cluster", Place("/aws/eks/harbour/cluster", "/aws/eks/harbour/cluster")),
        (log_group, GROUP, Place(GROUP, "/aws/eks/harbour/cluster", "us-gov-west-1", "111122223333")),
        (log_group, f"{GROUP}:*", Place(GROUP, "/aws/eks/harbour/cluster", "us-gov-west-1", "111122223333")),
    ],
)
def test_places(read, text, place):
    assert read(text) == place


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (stream, "arn:aws:sqs:eu-central-1:111122223333:stream"),
        (stream, "arn:aws:kinesis:eu-central-1:111122223333:audit"),
        (stream, "a b"),
        (queue, "trail"),
        (queue, "https://sqs.eu-west-1.amazonaws.com/trail"),
        (queue, "ftp://sqs.eu-west-1.amazonaws.com/111122223333/trail"),
        (log_group, "arn:aws:logs:eu-west-1:111122223333:/aws/eks"),
    ],
)
def test_no_places(read, text):
    with pytest.raises(ValueError, match=r"^is not |^is neither "):
        read(text)


def mistakes(env):
    with pytest.raises(SettingError) as raised:
        load(Settings, env)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("env", "variables"),
    [
        ({}, ["nothing to read"]),
        ({"KINESIS_STREAM": "a", "POLL_RECORDS": "10001"}, ["LEADSMAN_POLL_RECORDS"]),
        ({"KINESIS_STREAM": "a", "POLL_RECORDS": "ten"}, ["LEADSMAN_POLL_RECORDS"]),
        ({"KINESIS_STREAM": "a,a"}, ["LEADSMAN_KINESIS_STREAM"]),
        ({"SQS_QUEUES": "trail"}, ["LEADSMAN_SQS_QUEUES"]),
        ({"LISTEN_PORT": "8443"}, ["LEADSMAN_FIREHOSE_ACCESS_KEYS"]),
        ({"KINESIS_STREAM": "a", "FIREHOSE_ACCESS_KEYS": "k"}, ["LEADSMAN_LISTEN_PORT"]),
        (
            {"LISTEN_PORT": "1", "FIREHOSE_ACCESS_KEYS": "k", "LISTEN_TLS_CERT": "/absent"},
            ["LEADSMAN_LISTEN_TLS_CERT and LEADSMAN_LISTEN_TLS_KEY", "LEADSMAN_LISTEN_TLS_CERT='/absent'"],
        ),
        ({"KINESIS_STREAM": "a", "ASSUME_ROLES": "1=role"}, ["LEADSMAN_ASSUME_ROLES"]),
        (
            {"KINESIS_STREAM": "a", "EKS_INVENTORY": "eu-west-1,111122223333/eu-west-1", "INVENTORY_S": "0"},
            ["LEADSMAN_EKS_INVENTORY: 'eu-west-1'", "LEADSMAN_INVENTORY_S"],
        ),
        (
            {
                "KINESIS_STREAM": "a b",
                "SQS_QUEUES": "x,y",
                "LOG_GROUPS": "arn:x",
                "LOG_SINCE": "yesterday",
                "SQS_VISIBILITY_S": "1",
                "LEASE_S": "soon",
                "KAFKA_BOOTSTRAP": "k:9092",
            },
            [
                "LEADSMAN_LEASE_S",
                "LEADSMAN_KINESIS_STREAM",
                "LEADSMAN_SQS_QUEUES: 'x'",
                "LEADSMAN_SQS_QUEUES: 'y'",
                "LEADSMAN_LOG_GROUPS",
                "LEADSMAN_SQS_VISIBILITY_S",
                "LEADSMAN_LOG_SINCE",
            ],
        ),
    ],
    ids=lambda value: ",".join(value)[:40],
)
def test_every_mistake_has_its_line(env, variables):
    found = mistakes({f"LEADSMAN_{name}": value for name, value in env.items()})
    assert len(found) == len(variables)
    for line, variable in zip(found, variables, strict=True):
        assert line.startswith(variable)


def test_keys_are_not_shown():
    settings = load(Settings, {"LEADSMAN_LISTEN_PORT": "8443", "LEADSMAN_FIREHOSE_ACCESS_KEYS": "one,two"})
    assert settings.firehose_access_keys == ("one", "two")
    assert shown(settings)["firehose_access_keys"] == "***"
