"""A cluster's first hours: what stood in it before it was watched is one report, not an alert each.

Nothing is known of the objects yet. An update that shows a privileged container does not say whether it brings it, and
a pod that a controller makes anew is of an owner that nobody has seen: whatever GitOps, operators and restarts touch in
these hours would be an alert. What a create or a patch sets is new in these hours as well, and alerts as ever.

The report is made when the hours are over and no late event can come any more, so what it holds is a function of the
set of events: everything that seemed to stand there is judged again then, and what turned out to be new is raised.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from leadsman_common.alerts import Alert, alert_id, level_rank, own_alert
from leadsman_common.events import NO_ACTOR
from leadsman_detector import history
from leadsman_detector.alert import Where
from leadsman_detector.due import BASELINE, encode_due
from leadsman_detector.lateness import AUDIT, LATENESS_MS
from leadsman_detector.plan import Writing
from leadsman_detector.state import ALL_TIME, DAY_MS, Put, Range, StateRequest, Timer

NAME = "baseline"
RULE_ID = "b0e1d2c3-6a52-4a0e-9a57-5d1c7c9a7e10"
TITLE = "What stood in the cluster before it was watched"
HISTORY_TTL_MS = 31 * DAY_MS  # told anew each day that the cluster is seen, as long as versions are kept
MAX_FOUND = 1_000  # versions of a cluster that wait for the report; the latest are kept
MAX_EVIDENCE = 100
_START = "baseline/start"
_FOUND = "baseline/found"


class Found(msgspec.Struct, array_like=True, frozen=True):
    """A version that seemed to stand there, as the state keeps it."""

    namespace: str
    resource: str
    name: str
    child: bytes  # what children that show the same share; empty for the object itself
    version: bytes


class Baseline:
    """The first `span_ms` of each cluster."""

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms

    def day(self, cluster: str, at_ms: int) -> tuple[str, str, str, int]:
        """What a worker remembers a day of a cluster by."""
        return NAME, cluster, "", at_ms // DAY_MS

    def watched(self, cluster: str, at_ms: int) -> Put:
        """That the cluster was watched at this time; the earliest stays."""
        return Put(_START, cluster, at_ms, str(at_ms).encode(), HISTORY_TTL_MS, 1, _START, "earliest", b"start")

    def beginning(self, cluster: str) -> Range:
        """Ask since when it is watched."""
        return Range(_START, cluster, *ALL_TIME, _START)

    def start(self, reply: Sequence[bytes]) -> int:
        """Since when, ms, by the reply to that."""
        return min((int(member) for member in reply), default=1 << 50)

    def until_ms(self, reply: Sequence[bytes], at_ms: int = 1 << 60) -> int:
        """Until when nothing is known of what stood there before.

        For an event at `at_ms` that is so close behind it that an earlier one of its object may still come: later.
        """
        until_ms = self.start(reply) + self._span_ms
        late_ms = until_ms + LATENESS_MS[AUDIT]
        return late_ms if at_ms < late_ms else until_ms

    def puts(self, writing: Writing, start_ms: int) -> list[StateRequest]:
        """Keep a version for the report, of children that show the same one, and have the report made in time."""
        key, version = writing.key, writing.version
        child = history.child_name(version) if key.child else b""
        member = Found(key.namespace, key.resource, key.name, child, history.encode(version))
        name = version.event_id
        if child:
            name = f"{key.namespace}/{key.resource}/{key.name}/{child.decode()}"
        ttl_ms = self._span_ms + 2 * DAY_MS
        put = Put(
            _FOUND,
            writing.cluster,
            version.time // 1000,
            msgspec.msgpack.encode(member),
            ttl_ms,
            MAX_FOUND,
            _FOUND,
            "earliest",
            name.encode("utf-8", "surrogatepass"),
        )
        return [put, self._timer(writing.cluster, start_ms)]

    def timers(self, puts: Sequence[Put]) -> list[StateRequest]:
        """The timers of versions that were kept for a report; a beginning that is late makes it late."""
        return [self._timer(put.cluster, put.time_ms) for put in puts if put.group == _FOUND]

    def _timer(self, cluster: str, start_ms: int) -> Timer:
        due_ms = start_ms + self._span_ms + LATENESS_MS[AUDIT]
        return Timer(due_ms, cluster, encode_due(BASELINE, cluster, Where(), b""), AUDIT)

    def asked(self, cluster: str) -> Range:
        """Ask for what is kept for the report."""
        return Range(_FOUND, cluster, *ALL_TIME, _FOUND)

    def found(self, reply: Sequence[bytes]) -> list[tuple[history.ObjectKey, history.Version]]:
        """The versions by the reply to that, each with its object."""
        found = []
        for member in reply:
            try:
                one = msgspec.msgpack.decode(member, type=Found)
            except msgspec.MsgspecError:
                continue
            if (version := history.decode(one.version)) is not None:
                key = history.ObjectKey(one.namespace, one.resource, one.name, child=bool(one.child))
                found.append((key, version))
        return found


def report_of(standing: Sequence[Alert], digest: str, now_us: int) -> Alert:
    """The report, out of the alerts that these would have been: the worst first, the number told.

    What rules on trial found has a report of its own.
    """
    shadow = bool(standing[0].get("shadow"))
    ordered = sorted(standing, key=lambda a: (-level_rank(a["level"]), a["time"], a["id"]))
    kept = list({alert["id"]: alert for alert in reversed(ordered)}.values())[::-1]
    cluster = kept[0]["cluster"]
    levels = [f"{sum(a['level'] == level for a in kept)} {level}" for level in dict.fromkeys(a["level"] for a in kept)]
    shown = f", {MAX_EVIDENCE} shown" if len(kept) > MAX_EVIDENCE else ""
    report = own_alert(
        alert_id(RULE_ID, cluster["id"], *(["shadow"] if shadow else [])),
        {"id": RULE_ID, "name": NAME, "title": TITLE, "level": "informational"},
        "informational",
        f"{TITLE}: {', '.join(levels)}{shown}",
        now_us,
        cluster,
        len(kept),
    )
    report["time"] = max(alert["time"] for alert in kept)
    report["actor"] = NO_ACTOR
    report["rules_digest"] = digest
    report["evidence"] = [alert["evidence"][0] for alert in kept[:MAX_EVIDENCE]]
    report["shadow"] = shadow
    return report
