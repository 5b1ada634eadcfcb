"""The detector's spans, where traces are made: of each record that came with a trace, and of each alert."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from leadsman_common.alerts import Alert
from leadsman_common.kafka import Outgoing
from leadsman_detector.runner import Record

if TYPE_CHECKING:
    from leadsman_common.spans import Hop, Traced

Taken: TypeAlias = Mapping[tuple[str, int, int], "Traced"]  # the spans of a batch, by topic, partition and offset
NONE: Taken = {}


def take(hop: Hop, records: Iterable[Record], group: str) -> Taken:
    """Begin the spans of a batch."""
    spans = ((r, hop.process(r.topic, r.partition, r.offset, r.headers, group)) for r in records)
    return {(r.topic, r.partition, r.offset): span for r, span in spans if span is not None}


def traced(hop: Hop, sent: Iterable[Outgoing], alerts: Iterable[Alert], taken: Taken) -> Iterator[Outgoing]:
    """The alerts' records, each with a span: the child of its newest event's, linked with the others' of this batch.

    An alert none of whose events has a trace in this batch begins one.
    """
    for record, alert in zip(sent, alerts, strict=True):
        places = [(e["topic"], e["partition"], e["offset"]) for e in sorted(alert["evidence"], key=itemgetter("time"))]
        events = [taken[place].header[1] for place in dict.fromkeys(places) if place in taken]
        said = {
            "leadsman.alert.id": alert["id"],
            "leadsman.alert.level": alert["level"],
            "leadsman.rule.name": alert["rule"]["name"],
            "leadsman.cluster.id": alert["cluster"]["id"],
        }
        span = hop.send(record.topic, said, parent=events[-1] if events else None, links=events[:-1])
        yield record._replace(headers=(*record.headers, span.header))
