"""Who is at work in a consumer group."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


def at_work(bootstrap: str, group: str) -> int:
    """How many members of a group have partitions; 0 while there is no such group."""
    asked = AdminClient({"bootstrap.servers": bootstrap}).describe_consumer_groups([group])
    try:
        members = asked[group].result(30).members
    except KafkaException:
        return 0
    return sum(bool(member.assignment.topic_partitions) for member in members)
