"""POST /audit/CLUSTER: the audit webhook of an API server, or lines that a collector posts. From here to raw.k8s.

POST /signals/SENSOR/CLUSTER takes what another sensor saw: Falco's alerts, GuardDuty's and Security Command Center's
findings. The last two name their cluster themselves: who may post for every cluster may leave it out.

An API server posts EventLists, repeats a batch until it is answered with success, and keeps no order; so the id of an
event is a hash of its bytes, and the answer waits for Kafka. `?field=log` takes the event out of what a collector
wrapped around it. https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#webhook-backend
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final
from urllib.parse import parse_qsl

from leadsman_common import metrics
from leadsman_common.envelopes import audit_events, inside, lines
from leadsman_common.errors import InvalidEvent
from leadsman_common.http_server import Head, Refused, Reply, Taken, plain_refusal
from leadsman_common.kafka import Outgoing, dead_raw
from leadsman_common.patience import TROUBLES
from leadsman_common.raw import Bad, RawEvent, checked
from leadsman_common.receipts import Handed
from leadsman_common.topics import DEAD_LETTER_SUFFIX
from leadsman_ingest_k8s.senders import NAME, SendersFile

SERVICE: Final = "ingest-k8s"
FORMAT: Final = "k8s-audit"
PREFIX: Final = "/audit/"
SIGNALS: Final = "/signals/"
SENSORS: Final = {"falco": False, "guardduty": True, "scc": True}  # whether its findings name their cluster
_WHO = {"WWW-Authenticate": "Bearer"}


class Webhook:
    """An endpoint of the common HTTP server. Without `senders` whoever can connect may post for any cluster."""

    source = "webhook"

    def __init__(self, topic: str, senders: SendersFile | None, log: Any) -> None:
        self._topic, self._senders, self._log = topic, senders, log
        self._cluster_label = metrics.Bounded()

    def admit(self, head: Head) -> None:
        """Refuse before the body is read: 404, 405, 401."""
        _, cluster = place_of(head.path)
        if head.method != "POST":
            raise Refused(405, "audit events are posted")
        if self._senders is not None and not self._senders.now().may(
            cluster, bearer(head.headers.get("Authorization", "")), head.client_certificate
        ):
            refused = Refused(401, "no credentials that are good for this cluster")
            TROUBLES.note(f"posts for {cluster}", refused)
            raise refused

    def take(self, head: Head, body: bytearray) -> Taken:
        """Make a record of each event; what is no event goes to the dead letters, the others go on."""
        source_format, cluster = place_of(head.path)
        now_ms = time.time_ns() // 1_000_000
        field = dict(parse_qsl(head.query)).get("field", "")
        try:
            kind = head.headers.get("Content-Type", "")
            values = lines(bytes(body)) if "ndjson" in kind.lower() else audit_events(bytes(body))
        except InvalidEvent as error:
            raise Refused(400, error.reason) from error
        found = [self._event(value, source_format, cluster, field, now_ms) for value in values]
        bad = [one for one in found if isinstance(one, Bad)]
        records = [
            dead_raw(self._topic, one, SERVICE)
            if isinstance(one, Bad)
            else Outgoing(self._topic, one.key(), one.value, one.headers())
            for one in found
        ]
        if bad:
            self._log.warning("bad events", cluster=cluster, events=len(bad), reason=bad[0].reason)

        def acknowledged() -> None:
            TROUBLES.note(f"posts for {cluster}", None)
            label = self._cluster_label(cluster or source_format)
            metrics.RECEIVED.labels(SERVICE, label).inc(len(found))
            metrics.LAST_RECEIVED.labels(SERVICE, label).set(now_ms / 1000)
            metrics.PRODUCED.labels(SERVICE, self._topic).inc(len(found) - len(bad))
            if bad:
                metrics.DEAD_LETTERED.labels(SERVICE, self._topic + DEAD_LETTER_SUFFIX).inc(len(bad))

        return Taken(Handed(records, {cluster or source_format: len(values)}), Reply(200, b""), acknowledged)

    def refusal(self, head: Head, refused: Refused) -> Reply:  # noqa: ARG002 - every request has the same form
        """The reason as text; Retry-After makes an API server wait and try again, ten times for each of its tries."""
        reply = plain_refusal(refused)
        if refused.status == 401:
            return Reply(reply.status, reply.body, reply.content_type, {**(reply.headers or {}), **_WHO})
        return reply

    def _event(self, value: bytes, source_format: str, cluster: str, field: str, now_ms: int) -> RawEvent | Bad:
        reason = ""
        try:
            value = inside(value, field) if field else value
        except InvalidEvent as error:
            reason = error.reason
        if not reason and not value.startswith(b"{"):
            reason = "no JSON object"
        event = RawEvent(
            value=value,
            format=source_format,
            cluster=cluster,
            source_id=hashlib.blake2b(value, digest_size=16).hexdigest(),
            received_ms=now_ms,
        )
        return Bad(event, reason) if reason else checked(event)


def place_of(path: str) -> tuple[str, str]:
    """The format and the cluster's name of a request's path. Raises Refused(404) where it is none that is served."""
    if path.startswith(SIGNALS):
        sensor, _, name = path.removeprefix(SIGNALS).partition("/")
        if sensor in SENSORS and (NAME.fullmatch(name) or (SENSORS[sensor] and not name)):
            return sensor, name
        raise Refused(404, f"POST {SIGNALS}SENSOR/CLUSTER: {', '.join(SENSORS)}")
    name = path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""
    if not NAME.fullmatch(name):
        raise Refused(404, f"POST {PREFIX}CLUSTER: letters, digits, dots, hyphens and underscores")
    return FORMAT, name


def bearer(header: str) -> str:
    """The token of an Authorization header; empty where it has none."""
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
