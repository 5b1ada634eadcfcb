"""The shapes in which CloudTrail's records come as files: whoever fetched them, the same two calls are read."""

from __future__ import annotations

import base64
import gzip
import io
import json

import pytest

from leadsman_cli.readers import Identity, Unreadable, files_below, read
from leadsman_common.errors import InvalidEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

CALLS = ["CreateAccessEntry", "DeleteAccessEntry"]
RECORDS = [
    {
        "eventVersion": "1.09",
        "userIdentity": {
            "type": "IAMUser",
            "arn": "arn:aws:iam::111122223333:user/dev",
            "accountId": "111122223333",
            "userName": "dev",
        },
        "eventTime": f"2026-11-20T10:0{n}:00Z",
        "eventSource": "eks.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "198.51.100.7",
        "userAgent": "aws-cli/2",
        "requestParameters": {"name": "prod", "principalArn": "arn:aws:iam::111122223333:role/x"},
        "responseElements": None,
        "eventID": f"00000000-0000-4000-8000-00000000000{n}",
        "eventType": "AwsApiCall",
        "recipientAccountId": "111122223333",
    }
    for n, name in enumerate(CALLS)
]
TEXTS = [json.dumps(record) for record in RECORDS]
BRIDGED = [
    json.dumps({"version": "0", "detail-type": "AWS API Call via CloudTrail", "source": "aws.eks", "detail": record})
    for record in RECORDS
]
STAMPED = [f"2026-11-20T10:05:0{n}.123Z {text}" for n, text in enumerate(TEXTS)]
FILE = json.dumps({"Records": RECORDS})
SHAPES = {
    "records": FILE,
    "records-pretty": json.dumps({"Records": RECORDS}, indent=4),
    "records-gzip": gzip.compress(FILE.encode()),
    "records-gzip-members": b"".join(gzip.compress(json.dumps({"Records": [r]}).encode()) for r in RECORDS),
    "records-by-line": "\n".join(json.dumps({"Records": [r]}) for r in RECORDS),
    "records-bom": "\ufeff" + FILE,
    "records-utf16": FILE.encode("utf-16"),
    "array": json.dumps(RECORDS),
    "array-pretty": json.dumps(RECORDS, indent=4),
    "array-pretty-bom": "\ufeff" + json.dumps(RECORDS, indent=4),
    "lines": "\n".join(TEXTS),
    "lines-crlf": "\r\n".join(TEXTS) + "\r\n",
    "pretty-one-after-the-other": "\n".join(json.dumps(r, indent=2) for r in RECORDS),
    "eventbridge-lines": "\n".join(BRIDGED),
    "eventbridge-array": "[" + ",\n".join(BRIDGED) + "]",
    "eventbridge-sqs": json.dumps({"Records": [{"messageId": "1", "body": text} for text in BRIDGED]}),
    "sqs-receive-message": json.dumps({"Messages": [{"MessageId": "1", "Body": text} for text in BRIDGED]}, indent=4),
    "sns": "\n".join(json.dumps({"Type": "Notification", "MessageId": "1", "Message": text}) for text in BRIDGED),
    "firehose": json.dumps({"records": [{"data": base64.b64encode(text.encode()).decode()} for text in BRIDGED]}),
    "cloudwatch-export": "\n".join(STAMPED),
    "cloudwatch-export-gzip": gzip.compress("\n".join(STAMPED).encode()),
    "cloudwatch-tail": "\n".join(f"2026-11-20T10:05:00+00:00 111122223333_CloudTrail_eu-west-1 {t}" for t in TEXTS),
    "cloudwatch-filter-log-events": json.dumps({"events": [{"timestamp": 1, "message": t} for t in TEXTS]}, indent=4),
    "cloudwatch-insights": json.dumps({"results": [[{"field": "@message", "value": t}] for t in TEXTS]}),
    "lookup-events": json.dumps({"Events": [{"EventId": "1", "CloudTrailEvent": t} for t in TEXTS]}, indent=4),
    "lake": json.dumps({"QueryResultRows": [[{"eventTime": "x"}, {"eventJson": t}] for t in TEXTS]}),
    "s3-select": "\n".join(json.dumps({"_1": record}) for record in RECORDS),
    "shipped": "\n".join(json.dumps({"@timestamp": "2026-11-20T10:05:00Z", "message": t}) for t in TEXTS),
}
NOTHING = {
    "no-records": '{"Records": []}',
    "empty-array": "[]",
    "empty": "",
    "blank-lines": "\n\n",
}
WRONG = {
    "lookup-events-without-the-record": ('{"Events": [{"EventId": "1"}]}', "no answer of lookup-events"),
    "lake-without-the-record": ('{"QueryResultRows": [[{"eventName": "x"}]]}', "without the column eventJson"),
    "receive-message-without-body": ('{"Messages": [{"MessageId": "1"}]}', "no answer of receive-message"),
    "half-a-character-of-utf16": (b"\xff\xfe{", "not UTF-16"),
}


def items_of(data, form="auto"):
    stream = io.BytesIO(data if isinstance(data, bytes) else data.encode())
    return list(read("file", stream, form, Identity(), lambda _: None))


@pytest.mark.parametrize("form", ["auto", "cloudtrail"])
@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES)
def test_every_shape_holds_the_same_calls(data, form):
    assert [normalize(item)["cloud"]["operation"] for item in items_of(data, form)] == CALLS


@pytest.mark.parametrize("data", NOTHING.values(), ids=NOTHING)
def test_a_file_that_holds_nothing_is_no_error(data):
    assert items_of(data) == []


@pytest.mark.parametrize(("data", "reason"), WRONG.values(), ids=WRONG)
def test_what_holds_no_record_says_so(data, reason):
    (item,) = items_of(data)
    assert isinstance(item, Unreadable)
    assert reason in item.reason


def test_lines_of_an_export_have_their_numbers_and_any_log_in_them():
    line = 'I1120 10:05:00.000000       1 flags.go:64] FLAG: --anonymous-auth="false"'
    items = items_of(f"{STAMPED[0]}\n\n2026-11-20T10:05:00.000Z {line}\n")
    assert [(item.line, item.value.decode()) for item in items] == [(1, TEXTS[0]), (3, line)]


def test_a_message_that_is_no_record_stays_what_it_was():
    text = '{"@timestamp": "x", "message": "plain words"}'
    (item,) = items_of(text)
    assert item.value == text.encode()
    with pytest.raises(InvalidEvent, match="no known format"):
        normalize(item)


def test_a_digest_of_cloudtrail_is_no_call():
    (item,) = items_of('{"awsAccountId": "111122223333", "digestS3Object": "AWSLogs/x.json.gz", "logFiles": []}')
    assert isinstance(normalize(item), Dropped)


def test_a_folder_gives_what_its_names_say_may_be_logs(tmp_path):
    names = ["audit", "audit.log", "audit.log.1", "a.JSON", "b.json.gz", "CreateRole.json.cloudtrail"]
    for name in [*names, "README.md", "x.yaml", ".hidden.json"]:
        (tmp_path / name).write_text("")
    assert {path.name for path in files_below((tmp_path,))} == set(names)
