"""For the one on call: `leadsman show ALERT`, `leadsman events --around ALERT`, `leadsman notify test CHANNEL`."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from confluent_kafka import Message

from leadsman_cli.page import page
from leadsman_common.alerts import Alert, iso_time
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.registry import RegistryAway
from leadsman_common.schemas import schemas_dir
from leadsman_common.settings import Common, SettingError, load
from leadsman_common.timeline import draw
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name
from leadsman_common.visible import clean
from leadsman_common.wire import Wire, alert_wire
from leadsman_notifier.channel import Refused, Unavailable
from leadsman_notifier.channels import open_channels
from leadsman_notifier.config import Settings
from leadsman_notifier.links import log_link, pod_log_link
from leadsman_notifier.message import single
from leadsman_notifier.net import Net
from leadsman_notifier.render import lines_of
from leadsman_notifier.story import headline, tell

MINUTE_US = 60_000_000
DAY_MS = 24 * 60 * 60 * 1000
RAW_CHARS = 20_000


@click.command()
@click.argument("alert_id", metavar="ALERT")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "html", "svg"]),
    default="text",
    help="For people: text, a page or its timeline alone; or JSON.",
)
@click.option("--days", type=float, default=30.0, show_default=True, help="How far back alerts are looked through.")
def show(alert_id: str, output: str, days: float) -> int:
    """Show an alert, and the raw records that it was made of, by their offsets, as long as Kafka keeps them.

    ALERT is the id, or its beginning. Where Kafka no longer has a record, the link leads to the cloud's own log.
    """
    reader, settings = _reader()
    alert = _find(reader, settings, alert_id, days)
    if output in ("html", "svg"):
        click.echo("".join(page([alert])) if output == "html" else draw(alert))
        return 0
    raw = list(_raw_records(reader, settings, alert))
    if output == "json":
        click.echo(json.dumps({"alert": alert, "raw": raw}))
        return 0
    click.echo(clean(headline(alert)))
    story = tell(single(alert), {})
    heading = ""
    for label, line in lines_of(story):
        heading = label or heading
        click.echo(f"  {label + ':' if label else '':16} {clean(line)}")
    for kind, url in story.links:
        click.echo(f"  {kind + ':':16} {url}")
    for record in raw:
        click.echo(f"\n{record['topic']}[{record['partition']}] offset {record['offset']}: {record['state']}")
        if record["value"]:
            click.echo("  " + clean(record["value"], RAW_CHARS))
    return 0


@click.command()
@click.option("--around", "alert_id", required=True, metavar="ALERT", help="The alert: its id, or its beginning.")
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long before and after it.")
@click.option("--actor", is_flag=True, help="Of the alert's actor alone.")
@click.option("--object", "same_object", is_flag=True, help="About the alert's namespace and object alone.")
@click.option("-o", "--output", type=click.Choice(["text", "jsonl"]), default="text", help="For people, or JSON lines.")
@click.option("--days", type=float, default=30.0, show_default=True, help="How far back alerts are looked through.")
def events(alert_id: str, minutes: float, actor: bool, same_object: bool, output: str, days: float) -> int:
    """List the audit events of the alert's cluster around its time, oldest first."""
    reader, settings = _reader()
    alert = _find(reader, settings, alert_id, days)
    times = [item["time"] for item in alert["evidence"]] or [alert["time"]]
    begin, end = min(times) - int(minutes * MINUTE_US), max(times) + int(minutes * MINUTE_US)
    marked = {item["event_id"] for item in alert["evidence"]}
    found = []
    try:
        # a record comes later than its event, by hours after an outage, never earlier
        for message in reader.read(topic_name("audit.events", settings.topic_prefix), max(0, begin // 1000)):
            try:
                event = audit_event_codec().decode(message.value() or b"")
            except InvalidEvent:
                continue
            if _is_wanted(event, alert, begin, end, actor=actor, same_object=same_object):
                found.append(event)
    except TopicUnreadableError as error:
        raise click.ClickException(str(error)) from error
    found.sort(key=lambda event: (event["time"], event["id"]))
    for event in {event["id"]: event for event in found}.values():
        click.echo(json.dumps(event) if output == "jsonl" else _line(event, event["id"] in marked))
    for kind, url in (log_link(alert), pod_log_link(alert)):
        if url:
            click.echo(f"{kind}: {url}", err=True)
    click.echo(f"{len(found)} events from {iso_time(begin)} to {iso_time(end)}", err=True)
    return 0


@click.group()
def notify() -> None:
    """The notifier's channels."""


@notify.command("list")
def list_channels() -> int:
    """List the channels of notify.yaml or of the settings, with their types."""
    for name, config in _notify_settings().notify().channels.items():
        click.echo(f"{name}  {config.__struct_config__.tag}  from {config.min_level}")
    return 0


@notify.command("test")
@click.argument("channel")
@click.option("--level", default="high", show_default=True, help="Level of the sample.")
def test_channel(channel: str, level: str) -> int:
    """Send a sample alert to CHANNEL, past routes, limits and silences, and say what it answered.

    It reads the notifier's settings: LEADSMAN_NOTIFY_CONFIG, or those of its channels.
    """
    settings = _notify_settings()
    try:
        configured = settings.notify()
        if channel not in configured.channels:
            raise click.UsageError(f"no channel {channel!r}; there are {', '.join(configured.channels)}")
        opened = open_channels({channel: configured.channels[channel]}, Net(configured.allow))[channel]
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    message = single(_sample(level))
    try:
        opened.send(message, tell(message, configured.advice))
    except (Unavailable, Refused) as error:
        raise click.ClickException(f"{channel} did not take it: {clean(error.reason)}") from error
    finally:
        opened.close()
    click.echo(f"{channel} took the sample (id {message.alerts[0]['id']})")
    return 0


def _notify_settings() -> Settings:
    try:
        settings = load(Settings)
        settings.notify()
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    return settings


def _sample(level: str) -> Alert:
    """The example of the topic, which names itself a test."""
    path: Path = schemas_dir() / "examples" / "alerts" / "privileged-container.json"
    alert: Alert = copy.deepcopy(json.loads(path.read_text(encoding="utf-8")))
    alert["id"] = "leadsman-test"
    alert["level"] = level
    alert["title"] = f"TEST, nothing happened: {alert['title']}"
    return alert


def alert_on_topic(alert_id: str, days: float) -> Alert:
    """The alert on the topic whose id begins so. Raises ClickException and UsageError."""
    reader, settings = _reader()
    return _find(reader, settings, alert_id, days)


def alerts_on_topic(rule: str, days: float) -> list[Alert]:
    """The alerts of a rule on the topic, the newest revision of each. Raises ClickException and UsageError."""
    reader, settings = _reader()
    records = reader.read(topic_name("alerts", settings.topic_prefix), _since_ms(days))
    return list({a["id"]: a for a in _decoded(records, settings) if a["rule"]["name"] == rule}.values())


def _since_ms(days: float) -> int:
    return max(0, int(time.time() * 1000 - days * DAY_MS))


def _reader() -> tuple[TopicReader, Common]:
    try:
        settings = load(Common)
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    return TopicReader(settings.kafka_bootstrap, settings.kafka_options), settings


def _find(reader: TopicReader, settings: Common, alert_id: str, days: float) -> Alert:
    """The newest revision of the alert whose id begins so. Raises ClickException where there is none, or several."""
    records = _alerts(reader, settings, _since_ms(days))
    found: dict[str, Alert] = {}
    for alert in _decoded((m for m in records if (m.key() or b"").startswith(alert_id.encode())), settings):
        if alert["revision"] >= found.get(alert["id"], alert)["revision"]:
            found[alert["id"]] = alert
    if len(found) != 1:
        several = f"{len(found)} alerts begin with it" if found else f"none on the topic in the last {days:g} days"
        raise click.ClickException(f"alert {clean(alert_id, 64)!r}: {several}")
    return next(iter(found.values()))


def _alerts(reader: TopicReader, settings: Common, since_ms: int) -> Iterator[Message]:
    """The records of `alerts`, and those of `alerts.shadow` where there is one."""
    yield from reader.read(topic_name("alerts", settings.topic_prefix), since_ms)
    shadow = topic_name("alerts.shadow", settings.topic_prefix)
    if shadow in reader.topics():
        yield from reader.read(shadow, since_ms)


def _decoded(records: Iterable[Message], settings: Common) -> Iterator[Alert]:
    """The alerts of records, but for those that are none. Raises ClickException and UsageError."""
    wire = _wire(settings)
    try:
        for message in records:
            try:
                alert = wire.decode(message.value() or b"")
            except InvalidEvent:
                continue
            yield alert
    except (TopicUnreadableError, RegistryAway) as error:
        raise click.ClickException(str(error)) from error


def _wire(settings: Common) -> Wire[Alert]:
    try:
        return alert_wire(settings)
    except SettingError as error:
        raise click.UsageError(str(error)) from error


def _raw_records(reader: TopicReader, settings: Common, alert: Alert) -> Iterator[dict[str, Any]]:
    for item in alert["evidence"]:
        source = item["source"]
        if not source["topic"]:
            continue
        topic = source["topic"]
        if settings.topic_prefix and not topic.startswith(settings.topic_prefix):
            topic = topic_name(topic, settings.topic_prefix)
        place = {"topic": topic, "partition": source["partition"], "offset": source["offset"]}
        state, value = "Kafka no longer keeps it", ""
        try:
            at = {source["partition"]: (source["offset"], source["offset"] + 1)}
            for message in reader.read_ranges(topic, at):
                state, value = "the original record", (message.value() or b"").decode("utf-8", "replace")
        except TopicUnreadableError as error:
            state = str(error)
        yield {**place, "event_id": item["event_id"], "state": state, "value": value}


def _is_wanted(event: AuditEvent, alert: Alert, begin: int, end: int, *, actor: bool, same_object: bool) -> bool:
    if not begin <= event["time"] <= end or event["cluster"]["id"] != alert["cluster"]["id"]:
        return False
    if actor and event["actor"]["name"] not in {alert["actor"]["name"], *(i["actor"] for i in alert["evidence"])}:
        return False
    ref, wanted = event["objectRef"], alert["objectRef"]
    return not same_object or (ref["namespace"], ref["name"]) == (wanted["namespace"], wanted["name"])


def _line(event: AuditEvent, marked: bool) -> str:
    ref = event["objectRef"]
    what = "/".join(part for part in (ref["namespace"], ref["name"]) if part) or event["requestURI"].partition("?")[0]
    text = f"{iso_time(event['time'])} {'*' if marked else ' '} {clean(event['actor']['name'] or '-', 80)}"
    return f"{text}  {clean(event['action'], 80)} {clean(what, 120)}  {event['outcome']['http'] or ''}".rstrip()
