"""A message as people read it, before any channel's markup: what happened, to whom, why it matters, what to check.

Pure. The strings are the alert's own and may be an attacker's: each channel makes them harmless as its markup needs
(render.py). The timeline is the place where a correlation's chain of evidence is told; a drawing of it goes beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from leadsman_common.alerts import Alert, Evidence, iso_time
from leadsman_common.incidents import gathered
from leadsman_common.timeline import draw
from leadsman_notifier.advice import Advice, advice_for
from leadsman_notifier.links import log_link, pod_log_link
from leadsman_notifier.message import Message
from leadsman_notifier.render import actor_text, cluster_text, object_text, one_line, quoted

_URL = re.compile(
    r"https://[A-Za-z0-9.-]+(?::\d{1,5})?(?:/[A-Za-z0-9._~:/?#!$&'()*+,;=%-]*)?"
)  # no @: it might call somebody
MAX_TIMELINE = 10
MAX_FACTS = 6
MAX_COUNTS = 30


@dataclass(frozen=True)
class Step:
    """An item of evidence: when, what in a line, and the facts that decided."""

    time: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Story:
    """Everything that a channel may show; empty where there is nothing to say."""

    headline: str
    level: str
    line: str  # the whole in one line
    fields: tuple[tuple[str, str], ...] = ()
    timeline: tuple[Step, ...] = ()
    left_out: int = 0  # further steps
    joins: str = ""  # what ties a correlation together
    why: str = ""
    check: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()  # of a digest: a line for each level, rule and cluster, made harmless as `line` is
    examples: tuple[str, ...] = ()  # of a digest: some alerts, a line each
    footer: str = ""
    drawing: str = ""  # of a chain: its timeline as an SVG that stands by itself


def tell(message: Message, own_advice: Mapping[str, Advice]) -> Story:
    """The story of a message."""
    return _digest(message) if message.is_digest else _single(message, own_advice)


def _single(message: Message, own_advice: Mapping[str, Advice]) -> Story:
    alert = message.alerts[0]
    advice = advice_for(alert["rule"]["name"], own_advice)
    chain = len(alert["evidence"]) > 1
    shown = alert["evidence"][: MAX_TIMELINE - 2] + alert["evidence"][MAX_TIMELINE - 2 :][-2:]
    links = [(kind, url) for kind, url in (log_link(alert), pod_log_link(alert)) if url]
    links += [("Reference", ref) for ref in alert["references"] if _URL.fullmatch(ref)][:3]
    return Story(
        headline=headline(alert),
        level=alert["level"],
        line=one_line(alert),
        fields=_fields(alert, message.before),
        timeline=tuple(_step(item) for item in shown),
        left_out=len(alert["evidence"]) - len(shown),
        joins=", ".join(alert["joins"]) if chain else "",
        why=advice.why,
        check=advice.check,
        links=tuple(links),
        footer=f"leadsman show {alert['id']}",
        drawing=draw(alert) if chain else "",
    )


def headline(alert: Alert) -> str:
    """`CRITICAL (attempt): title`."""
    attempt = " (attempt)" if alert["attempt"] else ""
    return f"{alert['level'].upper()}{attempt}: {alert['title'] or alert['rule']['title'] or alert['rule']['name']}"


def _fields(alert: Alert, before: str) -> tuple[tuple[str, str], ...]:
    last: Evidence | None = alert["evidence"][-1] if alert["evidence"] else None
    level = f"{alert['level']} (was {before})" if before else alert["level"]
    moved = "; ".join(f"{m['by']:+d} {m['why']}" for m in alert["modifiers"])
    why = alert.get("suppressed")
    pairs = (
        ("Rule", alert["rule"]["name"]),
        ("Level", f"{level}: {moved}" if moved else level),
        ("Cluster", cluster_text(alert["cluster"])),
        ("Actor", actor_text(alert["actor"])),
        ("Object", object_text(alert["objectRef"])),
        ("Time", iso_time(alert["time"])),
        ("Gathers", gathered(alert)),
        ("Address", last["source_ip"] if last else ""),
        ("Author", alert["rule"].get("author", "")),
        ("Techniques", " ".join(alert["tags"][:20])),
        ("Suppressed", f"by {why['owner']} until {iso_time(why['until'])[:19]}Z: {why['reason']}" if why else ""),
        ("Shadow", "the rule is on trial: nobody is told" if alert.get("shadow") else ""),
    )
    return tuple((label, value) for label, value in pairs if value)


def _step(item: Evidence) -> Step:
    facts = tuple((m["field"], m["value"]) for m in item["matched"][:MAX_FACTS])
    return Step(iso_time(item["time"]), item["summary"] or item["action"], facts)


def _digest(message: Message) -> Story:
    """Counts that add up to the total, whatever is left out, and some alerts by name."""
    lines = [
        f"{c.count} {quoted(c.level, 20)} {quoted(c.rule, 100)}"
        + (f" in {quoted(c.cluster, 200)}" if c.cluster else "")
        for c in message.counts[:MAX_COUNTS]
    ]
    if rest := sum(c.count for c in message.counts[MAX_COUNTS:]):
        lines.append(f"{rest} of other rules and clusters")
    because = _WHY.get(message.why, message.why)
    return Story(
        headline=f"{message.level.upper()}: {message.total} alerts told together",
        level=message.level,
        line=f"{message.total} alerts told together ({because}): " + "; ".join(lines),
        fields=(("Alerts", str(message.total)), ("Level", f"up to {message.level}"), ("Together", because)),
        counts=tuple(lines),
        examples=tuple(one_line(alert) for alert in message.alerts),
        footer="all of them: topic alerts, leadsman show ID",
    )


_WHY = {
    "storm": "more came than the channel's limit lets through",
    "group": "they belong to one group",
    "quiet hours": "they came in quiet hours",
}
