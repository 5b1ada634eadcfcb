"""What a record may look like: formats, times, clusters, dry runs; wrong types, cut and hostile records."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import RAW_OF, event_of, native, record

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.lenient import STRUCTURE, _may_be_deeper, ends_early, prune
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.timestamps import micros


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-02T09:00:00.123456Z", 1_793_610_000_123_456),
        ("2026-11-02T09:00:00Z", 1_793_610_000_000_000),
        ("2026-11-02T09:00:00.123456789Z", 1_793_610_000_123_456),
        ("2026-11-02T10:00:00.5+01:00", 1_793_610_000_500_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2026-13-02T09:00:00.123456Z", 0),
        ("2026-11-02T09:00:00.12345xZ", 0),
        ("", 0),
        ("now", 0),
    ],
)
def test_micros(text, wanted):
    assert micros(text) == wanted


@pytest.mark.parametrize("slug", ["privileged-container", "pod-attach"])
@pytest.mark.parametrize("cloud", RAW_OF)
def test_the_format_is_seen_where_nobody_tells(slug, cloud):
    told, found = normalize(record(slug, cloud)), normalize(RawEvent(record(slug, cloud).value))
    assert isinstance(told, dict)
    assert isinstance(found, dict)
    assert (told["action"], told["facts"]) == (found["action"], found["facts"])
    assert found["source"]["format"] == {"gke": "gke-logentry", "aks": "aks-audit"}.get(cloud, "k8s-audit")


@pytest.mark.parametrize(
    ("value", "more"),
    [
        (b"", {}),
        (b"hello", {}),
        (b"[]", {"format": "k8s-audit"}),
        (b"null", {"format": "k8s-audit"}),
        (b"3", {"format": "gke-logentry"}),
        (b"{}", {"format": "k8s-audit"}),
        (b"{}", {"format": "gke-logentry"}),
        (b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[]}', {"format": "k8s-audit"}),
        (b'{"kind":"Pod","apiVersion":"v1","verb":"get"}', {"format": "k8s-audit"}),
        (b'{"verb":"get",}', {"format": "k8s-audit"}),
        (b'{"verb":"get"} x', {"format": "k8s-audit"}),
        (b'{"verb":NaN}', {"format": "k8s-audit"}),
        (b"{}", {"format": "telegram"}),
        (b'{"protoPayload":{"serviceName":"k8s.io"}}', {}),
        (b'{"protoPayload":{"serviceName":"k8s.io"', {}),
    ],
)
def test_bad_data(value, more):
    with pytest.raises(InvalidEvent):
        normalize(RawEvent(value, **more))


def test_what_is_not_ours():
    assert event_of(native())["stage"] == "ResponseComplete"
    received = json.dumps(native(stage="RequestReceived")).encode()
    assert normalize(RawEvent(received, format="k8s-audit")) == Dropped("stage RequestReceived")
    other = b'{"protoPayload":{"serviceName":"bigquery.googleapis.com","methodName":"x"}}'
    assert isinstance(normalize(RawEvent(other)), Dropped)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_old_versions(version):
    assert event_of(native(apiVersion=f"audit.k8s.io/{version}"))["action"] == "create pods"


def test_an_item_of_an_event_list():
    item = native()
    del item["kind"], item["apiVersion"]
    assert event_of(item)["action"] == "create pods"


@pytest.mark.parametrize(
    ("cloud", "wanted"),
    [
        ("native", "k8s//rack-1/harbour"),
        ("eks", "aws/111122223333/eu-west-1/harbour"),
        ("gke", "gcp/example-shipyard/europe-west4/shipyard"),
    ],
)
def test_clusters(cloud, wanted):
    assert normalize(record("pod-attach", cloud))["cluster"]["id"] == wanted


def test_an_unknown_cluster_has_no_id():
    event = normalize(RawEvent(record("pod-attach", "native").value, provider="k8s"))
    assert event["cluster"] == {"id": "", "name": "", "provider": "k8s", "account": "", "region": ""}


DRY = [
    ("create", "pods", "", "", "All", True),
    ("patch", "deployments", "apps", "", "All", True),
    ("delete", "clusterroles", "rbac.authorization.k8s.io", "", "All", True),
    ("create", "pods", "", "", "None", False),
    ("create", "pods", "", "", "all", False),
    ("create", "pods", "", "exec", "All", False),
    ("get", "pods", "", "", "All", False),
    ("create", "serviceaccounts", "", "token", "All", False),
    ("create", "things", "example.com", "", "All", False),
    ("create", "selfsubjectaccessreviews", "authorization.k8s.io", "", "All", False),
]


@pytest.mark.parametrize(("verb", "resource", "group", "sub", "value", "dry"), DRY)
def test_dry_runs(verb, resource, group, sub, value, dry):
    uri = f"/x?fieldManager=k&dryRun={value}"
    event = event_of(native(verb, resource, group=group, ref={"subresource": sub}, requestURI=uri))
    assert event["dryRun"] is dry
    assert bool(event["flags"] & Flag.DRY_RUN) is dry


OPTIONS = {"kind": "DeleteOptions", "apiVersion": "v1"}


@pytest.mark.parametrize("verb", ["delete", "deletecollection"])
@pytest.mark.parametrize(
    ("uri", "body", "level", "dry"),
    [
        ("/x", {**OPTIONS, "dryRun": ["All"]}, "Request", True),  # kubectl delete --dry-run=server
        ("/x?dryRun=All", OPTIONS, "Request", False),  # the server does not look at the query beside a body
        ("/x?dryRun=All", {**OPTIONS, "dryRun": []}, "Request", False),
        ("/x?dryRun=All", {**OPTIONS, "dryRun": "All"}, "Request", False),
        ("/x?dryRun=All", None, "Request", True),
        ("/x?dryRun=All", None, "Metadata", False),  # nobody can tell
        ("/x", OPTIONS, "Request", False),
    ],
)
def test_the_body_of_a_delete_decides(verb, uri, body, level, dry):
    bodies = {} if body is None else {"requestObject": body}
    event = event_of(native(verb, "secrets", requestURI=uri, level=level, **bodies))
    assert event["dryRun"] is dry
    assert bool(event["flags"] & Flag.DRY_RUN) is dry
    unknown = "dryRun: the body of a delete decides, and the log holds none"
    assert (unknown in event["coverage"]["reasons"]) is (level == "Metadata")


def test_the_body_of_a_delete_decides_on_gke():
    entry = json.loads(record("privileged-container", "gke").value)
    entry["protoPayload"] |= {"methodName": "io.k8s.core.v1.pods.delete", "response": None}
    for label, body, dry in (
        ("All", {"@type": "core.k8s.io/v1.DeleteOptions"}, False),
        ("", {"@type": "core.k8s.io/v1.DeleteOptions", "dryRun": ["All"]}, True),
        ("All", None, True),
    ):
        entry["labels"]["command.gke.io/dryRun"] = label
        entry["protoPayload"]["request"] = body
        assert normalize(RawEvent(json.dumps(entry).encode()))["dryRun"] is dry


def test_a_dry_run_on_gke():
    entry = json.loads(record("privileged-container", "gke").value)
    entry["labels"]["command.gke.io/dryRun"] = "All"
    assert normalize(RawEvent(json.dumps(entry).encode()))["dryRun"]


def test_the_only_time_of_v1alpha1():
    old = native("get", "pods", apiVersion="audit.k8s.io/v1alpha1", timestamp="2017-11-02T09:00:00Z")
    del old["requestReceivedTimestamp"], old["stageTimestamp"]
    assert event_of(old)["time"] == event_of(old)["loggedTime"] == 1509613200_000000
    assert event_of(old)["id"] != event_of({**old, "timestamp": "2017-11-02T09:00:01Z"})["id"]


WRONG = {
    "user a text": {"user": "ada"},
    "user a list": {"user": ["ada"]},
    "user null": {"user": None},
    "groups a text": {"user": {"username": "ada", "groups": "x"}},
    "groups with a number": {"user": {"username": "ada", "groups": ["a", 1]}},
    "extra a list": {"user": {"username": "ada", "extra": [1]}},
    "extra not in lists": {"user": {"username": "ada", "extra": {"arn": "x"}}},
    "objectRef a list": {"objectRef": []},
    "objectRef with a number": {"objectRef": {"resource": "pods", "name": 7}},
    "code a text": {"responseStatus": {"code": "201"}},
    "status an object": {"responseStatus": {"code": 201, "status": {}}},
    "responseStatus a list": {"responseStatus": [1]},
    "annotations a list": {"annotations": ["x"]},
    "annotations with a number": {"annotations": {"a": 1, "authorization.k8s.io/decision": "allow"}},
    "sourceIPs a text": {"sourceIPs": "203.0.113.24"},
    "sourceIPs with null": {"sourceIPs": [None, "203.0.113.24"]},
    "verb a number": {"verb": 3},
    "stage an object": {"stage": {}},
    "uri null": {"requestURI": None},
    "time a number": {"requestReceivedTimestamp": 3},
    "body a text": {"requestObject": "x"},
    "body a number": {"requestObject": 10**30},
    "code out of range": {"responseStatus": {"code": 2**40}},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_types_cost_a_fact_not_the_record(wrong):
    event = event_of({**native(), **wrong})
    assert event["actor"]["class"] in ("human", "unknown")
    if next(iter(wrong.values())) is not None:
        assert event["coverage"]["reasons"]


def test_what_can_be_read_is_read():
    assert event_of({**native(), **WRONG["code a text"]})["outcome"]["http"] == 201
    assert event_of({**native(), **WRONG["groups with a number"]})["user"]["groups"] == ["a"]
    assert event_of({**native(), **WRONG["annotations with a number"]})["outcome"]["authz"] == "allow"
    assert event_of({**native(), **WRONG["sourceIPs with null"]})["src_endpoint"]["ip"] == "203.0.113.24"


PATCH = b'{"spec":{"template":{"spec":{"hostNetwork":true}}},"metadata":{"annotations":{"a":%s}}}'
HOSTILE = {
    "invalid UTF-8": b'"\xff\xfe"',
    "lone surrogate": b'"\\ud800"',
    "lone surrogate in a key": b'{"\\udc00":1}',
    "number past any type": b"1e400",
    "integer of 5000 digits": b"9" * 5000,
    "nested 5000 deep": b"[" * 5000 + b"]" * 5000,
    "nested objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "duplicate keys": b'{"a":1,"a":2}',
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_patch_body_cannot_hide_the_patch(value):
    """The API server logs a patch as sent, so a client chooses these bytes."""
    base = json.dumps(native("patch", "deployments", group="apps")).encode()
    data = base[:-1] + b',"requestObject":' + PATCH % value + b"}"
    start = time.process_time()
    event = normalize(RawEvent(data, format="k8s-audit"))
    assert time.process_time() - start < 1
    assert event["facts"]["pod"]["host_network"]
    assert event["facts"]["touched"] == ["pod.host_network"]
    assert event["actor"]["name"] == "ada@example.com"
    json.dumps(event).encode()


def test_prune_cuts_what_is_deep_and_leaves_the_rest():
    assert prune(b'{"a":[[["]"]]],"b":1}', [], 3) == b'{"a":[[null]],"b":1}'
    assert prune(b'{"a":[1]}', [], 3) == b'{"a":[1]}'
    assert prune(b"[[[[[]]]],[[[[[[]]]]]],1]", [], 2) == b"[[null],[null],1]"
    assert prune(b'[[[{"a":[]}]],[]]', [], 2) == b"[[null],[]]"
    assert prune(b"[[[[", [], 2) == b"[[null"


@pytest.mark.timeout(20)
def test_a_record_of_brackets_alone_takes_no_time():
    began = time.process_time()
    with pytest.raises(InvalidEvent, match="truncated"):
        normalize(RawEvent(b'{"kind":"Event","verb":' + b"[{" * 1_000_000, format="k8s-audit"))
    # a bracket at a time took some two seconds on an idle machine
    assert time.process_time() - began < 1


LEADING = ("auditID", "verb", "user", "objectRef")


@pytest.mark.parametrize("slug", ["privileged-container", "pod-attach", "privileged-cluster-role"])
@pytest.mark.parametrize("suffix", [b"", b"[Truncated...]", b"\n"])
def test_truncation_at_every_byte(slug, suffix):
    value = record(slug, "native").value.rstrip()
    whole = json.loads(value)
    # where each leading field ends: in front of the next key
    keys = list(whole)
    ends = [value.index(f'"{keys[keys.index(k) + 1]}":'.encode()) for k in LEADING]
    salvaged = 0
    for cut in range(len(value)):
        raw = RawEvent(value[:cut] + suffix, **RAW_OF["native"])
        if cut < max(ends) - 1:
            with pytest.raises(InvalidEvent):
                normalize(raw)
            continue
        event = normalize(raw)
        salvaged += 1
        assert event["coverage"]["truncated"]
        assert event["flags"] & Flag.TRUNCATED
        assert (event["verb"], event["auditID"]) == (whole["verb"], whole["auditID"])
        assert event["user"]["username"] == "ada@example.com"
        assert event["objectRef"]["resource"] == whole["objectRef"]["resource"]
    assert salvaged > 100


def test_a_cut_in_a_long_string_takes_no_long_time():
    body = {"metadata": {"annotations": {"a": json.dumps({str(n): "x" for n in range(50_000)})}}}
    value = json.dumps(native(requestObject=body)).encode()
    start = time.process_time()
    event = normalize(RawEvent(value[:-300], format="k8s-audit"))
    assert time.process_time() - start < 1
    assert event["coverage"]["truncated"]


def _ends_early_by_token(data: bytes) -> bool:
    """The plain reading of it, token by token."""
    depth = 0
    for token in STRUCTURE.finditer(data):
        run = token.group()
        if token["open"] is not None:
            return True
        if run[0] in b"[{":
            depth += len(run)
        elif run[0] in b"]}":
            depth -= len(run)
            if depth <= 0:
                return False
    return depth > 0


@settings(max_examples=2_000, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b'"a"', b'"]"', b",", b"1", b"[]", b"{}"]), max_size=30
    )
)
def test_an_early_end_is_found_as_token_by_token(parts):
    data = b"".join(parts)
    assert ends_early(data) == _ends_early_by_token(data)


@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"]["', b",", b"1", b"[[[", b"]]]"]), max_size=40),
    st.integers(1, 6),
)
def test_what_is_not_pruned_at_once_is_not_pruned_by_token(parts, depth):
    data = b"".join(parts)
    if not _may_be_deeper(data, depth):
        level = deepest = 0
        for token in STRUCTURE.finditer(data):
            run = token.group()
            level += len(run) if run[0] in b"[{" else -len(run) if run[0] in b"]}" else 0
            deepest = max(deepest, level)
        assert deepest <= depth
