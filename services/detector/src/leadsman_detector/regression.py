"""Posture that regresses: a setting that was secure and is not any more, over any time.

A rule with `regression` says by its condition when a setting is insecure and by `secure` when it is not. Each event
that meets one of the two states what is so from then on. A regression is the first insecure statement after a secure
one; the n-th of a setting has the same alert id in whatever order events come, since one that comes late can only make
more of them (docs/decisions/012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import msgspec
from msgspec.structs import replace

from leadsman_common.alerts import Alert, Evidence, alert_id, iso_time
from leadsman_common.events import Actor, Outcome
from leadsman_detector.alert import Where, alert_of
from leadsman_detector.match import Match
from leadsman_detector.regressing import INSECURE, SECURE
from leadsman_detector.statements import Statement, heads

_FAR_MS = 1 << 51  # beyond any event's time
CLAIM_TTL_MS = 400 * 86_400_000  # as long as alerts are kept


@dataclass(frozen=True, slots=True)
class Found:
    """A regression as an alert, and what stands for the two statements that it is made of."""

    alert: Alert
    part: str


def statement_of(match: Match, where: Where, setting: str, value: str, digest: str) -> Statement:
    """What a match says of a setting; delivered again it is the same, so when it was judged is left out."""
    alert = alert_of(_spoken(match), None, where, digest, 0)
    told = alert if value == INSECURE else alert["evidence"][0]
    return Statement(match.event["id"], match.event["time"], value, setting, msgspec.Raw(msgspec.json.encode(told)))


def _spoken(match: Match) -> Match:
    """A line of a component is no request that could fail: what it says is so, and it says it of itself."""
    event, facts = match.event, match.event["facts"]
    if event["verb"] or event["cloud"] is not None or facts is None or facts["control_plane"] is None:
        return match
    actor: Actor = {**event["actor"], "name": facts["control_plane"]["component"]}
    outcome: Outcome = {**event["outcome"], "effective": True}
    return replace(match, event={**event, "actor": actor, "outcome": outcome})


def regressions(every: Sequence[Statement]) -> list[tuple[Statement, Statement]]:
    """The regressions in statements that stand in order: since when it was secure, since when it is not."""
    return [(a, b) for a, b in pairwise(heads(every)) if a.value == SECURE and b.value == INSECURE]


def found_by(every: Sequence[Statement], arrived: Statement, rule_id: str, cluster: str, now_us: int) -> list[Found]:
    """The regressions that the arrival of a statement makes or changes: those from it on."""
    return [
        _found(before, after, alert_id(rule_id, cluster, "regression", arrived.thing, str(n)), now_us)
        for n, (before, after) in enumerate(regressions(every), start=1)
        if after.position >= arrived.position
    ]


def _found(before: Statement, after: Statement, key: str, now_us: int) -> Found:
    alert = cast("Alert", msgspec.json.decode(after.told))
    evidence = cast("Evidence", msgspec.json.decode(before.told))
    setting = ", ".join(part for part in after.thing.split("\x1f") if part)
    title = f"{alert['title']}{f' ({setting})' if setting else ''}, secure since {iso_time(before.time)[:19]}Z"
    told: Alert = {
        **alert,
        "id": key,
        "title": title,
        "detected_time": now_us,
        "evidence": [evidence, *alert["evidence"]],
        # what comes late can only move the n-th regression to an earlier time: the later form has the higher number
        "revision": 2 * _FAR_MS - (before.time + after.time) // 1000,
    }
    return Found(told, f"{before.id}/{after.id}")
