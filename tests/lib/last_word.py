"""What people are left with of all the alerts that were told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PLACES = ("source", "topic", "partition", "offset")  # of evidence: where it was read


def latest(told: Iterable[Any]) -> dict[str, Any]:
    """By id the highest revision, the last of several."""
    kept: dict[str, Any] = {}
    for alert in told:
        if alert["revision"] >= kept.get(alert["id"], alert)["revision"]:
            kept[alert["id"]] = alert
    return kept


def last_of(told: Iterable[Any]) -> dict[str, Any]:
    """The latest, all of each but when it was detected, its revision's number and where its events were read."""
    return {
        key: {k: v for k, v in alert.items() if k not in ("detected_time", "revision")}
        | {"evidence": [{k: v for k, v in item.items() if k not in PLACES} for item in alert["evidence"]]}
        for key, alert in latest(told).items()
    }
