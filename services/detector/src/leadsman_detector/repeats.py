"""Requests of one kind within a span of time are one alert that tells their number (`repeats`, DETECTIONS R5 and R12).

Spans are counted from the epoch, on event time, so the alert's id is a function of the event alone. What it tells is a
function of the set of events: each is put into two series, one that counts and one that keeps what the alert shows.
The first hundred are told as they come, of a storm only its stages; how large it has become is told by a timer, once no
more can come, an hour of a long span after the other. The more is known, the higher the revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from leadsman_common.alerts import Alert, iso_time, level_rank
from leadsman_detector import members
from leadsman_detector.alert import Where
from leadsman_detector.due import REPEATS, encode_due
from leadsman_detector.state import HOUR_MS, Put, Range, Timer

TTL_MS = 24 * HOUR_MS
MAX_COUNTED = 1000  # more are "1000 and more"
_KEPT = 2 * MAX_COUNTED  # the first and the last; so that a batch that comes to MAX_COUNTED is told from one after it
MAX_TOLD = 100  # in its evidence; the worst are kept, and the latest of those
STAGES = (200, 500, MAX_COUNTED)  # numbers of a storm that are told when they are come to
_WORSE_MS = 10**13  # a degree more counts for 300 years in what is kept
_TWO_DIGITS = 10  # added to a degree, so that it has as many
_ALL_TIME_MS = (-(1 << 54), 1 << 54)
_MOST_KNOWN = 2 * 10**11  # what _revision may add up, of the requests of a day


def puts(alert: Alert) -> list[Put]:
    """What one request adds; added again it changes nothing."""
    item = alert["evidence"][0]
    cluster, at_ms = alert["cluster"]["id"], item["time"] // 1000
    rank = degree(alert)
    told = msgspec.json.encode({**alert, "detected_time": 0})
    counted = msgspec.json.encode((item["time"], item["event_id"], rank + _TWO_DIGITS))
    name, group = item["event_id"].encode(), _group(alert["id"])
    return [
        Put(_counted(alert["id"]), cluster, at_ms, counted, TTL_MS, _KEPT, group, "ends", name),
        Put(_told(alert["id"]), cluster, at_ms + rank * _WORSE_MS, told, TTL_MS, MAX_TOLD, group, "last", name),
    ]


def questions(cluster: str, alert_id: str) -> tuple[Range, Range]:
    """What `grown` wants to know: the requests counted, and those told of."""
    group = _group(alert_id)
    return (
        Range(_counted(alert_id), cluster, *_ALL_TIME_MS, group),
        Range(_told(alert_id), cluster, *_ALL_TIME_MS, group),
    )


def timer(alert: Alert, timespan_s: int, source: str, late_ms: int) -> Timer:
    """Have the requests counted again once the span, or an hour of it, is over and none of it can come any more."""
    period_ms = min(timespan_s * 1000, HOUR_MS)
    over_ms = (alert["time"] // 1000 // period_ms + 1) * period_ms
    cluster = alert["cluster"]["id"]
    asked = msgspec.msgpack.encode((cluster, alert["id"], timespan_s))
    return Timer(over_ms + late_ms, cluster, encode_due(REPEATS, alert["rule"]["name"], Where(), asked), source)


def read_due(what: bytes) -> tuple[str, str, int]:
    """What a timer names: cluster, alert id and the span in seconds. Raises ValueError for another release's."""
    return msgspec.msgpack.decode(what, type=tuple[str, str, int])


def is_storm(counted: Sequence[bytes]) -> bool:
    """Whether there are more than are told as they come."""
    return len(counted) > MAX_TOLD


def is_told(alert: Alert, counted: Sequence[bytes], added: int) -> bool:
    """Whether a batch is told that brought `added` requests, `alert` the worst of them: see the module's text."""
    before, rank = len(counted) - added, degree(alert)
    if before < MAX_TOLD or any(before < stage <= len(counted) for stage in STAGES):
        return True
    return sum(_degree_of(member) >= rank for member in counted) <= added  # the level rises


def grown(counted: Sequence[bytes], told: Sequence[bytes], timespan_s: int, now_us: int) -> Alert | None:
    """The alert as its requests make it: the worst of them speaks, all are evidence, the title counts them.

    None where nothing is kept any more, or all of it is of another release.
    """
    ordered = sorted(members.read_all(_ALERT, told), key=_position)
    requests = sorted(members.read_all(_COUNTED, counted))
    if not ordered or not requests:
        return None
    worst = max(ordered, key=degree)
    first_us, last_us = requests[0][0], requests[-1][0]
    return cast(
        "Alert",
        {
            **worst,
            "title": _title(worst["title"], len(requests), first_us, last_us),
            "detected_time": now_us,
            "evidence": [item for a in ordered for item in a["evidence"]],
            "revision": _revision(ordered, len(requests), first_us, last_us, timespan_s),
        },
    )


def _revision(ordered: Sequence[Alert], number: int, first_us: int, last_us: int, timespan_s: int) -> int:
    """The higher the more requests are known: by the level, then by their number, then by what is kept of them.

    Each further request makes one of these greater and none before it less, so no two sets have the same one and tell
    otherwise, but for requests of one millisecond in a storm of more than are kept. A second record of a request shows
    that it began earlier; of more than are kept the last is later.
    """
    if number == 1:
        return 0
    span_ms = timespan_s * 1000
    first_ms, last_ms = first_us // 1000 % span_ms, last_us // 1000 % span_ms
    known = span_ms - first_ms + (last_ms if number == _KEPT else span_ms - last_ms)
    known += sum(degree(a) * span_ms + a["time"] // 1000 % span_ms for a in ordered)
    much = max(map(degree, ordered)) * (_KEPT + 1) + number
    return much * _MOST_KNOWN + min(known, _MOST_KNOWN - 1)  # below 2^53


def _title(title: str, number: int, first: int, last: int) -> str:
    if number == 1:
        return title
    more = " and more" if number >= MAX_COUNTED else ""
    number = min(number, MAX_COUNTED)
    return f"{title} ({number}{more} requests, {iso_time(first)[:19]}Z to {iso_time(last)[:19]}Z)"


def degree(alert: Alert) -> int:
    """How much a request's alert matters, 0 to 19: what people are told of comes first, then the level."""
    return 10 * (not alert.get("shadow")) + 5 * (not alert.get("suppressed")) + level_rank(alert["level"])


def _degree_of(counted: bytes) -> int:
    """The degree at the end of a member, read without decoding it: a storm has many."""
    return int(counted[-3:-1]) - _TWO_DIGITS


def _position(alert: Alert) -> tuple[int, str]:
    return alert["time"], alert["evidence"][0]["event_id"]


def _group(alert_id: str) -> str:
    """The state's group of both series."""
    return f"repeats/{alert_id}"


def _counted(alert_id: str) -> str:
    return f"repeats.counted:{alert_id}"


def _told(alert_id: str) -> str:
    return f"repeats.told:{alert_id}"


_ALERT: msgspec.json.Decoder[Alert] = msgspec.json.Decoder(Alert)
_COUNTED: msgspec.json.Decoder[tuple[int, str, int]] = msgspec.json.Decoder(tuple[int, str, int])
