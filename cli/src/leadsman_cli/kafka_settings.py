"""Where the command line finds Kafka: the same LEADSMAN_* variables as the services."""

from __future__ import annotations

import click

from leadsman_common.settings import Common, SettingError, load


def kafka_settings() -> Common:
    """The common settings. Raises click.UsageError for one that cannot be used."""
    try:
        return load(Common)
    except SettingError as error:
        raise click.UsageError(str(error)) from error
