"""A cluster that is made anew under its old name has another id from then on; one that is made first, its plain one."""

import json
from datetime import UTC, datetime

import pytest

from leadsman_common.raw import RawEvent
from leadsman_common.sightings import Life, Listed, ListedCluster, Seen, decode, encode
from leadsman_normalizer import sightings
from leadsman_normalizer.lives import told_by
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.sightings import Known

T = 1_767_225_600  # 2026-01-01T00:00:00Z
HOUR = 3600


def iso(at_s):
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def audit(at_s, name="prod", verb="create", resource="pods", object_name="p", code=201, query=""):
    value = {
        "kind": "Event",
        "level": "Metadata",
        "auditID": f"{at_s}-{verb}-{resource}",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/{resource}{query}",
        "verb": verb,
        "user": {"username": "system:apiserver"},
        "objectRef": {"resource": resource, "name": object_name, "apiVersion": "v1"},
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": iso(at_s),
        "stageTimestamp": iso(at_s),
    }
    where = {"provider": "aws", "account": "111122223333", "region": "eu-west-1", "cluster": name}
    return normalize(RawEvent(json.dumps(value).encode(), format="k8s-audit", received_ms=at_s * 1000, **where))


def made(at_s, **more):
    return audit(at_s, resource="namespaces", object_name="kube-system", **more)


def call(at_s, event_name="CreateCluster", error=""):
    value = {
        "eventVersion": "1.09",
        "eventTime": iso(at_s),
        "eventSource": "eks.amazonaws.com",
        "eventName": event_name,
        "awsRegion": "eu-west-1",
        "eventID": f"{event_name}-{at_s}",
        "requestParameters": {"name": "prod"},
        "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/u", "accountId": "111122223333"},
        **({"errorCode": error} if error else {}),
    }
    return normalize(RawEvent(json.dumps(value).encode(), format="cloudtrail", provider="aws", received_ms=at_s * 1000))


def gke(at_s, method="CreateCluster"):
    labels = {"cluster_name": "prod", "location": "europe-west4", "project_id": "example-project"}
    value = {
        "insertId": f"{method}-{at_s}",
        "logName": "projects/example-project/logs/cloudaudit.googleapis.com%2Factivity",
        "resource": {"type": "gke_cluster", "labels": labels},
        "timestamp": iso(at_s),
        "protoPayload": {
            "serviceName": "container.googleapis.com",
            "methodName": f"google.container.v1.ClusterManager.{method}",
            "resourceName": "projects/example-project/locations/europe-west4/clusters/prod",
            "authenticationInfo": {"principalEmail": "u@example.com"},
            "status": {},
        },
    }
    return normalize(
        RawEvent(json.dumps(value).encode(), format="gke-logentry", provider="gcp", received_ms=at_s * 1000)
    )


def suffixes(events):
    """What each event's cluster has behind its plain id, after those before it."""
    known, found = Known(), []
    known.there.set()
    for event in events:
        known.place(event)
        found.append(event["cluster"]["id"].partition("@")[2])
    return found


LATER = T + 100 * HOUR
STAMP = "20260105T040000Z"


@pytest.mark.parametrize(
    ("events", "found"),
    [
        pytest.param([audit(T), audit(LATER)], ["", ""], id="nothing happened"),
        pytest.param([made(T), audit(T + 5), audit(LATER)], ["", "", ""], id="made for the first time"),
        pytest.param(
            [made(T), audit(LATER - 9), made(LATER), audit(LATER + 5)], ["", "", STAMP, STAMP], id="made anew"
        ),
        pytest.param([audit(T), made(LATER), audit(LATER - 60)], ["", STAMP, ""], id="a late event of the old one"),
        pytest.param([audit(T), made(LATER, code=409), audit(LATER + 5)], ["", "", ""], id="it was there already"),
        pytest.param([audit(T), made(LATER, query="?dryRun=All"), audit(LATER + 5)], ["", "", ""], id="a dry run"),
        pytest.param([audit(T), made(LATER, name="other"), audit(LATER + 5)], ["", "", ""], id="another cluster"),
        pytest.param([call(T), audit(T + 600)], ["", ""], id="EKS: the first"),
        pytest.param(
            [audit(T), call(LATER - 600, "DeleteCluster"), call(LATER), audit(LATER + 900), made(LATER + 890)],
            ["", "", STAMP, STAMP, STAMP],
            id="EKS: deleted and made, one making however it is told",
        ),
        pytest.param(
            [audit(T), call(LATER, error="AccessDenied"), audit(LATER + 900)],
            ["", "", ""],
            id="EKS: a call that failed",
        ),
        pytest.param(
            [audit(T), call(LATER - 600, "DeleteCluster"), audit(LATER - 500)],
            ["", "", ""],
            id="EKS: it goes on a while",
        ),
        pytest.param([gke(T), gke(T + 1200), audit(T + 1300)], ["", "", ""], id="GKE: begun, and done"),
        pytest.param(
            [gke(T), gke(T + 300, "DeleteCluster"), gke(T + 600), gke(T + 900)],
            ["", "", "20260101T001000Z", "20260101T001000Z"],
            id="GKE: one that lived for minutes",
        ),
    ],
)
def test_incarnations(events, found):
    assert suffixes(events) == found


def test_the_third_of_its_name_and_another_worker():
    first, second = Known(), Known()
    first.there.set()
    for event in (audit(T), made(LATER), audit(LATER + HOUR), made(LATER + 50 * HOUR)):
        first.place(event)
    for record in first.due("sightings"):
        second.apply(decode(record.value))
    event = audit(LATER + 51 * HOUR)
    second.place(event)
    assert event["cluster"]["id"] == "aws/111122223333/eu-west-1/prod@20260107T060000Z"
    event = audit(LATER + HOUR)
    second.place(event)
    assert event["cluster"]["id"].endswith(STAMP)


def test_the_clouds_list_tells_it_too():
    known = Known()
    known.there.set()
    known.place(audit(T))
    known.apply(Listed("aws/111122223333/eu-west-1", LATER * 1000, [ListedCluster("eu-west-1", "prod", LATER * 1000)]))
    event = audit(LATER + 5)
    known.place(event)
    assert event["cluster"]["id"].endswith("@" + STAMP)


def test_what_the_registry_calls_an_incarnation_stays():
    known = Known()
    event = {**made(LATER), "cluster": {**made(LATER)["cluster"], "id": "aws/111122223333/eu-west-1/prod@2"}}
    known.place(audit(T))
    known.place(event)
    assert event["cluster"]["id"].endswith("prod@2")


def test_a_source_is_told_of_once_a_minute():
    known = Known()
    known.place(audit(T))
    assert known.due("sightings") == []  # the topic is not there
    known = Known()
    known.there.set()
    told = []
    for at in range(0, 200, 10):
        known.place(audit(T + at))
        told += [decode(record.value) for record in known.due("sightings")]
    assert [(one.first_ms // 1000 - T, one.last_ms // 1000 - T) for one in told] == [
        (0, 0),
        (0, 60),
        (0, 120),
        (0, 180),
    ]


def test_names_that_are_made_up_fill_nothing(monkeypatch):
    monkeypatch.setattr(sightings, "MOST_SEEN", 3)
    known = Known()
    known.there.set()
    for at in range(10):
        known.place(audit(T, name=f"c-{at}"))
    assert len(known.due("sightings")) == 3
    known.place(audit(T + 60, name="c-1"))  # those that are known go on
    assert len(known.due("sightings")) == 1


@pytest.mark.parametrize("record", [Seen(audit(T)["cluster"], "k8s-audit", 1, 2, 3, 4), Life("a/b/c/d", (1, 2), 3)])
def test_records_survive_the_topic(record):
    assert decode(encode(record)) == record


def test_a_real_api_server_tells_it_once(corpora):
    """Of its own log: the first server of an empty store makes the namespace, a second one is refused."""
    found = []
    for path in sorted((corpora / "kube-apiserver").glob("*.ndjson")):
        for line in path.read_bytes().splitlines():
            if b'"kube-system"' not in line or b'"namespaces"' not in line:
                continue
            event = normalize(RawEvent(line, format="k8s-audit"))
            if isinstance(event, dict) and event["action"] == "create namespaces":
                found.append((event["outcome"]["http"], told_by(event)))
    assert {(201, "made"), (409, None)} <= {*found}
    assert {*found} <= {(201, "made"), (409, None), (403, None)}
