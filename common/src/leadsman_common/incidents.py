"""Alerts as incidents: a chain of events with the alerts that its events raised by themselves, as one thing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadsman_common.alerts import Alert, level_rank

NAMED = 6  # of the alerts of a chain


@dataclass(frozen=True, slots=True)
class Incident:
    """An alert, and those that are part of it in order of time; none for one that stands alone."""

    alert: Alert
    members: tuple[Alert, ...]


def incidents(alerts: Sequence[Alert]) -> list[Incident]:
    """Each alert once, in the order of those that lead an incident.

    One that several chains name is of the worst of them, of the earliest where they are alike. A chain may be part of
    another one.
    """
    found = {alert["id"]: alert for alert in alerts}
    owners: dict[str, str] = {}
    for chain in sorted(found.values(), key=lambda a: (-level_rank(a["level"]), a["time"], a["id"])):
        # a chain on trial takes nothing away from those that people are told of
        for member in () if chain.get("shadow") else chain.get("members", []):
            if member in found and member not in owners and _lead(owners, chain["id"]) != member:
                owners[member] = chain["id"]
    parts: dict[str, list[Alert]] = {}
    for alert in sorted(found.values(), key=lambda a: (a["time"], a["id"])):
        if alert["id"] in owners:
            parts.setdefault(_lead(owners, alert["id"]), []).append(alert)
    return [Incident(alert, tuple(parts.get(alert["id"], ()))) for alert in alerts if alert["id"] not in owners]


def counted(found: Sequence[Incident]) -> str:
    """`5 alerts in 2 incidents`, or the number of alerts where none belong together."""
    number = sum(1 + len(incident.members) for incident in found)
    text = f"{number} alert{'s' * (number != 1)}"
    return text if number == len(found) else f"{text} in {len(found)} incident{'s' * (len(found) != 1)}"


def gathered(alert: Alert) -> str:
    """What a chain says of the alerts that its events raised: their number, and rule and id of those it shows."""
    number = len(alert.get("members", []))
    shown = {own: item["rule"] for item in alert["evidence"] if (own := item.get("alert"))}
    if not number:
        return ""
    named = ", ".join(f"{rule} {own.removeprefix('local-')[:8]}" for own, rule in list(shown.items())[:NAMED])
    more = f" and {number - NAMED} more" if number > NAMED else ""
    return f"{number} alert{'s' * (number != 1)} of its events: {named}{more}"


def _lead(owners: Mapping[str, str], alert: str) -> str:
    while alert in owners:
        alert = owners[alert]
    return alert
