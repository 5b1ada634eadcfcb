"""The producer that every service acknowledges by, against a real broker: what does not arrive is raised."""

import os

import pytest

from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing


def test_what_the_broker_refuses_is_raised_and_what_follows_arrives(bootstrap, topics, topic_prefix):
    alerts = topics["alerts"]
    producer = AckedProducer(bootstrap, timeout_s=4)
    good = Outgoing(alerts, b"key", b"value")
    producer.send([good])
    with pytest.raises(DeliveryFailed, match="MSG_SIZE_TOO_LARGE"):
        producer.send([good, Outgoing(alerts, b"key", os.urandom(2_200_000)), good])
    with pytest.raises(DeliveryFailed):
        producer.send([good, Outgoing(f"{topic_prefix}nowhere", b"key", b"value"), good])
    producer.send([good])
