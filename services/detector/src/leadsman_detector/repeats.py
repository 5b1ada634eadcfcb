"""Requests of one kind within a span of time are one alert that tells their number (`repeats`, DETECTIONS R5 and R12).

Spans are counted from the epoch, on event time, so the alert's id is a function of the event alone. What it tells is a
function of the set of events: each is put into two series, one that counts and one that keeps what the alert shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from leadsman_common.alerts import Alert, iso_time, level_rank
from leadsman_detector import members
from leadsman_detector.state import Put, Range

TTL_MS = 24 * 60 * 60 * 1000
MAX_COUNTED = 1000  # more are "1000 and more"
_KEPT = 2 * MAX_COUNTED  # so that a batch that comes to MAX_COUNTED is told from one after it
MAX_TOLD = 100  # in its evidence; the worst are kept, and the latest of those
_WORSE_MS = 10**13  # a level more counts for 300 years in what is kept
_ALL_TIME_MS = (-(1 << 54), 1 << 54)


@dataclass(frozen=True, slots=True)
class Grown:
    """An alert with all that is known of its requests; `part` is what is claimed of it."""

    alert: Alert
    part: str


def puts(alert: Alert) -> list[Put]:
    """What one request adds; added again it changes nothing."""
    item = alert["evidence"][0]
    cluster, at_ms = alert["cluster"]["id"], item["time"] // 1000
    rank = level_rank(alert["level"])
    told = msgspec.json.encode({**alert, "detected_time": 0})
    counted = msgspec.json.encode((item["time"], item["event_id"], rank))
    name, group = item["event_id"].encode(), _group(alert)
    return [
        Put(_counted(alert), cluster, at_ms, counted, TTL_MS, _KEPT, group, name=name),
        Put(_told(alert), cluster, at_ms + rank * _WORSE_MS, told, TTL_MS, MAX_TOLD, group, name=name),
    ]


def questions(alert: Alert) -> tuple[Range, Range]:
    """What `grown` wants to know: the requests counted, and those told of."""
    cluster, group = alert["cluster"]["id"], _group(alert)
    return Range(_counted(alert), cluster, *_ALL_TIME_MS, group), Range(_told(alert), cluster, *_ALL_TIME_MS, group)


def grown(alert: Alert, counted: Sequence[bytes], told: Sequence[bytes], added: int = 1) -> Grown | None:
    """The alert as its requests make it: the worst of them speaks, all are evidence, the title counts them.

    `alert` is the worst of the `added` requests of one batch. While the evidence grows each batch is told; after that
    only what raises the level or comes to MAX_COUNTED, else None. The revision, which is delivered anew, goes with the
    level and the tenfold of the number.
    """
    before, rank = len(counted) - added, level_rank(alert["level"])
    rises = sum(_rank(member) >= rank for member in counted) <= added
    if not (before < MAX_TOLD or before < MAX_COUNTED <= len(counted) or rises):
        return None
    alerts = {a["evidence"][0]["event_id"]: a for a in members.read_all(_ALERT, told)}
    if len(alerts) < MAX_TOLD:
        alerts.setdefault(alert["evidence"][0]["event_id"], alert)
    ordered = sorted(alerts.values(), key=_position)
    worst = max(ordered, key=lambda a: (not a.get("shadow"), not a.get("suppressed"), level_rank(a["level"])))
    requests = sorted(
        {*members.read_all(_COUNTED, counted), *((*_position(a), level_rank(a["level"])) for a in ordered)}
    )
    number = min(len(requests), MAX_COUNTED)
    magnitude = len(str(number)) - 1
    found = cast(
        "Alert",
        {
            **worst,
            "title": _title(worst["title"], number, requests[0][0], requests[-1][0]),
            "detected_time": alert["detected_time"],
            "evidence": [item for a in ordered for item in a["evidence"]],
            "revision": magnitude + 10 * (level_rank(worst["level"]) - requests[0][2]),
        },
    )
    last = _position(alert)[1]
    return Grown(found, last if number <= MAX_TOLD else f"{magnitude}/{found['level']}")


def _title(title: str, number: int, first: int, last: int) -> str:
    if number == 1:
        return title
    more = " and more" if number >= MAX_COUNTED else ""
    return f"{title} ({number}{more} requests, {iso_time(first)[:19]}Z to {iso_time(last)[:19]}Z)"


def _rank(counted: bytes) -> int:
    """The level's rank at the end of a member, read without decoding it: a storm has many."""
    return counted[-2] - ord("0")


def _position(alert: Alert) -> tuple[int, str]:
    return alert["time"], alert["evidence"][0]["event_id"]


def _group(alert: Alert) -> str:
    """The state's group of both series."""
    return f"repeats/{alert['id']}"


def _counted(alert: Alert) -> str:
    return f"repeats:{alert['id']}"


def _told(alert: Alert) -> str:
    return f"repeated:{alert['id']}"


_ALERT: msgspec.json.Decoder[Alert] = msgspec.json.Decoder(Alert)
_COUNTED: msgspec.json.Decoder[tuple[int, str, int]] = msgspec.json.Decoder(tuple[int, str, int])
