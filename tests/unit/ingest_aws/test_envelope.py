"""CloudWatch subscription records taken apart: what is an event, what is dropped, what is bad, what it may cost."""

import base64
import gzip
import json
import time
import tracemalloc

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_ingest_aws.envelope import (
    MAX_VALUE_BYTES,
    Split,
    cluster_of,
    format_of,
    gunzip,
    split,
    split_documents,
)

MESSAGES = ['{"kind":"Event","auditID":"a"}', '{"kind": "Event",\t"x":"é\\u00e9\U0001f6a2"}', "I1123 klog text", ""]


def document(messages=(MESSAGES[0],), **changes):
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "/aws/eks/harbour/cluster",
        "logStream": "kube-apiserver-audit-0123456789abcdef0123456789abcdef",
        "subscriptionFilters": ["to-kinesis"],
        "logEvents": [{"id": f"{at:056d}", "timestamp": 1, "message": text} for at, text in enumerate(messages)],
    } | changes


def dumped(*documents, separator=b""):
    return separator.join(json.dumps(one).encode() for one in documents)


def zipped(data):
    return gzip.compress(data, mtime=0)


CONTROL = document(
    messageType="CONTROL_MESSAGE",
    owner="CloudwatchLogs",
    logGroup="",
    logStream="",
    logEvents=[{"id": "", "timestamp": 1, "message": "CWL CONTROL MESSAGE: Checking health of destination Kinesis."}],
)
ONE, TWO = document(MESSAGES[:1]), document(MESSAGES[1:3])


def values(result):
    return [event.value.decode() for event in result.events]


@pytest.mark.parametrize("pack", [zipped, bytes], ids=["gzip", "plain"])
def test_an_event_is_its_message_and_what_the_carrier_knew(pack):
    (event, *rest) = split(pack(dumped(document(MESSAGES))), region="eu-west-1", received_ms=5).events
    assert [event.value, *(other.value for other in rest)] == [text.encode() for text in MESSAGES]
    assert {name: value.decode() for name, value in event.headers()} == {
        "format": "eks-audit",
        "cluster": "harbour",
        "account": "111122223333",
        "region": "eu-west-1",
        "provider": "aws",
        "source-id": "0" * 56,
        "received-ms": "5",
        "log-stream": "kube-apiserver-audit-0123456789abcdef0123456789abcdef",
    }
    assert len({event.key(), *(other.key() for other in rest)}) == 4


@pytest.mark.parametrize(
    ("data", "expected", "dropped"),
    [
        pytest.param(zipped(dumped(CONTROL)), [], ["control message"], id="control message"),
        pytest.param(dumped({"messageType": "CONTROL_MESSAGE"}), [], ["control message"], id="bare control message"),
        pytest.param(dumped(document(policyLevel="ACCOUNT")), MESSAGES[:1], [], id="extra key"),
        pytest.param(
            dumped(document(logEvents=[{"id": "1", "message": "m", "extractedFields": {"a": "b"}}])),
            ["m"],
            [],
            id="extra key in an event",
        ),
        pytest.param(dumped(document(logEvents=[])), [], [], id="no events"),
        pytest.param(dumped(document(logEvents=[{"id": 7, "message": "m"}])), ["m"], [], id="id is a number"),
        pytest.param(dumped(document(logEvents=[{"message": "m"}])), ["m"], [], id="no id"),
        pytest.param(dumped({k: v for k, v in ONE.items() if k != "owner"}), MESSAGES[:1], [], id="no owner"),
        pytest.param(
            b'{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","message":{"kind": "Event"}}]}',
            ['{"kind": "Event"}'],
            [],
            id="message already parsed",
        ),
        pytest.param(dumped(ONE, TWO), MESSAGES[:3], [], id="two documents"),
        pytest.param(dumped(ONE, TWO, separator=b"\n"), MESSAGES[:3], [], id="a document a line"),
        pytest.param(dumped(ONE, TWO, separator=b" \r\n\n") + b"\n", MESSAGES[:3], [], id="blank lines"),
        pytest.param(json.dumps(ONE, indent=2).encode(), MESSAGES[:1], [], id="pretty-printed"),
        pytest.param(zipped(dumped(ONE)) + zipped(dumped(TWO)), MESSAGES[:3], [], id="two members"),
        pytest.param(zipped(dumped(ONE)[:50]) + zipped(dumped(ONE)[50:]), MESSAGES[:1], [], id="document over members"),
        pytest.param(zipped(dumped(ONE)) + dumped(TWO), MESSAGES[:3], [], id="gzip, then plain"),
        pytest.param(zipped(dumped(CONTROL, ONE)), MESSAGES[:1], ["control message"], id="control message among data"),
        pytest.param(
            dumped({"awslogs": {"data": base64.b64encode(zipped(dumped(TWO))).decode()}}),
            MESSAGES[1:3],
            [],
            id="as Lambda gets it",
        ),
    ],
)
def test_good_records(data, expected, dropped):
    result = split(data)
    assert (values(result), result.dropped, result.invalid) == (expected, dropped, "")


WRAPPED_TWICE = dumped({"awslogs": {"data": base64.b64encode(zipped(dumped(ONE))).decode()}})


@pytest.mark.parametrize(
    ("data", "salvaged", "reason"),
    [
        pytest.param(b"", [], "no document", id="empty"),
        pytest.param(b" \n", [], "no document", id="blank"),
        pytest.param(zipped(b""), [], "no document", id="empty gzip"),
        pytest.param(zipped(dumped(ONE))[:-20], [], "gzip is cut short", id="truncated gzip"),
        pytest.param(zipped(dumped(ONE))[:-4], MESSAGES[:1], "gzip is cut short", id="gzip without its trailer"),
        pytest.param(zipped(dumped(ONE))[:3], [], "gzip is cut short", id="truncated gzip header"),
        pytest.param(
            zipped(dumped(ONE)) + zipped(dumped(TWO))[:-20], MESSAGES[:1], "gzip is cut short", id="second member cut"
        ),
        pytest.param(zipped(dumped(ONE))[:-8] + b"\0" * 8, [], "gzip is damaged", id="wrong checksum"),
        pytest.param(b"\x1f\x8b" + b"\xff" * 30, [], "gzip is damaged", id="no gzip after all"),
        pytest.param(zipped(zipped(dumped(ONE))), [], "no JSON object", id="gzip in gzip"),
        pytest.param(b"\xf3\x89\x9a\xc2" + b"\x0a\x01x", [], "checksum", id="aggregated"),
        pytest.param(b"not json", [], "no JSON object", id="text"),
        pytest.param(b"[1]", [], "no JSON object", id="array"),
        pytest.param(b"1 2 3", [], "no JSON object", id="numbers"),
        pytest.param(dumped(ONE)[:-9], [], "malformed", id="truncated JSON"),
        pytest.param(dumped(ONE) + b"{", MESSAGES[:1], "malformed", id="half a second document"),
        pytest.param(dumped(ONE)[:-9] + b"\n" + dumped(TWO), MESSAGES[1:3], "malformed", id="next line is good"),
        pytest.param(dumped({"kind": "Event"}), [], "messageType is ''", id="an audit event, not a subscription"),
        pytest.param(dumped(document(messageType="X")), [], "messageType is 'X'", id="unknown type"),
        pytest.param(dumped(document(messageType=1)), [], "no CloudWatch Logs", id="messageType is a number"),
        pytest.param(dumped(document(logEvents="x")), [], "no CloudWatch Logs", id="logEvents is no list"),
        pytest.param(
            dumped(document(logEvents=[{"id": "1"}, {"id": "2", "message": "m"}])),
            ["m"],
            "logEvents[0]",
            id="no message",
        ),
        pytest.param(dumped(document(logEvents=[{"message": 1}])), [], "logEvents[0]", id="message is a number"),
        pytest.param(dumped(document(logEvents=[None])), [], "logEvents[0]", id="event is null"),
        pytest.param(dumped(document(["m"])).replace(b'"m"', b'"\xff"'), [], "logEvents[0]", id="no UTF-8"),
        pytest.param(
            dumped(document(["m"])).replace(b'"m"', b'"\\ud800"'), [], "no CloudWatch Logs", id="lone surrogate"
        ),
        pytest.param(
            dumped(document(["x" * (MAX_VALUE_BYTES + 1), "m"])), ["m"], "more than the", id="over the topic's size"
        ),
        pytest.param(b'{"a":' + b"[" * 100_000, [], "malformed", id="deep"),
        pytest.param(b'{"a":' + b"9" * 10_000 + b"}", [], "", id="huge number"),
        pytest.param(dumped({"awslogs": {"data": "%"}}), [], "awslogs.data", id="Lambda: no base64"),
        pytest.param(
            dumped({"awslogs": {"data": base64.b64encode(zipped(WRAPPED_TWICE)).decode()}}),
            [],
            "another of its kind",
            id="Lambda: wrapped twice",
        ),
    ],
)
def test_bad_records_say_why_and_lose_no_good_event(data, salvaged, reason):
    result = split(data)
    assert values(result) == salvaged
    assert reason in result.invalid
    assert result.invalid


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_no_cut_of_a_record_raises(cut):
    whole = zipped(dumped(document(MESSAGES)))
    assert split(whole[:cut]).invalid or cut >= len(whole)


def test_a_gzip_bomb_is_bounded():
    bomb = gzip.compress(b"\0" * (1 << 28), 1)
    tracemalloc.start()
    began = time.process_time()
    try:
        result = split(bomb, max_plain_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result == Split(invalid="more than 1048576 bytes when unpacked")
    assert peak < 4 << 20
    assert time.process_time() - began < 1


def test_the_bound_is_on_all_members_together():
    data = zipped(b" " * 600) * 2
    assert gunzip(data, 1200) == (b" " * 1200, "")
    assert gunzip(data, 1199) == (b"", "more than 1199 bytes when unpacked")


def test_many_lines_that_open_a_document_are_given_up():
    documents = list(split_documents(b'\n{"a":' * 1_000_000))
    assert len(documents) == 100
    assert all(isinstance(one, InvalidEvent) for one in documents)


def test_documents_of_a_file_come_one_by_one():
    first, bad, second = split_documents(dumped(ONE) + b"?\n" + dumped(TWO))
    assert (json.loads(first), json.loads(second)) == (ONE, TWO)
    assert isinstance(bad, InvalidEvent)


@pytest.mark.parametrize(
    ("log_stream", "expected"),
    [
        ("kube-apiserver-audit-0a", "eks-audit"),
        ("kube-apiserver-0a", "eks-api"),
        ("authenticator-0a", "eks-authenticator"),
        ("kube-controller-manager-0a", "eks-controller-manager"),
        ("kube-scheduler-0a", "eks-scheduler"),
        ("cloud-controller-manager-0a", "eks-unknown"),
        ("", "eks-unknown"),
    ],
)
def test_format_by_log_stream(log_stream, expected):
    assert format_of(log_stream) == expected


@pytest.mark.parametrize(
    ("log_group", "expected"),
    [
        ("/aws/eks/harbour/cluster", "harbour"),
        ("/aws/eks/harbour/other", ""),
        ("/aws/eks/a/b/cluster", ""),
        ("/aws/lambda/harbour/cluster", ""),
        ("aws-cloudtrail-logs", ""),
        ("", ""),
    ],
)
def test_cluster_by_log_group(log_group, expected):
    assert cluster_of(log_group) == expected


def test_groups_that_are_not_wanted_are_counted():
    lambdas = document(["x", "y"], logGroup="/aws/lambda/f", logStream="s")
    result = split(dumped(ONE, lambdas, TWO), groups=("/aws/eks/", "trail"))
    assert values(result) == MESSAGES[:3]
    assert (result.dropped, result.invalid) == (["another log group"] * 2, "")


def test_published_samples(corpora):
    """Samples that the vendors and other projects published; none of them is lost or refused."""
    index = json.loads((corpora / "index.json").read_text())
    files = [entry["file"] for entry in index if entry["format"] == "cloudwatch-envelope"]
    results = {file: split((corpora / file).read_bytes()) for file in files}
    assert len(results) >= 5
    assert {file: result.invalid for file, result in results.items() if result.invalid} == {}
    assert sum(len(result.events) for result in results.values()) >= 5
    assert sum(len(result.dropped) for result in results.values()) == 1
