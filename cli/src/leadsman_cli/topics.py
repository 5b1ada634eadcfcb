"""`leadsman topics`: the topics of schemas/topics on a broker. What the init container of a deployment runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import click
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from leadsman_cli.kafka_settings import kafka_settings
from leadsman_common import topics as declared
from leadsman_common.registry import Registry, RegistryAway, RegistryRefused, register
from leadsman_common.schemas import schemas_dir
from leadsman_common.settings import Common, SettingError

DAY_MS = 24 * 60 * 60 * 1000


@click.group()
def topics() -> None:
    """The topics of the stream, as schemas/topics declares them."""


@topics.command("list")
def list_topics() -> int:
    """Name, partitions, retention, key and owner of each topic."""
    table = Table("topic", "partitions", "retention", "key", "owner")
    for topic in declared.load(schemas_dir() / "topics").values():
        days = f"{topic.retention_ms / DAY_MS:g} d" if topic.retention_ms > 0 else topic.cleanup_policy
        table.add_row(topic.name, str(topic.partitions), days, topic.key, topic.owner)
    Console().print(table)
    return 0


@topics.command("create")
@click.option("--replication", type=int, default=-1, help="Replicas of each new topic; -1: the broker's default.")
@click.option("--wait", "wait_s", type=float, default=60.0, help="Seconds to wait for a broker that answers.")
@click.option(
    "--registry",
    envvar="LEADSMAN_SCHEMA_REGISTRY_URL",
    default="",
    help="URL of a schema registry (Confluent's protocol) to register the schemas in; LEADSMAN_SCHEMA_REGISTRY_URL.",
)
def create_topics(replication: int, wait_s: float, registry: str) -> int:
    """Create what is missing, bring the settings of the rest up to date, and register the schemas where asked to.

    Reads LEADSMAN_KAFKA_BOOTSTRAP, LEADSMAN_KAFKA_OPTIONS, LEADSMAN_SCHEMA_REGISTRY_OPTIONS, LEADSMAN_TOPIC_PREFIX and
    LEADSMAN_RETENTION_*_MS as the services do. May be run again at any time: data and partitions of a topic that exists
    are left alone.
    """
    settings = kafka_settings()
    wanted = declared.load(schemas_dir() / "topics").values()
    until = time.monotonic() + wait_s
    while True:
        try:
            created = declared.create(
                settings.kafka_bootstrap,
                wanted,
                settings.topic_prefix,
                replication=replication,
                client=settings.kafka_options,
            )
        except declared.InvalidTopicError as error:
            raise click.UsageError(str(error)) from error
        except (KafkaException, TimeoutError) as error:
            if time.monotonic() > until:
                raise click.ClickException(f"Kafka at {settings.kafka_bootstrap} does not answer: {error}") from error
            click.echo(f"waiting for Kafka at {settings.kafka_bootstrap}", err=True)
            time.sleep(1)
        else:
            break
    click.echo(f"created: {', '.join(created) or 'none'}; up to date: {len(wanted) - len(created)}")
    if registry:
        try:
            ids = register(
                Registry(registry, settings.schema_registry_options), wanted, schemas_dir(), settings.topic_prefix
            )
        except SettingError as error:
            raise click.UsageError(str(error)) from error
        except (RegistryAway, RegistryRefused) as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"registered: {', '.join(f'{subject} as {number}' for subject, number in ids.items())}")
    return 0


@topics.command("check")
def check_topics() -> int:
    """Compare the broker's topics with schemas/topics; exit code 1 where one is missing or otherwise.

    More partitions than declared are no difference: a topic may be widened.
    """
    settings = kafka_settings()
    wanted = declared.load(schemas_dir() / "topics").values()
    there = _found(settings.kafka_bootstrap, wanted, settings)
    wrong = 0
    for topic in wanted:
        full = declared.name(topic.name, settings.topic_prefix)
        for line in declared.unlike(topic, there.get(full), os.environ):
            click.echo(f"{full}: {line}")
            wrong += 1
    click.echo(f"{len(wanted)} topics, {wrong} differences" if wrong else f"{len(wanted)} topics, as declared")
    return 1 if wrong else 0


@topics.command("describe")
@click.argument("name")
def describe_topic(name: str) -> int:
    """Say what a topic is for, what stands in it, who writes and reads it, and how it is on the broker."""
    wanted = declared.load(schemas_dir() / "topics")
    if name not in wanted:
        raise click.UsageError(f"no such topic: {name}. There are {', '.join(wanted)}")
    topic, settings = wanted[name], kafka_settings()
    lines = {
        "key": topic.key,
        "value": topic.schema,
        "example": topic.example or "-",
        "written by": ", ".join(topic.producers),
        "read by": ", ".join(topic.consumers),
        "declared": f"{topic.partitions} partitions, "
        + ", ".join(f"{key}={value}" for key, value in topic.config(os.environ).items()),
    }
    full = declared.name(name, settings.topic_prefix)
    has = _found(settings.kafka_bootstrap, [topic], settings).get(full)
    if has is not None:
        config = ", ".join(f"{key}={has.config.get(key)}" for key in topic.config(os.environ))
        lines["on the broker"] = f"{has.partitions} partitions, {has.replicas} replicas, {config}"
    for heading, line in lines.items():
        click.echo(f"{heading + ':':15} {line}")
    for line in declared.unlike(topic, has, os.environ):
        click.echo(f"{'differs:':15} {line}")
    return 0


def _found(bootstrap: str, wanted: Iterable[declared.Topic], settings: Common) -> dict[str, declared.Found]:
    names = [declared.name(topic.name, settings.topic_prefix) for topic in wanted]
    try:
        return declared.found(bootstrap, names, settings.kafka_options)
    except declared.InvalidTopicError as error:
        raise click.UsageError(str(error)) from error
    except (KafkaException, TimeoutError) as error:
        raise click.ClickException(f"Kafka at {bootstrap} does not answer: {error}") from error
