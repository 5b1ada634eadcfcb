"""How `leadsman scan` writes alerts: a table or a page for people, JSON lines for tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadsman_cli.page import page
from leadsman_common.alerts import Alert, iso_time, to_json
from leadsman_common.incidents import counted, incidents

COLOURS = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "informational": "dim",
}


def clean(text: str) -> str:
    """Text that an attacker may have chosen, without control and direction characters."""
    return "".join(c if c.isprintable() else "�" for c in text)


def named(alert: Alert) -> str:
    """The alert's rule, and whether it is on trial."""
    return alert["rule"]["name"] + (" (shadow)" if alert.get("shadow") else "")


def jsonl(alerts: Sequence[Alert]) -> None:
    """One alert a line (leadsman_common.alerts.to_json)."""
    for alert in alerts:
        sys.stdout.buffer.write(msgspec.json.encode(to_json(alert)) + b"\n")
    sys.stdout.buffer.flush()


def table(alerts: Sequence[Alert]) -> None:
    """A table; below a correlation's line its chain, and the alerts that its events raised by themselves."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("time", "level", "rule", "cluster", "who", "what"):
        grid.add_column(name, overflow="fold", no_wrap=name in {"time", "level"})
    found = incidents(alerts)
    for incident in found:
        _rows(grid, incident.alert)
        for member in incident.members:
            _rows(grid, member, "+ ")
    if alerts:
        console.print(grid)
    if any(incident.members for incident in found):
        console.print(f"{counted(found)}: what begins with + is part of the line above it", style="dim")


def _rows(grid: Table, alert: Alert, mark: str = "") -> None:
    last = alert["evidence"][-1]
    grid.add_row(
        iso_time(alert["time"])[:19] + "Z",
        Text(alert["level"], COLOURS[alert["level"]]),
        mark + named(alert),
        Text(clean(alert["cluster"]["name"] or "-")),
        Text(clean(alert["actor"]["name"] or "-")),
        Text(clean(f"{last['action']} {last['object']}")),
    )
    if len(alert["evidence"]) > 1 and not mark:
        for number, item in enumerate(alert["evidence"], 1):
            grid.add_row("", "", "", "", "", Text(clean(f"  {number}. {item['summary']}"), "dim"))
        grid.add_row("", "", "", "", "", Text(clean(f"  joined by: {', '.join(alert['joins'])}"), "dim"))


def as_page(alerts: Sequence[Alert]) -> None:
    """One HTML page with the timelines of chains (page.py)."""
    for piece in page(alerts):
        sys.stdout.buffer.write(piece.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


WRITERS: Mapping[str, Callable[[Sequence[Alert]], None]] = {"table": table, "jsonl": jsonl, "html": as_page}
