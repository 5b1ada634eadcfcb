"""Every metric of Leadsman: name, labels and one line of meaning. The table in docs/ is made from this.

Labels are bounded: services, topics, sinks, rules and configured sources. What comes out of records (a cluster's id)
goes through `Bounded`.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram, Info, Summary

# from a hop on one machine to a cloud that delivers hours later
_DELAYS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)

RECEIVED = Counter("leadsman_received", "Records read from upstream", ["service", "source"])
REFUSED = Counter("leadsman_refused", "Requests answered with an error, by its status", ["service", "source", "status"])
PRODUCED = Counter("leadsman_produced", "Records acknowledged by Kafka", ["service", "topic"])
FILTERED = Counter("leadsman_filtered", "Records that are not ours, by reason", ["service", "reason"])
DEAD_LETTERED = Counter("leadsman_dead_lettered", "Bad records written to a dead-letter topic", ["service", "topic"])
ALERTS = Counter("leadsman_alerts", "Alerts raised, by rule and level", ["rule", "level"])
SUPPRESSED = Counter(
    "leadsman_suppressed", "Alerts raised of which nobody is told, by rule and filter", ["rule", "filter"]
)
SHADOWED = Counter("leadsman_shadow_alerts", "Alerts of rules on trial, on alerts.shadow alone", ["rule", "level"])
DELIVERIES = Counter("leadsman_deliveries", "Alerts by what came of them at a sink (a channel)", ["sink", "result"])
MESSAGES = Counter(
    "leadsman_messages", "Messages to a sink: single or digest where it took them, retried, refused", ["sink", "result"]
)
SINK_FAILING = Gauge("leadsman_sink_failing_seconds", "How long a sink has been failing", ["sink"])
SINK_WAITING = Gauge("leadsman_sink_waiting", "Alerts that a sink has still to be told of", ["sink"])
ROUTED = Counter("leadsman_routed", "Audit events by what routing made of them", ["result"])
BATCH_SECONDS = Histogram("leadsman_batch_seconds", "Time to handle a batch", ["service"])
ERRORS = Counter(
    "leadsman_errors",
    "What failed and is tried again or ends the process, by kind: kafka, upstream, redis, sink, fatal",
    ["service", "kind"],
)
HOP_SECONDS = Histogram(
    "leadsman_hop_seconds",
    "Where detection's time goes, for the oldest record of each batch: delivery (from the event to ingest), ingest (on "
    "to the raw topic), normalize (on to audit.events), detect (on to alerts), notify (on to the sink's answer)",
    ["hop", "source"],
    buckets=_DELAYS_S,
)
CANARY_SECONDS = Summary(
    "leadsman_canary_seconds",
    "How long a cluster's canary takes, by hop: request (from its sending to the API server), delivery, ingest, "
    "normalize, detect as in leadsman_hop_seconds, notify (on to a channel's reading of it)",
    ["hop", "cluster"],
)
ALERT_SECONDS = Histogram(
    "leadsman_alert_seconds",
    "From the newest event of an alert's evidence to the sink's answer: all hops together",
    ["sink"],
    buckets=_DELAYS_S,
)
DELIVERY_SECONDS = Histogram("leadsman_delivery_seconds", "Time of one try to deliver an alert", ["sink"])
STATE_SECONDS = Histogram("leadsman_state_seconds", "Time of one exchange with Redis, retries included", ["service"])
LAG = Gauge(
    "leadsman_lag_records",
    "Records between a consumer group's position and the end of a partition that this process reads",
    ["group", "topic", "partition"],
)
LAST_RECEIVED = Gauge(
    "leadsman_last_received_timestamp_seconds",
    "When a source last gave something (Unix time): time() less this is how long it has been silent",
    ["service", "source"],
)
LAST_EVENT = Gauge(
    "leadsman_last_event_timestamp_seconds",
    "The newest event of a cluster by its own time (Unix time): time() less this is how old the news of it are",
    ["cluster"],
)
STALLED = Gauge("leadsman_stalled", "1 while a watchdog sees no progress though records wait", ["service"])
BEHIND = Gauge("leadsman_behind_seconds", "How far reading is behind the newest record upstream", ["service", "source"])
INGESTED = Counter("leadsman_ingested", "Log events that Kafka has, by cluster", ["service", "source", "cluster"])
INGESTED_BYTES = Counter("leadsman_ingested_bytes", "Their bytes", ["service", "source", "cluster"])
EVENT_LAG = Gauge(
    "leadsman_event_lag_seconds", "Age of the newest event when it was stored", ["service", "source", "cluster"]
)
LAST_INGESTED = Gauge(
    "leadsman_last_ingested_timestamp_seconds",
    "When a cluster's last event was stored (Unix time): time() less this is how long it has been silent",
    ["service", "source", "cluster"],
)
LEFT = Counter("leadsman_left", "Messages left in their queue: what they name could not be read", ["service", "source"])
GAPS = Counter(
    "leadsman_gaps", "Times that records aged out upstream before they were read: some are lost", ["service", "source"]
)
STATE_EVICTED = Counter("leadsman_state_evicted", "Members that a full series of the correlation state dropped")
BUILD = Info("leadsman_build", "The release that runs: service, version")
RULES = Info("leadsman_rules", "The rules in force: digest, rules, correlations")
RULES_RELOADS = Counter("leadsman_rules_reloads", "Changed rules folders, loaded or refused as a whole", ["result"])
STATE_GROUPS_EVICTED = Counter(
    "leadsman_state_groups_evicted", "Groups that a correlation or kind of state dropped over its quota", ["owner"]
)
STATE_DEGRADED = Gauge(
    "leadsman_state_degraded", "1 while events are judged without the correlation state, their offsets uncommitted"
)
STATE_TROUBLES = Counter(
    "leadsman_state_troubles", "Times that the state was lost, fell_back, was away or full, or had a gap", ["kind"]
)
STATE_REBUILDS = Counter("leadsman_state_rebuilds", "Rebuilds of the state from Kafka, by result", ["result"])
STATE_REBUILD_SECONDS = Gauge("leadsman_state_rebuild_seconds", "How long the last rebuild took")
STATE_REBUILD_RECORDS = Gauge("leadsman_state_rebuild_records", "Records read by the rebuild that runs or ran last")
RULES_DIFFER = Gauge("leadsman_rules_differ", "Workers whose rules in force are others than this one's")

MOST_CLUSTERS = 1000
MOST_CANARIES = 200  # each has two series a hop


class Bounded:
    """Label values that come from records: the first `most` of them by name, every further one as `other`."""

    def __init__(self, most: int = MOST_CLUSTERS) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value, or `other` where there are too many."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return "other"
            self._known.add(value)
        return value


class Process:
    """The service that this process is, for what is counted in code that every service shares."""

    service = "none"


def failed(kind: str) -> None:
    """Count an error of this process's service: kafka, upstream, redis, sink or fatal."""
    ERRORS.labels(Process.service, kind).inc()


class Lag:
    """What one consumer reports of its group; partitions that were taken from it are no longer told by it."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._told: set[tuple[str, str]] = set()

    def tell(self, behind: Mapping[tuple[str, int], int]) -> None:
        """Set it for these (topic, partition), and forget the others."""
        now = {(topic, str(partition)): count for (topic, partition), count in behind.items()}
        for topic, partition in self._told - now.keys():
            LAG.remove(self._group, topic, partition)
        for (topic, partition), count in now.items():
            LAG.labels(self._group, topic, partition).set(max(0, count))
        self._told = set(now)


def hop(name: str, source: str, from_ms: float, to_ms: float) -> None:
    """Observe a hop between two Unix times; one that is not known (0) is left out, a clock that lags counts as 0."""
    if from_ms > 0 and to_ms > 0:
        HOP_SECONDS.labels(name, source).observe(max(0.0, to_ms - from_ms) / 1000)


_canaries = Bounded(MOST_CANARIES)


def canary(name: str, cluster: str, from_ms: float, to_ms: float) -> None:
    """Observe a hop of a cluster's canary, as `hop` does."""
    if from_ms > 0 and to_ms > 0:
        CANARY_SECONDS.labels(name, _canaries(cluster)).observe(max(0.0, to_ms - from_ms) / 1000)
