"""Links to the original log of an item of evidence: Logs Insights, Logs Explorer, Log Analytics. They outlive Kafka.

And to what a pod on GKE wrote itself, which Leadsman does not take: Cloud Logging has it, for a while.

The consoles' addresses are no documented interface; the forms are those that the consoles make themselves when a query
is shared, and for Azure the one in Azure Monitor's own alerts (`linkToSearchResultsUI`,
https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-payload-samples). All that comes from an event is
percent-encoded, in the query as quoted text.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from datetime import UTC, datetime
from urllib.parse import quote

from leadsman_common.alerts import Alert, Evidence

_AROUND_US = 5 * 60 * 1_000_000
_POD_US = 60 * 60 * 1_000_000
_KEPT_US = 30 * 24 * 60 * 60 * 1_000_000
_POD_MAKERS = frozenset({"deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs"})
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_PROJECT = re.compile(r"[a-z0-9.:-]{4,100}")
_SUBSCRIPTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CLUSTER = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")


def log_link(alert: Alert) -> tuple[str, str]:
    """(what it opens, URL) for the alert's last item of evidence; two empty strings where there is none."""
    if not alert["evidence"]:
        return "", ""
    item = alert["evidence"][-1]
    if item["source"]["format"].startswith(("eks", "cloudtrail")):
        return "CloudWatch Logs Insights", _insights(alert, item)
    if item["source"]["format"].startswith("gke"):
        return "Logs Explorer", _explorer(alert, item)
    if item["source"]["format"].startswith("aks"):
        return "Log Analytics", _analytics(alert, item)
    return "", ""


def pod_log_link(alert: Alert) -> tuple[str, str]:
    """(what it opens and until when there is anything, URL) for the pods of an alert on GKE; else two empty strings.

    GKE writes containers' output to Cloud Logging's bucket _Default, which drops it after 30 days unless its owner has
    set otherwise: https://cloud.google.com/logging/quotas#logs_retention_periods.
    """
    ref, cluster, at = alert["objectRef"], alert["cluster"], alert["time"]
    if not alert["evidence"] or not alert["evidence"][-1]["source"]["format"].startswith("gke"):
        return "", ""
    if not (_PROJECT.fullmatch(cluster["account"]) and ref["name"]):
        return "", ""
    if ref["resource"] == "pods":
        pod = f"resource.labels.pod_name={json.dumps(ref['name'])}"
    elif ref["resource"] in _POD_MAKERS:  # their pods have its name and something behind it
        pod = f"resource.labels.pod_name=~{json.dumps('^' + re.escape(ref['name']) + '-')}"
    else:
        return "", ""
    lines = ['resource.type="k8s_container"', pod]
    for label, value in (("namespace_name", ref["namespace"]), ("cluster_name", cluster["name"])):
        if value:
            lines.append(f"resource.labels.{label}={json.dumps(value)}")
    if cluster["region"]:
        lines.append(f"resource.labels.location={json.dumps(cluster['region'])}")
    url = _query(cluster["account"], lines, at - _AROUND_US, at + _POD_US)
    return f"Pod's own logs, until {_iso(at + _KEPT_US)[:10]} where _Default keeps its 30 days", url


def _insights(alert: Alert, item: Evidence) -> str:
    region, cluster = alert["cluster"]["region"], alert["cluster"]["name"]
    if not (_REGION.fullmatch(region) and _CLUSTER.fullmatch(cluster)) or item["source"]["format"] == "cloudtrail":
        return ""  # the trail's log group is the operator's own choice, and no event names it
    words = ["fields @timestamp, @message", "| filter @logStream like /^kube-apiserver-audit/"]
    if item["source"]["format"] != "eks-audit":
        words = ["fields @timestamp, @logStream, @message"]
    if item["audit_id"]:
        words.append(f"| filter auditID = {json.dumps(item['audit_id'])}")
    begin, end = item["time"] - _AROUND_US, item["time"] + _AROUND_US
    detail = (
        f"~(end~'{_starred(_iso(end))}~start~'{_starred(_iso(begin))}~timeType~'ABSOLUTE~tz~'UTC"
        f"~editorString~'{_starred(chr(10).join([*words, '| sort @timestamp', '| limit 100']))}"
        f"~source~(~'{_starred(f'/aws/eks/{cluster}/cluster')}))"
    )
    domain = "amazonaws.cn" if region.startswith("cn-") else "aws.amazon.com"
    if region.startswith("us-gov-"):
        domain = "amazonaws-us-gov.com"
    host = f"{region}.console.{domain}" if domain == "aws.amazon.com" else f"console.{domain}"
    # the console reads the query from the fragment, where % is written $25 and ? is $3F
    fragment = quote(f"?queryDetail={detail}", safe="!'()*~").replace("%", "$")
    return f"https://{host}/cloudwatch/home?region={region}#logsV2:logs-insights{fragment}"


def _starred(text: str) -> str:
    """Text as the console writes it inside a value: what is not plain as * and two digits, wider as ** and four."""
    return "".join(
        c
        if c.isascii() and (c.isalnum() or c in "_.-")
        else f"*{ord(c):02x}"
        if ord(c) < 256
        else "".join(f"**{unit:04x}" for unit in _units(c))
        for c in text
    )


def _units(char: str) -> list[int]:
    data = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _explorer(alert: Alert, item: Evidence) -> str:
    project = alert["cluster"]["account"]
    if not _PROJECT.fullmatch(project):
        return ""
    lines = ['logName:"cloudaudit.googleapis.com"', 'resource.type=("k8s_cluster" OR "gke_cluster")']
    if alert["cluster"]["name"]:
        lines.append(f"resource.labels.cluster_name={json.dumps(alert['cluster']['name'])}")
    if item["source"]["source_id"]:
        lines.append(f"insertId={json.dumps(item['source']['source_id'])}")
    return _query(project, lines, item["time"] - _AROUND_US, item["time"] + _AROUND_US)


def _query(project: str, lines: list[str], begin_us: int, end_us: int) -> str:
    """Logs Explorer with a query, over a span of time."""
    query, span = quote("\n".join(lines), safe=""), quote(f"{_iso(begin_us)}/{_iso(end_us)}", safe="")
    return (
        f"https://console.cloud.google.com/logs/query;query={query};timeRange={span}?project={quote(project, safe='')}"
    )


def _analytics(alert: Alert, item: Evidence) -> str:
    """A query over every workspace that has the cluster's log, in either of its shapes.

    No record names the workspace: the scope is the subscription, which the portal resolves to what one may read.
    """
    subscription, cluster = alert["cluster"]["account"], alert["cluster"]["name"]
    if not (_SUBSCRIPTION.fullmatch(subscription) and _CLUSTER.fullmatch(cluster)):
        return ""
    begin, end = _iso(item["time"] - _AROUND_US), _iso(item["time"] + _AROUND_US)
    lines = [
        'union isfuzzy=true AKSAudit, AKSAuditAdmin, (AzureDiagnostics | where Category startswith "kube-audit")',
        f"| where TimeGenerated between (datetime({begin}) .. datetime({end}))",
        f"| where _ResourceId endswith {json.dumps(f'/{cluster.lower()}')}",
    ]
    if item["audit_id"]:
        lines.append(f"| where * has {json.dumps(item['audit_id'])}")
    query = "\n".join([*lines, "| sort by TimeGenerated asc", "| take 100"])
    packed = base64.b64encode(zlib.compress(query.encode("utf-8", "replace"), 9)).decode()
    scope = json.dumps({"resources": [{"resourceId": f"/subscriptions/{subscription}"}]}, separators=(",", ":"))
    return (
        "https://portal.azure.com/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/source/Alerts.EmailLinks"
        f"/scope/{quote(scope, safe='')}/q/{quote(packed, safe='')}"
        f"/prettify/1/timespan/{quote(f'{begin}/{end}', safe='')}"
    )


def _iso(micros: int) -> str:
    try:
        return f"{datetime.fromtimestamp(max(0, micros) / 1_000_000, UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00.000Z"
