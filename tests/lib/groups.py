"""Who is at work in a consumer group."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


def at_work(bootstrap: str, group: str) -> int:
    """How many members of a group have partitions; 0 while there is no such group."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept until the answer came, which it serves
    try:
        members = admin.describe_consumer_groups([group])[group].result(30).members
    except KafkaException:
        return 0
    return sum(bool(member.assignment.topic_partitions) for member in members)
