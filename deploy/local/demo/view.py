"""What the demo shows: progress, alerts as they arrive with their hops, and a correlation's chain.

On a terminal a footer counts what reached each hop; otherwise the same lines come without colour. Whatever an alert
carries may be an attacker's text: it is shown only through `clean`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text
from watch import Arrived, Hops, Watch

from leadsman_common.alerts import Alert, Evidence, iso_time
from leadsman_common.chain import actor_text
from leadsman_common.events import parse_action
from leadsman_common.visible import clean

CLOUDS = {"aws": "EKS", "gcp": "GKE", "azure": "AKS", "k8s": "k8s"}
JOINS = {
    "reason": "the API server's own reason for allowing the last request names that role or its binding",
    "binding": "a binding to that role names the user, one of its groups or its service account",
    "creator": "whoever made the role used its power within the hour",
}
_STYLES = {"critical": "bold white on red", "high": "bold red", "medium": "yellow", "low": "cyan"}
_INDENT = " " * 10
_FACTS_SHOWN = 3


class Screen:
    """The demo's output."""

    def __init__(self, *, live: bool) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._live = live and self.console.is_terminal
        self._footer: Live | None = None

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line."""
        self.console.print(Text(text, style=style))

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say what is being done, and how long it took once it is."""
        began = time.monotonic()
        if self._live:
            with self.console.status(f"  {what}"):
                yield
        else:
            yield
        self.line(f"  {what:<62}{time.monotonic() - began:5.1f} s")

    @contextmanager
    def footer(self) -> Iterator[None]:
        """Keep the counters at the bottom while inside."""
        if not self._live:
            yield
            return
        with Live(Text(), console=self.console, transient=True, refresh_per_second=8) as self._footer:
            yield
        self._footer = None

    def count(self, played: int, watch: Watch) -> None:
        """Show the counters."""
        if self._footer is not None:
            self._footer.update(Text(f"\n  {counters(played, watch)}", style="bold"))

    def alert(self, arrived: Arrived) -> None:
        """Print an alert."""
        for text in alert_lines(arrived):
            self.console.print(text)


def counters(played: int, watch: Watch) -> str:
    """One line: what reached each hop."""
    seen = watch.counts
    again = seen["alerts"] - len(watch.alerts)
    return (
        f"played {played} → raw.aws {seen['raw.aws']} + raw.gcp {seen['raw.gcp']} → audit.events "
        f"{seen['audit.events']} → alerts {len(watch.alerts)}{f' (and {again} again)' if again > 0 else ''} · "
        f"dead letters {watch.dead.total()}"
    )


def alert_lines(arrived: Arrived) -> list[Text]:
    """An alert as two to six lines: when, level, where, rule; who on what, or the chain; the hops."""
    alert = arrived.alert
    cluster = f"{CLOUDS.get(alert['cluster']['provider'], '?')} {clean(alert['cluster']['name'], 40)}"
    tried = " (attempt)" if alert["attempt"] else ""
    head = Text(f"{_clock(alert['time'])}  ")
    head.append(f"{alert['level'].upper():<13}", style=_STYLES.get(alert["level"], "dim"))
    head.append(f" {cluster:<20}", style="bold")
    head.append(f" {alert['rule']['name']}{tried}")
    if arrived.again:
        head.append("  (as above, better explained)", style="dim")
    body = _chain(alert) if len(alert["evidence"]) > 1 else [Text(_INDENT + _said(alert["evidence"][0]))]
    return [head, *body, Text(_INDENT + hops_text(arrived.hops, alert), style="dim")]


def hops_text(hops: Hops, alert: Alert) -> str:
    """The way of the event that completed the alert, each hop with the time it took."""
    raw = alert["evidence"][-1]["source"]["topic"] or "raw"
    parts = [
        ("fetched", hops.source),
        (raw, hops.ingest),
        ("audit.events", hops.normalize),
        ("alert", hops.detect),
    ]
    known = [f"{what} +{ms} ms" for what, ms in parts if ms is not None]
    return f"{' → '.join(['source', *known])}  ({hops.total} ms)"


def _chain(alert: Alert) -> list[Text]:
    items = alert["evidence"]
    width = max(len(actor_text(item["actor"])) for item in items)
    lines = []
    for at, item in enumerate(items):
        branch = "┌" if at == 0 else "└" if at == len(items) - 1 else "├"
        said = f"{_clock(item['time'])}  {actor_text(item['actor']):<{width}}  {_did(item)}"
        lines.append(Text(f"{_INDENT}{branch} {said}", style="bold"))
    held = [
        Text(f"{_INDENT}  held by {clean(join, 120)}" + (f": {JOINS[join]}" if join in JOINS else ""), style="italic")
        for join in alert["joins"]
    ]
    if "reason" in alert["joins"]:
        held.append(Text(f"{_INDENT}  {clean(items[-1]['reason'], 200)}", style="italic"))
    return [*lines, *held]


def _said(item: Evidence) -> str:
    return f"{actor_text(item['actor'])} · {_did(item)}"


def _did(item: Evidence) -> str:
    verb, resource, _, subresource, operation = parse_action(item["action"])
    kind = f"{resource}/{subresource}" if subresource else resource
    what = operation or " ".join(part for part in (verb, kind) if part)
    because = _because(item)
    return f"{clean(what, 60)} {clean(item['object'], 80)}" + (f"  [{because}]" if because else "")


def _because(item: Evidence) -> str:
    """The facts that decided, by the last word of their names; each value once."""
    facts: dict[str, str] = {}
    for fact in item["matched"]:
        name = fact["field"].rpartition(".")[2]
        if fact["field"].startswith("facts.") and name != "kind":
            facts.setdefault(fact["value"].partition("\n")[0], name)
    return ", ".join(f"{name}={clean(value, 70)}" for value, name in list(facts.items())[:_FACTS_SHOWN])


def _clock(micros: int) -> str:
    return iso_time(micros)[11:19]
