"""`leadsman tail`: alerts as they come."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import click
import msgspec
from confluent_kafka import Message
from rich.console import Console
from rich.text import Text

from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.keys import keyboard
from leadsman_cli.output import COLOURS, clean, named
from leadsman_cli.when import When
from leadsman_common.alerts import LEVELS, Alert, iso_time, level_at_least, to_json
from leadsman_common.canary import hops_ms
from leadsman_common.errors import InvalidEvent
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name
from leadsman_common.wire import alert_wire

ALL = [*LEVELS, "info"]
HELD = 10_000
HELP = "keys: space pauses and goes on, + and - move the least level, q leaves"


@dataclass(slots=True)
class Filter:
    """Which alerts are shown. Names may have `*` and `?`; no names: all."""

    min_level: str = "info"
    rules: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()

    def wants(self, alert: Alert) -> bool:
        """Whether this one is."""
        cluster = alert["cluster"]
        return (
            level_at_least(alert["level"], self.min_level)
            and _any(self.rules, (alert["rule"]["name"],))
            and _any(self.clusters, (cluster["id"], cluster["name"]))
            and _any(self.actors, (alert["actor"]["name"],))
        )

    def move(self, by: int) -> str:
        """Show less (+1) or more (-1); gives the new least level."""
        at = LEVELS.index(self.min_level) if self.min_level in LEVELS else 0
        self.min_level = LEVELS[min(max(at + by, 0), len(LEVELS) - 1)]
        return self.min_level


class Tail:
    """What is shown, and what waits while it is paused."""

    def __init__(self, wanted: Filter, write: Callable[[Alert], None], say: Callable[[str], None]) -> None:
        self._filter, self._write, self._say = wanted, write, say
        self._held: deque[Alert] = deque(maxlen=HELD)
        self._missed = 0
        self._paused = False

    def take(self, alert: Alert) -> None:
        """One alert more."""
        if not self._filter.wants(alert):
            return
        if not self._paused:
            self._write(alert)
            return
        self._missed += len(self._held) == HELD
        self._held.append(alert)

    def press(self, key: str) -> bool:
        """Do what a key says; False: leave."""
        if key in ("q", "\x04"):
            return False
        if key == " ":
            self._paused = not self._paused
            if self._paused:
                self._say("paused; space goes on")
            else:
                for alert in self._held:
                    self._write(alert)
                self._held.clear()
                if self._missed:
                    self._say(f"{self._missed} older ones were not kept while it was paused")
                self._missed = 0
        elif key in ("+", "-"):
            self._say(f"from {self._filter.move(1 if key == '+' else -1)}")
        elif key in ("?", "h"):
            self._say(HELP)
        return True


@click.command()
@click.option("--since", type=When(), help="Begin back then: 90m, 2d, or a time. Default: with new ones.")
@click.option("--min-level", type=click.Choice(ALL), default="info", help="Leave out what is below.")
@click.option("--rule", "rules", multiple=True, metavar="PATTERN", help="Only of these rules; * and ?.")
@click.option("--cluster", "clusters", multiple=True, metavar="PATTERN", help="Only of these clusters: id or name.")
@click.option("--actor", "actors", multiple=True, metavar="PATTERN", help="Only of these people and accounts.")
@click.option("-o", "--output", type=click.Choice(["lines", "jsonl"]), default="lines", help="How they are written.")
@click.option(
    "--shadow", is_flag=True, help="Those of rules on trial, of which nobody is told, in place of the others."
)
@click.option("--no-follow", is_flag=True, help="End where the topic ends now.")
def tail(
    since: int | None,
    min_level: str,
    rules: tuple[str, ...],
    clusters: tuple[str, ...],
    actors: tuple[str, ...],
    output: str,
    shadow: bool,
    no_follow: bool,
) -> int:
    """Show alerts as they come. Keys: space pauses, + and - move the least level, q leaves.

    An alert that grows comes again with its new revision. Reads the topic outside any consumer group: nobody else sees
    less for it.
    """
    settings = kafka_settings()
    wire = alert_wire(settings)
    reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
    topic = topic_name("alerts.shadow" if shadow else "alerts", settings.topic_prefix)
    shown = Tail(Filter(min_level, rules, clusters, actors), WRITERS[output], lambda text: click.echo(text, err=True))
    code = 0
    if sys.stdin.isatty() and not no_follow:
        click.echo(HELP, err=True)
    try:
        messages: Iterable[Message | None] = reader.read(topic, since) if no_follow else reader.follow(topic, since)
        with keyboard() as pressed:
            for message in messages:
                if (key := pressed()) and not shown.press(key):
                    break
                if message is None:
                    continue
                try:
                    shown.take(wire.decode(message.value() or b""))
                except InvalidEvent as error:
                    place = f"{topic}/{message.partition()} offset {message.offset()}"
                    click.echo(f"not read: {place}: {error.reason}", err=True)
                    code = 3
    except TopicUnreadableError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        pass
    return code


def _line(alert: Alert) -> None:
    what = alert["title"]  # of an alert of our own, which has no evidence
    if alert["evidence"]:
        last = alert["evidence"][-1]
        what = f"{alert['actor']['name'] or '-'}: {last['action']} {last['object']}"
    if hops := hops_ms(alert):
        what += " (" + ", ".join(f"{name} {ms} ms" for name, ms in hops.items()) + ")"
    more = f" (+{len(alert['evidence']) - 1})" if len(alert["evidence"]) > 1 else ""
    text = Text.assemble(
        iso_time(alert["time"])[:19] + "Z  ",
        (f"{alert['level']:13}", COLOURS[alert["level"]]),
        f"  {named(alert)}{more}  {clean(alert['cluster']['name'] or '-')}  {clean(what)}",
        (f"  {alert['id'][:12]}", "dim"),
    )
    Console(width=None if sys.stdout.isatty() else 400, highlight=False, soft_wrap=True).print(text)


def _json_line(alert: Alert) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(to_json(alert)) + b"\n")
    sys.stdout.buffer.flush()


def _any(patterns: tuple[str, ...], names: Iterable[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


WRITERS: dict[str, Callable[[Alert], None]] = {"lines": _line, "jsonl": _json_line}
