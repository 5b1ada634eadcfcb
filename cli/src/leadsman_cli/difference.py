"""What a change of rules adds to the alerts of a history and takes away from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import click
import msgspec

from leadsman_cli.output import clean
from leadsman_common.alerts import Alert, iso_time, to_json


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that only one of two sets of rules raises, or that both raise at different levels."""

    kind: Literal["added", "removed", "level"]
    alert: Alert
    before: str = ""  # its level by the first set, where that differs


def difference(first: Mapping[str, Alert], second: Mapping[str, Alert]) -> list[Change]:
    """How the second set's alerts, by id, differ from the first one's, in order of event time."""
    changes = [Change("added", alert) for key, alert in second.items() if key not in first]
    changes += [Change("removed", alert) for key, alert in first.items() if key not in second]
    changes += [
        Change("level", alert, _level(first[key]))
        for key, alert in second.items()
        if key in first and _level(first[key]) != _level(alert)
    ]
    return sorted(changes, key=lambda change: (change.alert["time"], change.alert["id"]))


def _level(alert: Alert) -> str:
    """Its level, and whether nobody is told."""
    return alert["level"] + (" in shadow" if alert.get("shadow") else "")


def lines(changes: Sequence[Change]) -> None:
    """A line each: `+` added, `-` removed, `~` another level."""
    signs = {"added": "+", "removed": "-", "level": "~"}
    for change in changes:
        alert = change.alert
        level = f"{change.before} -> {_level(alert)}" if change.before else _level(alert)
        last = alert["evidence"][-1]
        what = f"{alert['actor']['name'] or '-'}: {last['action']} {last['object']}"
        said = (signs[change.kind], iso_time(alert["time"])[:19] + "Z", level, alert["rule"]["name"])
        click.echo("  ".join((*said, clean(alert["cluster"]["name"] or "-"), clean(what))))
    counts = {kind: sum(change.kind == kind for change in changes) for kind in signs}
    click.echo(f"{counts['added']} added, {counts['removed']} removed, {counts['level']} at another level", err=True)


def jsonl(changes: Sequence[Change]) -> None:
    """A JSON document a line: change, before, alert."""
    for change in changes:
        said = {"change": change.kind, "before": change.before or None, "alert": to_json(change.alert)}
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


DIFF_WRITERS: Mapping[str, Callable[[Sequence[Change]], None]] = {"table": lines, "jsonl": jsonl}
