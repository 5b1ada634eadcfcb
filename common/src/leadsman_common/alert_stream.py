"""The record of an alert on its topic: CloudEvents binary mode over Kafka.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md. The detector writes
alerts, and the notifier those about its own channels; docs/subscribe.md is for who reads them.
"""

from __future__ import annotations

from leadsman_common.alerts import Alert, iso_time
from leadsman_common.kafka import Outgoing

EVENT_TYPE = "io.leadsman.alert.v1"


def alert_record(topic: str, alert: Alert, value: bytes, service: str) -> Outgoing:
    """The record of an alert whose Avro bytes are `value`."""
    headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", f"{alert['id']}-{alert['revision']}" if alert["revision"] else alert["id"]),
        ("ce_source", f"/leadsman/{service}"),
        ("ce_type", EVENT_TYPE),
        ("ce_time", iso_time(alert["time"])),
        ("ce_subject", alert["id"]),
        ("content-type", "application/avro"),
    ]
    return Outgoing(topic, alert["id"].encode(), value, tuple((k, v.encode()) for k, v in headers if v))
