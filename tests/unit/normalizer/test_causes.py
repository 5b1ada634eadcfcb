"""The likely cause of a silence: each that can be known, from calls that were seen and from what ingest tells."""

import pytest

from leadsman_common.sightings import ALIVE, LOGGING_OFF, TROUBLE, Seen, Sightings, Sign
from leadsman_normalizer.causes import likely_cause, logging_off

MIN = 60_000
HOUR = 60 * MIN
NOW = 1_700_000_000_000
LAST = NOW - 20 * MIN
PROD = {
    "id": "aws/111122223333/eu-west-1/prod@20231113T071320Z",
    "name": "prod",
    "provider": "aws",
    "account": "111122223333",
    "region": "eu-west-1",
}
OTHER = {**PROD, "id": "aws/111122223333/eu-west-1/other", "name": "other"}


def seen(cluster=PROD, source="eks-audit", last=LAST, topic="raw.aws"):
    return Seen(cluster, source, 0, last, 0, last, (), topic)


SILENT = seen()
RUNS = Sign(ALIVE, "raw.aws", "ingest-aws", NOW - MIN)


@pytest.mark.parametrize(
    ("signs", "others", "cause"),
    [
        pytest.param(
            [RUNS, Sign(LOGGING_OFF, "aws/111122223333/eu-west-1/prod", "", LAST - 5 * MIN, "eks:Update by eve")],
            [],
            "logging was switched off at 2023-11-14T21:48:20Z (eks:Update by eve)",
            id="logging switched off",
        ),
        pytest.param(
            [RUNS, Sign(LOGGING_OFF, "aws/111122223333", "", LAST + MIN, "logs:DeleteLogGroup by eve")],
            [],
            "logging was switched off at 2023-11-14T21:54:20Z (logs:DeleteLogGroup by eve)",
            id="of the account",
        ),
        pytest.param(
            [RUNS, Sign(LOGGING_OFF, "aws/111122223333/eu-west-1/prod", "", LAST - 9 * HOUR, "eks:Update by eve")],
            [],
            "ingest-aws runs and says of no trouble, and nothing else comes by raw.aws: the cluster's logging, or "
            "the way to raw.aws",
            id="but not hours before",
        ),
        pytest.param(
            [
                RUNS,
                Sign(TROUBLE, "raw.aws", "ingest-aws, queue other", NOW, "credentials are refused: X"),
                Sign(TROUBLE, "raw.aws", "ingest-aws, log group prod", NOW - MIN, "what is read is gone: Y"),
            ],
            [],
            "what is read is gone: Y (ingest-aws, log group prod)",
            id="subscription removed: what names the cluster before what does not",
        ),
        pytest.param(
            [Sign(TROUBLE, "raw.aws", "ingest-aws, queue q", LAST + MIN, "credentials are refused: AccessDenied")],
            [],
            "credentials are refused: AccessDenied (ingest-aws, queue q)",
            id="credentials, and ingest gave up",
        ),
        pytest.param(
            [
                RUNS,
                Sign(TROUBLE, "raw.aws", "ingest-aws, queue q", LAST - MIN, "credentials are refused: AccessDenied"),
            ],
            [seen(OTHER, last=NOW)],
            "ingest-aws runs and says of no trouble, and others of raw.aws go on: the cluster's logging, its "
            "subscription, or the cluster itself",
            id="a trouble that was over before",
        ),
        pytest.param(
            [Sign(ALIVE, "raw.aws", "ingest-aws", LAST + MIN), Sign(ALIVE, "raw.k8s", "ingest-k8s", NOW)],
            [],
            "nobody is there: nothing was heard of ingest-aws for 19 min: it does not run, or does not reach Kafka",
            id="nobody there",
        ),
        pytest.param(
            [RUNS],
            [seen(OTHER, last=LAST - MIN), seen(source="eks-api", last=LAST)],
            "ingest-aws runs and says of no trouble; 2 more of raw.aws stopped at the same time: the way to raw.aws, "
            "not the cluster alone",
            id="one outage of many sources says so",
        ),
        pytest.param(
            [RUNS],
            [seen(source="eks-api", last=NOW), seen(OTHER, last=NOW)],
            "ingest-aws runs and says of no trouble, and eks-api of it goes on: this log alone was switched off, or is "
            "cut off on its way",
            id="the cluster's other logs go on",
        ),
    ],
)
def test_likely_cause(signs, others, cause):
    assert likely_cause(Sightings(signs), SILENT, [SILENT, *others], NOW) == cause


CALL = {
    "action": "eks:UpdateClusterConfig",
    "time": NOW * 1000,
    "cluster": PROD,
    "actor": {"name": "eve"},
    "outcome": {"effective": True},
    "cloud": {"operation": "UpdateClusterConfig"},
    "facts": {"control_plane": {"logging_off": True}},
}


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({}, "aws/111122223333/eu-west-1/prod"),
        ({"cluster": {**PROD, "name": "", "id": "aws/111122223333//"}}, "aws/111122223333"),
        ({"outcome": {"effective": False}}, None),
        ({"facts": {"control_plane": {"logging_off": False}}}, None),
        ({"facts": {"control_plane": None}}, None),
        ({"facts": None}, None),
        ({"cloud": None}, None),
    ],
)
def test_a_call_that_takes_logs_away(changes, about):
    found = logging_off({**CALL, **changes})
    if about is None:
        assert found is None
    else:
        assert found == Sign(LOGGING_OFF, about, "", NOW, "eks:UpdateClusterConfig by eve")
