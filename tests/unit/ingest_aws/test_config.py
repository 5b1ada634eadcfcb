"""What the settings make of a stream's name or ARN, and what they refuse."""

import pytest

from leadsman_common.settings import SettingError, load
from leadsman_ingest_aws.config import Settings

ARN = "arn:aws:kinesis:eu-central-1:111122223333:stream/audit"


@pytest.mark.parametrize(
    ("env", "name", "region"),
    [
        ({"LEADSMAN_KINESIS_STREAM": "audit"}, "audit", ""),
        ({"LEADSMAN_KINESIS_STREAM": "audit", "LEADSMAN_AWS_REGION": "us-east-1"}, "audit", "us-east-1"),
        ({"LEADSMAN_KINESIS_STREAM": ARN}, "audit", "eu-central-1"),
        ({"LEADSMAN_KINESIS_STREAM": ARN, "LEADSMAN_AWS_REGION": "us-east-1"}, "audit", "us-east-1"),
    ],
    ids=["name", "name and region", "ARN", "ARN and region"],
)
def test_stream_and_region(env, name, region):
    settings = load(Settings, env)
    assert (settings.stream_name, settings.region) == (name, region)


@pytest.mark.parametrize(
    "env",
    [{}, {"LEADSMAN_KINESIS_STREAM": "a", "LEADSMAN_POLL_RECORDS": "10001"}],
    ids=["no stream", "too many records"],
)
def test_refused(env):
    with pytest.raises(SettingError, match="LEADSMAN_"):
        load(Settings, env)
