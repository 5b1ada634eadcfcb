"""The ledger beside the cloud's own counters: what was handed over, and what arrived here. For `leadsman verify`.

    eks:ACCOUNT/REGION/CLUSTER            CloudWatch: IncomingLogEvents, ForwardedLogEvents of /aws/eks/CLUSTER/cluster
    pubsub:projects/P/subscriptions/S     Cloud Monitoring: messages sent, acknowledged, not delivered yet
    apiserver:CLUSTER=FILE or URL         the API server's own apiserver_audit_* since it started

They count other things than the ledger does, at other moments: docs/sources/ says what a difference means.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import boto3
import google.auth
import msgspec
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession

from leadsman_cli.output import clean
from leadsman_common.alerts import iso_time

_EKS = re.compile(r"(?P<account>\d{12})/(?P<region>[a-z0-9-]+)/(?P<cluster>[0-9A-Za-z][A-Za-z0-9_-]{0,99})")
_SUBSCRIPTION = re.compile(r"projects/(?P<project>[^/]+)/subscriptions/(?P<name>[^/]+)")
_SERVER = re.compile(r"(?P<cluster>[^=]+)=(?P<where>.+)")
_METRIC = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_MONITORING = "https://monitoring.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
_MAX_METRICS = 64 * 1024 * 1024
_TIMEOUT_S = 30
_MINUTE_MS = 60_000
_DAY_MS = 24 * 60 * _MINUTE_MS
_SETTLED_MS = 5 * _MINUTE_MS
_LATELY_MS = 15 * _MINUTE_MS

Kind = Literal["eks", "pubsub", "apiserver"]


class CountersAway(RuntimeError):
    """The cloud's counters cannot be read; the text says which and why."""


class BadPlace(ValueError):
    """No place of that form."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where counters are. `sources`: what the ledger's sources begin with that come from there."""

    kind: Kind
    text: str
    parts: Mapping[str, str]

    def is_of(self, source: str) -> bool:
        """Whether a source of the ledger (PROVIDER/ACCOUNT/REGION/CLUSTER) comes from there."""
        if self.kind == "eks":
            return source == f"aws/{self.text}"
        if self.kind == "pubsub":  # the cluster is inside the entry, which ingest does not look into
            return source.startswith("gcp/")
        return source.rpartition("/")[2] == self.parts["cluster"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What the other side says: counts by name. `handed` is the one that the ledger should come to; None: not known.

    `since_ms` and `until_ms` are set where it counts a time of its own.
    """

    counts: Mapping[str, float]
    handed: float | None
    since_ms: int = 0
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Beside:
    """A place's own counters, and what the ledger has of the same time; `handed` is None where they do not say."""

    place: str
    since_ms: int
    until_ms: int
    counts: Mapping[str, float]
    handed: float | None
    ledger: int

    @property
    def difference(self) -> float | None:
        """What was handed over less what is in the ledger."""
        return None if self.handed is None else self.handed - self.ledger


def span(since_ms: int | None) -> tuple[int, int]:
    """When counters are asked for: whole minutes, none that is still counted; a day without a time. Unix ms."""
    until_ms = (time.time_ns() // 1_000_000 - _SETTLED_MS) // _MINUTE_MS * _MINUTE_MS
    return min(since_ms or until_ms - _DAY_MS, until_ms - _MINUTE_MS) // _MINUTE_MS * _MINUTE_MS, until_ms


def told(one: Beside) -> str:
    """It as a line."""
    counts = ", ".join(f"{name} {count:.0f}" for name, count in one.counts.items())
    times = f"{iso_time(one.since_ms * 1000)[:19]} to {iso_time(one.until_ms * 1000)[:19]}"
    what = "it does not say what was handed over" if one.difference is None else f"difference {one.difference:+.0f}"
    return f"beside: {clean(one.place)}, {times}: {clean(counts)}; the ledger has {one.ledger}: {what}"


def place(text: str) -> Place:
    """Read one as it is written. Raises BadPlace."""
    kind, _, rest = text.partition(":")
    for name, form in _FORMS.items():
        if kind == name and (found := form.fullmatch(rest)):
            return Place(name, rest, found.groupdict())
    raise BadPlace(
        f"{text!r} is none of eks:ACCOUNT/REGION/CLUSTER, pubsub:projects/P/subscriptions/S, apiserver:CLUSTER=FILE|URL"
    )


_FORMS: Mapping[Kind, re.Pattern[str]] = {"eks": _EKS, "pubsub": _SUBSCRIPTION, "apiserver": _SERVER}


def ask(where: Place, since_ms: int, until_ms: int, *, aws_endpoint: str = "", monitoring: str = "") -> Counted:
    """What the other side counted from `since_ms` to `until_ms`. Raises CountersAway."""
    try:
        if where.kind == "eks":
            return _cloudwatch(where, since_ms, until_ms, aws_endpoint)
        if where.kind == "pubsub":
            return _pubsub(where, since_ms, until_ms, monitoring or _MONITORING)
        found = server_counts(_read(where.parts["where"]))
        return replace(found, until_ms=time.time_ns() // 1_000_000)
    except Exception as error:  # whatever an SDK raises: no credentials, no permission, no network
        raise CountersAway(f"{where.kind}:{where.text}: {type(error).__name__}: {str(error)[:300]}") from error


def server_counts(text: str) -> Counted:
    """What an API server's /metrics say of its audit log: handed over is what it made less what it dropped.

    https://kubernetes.io/docs/reference/instrumentation/metrics/
    """
    names = {
        "apiserver_audit_event_total": "events",
        "apiserver_audit_error_total": "dropped",
        "apiserver_audit_requests_rejected_total": "requests rejected",
    }
    counts = dict.fromkeys(names.values(), 0.0)
    started_s = 0.0
    for line in text.splitlines():
        found = _METRIC.fullmatch(line.strip())
        if found is None:
            continue
        if found["name"] in names:
            counts[names[found["name"]]] += float(found["value"])
        elif found["name"] == "process_start_time_seconds":
            started_s = float(found["value"])
    if not counts["events"]:
        return Counted(counts, None, int(started_s * 1000))
    return Counted(counts, counts["events"] - counts["dropped"], int(started_s * 1000))


def _read(where: str) -> str:
    if where.startswith(("http://", "https://")):
        with urllib.request.urlopen(where, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the scheme is looked at
            data: bytes = answer.read(_MAX_METRICS)
        return data.decode("utf-8", "replace")
    return Path(where).read_text("utf-8", "replace")


def _cloudwatch(where: Place, since_ms: int, until_ms: int, endpoint: str) -> Counted:
    client = boto3.client("cloudwatch", region_name=where.parts["region"], endpoint_url=endpoint or None)
    group = {"Name": "LogGroupName", "Value": f"/aws/eks/{where.parts['cluster']}/cluster"}
    counts: dict[str, float] = {}

    def total(metric: str, dimensions: list[dict[str, str]]) -> float:
        # 1,440 points an answer at most, of whole minutes
        period_s = max(60, -(-(until_ms - since_ms) // 1000 // 1440 // 60) * 60)
        answer = client.get_metric_statistics(
            Namespace="AWS/Logs",
            MetricName=metric,
            Dimensions=dimensions,
            StartTime=datetime.fromtimestamp(since_ms / 1000, UTC),
            EndTime=datetime.fromtimestamp(until_ms / 1000, UTC),
            Period=period_s,
            Statistics=["Sum"],
        )
        return float(sum(point["Sum"] for point in answer["Datapoints"]))

    counts["IncomingLogEvents"] = total("IncomingLogEvents", [group])
    pages = client.get_paginator("list_metrics").paginate(
        Namespace="AWS/Logs", MetricName="ForwardedLogEvents", Dimensions=[group]
    )
    for metric in (one for page in pages for one in page["Metrics"]):
        named = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
        counts[f"ForwardedLogEvents {named.get('FilterName', '')}".strip()] = total(
            "ForwardedLogEvents", metric["Dimensions"]
        )
    forwarded = [count for name, count in counts.items() if name.startswith("Forwarded")]
    # with one filter that is what was handed over; with several it is not known which one is ours
    return Counted(counts, forwarded[0] if len(forwarded) == 1 else counts["IncomingLogEvents"])


class _Value(msgspec.Struct):
    int64Value: str = "0"


class _Point(msgspec.Struct):
    value: _Value


class _Series(msgspec.Struct):
    points: list[_Point] = []


class _Answer(msgspec.Struct):
    timeSeries: list[_Series] = []
    nextPageToken: str = ""


def _pubsub(where: Place, since_ms: int, until_ms: int, endpoint: str) -> Counted:
    session: Any
    if endpoint.startswith("http://"):  # a stand-in on this machine, which is told no secret
        session = AuthorizedSession(AnonymousCredentials())  # type: ignore[no-untyped-call]
    else:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]

    def points(metric: str, since_ms: int) -> list[list[float]]:
        asked = {
            "filter": f'metric.type="pubsub.googleapis.com/subscription/{metric}"'
            f' AND resource.labels.subscription_id="{where.parts["name"]}"',
            "interval.startTime": _iso(since_ms),
            "interval.endTime": _iso(until_ms),
        }
        found: list[list[float]] = []
        while True:
            url = f"{endpoint.rstrip('/')}/v3/projects/{where.parts['project']}/timeSeries?{urlencode(asked)}"
            answer = session.get(url, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            page = msgspec.json.decode(answer.content, type=_Answer)
            found += [[float(point.value.int64Value) for point in one.points] for one in page.timeSeries]
            if not page.nextPageToken:
                return found
            asked["pageToken"] = page.nextPageToken

    sent, acked = (sum(map(sum, points(name, since_ms))) for name in ("sent_message_count", "ack_message_count"))
    # the newest point comes first
    waiting = points("num_undelivered_messages", max(since_ms, until_ms - _LATELY_MS))
    newest = [series[0] for series in waiting if series]
    return Counted({"sent": sent, "acknowledged": acked, "not delivered yet": sum(newest)}, acked)


def _iso(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
