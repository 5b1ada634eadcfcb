"""`leadsman state`: what the detector knows of a cluster, and a first picture of one for it.

Both read the detector's own settings: LEADSMAN_REDIS_URL and its like, and for `import` Kafka's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaException
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from leadsman_cli.output import clean
from leadsman_cli.when import When
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing
from leadsman_common.raw import RawEvent
from leadsman_common.settings import SettingError, load
from leadsman_common.sightings import SIGHTINGS, Life, Sightings, decode, encode, plain_id
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name
from leadsman_detector.config import Settings
from leadsman_detector.detect import Detector
from leadsman_detector.picture import NotAPicture, objects_of, record_of, remember
from leadsman_detector.runner import Record
from leadsman_detector.state_redis import Kept, RedisState
from leadsman_detector.state_topic import outgoing, outlives_a_day
from leadsman_detector.stream import load_rules, make_state, topics_of
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

PART = 500
EXIT_UNREADABLE = 3


@click.group()
def state() -> None:
    """What the detector knows of clusters from before."""


@state.command("show")
@click.argument("cluster")
@click.option("--kind", default="", help="Only this kind of state: a correlation's name, versions, known...")
@click.option("-o", "form", type=click.Choice(["table", "jsonl"]), default="table", help="jsonl: every member.")
def show(cluster: str, kind: str, form: str) -> int:
    """What is kept of CLUSTER (its id, as alerts show it)."""
    settings = _settings()
    try:
        found = asyncio.run(_kept(settings, cluster, kind))
    except RedisError as error:
        raise click.ClickException(f"Redis does not answer: {error}") from error
    if form == "jsonl":
        for series in found:
            for at_ms, member in series.members:
                line = {"kind": series.owner, "group": series.group, "series": series.series, "time": _iso(at_ms)}
                sys.stdout.write(json.dumps({**line, "member": _readable(member)}) + "\n")
        return 0
    table = Table("kind", "groups", "series", "members", "from", "to", "kept until")
    for owner, some in _by_owner(found).items():
        times = [at_ms for series in some for at_ms, _ in series.members]
        ends = max(series.expires_ms for series in some)
        groups = len({series.group for series in some})
        counts = (str(groups), str(len(some)), str(len(times)))
        table.add_row(clean(owner), *counts, _iso(min(times, default=0)), _iso(max(times, default=0)), _iso(ends))
    if found:
        Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
    else:
        click.echo(f"nothing is known of {clean(cluster)}", err=True)
    return 0


@state.command("import")
@click.argument("cluster")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(cluster: str, files: Sequence[Path]) -> int:
    """Take a first picture of CLUSTER (its id) from FILES, answers of `kubectl get -o json`.

    Nothing is alerted on. May be run again at any time: what is known already stays. For example:

        kubectl get -A -o json pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings > now.json
    """
    settings = _settings()
    objects = unreadable = 0
    events: list[bytes] = []
    for path in files:
        try:
            for found in objects_of(path.read_bytes()):
                event = _event_of(cluster, found)
                objects += 1
                if event is None:
                    unreadable += 1
                    meta = found.get("metadata")
                    name = meta.get("name") if isinstance(meta, dict) else None
                    click.echo(f"{path}: left out: {clean(str(found.get('kind')))} {clean(str(name))}", err=True)
                else:
                    events.append(event)
        except NotAPicture as error:
            unreadable += 1
            click.echo(f"{path}: {error}", err=True)
    try:
        put = asyncio.run(_import(settings, events)) if events else 0
    except (RedisError, DeliveryFailed) as error:
        raise click.ClickException(f"not all of it could be kept, run it again: {error}") from error
    click.echo(f"{objects} objects, {put} facts kept" + (f", {unreadable} could not be read" if unreadable else ""))
    return EXIT_UNREADABLE if unreadable else 0


@state.command("forget")
@click.argument("cluster")
@click.option("--at", type=When(), default="0s", help="When the new one was made: 90m ago, or a time. Default: now.")
def forget(cluster: str, at: int) -> int:
    """Begin afresh with CLUSTER (its id): it was deleted and made anew under its old name.

    Events from then on are of another cluster, CLUSTER@TIME, of which nothing is known; what is kept of the old one
    expires. EKS, GKE and an audit log that holds the making of kube-system tell it by themselves.
    """
    settings = _settings()
    plain = plain_id(cluster)
    view = Sightings([Life(plain, (at,))])
    topic = topic_name(SIGHTINGS, settings.topic_prefix)
    try:
        # what is there of it is kept: a view merges the times of a life, compaction keeps the last record
        for message in TopicReader(settings.kafka_bootstrap, settings.kafka_options).read(topic):
            if (message.key() or b"") == view.lives[plain].key.encode():
                view.apply(decode(message.value() or b""))
        life = view.lives[plain]
        AckedProducer(settings.kafka_bootstrap, settings.kafka_options).send(
            [Outgoing(topic, life.key.encode(), encode(life))]
        )
    except (TopicUnreadableError, InvalidEvent, DeliveryFailed, KafkaException) as error:
        raise click.ClickException(f"nothing is changed: {error}") from error
    click.echo(f"from {_iso(at)} on it is {clean(view.current(plain, at))}")
    return 0


def _settings() -> Settings:
    try:
        return load(Settings)
    except SettingError as error:
        raise click.UsageError(str(error)) from error


async def _kept(settings: Settings, cluster: str, kind: str) -> list[Kept]:
    state = make_state(settings)
    try:
        return [series async for series in _matching(state, cluster, kind)]
    finally:
        await state.close()


async def _matching(state: RedisState, cluster: str, kind: str) -> AsyncIterator[Kept]:
    async for series in state.kept(cluster):
        if not kind or series.owner == kind:
            yield series


async def _import(settings: Settings, events: Sequence[bytes]) -> int:
    """Put what the events leave in the state, in Redis and on the topic `state`; gives how much it was."""
    state, topics = make_state(settings), topics_of(settings)
    detector = Detector(load_rules(settings), watching=False, keeping=True, posture=True)
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    count = 0
    try:
        for first in range(0, len(events), PART):
            part = events[first : first + PART]
            records = [Record("import", 0, first + n, None, value, (), 0) for n, value in enumerate(part)]
            put = await remember(detector, records, state)
            producer.send(outgoing(topics.state, one) for one in put if outlives_a_day(one))
            count += len(put)
    finally:
        await state.close()
    return count


def _event_of(cluster: str, found: Any) -> bytes | None:
    """An object as an audit event of this cluster, in Avro; None for what is none."""
    record = record_of(found)
    if record is None:
        return None
    try:
        event = normalize(RawEvent(record, "k8s-audit", cluster=cluster, provider="k8s"))
    except InvalidEvent:
        return None
    if isinstance(event, Dropped):
        return None
    own: AuditEvent = {**event, "cluster": {**event["cluster"], "id": cluster}}
    return audit_event_codec().encode(own)


def _by_owner(found: Sequence[Kept]) -> dict[str, list[Kept]]:
    by_owner: dict[str, list[Kept]] = defaultdict(list)
    for series in found:
        by_owner[series.owner].append(series)
    return dict(sorted(by_owner.items()))


def _readable(member: bytes) -> Any:
    """A member as JSON where it is JSON, else as text."""
    try:
        return json.loads(member)
    except ValueError:
        return member.decode("utf-8", "backslashreplace")


def _iso(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
