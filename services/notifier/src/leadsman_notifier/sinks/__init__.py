"""The sinks: one file each with its settings, its rendering and its sending, and one line each in SINKS."""

from __future__ import annotations

from collections.abc import Mapping

from leadsman_common.settings import load
from leadsman_notifier.sink import Sink, SinkConfig
from leadsman_notifier.sinks import slack, stdout, webhook

SINKS: dict[str, type[SinkConfig]] = {
    "slack": slack.Config,
    "stdout": stdout.Config,
    "webhook": webhook.Config,
}


def open_sinks(env: Mapping[str, str] | None = None) -> dict[str, Sink]:
    """Every sink that the environment configures, by name. Raises SettingError. Nothing connects yet."""
    opened = ((name, load(config, env).open()) for name, config in SINKS.items())
    return {name: sink for name, sink in opened if sink is not None}
