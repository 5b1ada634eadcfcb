"""Which channels are told of an alert, and when: routes, silences and quiet hours of notify.yaml. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from leadsman_common.alerts import LEVELS, Alert
from leadsman_notifier.message import rank

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Patterns = str | tuple[str, ...]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an alert must be; every key that is given must hold. Patterns have * and ?, one of a list is enough."""

    level: str = ""  # this level or above
    rule: Patterns = ()
    cluster: Patterns = ()  # id or name
    cloud: Patterns = ()
    namespace: Patterns = ()
    actor: Patterns = ()
    tag: Patterns = ()
    labels: dict[str, Patterns] = {}  # of the cluster, from clusters.yaml
    attempt: bool | None = None

    def holds(self, alert: Alert, labels: Mapping[str, str]) -> bool:
        """Whether the alert is one of these."""
        cluster = alert["cluster"]
        return (
            (not self.level or rank(alert["level"]) >= rank(self.level))
            and _any(self.rule, alert["rule"]["name"], alert["rule"]["id"])
            and _any(self.cluster, cluster["id"], cluster["name"])
            and _any(self.cloud, cluster["provider"])
            and _any(self.namespace, alert["objectRef"]["namespace"])
            and _any(self.actor, alert["actor"]["name"])
            and _any(self.tag, *alert["tags"])
            and all(name in labels and _any(wanted, labels[name]) for name, wanted in self.labels.items())
            and self.attempt in (None, alert["attempt"])
        )


def _any(patterns: Patterns, *values: str) -> bool:
    wanted = (patterns,) if isinstance(patterns, str) else patterns
    return not wanted or any(fnmatchcase(value, pattern) for pattern in wanted for value in values)


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"go_on": "continue"}):
    """Alerts that match go to these channels; the routes after it are asked only with `continue`."""

    channels: tuple[str, ...]
    match: Match = Match()
    go_on: bool = False


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """Alerts that match are told to nobody until it expires. It has an owner, who is asked, and an end."""

    match: Match
    owner: Annotated[str, msgspec.Meta(min_length=1)]
    until: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    reason: str = ""
    start: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None

    def is_on(self, now: dt.datetime) -> bool:
        """Whether it holds at that time."""
        return (self.start is None or self.start <= now) and now < self.until


class QuietHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Hours of the day in which these channels are not told of what lies below a level; they hear it afterwards."""

    channels: tuple[str, ...]
    start: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    end: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    timezone: str = "UTC"
    days: tuple[str, ...] = DAYS  # on which it begins
    below: str = "critical"

    def until(self, now: dt.datetime) -> dt.datetime | None:
        """When the quiet that holds at that time ends; None where none does."""
        zone = ZoneInfo(self.timezone)
        local = now.astimezone(zone)
        for back in (0, 1):  # it may have begun yesterday
            day = local.date() - dt.timedelta(days=back)
            begin, end = _at(day, self.start, zone), _at(day, self.end, zone)
            if end <= begin:
                end = _at(day + dt.timedelta(days=1), self.end, zone)
            if DAYS[day.weekday()] in self.days and begin <= now < end:
                return end
        return None


def _at(day: dt.date, clock: str, zone: ZoneInfo) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.fromisoformat(clock), zone)


class Plan(msgspec.Struct, frozen=True):
    """Routes, silences and quiet hours together."""

    routes: tuple[Route, ...] = ()
    silences: tuple[Silence, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()

    def channels(self, alert: Alert, labels: Mapping[str, str]) -> set[str]:
        """The channels that an alert goes to."""
        found: set[str] = set()
        for route in self.routes:
            if route.match.holds(alert, labels):
                found.update(route.channels)
                if not route.go_on:
                    break
        return found

    def silenced(self, alert: Alert, labels: Mapping[str, str], now: dt.datetime) -> Silence | None:
        """The silence that holds for an alert."""
        return next((s for s in self.silences if s.is_on(now) and s.match.holds(alert, labels)), None)

    def quiet_until(self, channel: str, alert: Alert, now: dt.datetime) -> float | None:
        """Until when (Unix seconds) a channel is not told of an alert."""
        ends = [
            end
            for quiet in self.quiet_hours
            if channel in quiet.channels and rank(alert["level"]) < rank(quiet.below) and (end := quiet.until(now))
        ]
        return max(ends).timestamp() if ends else None


def problems(plan: Plan, channels: Sequence[str]) -> list[str]:
    """What is wrong with a plan beyond its form: unknown channels, levels, days and time zones."""
    found = []
    levels = [("route", r.match.level) for r in plan.routes] + [("silence", s.match.level) for s in plan.silences]
    levels += [("quiet_hours", q.below) for q in plan.quiet_hours]
    found += [f"{where}: {level!r} is no level" for where, level in levels if level and level not in (*LEVELS, "info")]
    named = [("route", r.channels) for r in plan.routes] + [("quiet_hours", q.channels) for q in plan.quiet_hours]
    found += [f"{where}: no channel {name!r}" for where, names in named for name in names if name not in channels]
    for quiet in plan.quiet_hours:
        found += [f"quiet_hours: {day!r} is none of {', '.join(DAYS)}" for day in quiet.days if day not in DAYS]
        try:
            ZoneInfo(quiet.timezone)
        except (ValueError, OSError, KeyError):
            found.append(f"quiet_hours: no time zone {quiet.timezone!r}")
    return found
