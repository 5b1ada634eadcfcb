"""The types of channel: one file each with settings, rendering and sending, and one line each in CHANNELS."""

from __future__ import annotations

from collections.abc import Mapping

from leadsman_common.settings import SettingError
from leadsman_notifier.channel import Channel, ChannelConfig
from leadsman_notifier.channels import (
    alertmanager,
    apprise,
    falcosidekick,
    file,
    jira,
    mail,
    pagerduty,
    slack,
    stdout,
    syslog,
    teams,
    webhook,
)
from leadsman_notifier.net import Net

CHANNELS: dict[str, type[ChannelConfig]] = {
    "alertmanager": alertmanager.Config,
    "apprise": apprise.Config,
    "falcosidekick": falcosidekick.Config,
    "file": file.Config,
    "jira": jira.Config,
    "mail": mail.Config,
    "pagerduty": pagerduty.Config,
    "slack": slack.Config,
    "stdout": stdout.Config,
    "syslog": syslog.Config,
    "teams": teams.Config,
    "webhook": webhook.Config,
}


def open_channels(configs: Mapping[str, ChannelConfig], net: Net) -> dict[str, Channel]:
    """The configured channels by name. Raises SettingError that names the channel. Nothing connects yet."""
    opened: dict[str, Channel] = {}
    for name, config in configs.items():
        try:
            opened[name] = config.open(net)
        except SettingError as error:
            raise SettingError(f"channels.{name}: {error}") from None
    return opened
