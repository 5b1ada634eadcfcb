"""Sink `webhook`: POST of the alert's JSON form (leadsman_common.alerts.to_json) to a URL of the operator's."""

from __future__ import annotations

import json
from dataclasses import dataclass

from leadsman_common.alerts import Alert, delivery_key, to_json
from leadsman_common.settings import SettingError, setting
from leadsman_notifier.config import check_level
from leadsman_notifier.http import HttpTarget, check_url


@dataclass(frozen=True)
class Config:
    """Settings of the sink."""

    webhook_url: str = setting("where each alert is posted as JSON; empty: nowhere", "", secret=True)
    webhook_token: str = setting("bearer token sent with it", "", secret=True)
    webhook_min_level: str = setting("lowest level that is posted", "informational")
    webhook_timeout_s: float = setting("how long one step of a request may take", 10.0)

    def open(self) -> Webhook | None:
        """The sink, or None without a URL."""
        if not self.webhook_url:
            return None
        check_url("webhook_url", self.webhook_url)
        check_level("webhook_min_level", self.webhook_min_level)
        if not (self.webhook_token.isascii() and (self.webhook_token + "-").isprintable()):
            raise SettingError("LEADSMAN_WEBHOOK_TOKEN holds what no header can")
        return Webhook(self)


def render(alert: Alert) -> bytes:
    """The body: ASCII JSON."""
    return json.dumps(to_json(alert), separators=(",", ":")).encode()


class Webhook:
    """Posts alerts."""

    def __init__(self, config: Config) -> None:
        self.min_level = config.webhook_min_level
        headers = {"Authorization": f"Bearer {config.webhook_token}"} if config.webhook_token else {}
        self._target = HttpTarget(config.webhook_url, config.webhook_timeout_s, headers)

    def send(self, alert: Alert) -> None:
        """Post one alert; its id (and revision) is the Idempotency-Key."""
        self._target.post(render(alert), delivery_key(alert))

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
