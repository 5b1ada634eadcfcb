"""`leadsman scan` reads what its help says it reads, and says what it could not read."""

from __future__ import annotations

import base64
import gzip
import io
import json

import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.readers import Identity, read
from leadsman_normalizer.normalize import normalize


def native(number: int = 1, *, privileged: bool = True) -> dict:
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": f"tool-{number}", "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "alpine:3.20", "securityContext": {"privileged": privileged}}]},
    }
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": f"00000000-0000-4000-8000-{number:012}",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods",
        "verb": "create",
        "user": {"username": "bob@example.com", "groups": ["system:authenticated"]},
        "sourceIPs": ["198.51.100.7"],
        "userAgent": "kubectl/v1.34.0",
        "objectRef": {"resource": "pods", "namespace": "shop", "name": f"tool-{number}", "apiVersion": "v1"},
        "responseStatus": {"code": 201},
        "requestObject": pod,
        "requestReceivedTimestamp": f"2026-11-20T10:00:{number:02}.000000Z",
        "stageTimestamp": f"2026-11-20T10:00:{number:02}.100000Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }


def log_entry() -> dict:
    event = native()
    return {
        "logName": "projects/demo-project/logs/cloudaudit.googleapis.com%2Factivity",
        "insertId": "abc",
        "timestamp": "2026-11-20T10:00:01.000000Z",
        "resource": {
            "type": "k8s_cluster",
            "labels": {"project_id": "demo-project", "location": "europe-west1", "cluster_name": "blue"},
        },
        "labels": {"authorization.k8s.io/decision": "allow"},
        "operation": {"id": "op-1", "producer": "k8s.io", "first": True, "last": True},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "k8s.io",
            "methodName": "io.k8s.core.v1.pods.create",
            "resourceName": "core/v1/namespaces/shop/pods/tool-1",
            "authenticationInfo": {"principalEmail": "bob@example.com"},
            "authorizationInfo": [{"granted": True, "permission": "io.k8s.core.v1.pods.create"}],
            "requestMetadata": {"callerIp": "198.51.100.7"},
            "request": {"@type": "core.k8s.io/v1.Pod", **event["requestObject"]},
            "status": {},
        },
    }


def subscription(*events: dict) -> dict:
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "/aws/eks/green/cluster",
        "logStream": "kube-apiserver-audit-0123456789abcdef0123456789abcdef",
        "subscriptionFilters": ["all"],
        "logEvents": [{"id": str(n), "timestamp": 1, "message": json.dumps(e)} for n, e in enumerate(events)],
    }


def dump(*documents: object, sep: str = "\n", **how: object) -> bytes:
    return sep.join(json.dumps(d, **how) for d in documents).encode()


def cloudtrail() -> dict:
    return {
        "eventSource": "eks.amazonaws.com",
        "eventName": "ListClusters",
        "eventTime": "2026-11-20T10:00:01Z",
        "eventID": "1",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/bob"},
    }


def aks(number: int = 1) -> dict:
    return {
        "category": "kube-audit",
        "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/BLUE",
        "properties": {"log": json.dumps(native(number)) + "\n"},
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def log_analytics() -> dict:
    """An answer of Log Analytics over AKSAudit: dynamic columns as values, or as their JSON text."""
    rows = aks_audit_rows()
    columns = [{"name": name, "type": "string"} for name in rows[0]]
    return {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": [list(row.values()) for row in rows]}]}


def aks_audit_rows() -> list[dict]:
    rows = []
    for number, as_text in ((1, False), (2, True)):
        event = native(number)
        dynamic = {
            "User": event["user"],
            "ObjectRef": event["objectRef"],
            "ResponseStatus": event["responseStatus"],
            "SourceIps": event["sourceIPs"],
            "RequestObject": event["requestObject"],
            "Annotations": event["annotations"],
        }
        row = {
            "TimeGenerated": "2026-11-20T10:00:02Z",
            "AuditId": event["auditID"],
            "Level": event["level"],
            "Stage": event["stage"],
            "Verb": event["verb"],
            "RequestUri": event["requestURI"],
            "RequestReceivedTime": event["requestReceivedTimestamp"],
            **({k: json.dumps(v) for k, v in dynamic.items()} if as_text else dynamic),
            "Type": "AKSAudit",
            "_ResourceId": aks()["resourceId"].lower(),
        }
        rows.append(row)
    return rows


LINE = 'time="2026-11-20T10:00:00Z" level=info msg="access granted" arn="arn:aws:iam::1:role/x" path=/authenticate'


TWO = (native(1), native(2))
# what a file holds, and how many alerts it must give
FILES = {
    "ndjson": (dump(*TWO), 2),
    "ndjson, blank lines, CRLF and a BOM": (b"\xef\xbb\xbf\r\n" + dump(*TWO, sep="\r\n\r\n"), 2),
    "an array": (dump(list(TWO)), 2),
    "a pretty-printed array": (dump(list(TWO), indent=2), 2),
    "one pretty-printed event": (dump(native(), indent=4), 1),
    "several pretty-printed events": (dump(*TWO, indent=1), 2),
    "an EventList": (
        dump({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": list(TWO)}),
        2,
    ),
    "items without a kind": (dump({"items": [{k: v for k, v in native().items() if k != "kind"}]}), 1),
    "a subscription document": (dump(subscription(*TWO)), 2),
    "a pretty-printed subscription document": (dump(subscription(*TWO), indent=2), 2),
    "subscription documents without a separator": (dump(subscription(TWO[0]), subscription(TWO[1]), sep=""), 2),
    "a gzip subscription document": (gzip.compress(dump(subscription(*TWO))), 2),
    "several gzip members": (gzip.compress(dump(TWO[0]) + b"\n") + gzip.compress(dump(TWO[1])), 2),
    "gzip ndjson": (gzip.compress(dump(*TWO)), 2),
    "a LogEntry": (dump(log_entry()), 1),
    "an array of LogEntries": (dump([log_entry()], indent=2), 1),
    "a Pub/Sub push body": (
        dump(
            {"message": {"data": base64.b64encode(dump(log_entry())).decode(), "messageId": "1"}, "subscription": "s"}
        ),
        1,
    ),
    "aws logs filter-log-events": (
        dump({"events": [{"message": json.dumps(native()), "logStreamName": "kube-apiserver-audit-1"}]}, indent=2),
        1,
    ),
    "a message of Event Hubs": (dump({"records": [aks(1), aks(2)]}), 2),
    "an answer of Log Analytics": (dump(log_analytics()), 2),
    "rows of AKSAudit": (dump(*aks_audit_rows()), 2),
    "what Azure's REST API lists": (dump({"value": [aks(1), aks(2)]}), 2),
    "what Lambda is given from Kinesis": (
        dump({"Records": [{"kinesis": {"data": encoded(gzip.compress(dump(subscription(e))))}} for e in TWO]}),
        2,
    ),
    "what Lambda is given from SQS": (dump({"Records": [{"body": json.dumps(e)} for e in TWO]}), 2),
    "what Lambda is given from SNS": (dump({"Records": [{"Sns": {"Message": json.dumps(e)}} for e in TWO]}), 2),
    "what Lambda is given from CloudWatch": (
        dump({"awslogs": {"data": encoded(gzip.compress(dump(subscription(*TWO))))}}),
        2,
    ),
    "what Firehose posts": (
        dump(
            {"requestId": "r", "timestamp": 1, "records": [{"data": encoded(gzip.compress(dump(subscription(*TWO))))}]}
        ),
        2,
    ),
    "what Firehose posts, unpacked": (
        dump({"requestId": "r", "timestamp": 1, "records": [{"data": encoded(dump(*TWO, sep=""))}]}),
        2,
    ),
    "AKS records, one a line": (dump(aks(1), aks(2)), 2),
    "a logEvent": (dump({"timestamp": 1, "message": json.dumps(native())}), 1),
    "a logEvent whose message was parsed": (dump({"timestamp": 1, "message": native()}), 1),
    "aws logs get-query-results": (
        dump(
            {
                "results": [
                    [
                        {"field": "@message", "value": json.dumps(native())},
                        {"field": "@logStream", "value": "kube-apiserver-audit-1"},
                        {"field": "@log", "value": "111122223333:/aws/eks/green/cluster"},
                    ]
                ],
                "status": "Complete",
            },
            indent=1,
        ),
        1,
    ),
    "a file of CloudTrail": (dump({"Records": [cloudtrail(), cloudtrail()]}), 0),
    "an EventBridge event": (dump({"detail-type": "AWS API Call via CloudTrail", "detail": cloudtrail()}), 0),
    "lines of the authenticator": (f"{LINE}\n{LINE}\n".encode(), 0),
    "the same event twice": (dump(native(), native()), 1),
    "nothing that alerts": (dump(native(privileged=False)), 0),
    "an empty file": (b"", 0),
}


def alerts_of(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(("data", "count"), FILES.values(), ids=FILES)
def test_a_file_gives_its_alerts(tmp_path, capfd, data, count):
    path = tmp_path / "audit.log"
    path.write_bytes(data)
    assert main(["scan", "-o", "jsonl", str(path)]) == 0
    out, _ = capfd.readouterr()
    alerts = alerts_of(out)
    assert [a["rule"]["name"] for a in alerts] == ["privileged-container"] * count
    assert all(a["evidence"][0]["source"]["file"] == str(path) for a in alerts)


def test_the_page_of_a_scan(tmp_path, capfd):
    path = tmp_path / "audit.log"
    path.write_bytes(dump(native()))
    assert main(["scan", "-o", "html", str(path)]) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("<!doctype html>")
    assert "privileged-container" in out
    assert f"{path}:1" in out


@pytest.mark.parametrize(
    ("form", "data", "action"),
    [
        ("cloudtrail", dump({"Records": [cloudtrail(), cloudtrail()]}, indent=1), "eks:ListClusters"),
        ("auto", dump({"detail": cloudtrail()}, cloudtrail()), "eks:ListClusters"),
        ("aks", dump({"records": [aks(), aks()]}), "create pods"),
        ("eks-authenticator", f"{LINE}\n{LINE}\n".encode(), "eks-authenticator:AccessGranted"),
        (
            "auto",
            dump({"timestamp": 1, "message": LINE}, {"timestamp": 1, "message": LINE}),
            "eks-authenticator:AccessGranted",
        ),
    ],
)
def test_records_of_other_logs_are_read(form, data, action):
    found = list(read("x", io.BytesIO(data), form, Identity(), lambda _: None))
    assert [normalize(raw)["action"] for raw in found] == [action, action]


@pytest.mark.parametrize(
    "data",
    [
        b'{"records": {}}',
        b'{"records": 5}',
        b'{"Records": 5}',
        b'{"Records": [{"s3": {}}]}',
        b'{"tables": 5}',
        b'{"records": [{"data": "*"}]}',
        b'{"records": [{"data": "e30="}]}',
        b'{"records": [{"data": 5}]}',
        b'{"Records": [{"kinesis": 5}]}',
        b'{"Records": [{"kinesis": {"data": "bm8="}}]}',
        b'{"Records": [{"body": "x"}]}',
    ],
)
def test_an_envelope_that_is_none_is_said(tmp_path, capfd, data):
    path = tmp_path / "hello.log"
    path.write_bytes(data)
    assert main(["scan", str(path)]) == 3
    assert "hello.log:1" in capfd.readouterr().err


def test_lines_are_those_of_the_file(tmp_path, capfd):
    height = len(dump(native(), indent=1).splitlines())
    layouts = {
        dump(*TWO): [1, 2],
        dump(*TWO, indent=1): [1, 1 + height],
        dump(list(TWO), indent=1): [2, 2 + height],
    }
    for text, wanted in layouts.items():
        path = tmp_path / "audit.json"
        path.write_bytes(text)
        main(["scan", "-o", "jsonl", str(path)])
        assert [a["evidence"][0]["source"]["line"] for a in alerts_of(capfd.readouterr().out)] == wanted


UNREADABLE = {
    "no JSON": (b"hello\n", "hello.log:1"),
    "a bad line among good ones": (dump(native()) + b"\n{nonsense\n" + dump(native(2)), "hello.log:2"),
    "another JSON": (b'{"colour": "red"}', "hello.log:1"),
    "cut gzip": (gzip.compress(dump(*TWO))[:-20], "hello.log"),
    "binary": (bytes(range(256)) * 10, "hello.log"),
}


@pytest.mark.parametrize(("data", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_said(tmp_path, capfd, data, says):
    path = tmp_path / "hello.log"
    path.write_bytes(data)
    assert main(["scan", str(path)]) == 3
    assert says in capfd.readouterr().err


def test_the_good_lines_around_a_bad_one_are_judged(tmp_path, capfd):
    path = tmp_path / "mixed.log"
    path.write_bytes(dump(native()) + b"\n{nonsense\n" + dump(native(2)))
    assert main(["scan", "-o", "jsonl", str(path)]) == 3
    assert len(alerts_of(capfd.readouterr().out)) == 2


def test_standard_input_and_folders(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(dump(native(3)))))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.ndjson").write_bytes(dump(native(1)))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(dump(native(2))))
    (tmp_path / "README.md").write_text("not a log")
    assert main(["scan", "-o", "jsonl", str(tmp_path), "-"]) == 0
    assert len(alerts_of(capfd.readouterr().out)) == 3


def test_identity_makes_ids_that_are_not_local(tmp_path, capfd):
    path = tmp_path / "a.ndjson"
    path.write_bytes(dump(native()))
    identity = ["--cluster", "green", "--account", "111122223333", "--region", "eu-west-1"]
    main(["scan", "-o", "jsonl", str(path)])
    main(["scan", "-o", "jsonl", *identity, str(path)])
    local, known = alerts_of(capfd.readouterr().out)
    assert local["id"].startswith("local-")
    assert not known["id"].startswith("local-")
    assert known["cluster"]["name"] == "green"


def test_min_level_leaves_out_what_is_below(tmp_path, capfd):
    path = tmp_path / "a.ndjson"
    path.write_bytes(dump(native()))
    counts = []
    for level in ("info", "high", "critical"):
        assert main(["scan", "-o", "jsonl", "--min-level", level, str(path)]) == 0
        counts.append(len(alerts_of(capfd.readouterr().out)))
    assert counts == [1, 1, 0]


def test_alerts_have_the_fixed_shape(tmp_path, capfd):
    path = tmp_path / "a.ndjson"
    path.write_bytes(dump(native()))
    main(["scan", "-o", "jsonl", str(path)])
    (alert,) = alerts_of(capfd.readouterr().out)
    assert alert.keys() >= {"id", "level", "rule", "time", "cluster", "actor", "objectRef", "evidence"}
    assert alert["rule"].keys() == {"id", "name", "title", "level", "author", "license", "origin"}
    assert alert["time"] == "2026-11-20T10:00:01.000000Z"


def test_the_table_neutralises_what_an_attacker_chose(tmp_path, capfd):
    event = native()
    event["user"]["username"] = "bob\x1b[31m\u202eevil"
    path = tmp_path / "a.ndjson"
    path.write_bytes(dump(event))
    main(["scan", str(path)])
    out, err = capfd.readouterr()
    assert "bob" in out
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err


USAGE = {
    "no file": ["scan"],
    "missing file": ["scan", "nowhere.log"],
    "unknown option": ["scan", "--nonsense", "x"],
    "unknown format": ["scan", "-f", "nonsense", "x"],
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE)
def test_usage_errors_end_with_1(arguments):
    assert main(arguments) == 1


def test_a_rule_error_is_said_and_the_rest_runs(tmp_path, capfd):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "bad.yml").write_text("title: [\n")
    (tmp_path / "rules" / "good.yml").write_text(
        "title: Any pod\nname: any-pod\nlogsource: {product: kubernetes}\nlevel: low\n"
        "detection: {a: {objectRef.resource: pods, verb: create}, condition: a}\n"
    )
    path = tmp_path / "a.ndjson"
    path.write_bytes(dump(native()))
    arguments = ["scan", "-o", "jsonl", "-r", str(tmp_path / "rules"), str(path)]
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    assert [a["rule"]["name"] for a in alerts_of(out)] == ["any-pod"]
    assert "bad.yml" in err
    assert main([*arguments, "--strict"]) == 1
