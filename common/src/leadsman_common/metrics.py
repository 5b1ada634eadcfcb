"""Every metric of Leadsman: name, labels and one line of meaning. The table in docs/ is made from this."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

RECEIVED = Counter("leadsman_received", "Records read from upstream", ["service", "source"])
REFUSED = Counter("leadsman_refused", "Requests answered with an error, by its status", ["service", "source", "status"])
PRODUCED = Counter("leadsman_produced", "Records acknowledged by Kafka", ["service", "topic"])
FILTERED = Counter("leadsman_filtered", "Records that are not ours, by reason", ["service", "reason"])
DEAD_LETTERED = Counter("leadsman_dead_lettered", "Bad records written to a dead-letter topic", ["service", "topic"])
ALERTS = Counter("leadsman_alerts", "Alerts raised, by rule and level", ["rule", "level"])
DELIVERIES = Counter("leadsman_deliveries", "Deliveries to a sink, by result", ["sink", "result"])
ROUTED = Counter("leadsman_routed", "Audit events by what routing made of them", ["result"])
BATCH_SECONDS = Histogram("leadsman_batch_seconds", "Time to handle a batch", ["service"])
STALLED = Gauge("leadsman_stalled", "1 while a watchdog sees no progress though records wait", ["service"])
BEHIND = Gauge("leadsman_behind_seconds", "How far reading is behind the newest record upstream", ["service", "source"])
GAPS = Counter(
    "leadsman_gaps", "Times that records aged out upstream before they were read: some are lost", ["service", "source"]
)
STATE_EVICTED = Counter("leadsman_state_evicted", "Members that a full series of the correlation state dropped")
RULES = Info("leadsman_rules", "The rules in force: digest, rules, correlations")
RULES_RELOADS = Counter("leadsman_rules_reloads", "Changed rules folders, loaded or refused as a whole", ["result"])
