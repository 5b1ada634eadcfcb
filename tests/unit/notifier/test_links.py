"""Links into the clouds' own logs: where they lead, and that nothing of an event breaks out of them."""

import base64
import json
import re
import zlib
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hostile import STRINGS, poisoned

from leadsman_notifier.links import log_link, pod_log_link


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


SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"


def unpacked(url):
    """Scope, query and span of a link into Log Analytics."""
    parts = urlsplit(url).fragment.split("/")
    named = {name: unquote(parts[parts.index(name) + 1]) for name in ("scope", "q", "timespan")}
    return json.loads(named["scope"]), zlib.decompress(base64.b64decode(named["q"])).decode(), named["timespan"]


def test_log_analytics(make_alert):
    alert = with_source(make_alert, "azure", "aks-audit", cluster__account=SUBSCRIPTION, cluster__name="Harbour")
    alert["evidence"][-1] |= {"audit_id": "0f-1", "time": 1_790_000_000_000_000}
    kind, url = log_link(alert)
    assert kind == "Log Analytics"
    assert urlsplit(url).netloc == "portal.azure.com"
    scope, query, span = unpacked(url)
    assert scope == {"resources": [{"resourceId": f"/subscriptions/{SUBSCRIPTION}"}]}
    assert query.splitlines() == [
        'union isfuzzy=true AKSAudit, AKSAuditAdmin, (AzureDiagnostics | where Category startswith "kube-audit")',
        "| where TimeGenerated between (datetime(2026-09-21T14:08:20.000Z) .. datetime(2026-09-21T14:18:20.000Z))",
        '| where _ResourceId endswith "/harbour"',
        '| where * has "0f-1"',
        "| sort by TimeGenerated asc",
        "| take 100",
    ]
    assert span == "2026-09-21T14:08:20.000Z/2026-09-21T14:18:20.000Z"


@pytest.mark.parametrize("text", STRINGS, ids=range(len(STRINGS)))
def test_a_hostile_id_is_one_quoted_text_of_the_query(make_alert, text):
    alert = with_source(make_alert, "azure", "aks-audit", cluster__account=SUBSCRIPTION)
    alert["evidence"][-1]["audit_id"] = text
    _, query, _ = unpacked(log_link(alert)[1])
    (line,) = [line for line in query.split("\n") if line.startswith("| where * has ")]
    assert json.loads(line.removeprefix("| where * has ")) == text
    assert len(query.split("\n")) == 6


@pytest.mark.parametrize(
    ("provider", "fmt", "changes"),
    [
        ("azure", "aks-audit", {"cluster__account": "a/b"}),
        ("azure", "aks-audit", {"cluster__account": SUBSCRIPTION, "cluster__name": "a b"}),
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
@pytest.mark.parametrize("fmt", ["eks-audit", "eks-authenticator", "gke-logentry", "aks-audit"])
def test_hostile_ids_stay_inside(make_alert, fmt, text):
    good = make_alert()["cluster"] | {"account": SUBSCRIPTION if fmt == "aks-audit" else "example-project"}
    alert = {**poisoned(make_alert(), text), "cluster": good}
    alert["evidence"] = [{**e, "time": 10**15, "source": {**e["source"], "format": fmt}} for e in alert["evidence"]]
    _, url = log_link(alert)
    assert re.fullmatch(r"https://[\w.-]+/[!-;=?-~]*", url)
    assert not set(url) & set('<>"` \\{}^|')


@pytest.mark.parametrize(
    ("resource", "name", "wanted"),
    [
        ("pods", "api-7f9", 'resource.labels.pod_name="api-7f9"'),
        ("deployments", "api.v2", r'resource.labels.pod_name=~"^api\\.v2-"'),
        ("cronjobs", "sweep", 'resource.labels.pod_name=~"^sweep-"'),
        ("secrets", "token", ""),
        ("pods", "", ""),
    ],
)
def test_what_a_pod_on_gke_wrote_itself(make_alert, resource, name, wanted):
    alert = with_source(make_alert, "gcp", "gke-logentry", cluster__account="example-project")
    alert["objectRef"] = {**alert["objectRef"], "resource": resource, "name": name, "namespace": "web"}
    alert["time"] = 1_790_000_000_000_000  # 2026-09-21
    kind, url = pod_log_link(alert)
    if not wanted:
        assert (kind, url) == ("", "")
        return
    assert kind == "Pod's own logs, until 2026-10-21 where _Default keeps its 30 days"
    query = unquote(re.search(r";query=([^;]*);", urlsplit(url).path)[1]).splitlines()
    assert query[:4] == [
        'resource.type="k8s_container"',
        wanted,
        'resource.labels.namespace_name="web"',
        'resource.labels.cluster_name="shop"',
    ]
    assert unquote(url.partition("timeRange=")[2]).startswith("2026-09-21T14:08:20.000Z/2026-09-21T15:13:20.000Z")
    for fmt in ("eks-audit", "k8s-audit", "aks-audit"):
        assert pod_log_link(with_source(make_alert, "gcp", fmt, cluster__account="example-project")) == ("", "")


@pytest.mark.parametrize("text", STRINGS)
def test_nothing_breaks_out_of_a_query_for_pods(make_alert, text):
    alert = with_source(make_alert, "gcp", "gke-logentry", cluster__account="example-project")
    alert["objectRef"] = {**alert["objectRef"], "resource": "deployments", "name": text, "namespace": text}
    _, url = pod_log_link(alert)
    query = unquote(re.search(r";query=([^;]*);", urlsplit(url).path)[1]) if url else ""
    assert re.fullmatch(r"[!-~]*", url)
    assert len(query.splitlines()) <= 5
