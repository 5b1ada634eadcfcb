"""Settings of ingest-azure, read once from LEADSMAN_* variables: an Event Hubs namespace as the Kafka that it speaks.

https://learn.microsoft.com/en-us/azure/event-hubs/azure-event-hubs-apache-kafka-overview; the connection string:
https://learn.microsoft.com/en-us/azure/event-hubs/event-hubs-get-connection-string
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from leadsman_common.kafka_sources import Source
from leadsman_common.settings import Common, SettingError, setting

_PORT = 9093
_ENDPOINT = re.compile(r"sb://([A-Za-z0-9.-]+)/?")


@dataclass(frozen=True)
class Settings(Common):
    """Which hubs to read, and how to get at them."""

    eventhubs_connection: str = setting(
        "connection string of the namespace or of a hub, with the claim Listen", "", secret=True
    )
    eventhubs: tuple[str, ...] = setting("event hubs to read, comma-separated; empty: the connection's EntityPath", ())
    eventhubs_bootstrap: str = setting("Kafka endpoint, host:port; empty: the connection's own, port 9093", "")
    eventhubs_options: dict[str, str] = setting(
        "more librdkafka options for it: name=value, comma-separated", dict, secret=True
    )
    eventhubs_group: str = setting("consumer group; Event Hubs makes it by itself", "leadsman-ingest-azure")
    batch_messages: int = setting("messages produced and committed together at most", 100)
    max_bad_in_a_row: int = setting("bad messages in a row after which the service stops; 0: never", 1000)
    broken_s: float = setting("seconds to bear a broken Kafka or Event Hubs before leaving the process", 300.0)

    def __post_init__(self) -> None:
        """Check what no type says."""
        if not self.eventhubs_connection:
            raise SettingError("LEADSMAN_EVENTHUBS_CONNECTION is not set: the connection string of the namespace")
        if not _ENDPOINT.fullmatch(self._part("Endpoint")):
            raise SettingError("LEADSMAN_EVENTHUBS_CONNECTION has no Endpoint=sb://NAMESPACE.servicebus.windows.net/")
        if not self._part("SharedAccessKey"):
            raise SettingError("LEADSMAN_EVENTHUBS_CONNECTION has no SharedAccessKey")
        if not self.hubs():
            raise SettingError("LEADSMAN_EVENTHUBS is not set, and LEADSMAN_EVENTHUBS_CONNECTION has no EntityPath")
        if not 1 <= self.batch_messages <= 10_000:
            raise SettingError(f"LEADSMAN_BATCH_MESSAGES={self.batch_messages} is not between 1 and 10000")

    def hubs(self) -> tuple[str, ...]:
        """The hubs to read: topics, to Kafka."""
        entity = self._part("EntityPath")
        return self.eventhubs or ((entity,) if entity else ())

    def bootstrap(self) -> str:
        """The namespace's Kafka endpoint."""
        endpoint = _ENDPOINT.fullmatch(self._part("Endpoint"))
        return self.eventhubs_bootstrap or f"{endpoint[1] if endpoint else ''}:{_PORT}"

    def options(self) -> dict[str, str]:
        """How librdkafka gets in, and keeps in: Event Hubs closes what is idle for four minutes."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "$ConnectionString",
            "sasl.password": self.eventhubs_connection,
            "socket.keepalive.enable": "true",
            "metadata.max.age.ms": "180000",
            "connections.max.idle.ms": "180000",
            **self.eventhubs_options,
        }

    def sources(self) -> tuple[Source, ...]:
        """Each hub as a topic of AKS records; their resource ids name the clusters."""
        return tuple(Source(topic=hub, format="aks-audit") for hub in self.hubs())

    def _part(self, name: str) -> str:
        parts = (part.partition("=") for part in self.eventhubs_connection.split(";"))
        return next((value for key, _, value in parts if key.strip() == name), "")
