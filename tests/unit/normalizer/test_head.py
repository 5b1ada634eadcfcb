"""The cheap look agrees with normalize on everything it vouches for."""

import json

import pytest
from records import RAW_OF, SLUGS, native, record

from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.head import is_told, peek, told
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

ALL = int(~Flag(0))


def agree(raw):
    event, head = normalize(raw), peek(raw)
    if head is None:
        return False
    if isinstance(event, Dropped):
        assert head.dropped == event.reason
        return True
    assert not head.dropped
    assert head.action == event["action"]
    assert head.flags == event["flags"] & head.known
    if (first := told(head)) is not None:
        assert first.keys() == {"userAgent", "requestURI", "objectRef", "user", "actor"}
        assert first.pop("objectRef").items() <= event["objectRef"].items()
        assert first == {key: event[key] for key in first}
    return True


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.parametrize("cloud", RAW_OF)
def test_our_records(slug, cloud):
    assert agree(record(slug, cloud)) is (cloud in ("native", "eks"))


@pytest.mark.parametrize("body", [{}, {"requestObject": {"dryRun": ["All"]}}])
def test_a_dry_delete_needs_the_whole_record(body):
    given = native("delete", "pods", requestURI="/x?dryRun=All", **body)
    assert not agree(RawEvent(json.dumps(given).encode(), format="k8s-audit"))
    assert agree(RawEvent(json.dumps(native("delete", "pods")).encode(), format="k8s-audit"))


MORE = [
    native("get", "pods"),
    native("get", "pods", stage="RequestReceived"),
    native("list", "secrets", user={}, responseStatus={"code": 401}, annotations={}),
    native("create", "pods", requestURI="/x?dryRun=All"),
    native("create", "pods", ref={"subresource": "exec"}, requestURI="/x?dryRun=All"),
    native("get", "nodes", ref={"subresource": "proxy"}, requestURI="/api/v1/nodes/n/proxy/run/a/b/c"),
    native("create", "serviceaccounts", ref={"subresource": "token"}),
    native("patch", "rollouts", group="argoproj.io", requestObject={"spec": {"containers": [{"image": "x"}]}}),
    native("update", "nodes", ref={"subresource": "status"}, user={"username": "system:node:n"}),
    native("get", "pods", impersonatedUser={"username": "system:anonymous"}),
    native("get", "pods", responseStatus={"code": "200"}),
    native("create", "pods", responseStatus={"status": "Failure"}),
    native("create", "deployments", group="", ref={"apiVersion": "apps/v1"}),
    native("get", "pods", userAgent="x" * 5000, requestURI="/x?token=secret&command=a"),
    native("create", "configmaps", responseObject={"kind": "ConfigMap", "metadata": {"name": "made-up"}}),
    native("create", "pods", auditID='x","stage":"RequestReceived","y":"'),
    native("create", "pods", requestObject={"stage": "RequestReceived"}),
    {**native("get", ""), "objectRef": None, "requestURI": "/readyz"},
]


@pytest.mark.parametrize("given", MORE)
def test_other_records(given):
    data = json.dumps(given).encode()
    looked = agree(RawEvent(data, format="k8s-audit"))
    agree(RawEvent(data))
    agree(RawEvent(data, format="eks-audit", provider="aws"))
    if given["responseStatus"] != {"code": "200"}:
        assert looked


def test_what_it_vouches_for():
    def known(*args, **more):
        return peek(RawEvent(json.dumps(native(*args, **more)).encode())).known

    assert known("get", "pods") == ALL
    assert known("create", "pods") == ALL & ~Flag.HAS_POD
    assert known("create", "pods", ref={"subresource": "exec"}) == ALL
    assert known("get", "nodes", ref={"subresource": "proxy"}) == ALL & ~Flag.HAS_EXEC


@pytest.mark.parametrize("value", [b"", b"{", b"x" * 10, b'{"auditID":1}', b'{"auditID":"a","verb":"get"}'])
def test_where_only_normalize_can_tell(value):
    assert peek(RawEvent(value)) is None


def test_a_name_that_only_the_response_has_is_not_told():
    raw = RawEvent(json.dumps(native("create", "configmaps", ref={"name": ""})).encode())
    assert told(peek(raw)) is None


def test_which_fields_are_told():
    paths = ("userAgent", "objectRef.name", "actor.name", "user.extra.x", "objectRef.resource", "facts.pod.kind")
    assert [is_told(path) for path in paths] == [True, True, True, True, False, False]


SERVER = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"%s",%s}'
REST = (
    b'"requestURI":"/x","verb":"get","user":{"username":"u"},'
    b'"requestObject":{"stage":"RequestReceived","protoPayload":{}}'
)


@pytest.mark.parametrize(
    ("audit_id", "stage", "dropped"),
    [
        (b"a", b"RequestReceived", True),
        (b"a", b"ResponseComplete", False),
        (b'a\\",\\"stage\\":\\"RequestReceived\\",\\"', b"ResponseComplete", False),
    ],
)
def test_the_first_stage_is_known_by_the_first_fields(audit_id, stage, dropped):
    raw = RawEvent(SERVER % (audit_id, stage, REST))
    assert bool(peek(raw).dropped) is dropped
    assert isinstance(normalize(raw), Dropped) is dropped
