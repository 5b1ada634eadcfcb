"""What an ingest service tells of each source and cluster: events, bytes, the age of the newest, when it came."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from leadsman_common import metrics
from leadsman_common.raw import RawEvent


class Ingested:
    """Counts what Kafka has acknowledged. Any thread may call it."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._label = metrics.Bounded()  # names of clusters come with the records

    def stored(self, source: str, events: Iterable[RawEvent], newest_ms: Mapping[str, int]) -> None:
        """Count events of one source; `newest_ms` is the Unix time of each cluster's newest, where it is known."""
        counts, sizes = Counter[str](), Counter[str]()
        for event in events:
            counts[event.cluster] += 1
            sizes[event.cluster] += len(event.value)
        now = time.time()
        for cluster, count in counts.items():
            labels = (self._service, source, self._label(cluster))
            metrics.INGESTED.labels(*labels).inc(count)
            metrics.INGESTED_BYTES.labels(*labels).inc(sizes[cluster])
            metrics.LAST_INGESTED.labels(*labels).set(now)
            if cluster in newest_ms:
                metrics.EVENT_LAG.labels(*labels).set(max(0.0, now - newest_ms[cluster] / 1000))
