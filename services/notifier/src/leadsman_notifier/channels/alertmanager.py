"""Channel `alertmanager`: the Prometheus Alertmanager's API v2. It groups, silences and sends on by its own rules.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml. An alert fires there for `keep_h` hours:
Leadsman tells of an event, which does not end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from leadsman_common.visible import clean
from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.render import actor_text, cluster_text, instant, lines_of, object_text
from leadsman_notifier.story import Story


class Config(ChannelConfig, frozen=True, kw_only=True, tag="alertmanager"):
    """An Alertmanager, which may be a private address."""

    url: Annotated[str, about("its address, without /api/v2")]
    token: Annotated[str, about("bearer token; empty: none")] = ""
    keep_h: Annotated[float, about("how long an alert fires there")] = 24.0
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Alertmanager:
        """The channel."""
        inside = net.as_internal()
        check_url(self.url, inside)
        return Alertmanager(self, inside)


def render(message: Message, story: Story, now: datetime, keep_h: float) -> list[dict[str, Any]]:
    """The alerts of the request: one, labelled by what tells it from others; a digest is one too."""
    labels = {"alertname": "LeadsmanDigest", "level": message.level, "key": message.key, "source": "leadsman"}
    start = ""
    if not message.is_digest:
        alert = message.alerts[0]
        start = instant(alert["time"])
        labels = {
            "alertname": alert["rule"]["name"] or "Leadsman",
            "level": alert["level"],
            "severity": alert["level"],
            "cluster": cluster_text(alert["cluster"]),
            "cloud": alert["cluster"]["provider"],
            "namespace": alert["objectRef"]["namespace"],
            "object": object_text(alert["objectRef"]),
            "actor": actor_text(alert["actor"]),
            "alert_id": alert["id"],
            "source": "leadsman",
        }
    text = "\n".join(f"{heading}: {clean(line)}" if heading else clean(line) for heading, line in lines_of(story))
    annotations = {"summary": clean(story.headline), "description": text, "runbook": "\n".join(story.check)}
    return [
        {
            "labels": {name: clean(value, 200) for name, value in labels.items() if value},
            "annotations": {name: value for name, value in annotations.items() if value},
            **({"startsAt": start} if start else {}),
            "endsAt": f"{now + timedelta(hours=keep_h):%Y-%m-%dT%H:%M:%SZ}",
            "generatorURL": story.links[0][1] if story.links else "",
        }
    ]


class Alertmanager:
    """Posts alerts."""

    def __init__(self, config: Config, net: Net, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._keep_h = config.keep_h
        self._clock = clock
        headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
        url = config.url.rstrip("/") + "/api/v2/alerts"
        self._target = HttpTarget(url, config.timeout_s, net, headers, config.ca_file)

    def send(self, message: Message, story: Story) -> None:
        """Post one."""
        body = render(message, story, self._clock(), self._keep_h)
        self._target.post(json.dumps(body).encode(), message.key)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
