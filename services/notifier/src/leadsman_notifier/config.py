"""Settings of the notifier. Without a notify.yaml three channels are told by settings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadsman_common.settings import Common, SettingError, setting, variable
from leadsman_notifier.config_file import Notify, load_notify, parse


@dataclass(frozen=True)
class Settings(Common):
    """What the notifier is told."""

    notify_config: str = setting(
        "notify.yaml: channels, routes and the rest; empty: the settings from here on down", ""
    )
    notify_reload_s: float = setting("how often routes, silences and quiet hours are read anew; 0: never", 10.0)
    clusters: str = setting("file of the registry of clusters, for the labels that routes ask for", "")
    notify_retry_s: float = setting("how long a failing channel is tried before its alerts are given up", 86_400.0)
    notify_backoff_s: float = setting("first wait after a failure, doubled each time", 0.5)
    notify_backoff_max_s: float = setting("longest wait between two tries, unless the channel asks for more", 30.0)
    notify_failing_s: float = setting("a channel that fails for so long is itself an alert; 0: never", 300.0)
    notify_new_channel_s: float = setting("how far back a new channel begins", 3600.0)
    notify_bad_in_a_row: int = setting("stop after so many undecodable records in a row; 0 never", 1000)
    notify_ocsf: bool = setting("whether alerts are written to alerts.ocsf too", True)
    notify_allow: tuple[str, ...] = setting("addresses, networks and names that webhooks may be, though not public", ())
    webhook_url: str = setting("channel webhook: where each alert is posted as JSON; empty: nowhere", "", secret=True)
    webhook_token: str = setting("bearer token sent with it", "", secret=True)
    webhook_hmac_key: str = setting("key that its body is signed with", "", secret=True)
    webhook_min_level: str = setting("lowest level that is posted", "informational")
    webhook_limit_per_minute: int = setting("messages in any minute, more are told together; 0: no limit", 20)
    slack_url: str = setting("channel slack: incoming webhook; empty: none", "", secret=True)
    slack_min_level: str = setting("lowest level that is posted", "medium")
    stdout_format: str = setting("channel stdout: line, json or off", "line")
    stdout_min_level: str = setting("lowest level that is printed", "informational")

    def __post_init__(self) -> None:
        """Check the numbers. Raises SettingError."""
        for name in ("notify_retry_s", "notify_backoff_s", "notify_backoff_max_s"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{variable(name)} must be above 0")

    def notify(self) -> Notify:
        """What notify.yaml says, or what these settings make of it. Raises SettingError."""
        if self.notify_config:
            return load_notify(Path(self.notify_config))
        channels = self._by_settings()
        if not channels:
            raise SettingError("no channel is configured")
        return parse({"channels": channels, "allow": self.notify_allow}, {})

    def _by_settings(self) -> Mapping[str, Mapping[str, Any]]:
        channels: dict[str, dict[str, Any]] = {}
        if self.webhook_url:
            channels["webhook"] = {
                "type": "webhook",
                "url": self.webhook_url,
                "token": self.webhook_token,
                "hmac_key": self.webhook_hmac_key,
                "min_level": self.webhook_min_level,
                "limit_per_minute": self.webhook_limit_per_minute,
            }
        if self.slack_url:
            channels["slack"] = {"type": "slack", "url": self.slack_url, "min_level": self.slack_min_level}
        if self.stdout_format != "off":
            channels["stdout"] = {"type": "stdout", "format": self.stdout_format, "min_level": self.stdout_min_level}
        return channels
