"""Channel `falcosidekick`: a webhook in Falco's form, for falcosidekick, Falco Talon and whatever else reads it.

https://github.com/falcosecurity/falcosidekick/blob/master/types/types.go (FalcoPayload) and
https://falco.org/docs/outputs/formatting/. Field values are text or numbers, never lists or maps.
"""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

from leadsman_common.visible import clean
from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.render import actor_text, cluster_text, instant
from leadsman_notifier.story import Story

PRIORITY = {
    "critical": "Critical", "high": "Error", "medium": "Warning", "low": "Notice", "informational": "Informational",
}  # fmt: skip
_NAMESPACE = uuid.UUID("2a0bb6bc-6a4f-5f9c-9a29-66f0c8b2f0c5")


class Config(ChannelConfig, frozen=True, kw_only=True, tag="falcosidekick"):
    """A receiver of Falco's webhook."""

    url: Annotated[str, about("where it is posted")]
    token: Annotated[str, about("bearer token; empty: none")] = ""
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Falcosidekick:
        """The channel."""
        check_url(self.url, net)
        return Falcosidekick(self, net)


def render(message: Message, story: Story) -> dict[str, Any]:
    """The event."""
    first = message.alerts[0] if message.alerts else None
    fields: dict[str, str | int] = {}
    if first is not None and not message.is_digest:
        item = first["evidence"][-1] if first["evidence"] else None
        fields = {
            "leadsman.alert_id": first["id"],
            "leadsman.level": first["level"],
            "leadsman.author": first["rule"].get("author", ""),
            "k8s.cluster": cluster_text(first["cluster"]),
            "ka.user.name": actor_text(first["actor"]),
            "ka.target.resource": first["objectRef"]["resource"],
            "ka.target.subresource": first["objectRef"]["subresource"],
            "ka.target.namespace": first["objectRef"]["namespace"],
            "ka.target.name": first["objectRef"]["name"],
            "ka.sourceips": item["source_ip"] if item else "",
            "ka.useragent": item["user_agent"] if item else "",
            "ka.auditid": item["audit_id"] if item else "",
            "ka.response.code": item["http"] if item else 0,
        }
    else:
        fields = {"leadsman.count": message.total, "leadsman.counts": "; ".join(story.counts)}
    return {
        "uuid": str(uuid.uuid5(_NAMESPACE, message.key.encode("utf-8", "replace").decode())),
        "output": clean(story.line, 2000),
        "priority": PRIORITY.get(message.level, "Critical"),
        "rule": (clean(first["rule"]["name"], 200) if first and not message.is_digest else "leadsman-digest")
        or "leadsman",
        "time": (instant(first["time"]) if first else "") or "1970-01-01T00:00:00.000000Z",
        "source": "k8s_audit",
        "hostname": clean(cluster_text(first["cluster"]), 253) if first else "",
        "tags": [clean(tag, 60) for tag in first["tags"][:20]] if first and not message.is_digest else [],
        "output_fields": {
            name: clean(value, 500) if isinstance(value, str) else value
            for name, value in fields.items()
            if value != ""
        },
    }


class Falcosidekick:
    """Posts events."""

    def __init__(self, config: Config, net: Net) -> None:
        headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
        self._target = HttpTarget(config.url, config.timeout_s, net, headers, config.ca_file)

    def send(self, message: Message, story: Story) -> None:
        """Post one."""
        self._target.post(json.dumps(render(message, story)).encode(), message.key)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
