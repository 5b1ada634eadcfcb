"""Links into the clouds' own logs: where they lead, and that nothing of an event breaks out of them."""

import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hostile import STRINGS, poisoned

from leadsman_notifier.links import log_link


def with_source(make_alert, provider, fmt, **changes):
    alert = make_alert(cluster__provider=provider, **changes)
    alert["evidence"][-1]["source"]["format"] = fmt
    return alert


def test_insights(make_alert):
    alert = with_source(make_alert, "aws", "eks-audit")
    alert["evidence"][-1] |= {"audit_id": "0f-1", "time": 1_790_000_000_000_000}
    kind, url = log_link(alert)
    assert kind == "CloudWatch Logs Insights"
    base, fragment = url.split("#")
    assert base == "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1"
    detail = unquote(fragment.replace("$", "%"))
    assert detail.startswith("logsV2:logs-insights?queryDetail=~(end~'2026-09-21T14*3a18*3a20.000Z~start~'")
    query = re.search(r"editorString~'([^~]*)~source~\(~'([^)]*)\)", detail)
    plain = [re.sub(r"\*([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), part) for part in query.groups()]
    assert plain[0].splitlines() == [
        "fields @timestamp, @message",
        "| filter @logStream like /^kube-apiserver-audit/",
        '| filter auditID = "0f-1"',
        "| sort @timestamp",
        "| limit 100",
    ]
    assert plain[1] == "/aws/eks/shop/cluster"


def test_explorer(make_alert):
    alert = with_source(make_alert, "gcp", "gke-logentry", cluster__account="example-project")
    alert["evidence"][-1]["source"]["source_id"] = "abc"
    kind, url = log_link(alert)
    assert kind == "Logs Explorer"
    parts = urlsplit(url)
    assert (parts.netloc, parse_qs(parts.query)["project"]) == ("console.cloud.google.com", ["example-project"])
    query = unquote(re.search(r";query=([^;]*);", parts.path)[1])
    assert 'insertId="abc"' in query
    assert 'resource.labels.cluster_name="shop"' in query


@pytest.mark.parametrize(
    ("provider", "fmt", "changes"),
    [
        ("azure", "aks-audit", {}),
        ("aws", "cloudtrail", {}),
        ("aws", "eks-audit", {"cluster__region": "x.evil.example/"}),
        ("aws", "eks-audit", {"cluster__name": "../other"}),
        ("gcp", "gke-logentry", {"cluster__account": "a/b"}),
        ("k8s", "k8s-audit", {}),
    ],
)
def test_none_where_none_can_be_made(make_alert, provider, fmt, changes):
    assert log_link(with_source(make_alert, provider, fmt, **changes))[1] == ""
    assert log_link(make_alert(evidence=[])) == ("", "")


@pytest.mark.parametrize("text", STRINGS, ids=range(len(STRINGS)))
@pytest.mark.parametrize("fmt", ["eks-audit", "eks-authenticator", "gke-logentry"])
def test_hostile_ids_stay_inside(make_alert, fmt, text):
    good = make_alert()["cluster"] | {"account": "example-project"}
    alert = {**poisoned(make_alert(), text), "cluster": good}
    alert["evidence"] = [{**e, "time": 10**15, "source": {**e["source"], "format": fmt}} for e in alert["evidence"]]
    _, url = log_link(alert)
    assert re.fullmatch(r"https://[\w.-]+/[!-;=?-~]*", url)
    assert not set(url) & set('<>"` \\{}^|')
