"""Rules with `versions`: what components say of their versions all day, held against what may be.

`skew`: a component beside an API server of another version (https://kubernetes.io/releases/version-skew-policy/).
`support`: an API server of a version whose support has ended by then, by the dated list. Components are heard once an
hour each, as posture.py keeps them; the rule is asked about an event that says the version's minor and what is wrong
with it, and `first_seen` makes one alert of the same said again and again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import msgspec

from leadsman_common.events import AuditEvent, ControlPlaneFacts
from leadsman_detector import members
from leadsman_detector.alert import Where
from leadsman_detector.match import CompiledRule, Match
from leadsman_detector.state import ALL_TIME, DAY_MS, HOUR_MS, Put, Range, StateReply
from leadsman_detector.statements import EVER_MS, tells
from leadsman_detector.versions import LIST, Support, is_own, minor_of, misfit, out_of_support, read_support

SKEW, SUPPORT = "skew", "support"
SERVER = "kube-apiserver"
BESIDE_MS = 2 * HOUR_MS  # API servers that were heard so near may all be there still: an upgrade takes its time
MAX_SERVERS = 16
_GROUP = "versioned/servers"
_HEARD, _TOLD = f"{_GROUP}/heard", f"{_GROUP}/told"


@dataclass(frozen=True, slots=True)
class Versioning:
    """A component that said its version, and where the replies stand: API servers that were heard, or told of."""

    event: AuditEvent
    where: Where
    heard: int
    told: int


class Versioned:
    """The rules with `versions`."""

    def __init__(self, rules: Sequence[CompiledRule], lists: Mapping[str, Sequence[str]]) -> None:
        self._rules = [rule for rule in rules if rule.rule.versions]
        self._support: Mapping[tuple[str, int], Support] = {}
        if self._rules:
            with contextlib.suppress(ValueError):  # `leadsman posture` says what is wrong with it
                self._support = read_support(lists.get(LIST, ()))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def puts(self, event: AuditEvent) -> Iterator[Put]:
        """What an event says of the API server: itself, its start-up line, or the call that made or upgraded it."""
        found = _control_plane(event)
        at_ms, cluster = event["time"] // 1000, event["cluster"]["id"]
        if found is None or minor_of(found["version"]) is None:
            return
        name = found["version"].encode("utf-8", "replace")
        member = msgspec.json.encode((at_ms, found["version"]))
        if event["verb"]:
            if found["component"] == SERVER:
                yield Put(_HEARD, cluster, at_ms, member, DAY_MS, MAX_SERVERS, _GROUP, "last", name)
        elif tells(event) and found["component"] in ("", SERVER):
            yield Put(_TOLD, cluster, at_ms, member, EVER_MS, 1, _GROUP, "last", b"last")

    def ranges(self, event: AuditEvent) -> tuple[Range, Range] | None:
        """What to ask for a component; None where no rule speaks of it."""
        found = _control_plane(event)
        if found is None or not event["verb"] or not is_own(found["component"]):
            return None
        at_ms, cluster = event["time"] // 1000, event["cluster"]["id"]
        return (
            Range(_HEARD, cluster, at_ms - BESIDE_MS, at_ms + BESIDE_MS, _GROUP),
            Range(_TOLD, cluster, *ALL_TIME, _GROUP),
        )

    def judge(self, one: Versioning, heard: StateReply, told: StateReply) -> Iterator[Match]:
        """The rules that what a component says meets."""
        found = _control_plane(one.event)
        if found is None:
            return
        servers = sorted({version for _, version in _read(heard)} or {version for _, version in _read(told)})
        wrong = {
            SKEW: misfit(servers, found["component"], found["version"]),
            SUPPORT: self._ended(one.event, found["version"]) if found["component"] == SERVER else "",
        }
        for compiled in self._rules:
            if text := wrong[compiled.rule.versions]:
                match = compiled.match(_said(one.event, found, text))
                if match is not None:
                    yield match

    def _ended(self, event: AuditEvent, version: str) -> str:
        """What is to be said of a version that nobody supports by the day of the event; empty where somebody does."""
        today = datetime.fromtimestamp(event["time"] / 1_000_000, UTC).date()
        said = out_of_support(self._support, event["cluster"]["provider"], version, today)
        return said[0] if said is not None and said[1] else ""


def _said(event: AuditEvent, found: ControlPlaneFacts, text: str) -> AuditEvent:
    """The event as one that says what is wrong with a minor version."""
    facts = event["facts"]
    told = {**found, "version": f"1.{minor_of(found['version'])}", "message": text}
    return cast("AuditEvent", {**event, "facts": {**(facts or {}), "control_plane": told}})


def _control_plane(event: AuditEvent) -> ControlPlaneFacts | None:
    return event["facts"]["control_plane"] if event["facts"] else None


def _read(reply: StateReply) -> list[tuple[int, str]]:
    return members.read_all(_MEMBER, members.of(reply))


_MEMBER: msgspec.json.Decoder[tuple[int, str]] = msgspec.json.Decoder(tuple[int, str])
