"""The detector over what is read once and in any order: log files, or a topic's history. `scan` and `replay` share it.

The same rules, correlations and alert ids as in the stream; the state is this process's own, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from leadsman_common.alerts import Alert, level_at_least
from leadsman_common.events import AuditEvent
from leadsman_detector import members
from leadsman_detector.alert import Where
from leadsman_detector.detect import AuditRecord, Detector
from leadsman_detector.match import RuleSet
from leadsman_detector.plan import Plan
from leadsman_detector.state import CLOCK, Done, Due, MemoryState

NOWHERE = Where()
FAR_MS = 1 << 53  # later than any timer
DUE_AT_ONCE = 1000


def above(alerts: Mapping[str, Alert], minimum: str) -> list[Alert]:
    """Alerts at this level or above, in order of event time."""
    found = [a for a in alerts.values() if level_at_least(a["level"], minimum)]
    return sorted(found, key=lambda a: (a["time"], a["id"]))


class Offline:
    """One run: rules, a state of its own, and the alerts so far, by id; the latest form of each."""

    def __init__(self, rules: RuleSet, *, posture: bool = False) -> None:
        self.detector = Detector(rules, patient=True, posture=posture)
        self.alerts: dict[str, Alert] = {}
        self._state = MemoryState()
        self._latest_ms = 0

    def judge(self, event: AuditEvent, where: Where = NOWHERE) -> None:
        """Judge one event."""
        plan = Plan()
        self.detector.judge(plan, event, where)
        self._settle(plan)

    def judge_records(self, records: Sequence[AuditRecord]) -> list[tuple[int, str]]:
        """Judge records of audit.events; gives those that cannot be read, (index, reason)."""
        plan = self.detector.plan(records)
        self._settle(plan)
        return plan.dead

    def kept(self) -> Iterator[tuple[str, str, list[tuple[int, bytes]]]]:
        """What the state holds: cluster, group and members of each series."""
        return self._state.kept()

    def finish(self) -> None:
        """Look at all that waits for late events: after the end none will come."""
        while any(self._look_again(*place) for place in self._state.timed()):
            pass

    def _look_again(self, cluster: str, source: str) -> bool:
        """Whether anything was due. By the clock of such a run it is as late as its latest event."""
        due = Due(cluster, source, self._latest_ms if source == CLOCK else FAR_MS, DUE_AT_ONCE)
        whats = members.of(self._state.exchange_now([due])[0])
        plan = Plan()
        for what in whats:
            self.detector.due(plan, what)
        self._settle(plan)
        self._state.exchange_now([Done(cluster, source, what) for what in whats])
        return bool(whats)

    def _settle(self, plan: Plan) -> None:
        self._latest_ms = max(self._latest_ms, *plan.progress.values(), 0)
        if plan.empty:
            return
        for alert in self._state.settle(self.detector.evaluate(plan)):
            if alert["revision"] >= self.alerts.get(alert["id"], alert)["revision"]:
                self.alerts[alert["id"]] = alert
