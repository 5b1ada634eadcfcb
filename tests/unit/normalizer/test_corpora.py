"""Real records: each gives an event or is told apart for a reason that is written here."""

import json
from collections import Counter

import pytest
import yaml

from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.head import peek
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

# records that are broken where they come from, and are bad data to us
BROKEN = {
    "fal_01_003.json": "kind '0' is no audit event",  # a fuzzer's
    "samples_audit.head.ndjson": "malformed JSON",  # a quote lost in the source's own editing
    "k8s_anonymous_api_access.k8s-audit.ndjson": "without verb and requestURI",  # one line that is only a user
    "gcp_k8s_ioc_activity.gke-logentry.ndjson": "without protoPayload",
}


def records(corpora):
    """Format, file name and bytes of every record of the formats that we read."""
    for entry in json.loads((corpora / "index.json").read_bytes()):
        path = corpora / entry["file"]
        if entry["format"] not in ("k8s-audit", "gke-logentry"):
            continue
        data = path.read_bytes()
        if path.suffix == ".yaml":
            yield entry["format"], path.name, json.dumps(yaml.safe_load(data), default=str).encode()
        elif path.suffix in (".ndjson", ".log") or entry["count"] > 1:
            yield from ((entry["format"], path.name, line) for line in data.splitlines() if line.strip())
        else:
            yield entry["format"], path.name, data
    for path in sorted((corpora / "kube-apiserver").glob("*.ndjson")):
        yield from (("k8s-audit", path.name, line) for line in path.read_bytes().splitlines())


def test_every_record_normalizes(corpora):
    codec = audit_event_codec()
    count: Counter[str] = Counter()
    broken: Counter[tuple[str, bool]] = Counter()
    for source_format, name, value in records(corpora):
        raw = RawEvent(value, format=source_format)
        try:
            event = normalize(raw)
        except InvalidEvent as error:
            broken[name, BROKEN.get(name, "") in error.reason] += 1
            continue
        head = peek(raw)
        if isinstance(event, Dropped):
            count["dropped"] += 1
            assert head is None or head.dropped == event.reason
            continue
        count["event"] += 1
        assert codec.decode(codec.encode(event)) == event
        if head is not None:
            count["looked"] += 1
            assert (head.action, head.flags) == (event["action"], event["flags"] & head.known)
    assert broken.keys() == {(name, True) for name in BROKEN}
    assert broken["samples_audit.head.ndjson", True] == 1
    assert count["event"] > 4000
    assert count["looked"] > 4000


def pairs(corpora):
    return sorted((corpora / "stackdriver-webhook-bridge" / "derived_logentry").glob("*.json"))


def test_gke_entries_agree_with_the_native_events_they_are(corpora):
    assert len(pairs(corpora)) >= 15
    for path in pairs(corpora):
        gke = normalize(RawEvent(path.read_bytes(), format="gke-logentry"))
        native = normalize(
            RawEvent((path.parents[1] / "k8s_audit_events" / path.name).read_bytes(), format="k8s-audit")
        )
        for key in ("action", "verb", "facts", "dryRun", "userAgent", "sourceIPs", "flags"):
            assert gke[key] == native[key], (path.name, key)
        assert gke["user"]["username"] == native["user"]["username"]
        assert gke["actor"]["class"] == native["actor"]["class"]
        assert gke["outcome"]["effective"] == native["outcome"]["effective"]
        # the bridge gives a namespace's deletion no namespace; the API server does
        native["objectRef"]["namespace"] = native["objectRef"]["namespace"] or gke["objectRef"]["namespace"]
        assert gke["objectRef"] == native["objectRef"], path.name


@pytest.mark.parametrize(
    ("file", "fact"),
    [
        ("r01-json-patch-image.ndjson", lambda f: f["pod"] and "pod.containers.image" in f["touched"]),
        ("r01-debug-ephemeral-xmrig.ndjson", lambda f: f["pod"] and f["pod"]["containers"][-1]["list"] == "ephemeral"),
        ("r02-exec-curl-pipe-sh-ws.ndjson", lambda f: f["exec"] and "|sh" in f["exec"]["command_text"]),
        ("r02-exec-revshell-spdy.ndjson", lambda f: f["exec"] and "dup2(" in f["exec"]["command_text"]),
        ("r04-json-patch-adds-exec.ndjson", lambda f: f["role"] and "role.rules" in f["touched"]),
        ("r04-aggregated-to-edit.ndjson", lambda f: f["role"] and f["role"]["aggregate_to"]),
        ("r06-star-star-star.ndjson", lambda f: f["role"] and f["role"]["rules"][0]["classes"] == ["cluster_admin"]),
        ("r08-patch-deployment.ndjson", lambda f: f["pod"] and "pod.host_network" in f["touched"]),
        ("r09-patch-to-nodeport.ndjson", lambda f: f["service"] and "service.type" in f["touched"]),
        ("r10-ephemeral-sysadmin.ndjson", lambda f: f["pod"] and f["pod"]["containers"][-1]["privileged"]),
        ("r11-trailing-slash-variants.ndjson", lambda f: f["pod"] and f["pod"]["volumes"][0]["tier"] == "high"),
    ],
)
def test_facts_of_real_attacks(corpora, file, fact):
    events = [
        normalize(RawEvent(line, format="k8s-audit"))
        for line in (corpora / "kube-apiserver" / file).read_bytes().splitlines()
    ]
    assert any(fact(e["facts"]) for e in events if isinstance(e, dict) and e["facts"])
