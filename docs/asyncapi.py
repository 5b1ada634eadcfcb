"""schemas/asyncapi.yaml, made of schemas/topics and schemas/avro: every topic as an AsyncAPI 3 document.

`.venv/bin/python docs/asyncapi.py` rewrites it; a test holds the file to what this makes, and validates it.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from leadsman_common import topics
from leadsman_common.alert_stream import EVENT_TYPE
from leadsman_common.topics import Topic

REPO = Path(__file__).resolve().parents[1]
FILE = REPO / "schemas" / "asyncapi.yaml"
AVRO = "application/vnd.apache.avro;version=1.9.0"
HEAD = "# Made by docs/asyncapi.py of topics/*.yaml and avro/*.avsc. `make docs` rewrites it.\n"
TEXT = {"type": "string"}
SINGLE = "Avro's single-object encoding: C3 01 and the schema's fingerprint stand in front of the record."
FRAMED = f"{SINGLE} Confluent's wire format (00 and the schema's id) where a schema registry is configured."
CLOUD_EVENT = {
    "ce_specversion": {"type": "string", "const": "1.0"},
    "ce_id": {**TEXT, "description": "The alert's id, and its revision where it has grown."},
    "ce_source": TEXT,
    "ce_type": TEXT,
    "ce_time": {"type": "string", "format": "date-time"},
    "ce_subject": {**TEXT, "description": "The alert's id."},
    "content-type": TEXT,
}
RAW = dict.fromkeys(("format", "cluster", "account", "region", "source-id", "received-ms"), TEXT)
DEAD = {f"dlq-{name}": TEXT for name in ("reason", "stage", "topic", "partition", "offset", "version")}
UNDELIVERED = {f"undelivered-{name}": TEXT for name in ("channel", "reason", "message", "topic", "partition", "offset")}


def document() -> dict[str, Any]:
    """The whole document."""
    known = topics.load(REPO / "schemas" / "topics")
    channels = {_key(topic.name): _channel(topic) for topic in known.values()}
    operations: dict[str, Any] = {}
    for topic in known.values():
        channel = {"$ref": f"#/channels/{_key(topic.name)}"}
        for action, who in (("send", topic.producers), ("receive", topic.consumers)):
            for name in who:
                operation = {"action": action, "channel": channel, "summary": f"{name} {_WORDS[action]} {topic.name}."}
                operations[f"{_key(name)}_{action}_{_key(topic.name)}"] = operation
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Leadsman's topics",
            "version": "1.0.0",
            "description": "Every Kafka topic of Leadsman. LEADSMAN_TOPIC_PREFIX stands in front of each address.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/octet-stream",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "variables": {"bootstrap": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": channels,
        "operations": operations,
    }


_WORDS = {"send": "writes", "receive": "reads"}


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": _purpose(topic.name),
        "messages": {"record": _message(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": topic.cleanup_policy.split(","),
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(topic: Topic) -> dict[str, Any]:
    message: dict[str, Any] = {"name": topic.name, "summary": _purpose(topic.name)}
    headers = _headers(topic.name)
    if headers:
        message["headers"] = {"type": "object", "properties": headers}
    if topic.schema != "bytes":
        avsc = json.loads((REPO / "schemas" / topic.schema).read_bytes())
        message["title"] = avsc["name"]
        message["contentType"] = "application/avro"
        message["description"] = FRAMED if topic.name.startswith("alerts") else SINGLE
        message["payload"] = {"schemaFormat": AVRO, "schema": {"$ref": f"./{topic.schema}"}}
    elif topic.name == "alerts.ocsf":
        message["contentType"] = "application/json"
        message["payload"] = {
            "type": "object",
            "externalDocs": {"url": "https://schema.ocsf.io/1.5.0/classes/detection_finding"},
            "required": ["class_uid", "type_uid", "time", "severity_id", "activity_id", "metadata", "finding_info"],
            "properties": {"class_uid": {"type": "integer", "const": 2004}},
        }
    message["bindings"] = {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}}
    return message


def _headers(name: str) -> dict[str, Any]:
    if name.endswith(topics.DEAD_LETTER_SUFFIX):
        return DEAD
    if name in ("alerts", "alerts.shadow"):
        return {**CLOUD_EVENT, "ce_type": {"type": "string", "const": EVENT_TYPE}}
    if name == "alerts.ocsf":
        return CLOUD_EVENT
    if name == "alerts.undelivered":
        return {**CLOUD_EVENT, **UNDELIVERED}
    return RAW if name.startswith("raw.") else {}


def _purpose(name: str) -> str:
    """The comment at the head of the topic's file."""
    lines = (REPO / "schemas" / "topics" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def render() -> str:
    """The file."""
    plain = json.loads(json.dumps(document()))  # what is used twice would be an alias of YAML's
    return HEAD + yaml.safe_dump(plain, sort_keys=False, width=120, allow_unicode=True)


def main() -> int:
    """Rewrite the file."""
    FILE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
