"""EKS beside the audit stream: the authenticator's lines and the components' klog lines."""

import json

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.detect import detect
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

ARN = "arn:aws:iam::111122223333:role/dev"
GRANTED = (
    f'time="2026-11-23T10:00:00Z" level=info msg="access granted" arn="{ARN}" client="127.0.0.1:54812" '
    'groups="[developers system:masters]" method=POST path=/authenticate stsendpoint=sts.eu-west-1.amazonaws.com '
    'uid="aws-iam-authenticator:111122223333:AROAEXAMPLE" username="dev:{{\\"x\\"}}"'
)
DENIED = (
    'time="2026-11-23T10:00:01Z" level=warning msg="access denied" client="127.0.0.1:1" '
    'error="input token was not properly formatted: \\"exec\\" password=hunter2" method=POST path=/authenticate'
)
STS = (
    'time="2026-11-23T10:00:02Z" level=info msg="STS response" accesskeyid=ASIAEXAMPLE accountid=111122223333 '
    'arn="arn:aws:sts::111122223333:assumed-role/dev/alice" client="127.0.0.1:2" method=POST path=/authenticate '
    "session=alice userid=AROAEXAMPLE"
)
AS_JSON = json.dumps(
    {
        "arn": ARN,
        "client": "127.0.0.1:54812",
        "groups": ["developers", "system:masters"],
        "level": "info",
        "method": "POST",
        "msg": "access granted",
        "path": "/authenticate",
        "time": "2026-11-23T10:00:00Z",
        "uid": "aws-iam-authenticator:111122223333:AROAEXAMPLE",
        "username": 'dev:{{"x"}}',
    }
)
# received on 2 January 2026, 00:00:00
RECEIVED_MS = 1767312000000


def line(text, source_format="eks-authenticator", **more):
    known = {"cluster": "harbour", "account": "111122223333", "region": "eu-west-1", "provider": "aws"}
    return normalize(RawEvent(value=text.encode(), format=source_format, **{**known, **more}))


# --- authenticator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GRANTED, AS_JSON], ids=["logfmt", "json"])
def test_access_granted(text):
    found = line(text)
    assert found["action"] == "eks-authenticator:AccessGranted"
    assert found["time"] == 1795428000_000000
    assert found["user"] == {
        "username": 'dev:{{"x"}}',
        "uid": "aws-iam-authenticator:111122223333:AROAEXAMPLE",
        "groups": ["developers", "system:masters"],
        "extra": {},
    }
    assert found["cloud"]["principal"] == found["cloud"]["canonical_arn"] == ARN
    assert found["cloud"]["service"] == "eks-authenticator"
    assert found["cluster"]["id"] == "aws/111122223333/eu-west-1/harbour"
    assert (found["outcome"]["authz"], found["outcome"]["effective"]) == ("allow", True)
    assert found["flags"] & Flag.CLOUD_CALL
    assert found["src_endpoint"] == {"ip": "", "public": False}, "the client is a port of the control plane"


def test_access_denied_is_a_failed_authentication():
    found = line(DENIED)
    assert found["action"] == "eks-authenticator:AccessDenied"
    assert found["actor"]["class"] == "failed_auth"
    assert (found["outcome"]["authz"], found["outcome"]["effective"]) == ("forbid", False)
    assert found["flags"] & Flag.FAILED
    assert found["flags"] & Flag.FORBIDDEN
    assert found["responseStatus"]["message"].startswith('input token was not properly formatted: "exec"')
    assert "hunter2" not in json.dumps(found)


def test_sts_response_ties_the_key_to_the_session():
    found = line(STS)
    assert found["action"] == "eks-authenticator:STSResponse"
    assert found["cloud"]["access_key_id"] == "ASIAEXAMPLE"
    assert found["cloud"]["session"] == "alice"
    assert found["cloud"]["principal"] == "arn:aws:sts::111122223333:assumed-role/dev/alice"
    assert found["user"]["username"] == ""


def test_each_line_has_its_own_id_and_a_repeat_the_same():
    ids = [line(text)["id"] for text in (GRANTED, DENIED, STS, GRANTED.replace(":54812", ":54813"))]
    assert len(set(ids)) == 4
    assert line(GRANTED, source_id="other")["id"] == ids[0]


@pytest.mark.parametrize(
    "text",
    [
        'time="2026-11-23T10:00:00Z" level=info msg="Saving new key pair"',
        "goroutine 1 [running]:",
        "msg",
        '{"level":"info","msg":"starting"}',
        "[]",
        '{"msg": {"a": 1}}',
    ],
)
def test_another_line_is_dropped(text):
    assert line(text) == Dropped("eks-authenticator: another line")


@pytest.mark.parametrize("text", ["", " \n", '{"msg":"access granted"', "{]"])
def test_what_is_no_line_is_invalid(text):
    with pytest.raises(InvalidEvent):
        line(text)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["a" * 500_000, "a=" * 250_000, 'a="' * 150_000, '\\"' * 200_000, "=" * 500_000])
def test_a_long_line_takes_no_time(text):
    assert isinstance(line(text), Dropped)


# --- components -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_format", "component"),
    [
        ("eks-api", "kube-apiserver"),
        ("eks-controller-manager", "kube-controller-manager"),
        ("eks-scheduler", "kube-scheduler"),
        ("eks-unknown", "unknown"),
    ],
)
def test_a_klog_line_is_an_event_of_the_control_plane(source_format, component):
    text = "E1231 23:59:58.123456       1 node_authorizer.go:165] unable to read token=hunter2secret"
    found = line(text, source_format, received_ms=RECEIVED_MS)
    facts = found["facts"]["control_plane"]
    assert found["action"] == f"control-plane/{component}"
    assert found["time"] == 1767225598_123456, "a line of December received in January is of the year before"
    assert found["actor"]["class"] == "control_plane"
    assert (found["verb"], found["cloud"], found["outcome"]["effective"]) == ("", None, False)
    assert found["flags"] & Flag.HAS_CONTROL_PLANE
    assert not found["flags"] & Flag.CLOUD_CALL
    assert (facts["severity"], facts["location"]) == ("error", "node_authorizer.go:165")
    assert "hunter2secret" not in facts["message"]


@pytest.mark.parametrize(
    ("flag", "facts"),
    [
        ('anonymous-auth="true"', {"anonymous_auth": True}),
        ('anonymous-auth="false"', {"anonymous_auth": False}),
        ('authorization-mode="[Node,RBAC]"', {"authorization_modes": ["Node", "RBAC"]}),
        ('authorization-mode="AlwaysAllow"', {"authorization_modes": ["AlwaysAllow"]}),
        ('audit-policy-file="/etc/policy.yaml"', {"audit_policy": "/etc/policy.yaml"}),
        ('audit-log-maxage="0"', {}),
    ],
)
def test_start_up_flags_are_facts(flag, facts):
    found = line(f"I0101 00:00:00.000001       10 flags.go:64] FLAG: --{flag}", "eks-api", received_ms=RECEIVED_MS)
    told = found["facts"]["control_plane"]
    name, _, value = flag.partition("=")
    assert told["flags"] == {name: value.strip('"')}
    assert {key: told[key] for key in facts} == facts
    assert told["anonymous_auth"] is facts.get("anonymous_auth")


def test_the_version_is_a_fact():
    for text in ("Version: v1.33.1-eks-abc", '"Version info" version="v1.33.1-eks-abc"', "version: v1.33.1-eks-abc"):
        found = line(f"I0101 00:00:00.000001  1 server.go:141] {text}", "eks-api", received_ms=RECEIVED_MS)
        assert found["facts"]["control_plane"]["version"] == "v1.33.1-eks-abc"


@pytest.mark.parametrize(
    ("stamp", "received_ms", "time"),
    [
        ("0101 00:00:00.000001", RECEIVED_MS, 1767225600_000001),
        ("0229 00:00:00.000000", RECEIVED_MS, 0),  # neither 2026 nor 2025 had one
        ("1301 00:00:00.000000", RECEIVED_MS, 0),
        ("0101 00:00:00.000001", 0, 0),
        ("0101 00:00:00.000001", 10**14, 0),
    ],
)
def test_the_year_is_that_of_the_receipt(stamp, received_ms, time):
    found = line(f"I{stamp} 1 a.go:1] x", "eks-scheduler", received_ms=received_ms)
    assert found["time"] == (time or received_ms * 1000)
    assert bool(found["coverage"]["reasons"]) is not bool(time)


@pytest.mark.parametrize("text", ["goroutine 1 [running]:", "Flag --x has been deprecated", "I0101 x", '{"ts":1}'])
def test_what_is_no_klog_line_is_dropped(text):
    assert line(text, "eks-api") == Dropped("eks-api: no klog line")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GRANTED, "eks-authenticator"),
        (AS_JSON, "eks-authenticator"),
        ("I0101 00:00:00.000001  1 a.go:1] x", "eks-unknown"),
        ("I am no line", ""),
        ("", ""),
    ],
)
def test_lines_of_a_file_are_known_by_their_looks(text, found):
    assert detect(text.encode()) == found
