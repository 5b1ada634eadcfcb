"""What doctor says of what was seen: silent, late, blind, cut, unclaimed; and what an API server says it lost."""

import click
import pytest

from leadsman_cli.coverage import cover
from leadsman_cli.doctor import Sighting, dropped_by_server, examine, observed, vendor_policy
from leadsman_cli.doctor_command import Ward, report
from leadsman_cli.rules import folders_in_service, load_rules
from leadsman_common.clusters import NO_CLUSTERS, ClusterSettings
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize

NOW_MS = 1_800_000_000_000


def native(verb="create", level="RequestResponse", at_ms=NOW_MS - 5000, late_ms=1000, form="k8s-audit"):
    stamp = (
        f"2027-01-15T08:{(at_ms - 1_800_000_000_000) // 60000 % 60:02d}:00.000000Z" if at_ms != NOW_MS - 5000 else ""
    )
    stamp = stamp or "2027-01-15T07:59:55.000000Z"
    value = (
        f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{level}","auditID":"a","stage":"ResponseComplete",'
        f'"requestURI":"/api/v1/namespaces/n/pods","verb":"{verb}","user":{{"username":"u"}},"sourceIPs":["10.0.0.1"],'
        f'"objectRef":{{"resource":"pods","namespace":"n","apiVersion":"v1"}},"responseStatus":{{"code":200}},'
        f'"requestReceivedTimestamp":"{stamp}","stageTimestamp":"{stamp}"}}'
    )
    return normalize(RawEvent(value.encode(), format=form, cluster="prod", received_ms=NOW_MS - 5000 + late_ms))


def sighting(*events):
    found = Sighting()
    for event in events:
        found.add(event)
    return found


def said(found, settings=None, registry=True):
    settings = settings or ClusterSettings(claimed=True)
    return [(f.severity, f.what) for f in examine(found, settings, registry=registry, now_ms=NOW_MS, span_s=3600)]


def test_nothing_is_wrong():
    found = sighting(native(), native("get", "Metadata"))
    assert said(found) == []
    assert (found.sources["k8s-audit"].events, found.sources["k8s-audit"].newest_ms) == (2, NOW_MS - 5000)
    assert found.sources["k8s-audit"].delay_s(0.5) == 1.0
    assert (dict(found.reads), dict(found.writes)) == ({"Metadata": 1}, {"RequestResponse": 1})


@pytest.mark.parametrize(
    ("found", "settings", "registry", "expected"),
    [
        (Sighting(), ClusterSettings(claimed=True), True, [("broken", "nothing arrived within 1 h")]),
        (sighting(native()), ClusterSettings(), True, [("weak", "stands in no entry of the registry")]),
        (sighting(native()), ClusterSettings(), False, []),
        (
            sighting(native()),
            ClusterSettings(claimed=True, expects={"k8s-audit": 60, "cloudtrail": 600}),
            True,
            [("broken", "cloudtrail: expected within 10 min, silent for 1 h")],
        ),
        (
            sighting(native()),
            ClusterSettings(claimed=True, expects={"k8s-audit": 4}),
            True,
            [("broken", "k8s-audit: expected within 4 s, silent for 5 s")],
        ),
        (
            sighting(native(late_ms=1_200_000)),
            ClusterSettings(claimed=True),
            True,
            [("weak", "k8s-audit: one event in twenty is later than 20 min")],
        ),
        (
            sighting(native(level="Metadata")),
            ClusterSettings(claimed=True),
            True,
            [("weak", "writes are logged without their bodies (Metadata)")],
        ),
    ],
    ids=["nothing", "unclaimed", "no registry", "a silent source", "silent too long", "late", "no bodies"],
)
def test_what_is_wrong(found, settings, registry, expected):
    assert said(found, settings, registry) == expected


def blind(found):
    loaded = load_rules(())
    judged = cover([r.rule for r in loaded.rules], loaded.correlations, observed(found))
    return {c.name for c in judged if c.alert and c.status == "blind"}


def test_rules_are_judged_by_the_levels_that_were_seen():
    assert "privileged-container" not in blind(sighting(native(), native("get", "Request")))
    assert "privileged-container" in blind(sighting(native("get", "Request")))


def test_a_managed_service_has_its_own_policy():
    assert vendor_policy(sighting(native(form="eks-audit"))) == "eks"
    assert vendor_policy(sighting(native())) == ""


METRICS = """
# HELP apiserver_audit_error_total [ALPHA] Counter of audit events that failed to be audited properly.
# TYPE apiserver_audit_error_total counter
apiserver_audit_error_total{plugin="buffered"} 12
apiserver_audit_error_total{plugin="webhook"} 3
apiserver_audit_error_total{plugin="log"} 0
apiserver_audit_event_total 1234
apiserver_audit_requests_rejected_total 0
other{plugin="x"} nonsense
"""


def test_what_the_api_server_says_it_lost():
    assert dropped_by_server(METRICS) == {"buffered": 12, "webhook": 3}
    assert dropped_by_server("") == {}


RULE = """\
title: {name}
name: {name}
logsource: {{product: kubernetes}}
leadsman:
    requires:
        - {{for: bodies, verbs: [create], resources: [pods], level: RequestResponse}}
detection:
    it: {{{field}: create}}
    condition: it
"""


def test_the_rules_of_the_service_are_judged(tmp_path, monkeypatch):
    """By LEADSMAN_RULES_DIR; what of them cannot be used is a finding."""
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "ours.yml").write_text(RULE.format(name="ours", field="verb"))
    (ours / "bad.yml").write_text(RULE.format(name="bad", field="no.such.field"))
    monkeypatch.setenv("LEADSMAN_RULES_DIR", f" {ours},")
    assert folders_in_service() == (ours,)
    ward, key = Ward(), "///prod"
    ward.clusters[key] = native()["cluster"]
    ward.sightings[key] = sighting(*(native(level="Metadata", at_ms=NOW_MS - n) for n in range(60)))
    found = report(ward, key, NO_CLUSTERS, NOW_MS, 3600, {}, load_rules(folders_in_service()))
    assert [one["rule"] for one in found["rules"]] == ["ours"]
    (problem,) = [f["what"] for f in found["findings"] if "cannot be used" in f["what"]]
    assert "bad: no such field: no.such.field" in problem
    assert report(ward, key, NO_CLUSTERS, NOW_MS, 3600, {}, None)["rules"] == []


def test_a_folder_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("LEADSMAN_RULES_DIR", "shipped,/no/such/folder")
    with pytest.raises(click.UsageError, match="/no/such/folder"):
        folders_in_service()
    monkeypatch.delenv("LEADSMAN_RULES_DIR")
    assert folders_in_service() == ()
