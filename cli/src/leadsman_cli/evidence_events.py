"""The events that an alert was made of, as they are still to be had: in the files of a scan, or on audit.events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.readers import Identity, Unreadable, read
from leadsman_common.alerts import Alert
from leadsman_common.avro import audit_event_codec
from leadsman_common.clusters import Clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

Place = tuple[str, int, int]  # topic, partition, offset


class EvidenceEvents:
    """Looks them up; what is gone is left out. Alerts as they are on the topic, or in the JSON form."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._reader: TopicReader | None = None

    def of(self, alert: Alert) -> list[AuditEvent]:
        """The events of an alert, in the order of its evidence."""
        found: dict[str, AuditEvent] = {}
        files: defaultdict[str, set[int]] = defaultdict(set)
        for item in alert["evidence"]:
            source: Mapping[str, Any] = item["source"]
            if place := _place(item, source):
                found |= {event["id"]: event for event in self._on_topic(place)}
            elif source.get("file"):
                files[source["file"]].add(source["line"])
        for file, lines in files.items():
            found |= {event["id"]: event for event in self._in_file(alert, Path(file), lines)}
        return [found[item["event_id"]] for item in alert["evidence"] if item["event_id"] in found]

    def _on_topic(self, place: Place) -> Iterator[AuditEvent]:
        topic, partition, offset = place
        if self._reader is None:
            settings = kafka_settings()
            self._reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
        try:
            for message in self._reader.read_ranges(topic, {partition: (offset, offset + 1)}):
                yield audit_event_codec().decode(message.value() or b"")
        except (TopicUnreadableError, InvalidEvent):
            return

    def _in_file(self, alert: Alert, file: Path, lines: set[int]) -> Iterator[AuditEvent]:
        cluster = alert["cluster"]
        identity = Identity(cluster["name"], cluster["account"], cluster["region"])
        try:
            with file.open("rb") as stream:
                for record in read(str(file), stream, "auto", identity, lambda _: None):
                    if record.line not in lines or isinstance(record, Unreadable):
                        if record.line > max(lines):
                            return
                        continue
                    try:
                        event = normalize(record, self._clusters)
                    except InvalidEvent:
                        continue
                    if not isinstance(event, Dropped):
                        yield event
        except OSError:
            return


def _place(item: Any, source: Mapping[str, Any]) -> Place | None:
    """Where an event stands on audit.events: beside the item as it is on the topic, in its source in JSON."""
    if item.get("topic"):
        return item["topic"], item["partition"], item["offset"]
    if "format" not in source and source.get("topic"):
        return source["topic"], source["partition"], source["offset"]
    return None
