"""Every form in which a queue tells of a file, and what is ignored or refused."""

import json

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_ingest_aws.notifications import Ignored, Object, TrailEvent, read

KEY = "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/11/28/111122223333_CloudTrail_eu-west-1_x y+é.json.gz"
ENCODED = "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/11/28/111122223333_CloudTrail_eu-west-1_x+y%2B%C3%A9.json.gz"


def s3(key=ENCODED, name="ObjectCreated:Put", **more):
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventName": name,
        "s3": {"bucket": {"name": "trail"}, "object": {"key": key, "size": 9} | more},
    }


def sns(message, **more):
    text = message if isinstance(message, str) else json.dumps(message)
    return (
        {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:111122223333:t"}
        | {
            "Message": text,
            "Signature": "forged",
            "SigningCertURL": "https://169.254.169.254/cert.pem",
        }
        | more
    )


def bridge(detail_type, detail, source="aws.s3"):
    return {
        "version": "0",
        "id": "i",
        "detail-type": detail_type,
        "source": source,
        "region": "eu-west-1",
        "detail": detail,
    }


CREATED = {"version": "0", "bucket": {"name": "trail"}, "object": {"key": KEY, "size": 9, "version-id": "v1"}}
CALL = {"eventVersion": "1.08", "eventName": "CreateAccessEntry", "eventID": "e"}
TRAIL_SNS = {"s3Bucket": "trail", "s3ObjectKey": [KEY, "b"]}
FILE = Object("trail", KEY, "eu-west-1")

FORMS = {
    "S3": ({"Records": [s3()]}, [FILE]),
    "S3, several": ({"Records": [s3(), s3("b", versionId="v2")]}, [FILE, Object("trail", "b", "eu-west-1", "v2")]),
    "S3, multipart": ({"Records": [s3(name="ObjectCreated:CompleteMultipartUpload")]}, [FILE]),
    "S3, deleted": ({"Records": [s3(name="ObjectRemoved:Delete")]}, [Ignored("no new file")]),
    "S3, test": ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "trail"}, [Ignored("test event")]),
    "S3 by SNS": (sns({"Records": [s3()]}), [FILE]),
    "S3 by SNS, test": (sns({"Event": "s3:TestEvent"}), [Ignored("test event")]),
    "CloudTrail's topic": (sns(TRAIL_SNS), [Object("trail", KEY), Object("trail", "b")]),
    "CloudTrail's topic, raw delivery": (TRAIL_SNS, [Object("trail", KEY), Object("trail", "b")]),
    "CloudTrail's topic, tried": (sns("CloudTrail validation message."), [Ignored("test event")]),
    "EventBridge": (bridge("Object Created", CREATED), [Object("trail", KEY, "eu-west-1", "v1")]),
    "EventBridge by SNS": (sns(bridge("Object Created", CREATED)), [Object("trail", KEY, "eu-west-1", "v1")]),
    "EventBridge, a call": (
        bridge("AWS API Call via CloudTrail", CALL, "aws.eks"),
        [TrailEvent(json.dumps(CALL).encode())],
    ),
    "EventBridge, a sign-in": (
        bridge("AWS Console Sign In via CloudTrail", CALL, "aws.signin"),
        [TrailEvent(json.dumps(CALL).encode())],
    ),
    "EventBridge, another": (
        bridge("EC2 Instance State-change", {}, "aws.ec2"),
        [Ignored("another event of EventBridge")],
    ),
    "a digest": ({"Records": [s3(KEY.replace("/CloudTrail/", "/CloudTrail-Digest/"))]}, [Ignored("no log file")]),
    "insights": ({"Records": [s3(KEY.replace("/CloudTrail/", "/CloudTrail-Insight/"))]}, [Ignored("no log file")]),
    "SNS asks to subscribe": (
        sns("You have chosen", Type="SubscriptionConfirmation", SubscribeURL="http://169.254.169.254/"),
        [Ignored("SNS confirmation")],
    ),
}


@pytest.mark.parametrize(("body", "found"), FORMS.values(), ids=FORMS)
def test_forms(body, found):
    assert read(json.dumps(body).encode()) == found


def test_a_call_is_untouched():
    record = '{"eventName" : "X",  "é": 1.0e5}'
    body = '{"detail-type":"AWS API Call via CloudTrail","source":"aws.eks","detail":' + record + "}"
    assert read(body.encode()) == [TrailEvent(record.encode())]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"Records":1}',
        '{"Records":[{"eventName":"ObjectCreated:Put"}]}',
        '{"detail-type":"Object Created","source":"aws.s3","detail":{"bucket":1}}',
        json.dumps(sns("hello")),
        json.dumps(sns(sns(sns(sns({"Records": [s3()]}))))),
        '{"detail":' + "[" * 100_000,
        '{"Records":[{"s3":{"bucket":{"name":"\\ud800"}}}]}',
    ],
    ids=lambda body: body[:30],
)
def test_refused(body):
    with pytest.raises(InvalidEvent, match=r"no notification|again and again"):
        read(body.encode())
