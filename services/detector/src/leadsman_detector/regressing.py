"""The compiled `regression` of a rule: which settings an event speaks of, and whether they are secure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from leadsman_common.events import AuditEvent
from leadsman_detector.compare import text_of
from leadsman_detector.compile import Condition
from leadsman_detector.fields import Getter, getter
from leadsman_detector.form import Regression
from leadsman_detector.statements import Thing

SECURE, INSECURE = "secure", "insecure"
MAX_SETTINGS = 64  # that one event speaks of
OWNER = "regression."


class Regressing:
    """The compiled `regression` of a rule. Raises UnknownField and BadPattern."""

    def __init__(self, rule: str, given: Regression) -> None:
        self._owner = f"{OWNER}{rule}"
        self._insecure, self._secure = Condition(given.insecure), Condition(given.secure)
        self._by: dict[str, list[Getter]] = {
            INSECURE: [getter(path) for path in given.by],
            SECURE: [getter(path) for path in given.secure_by],
        }

    def said(self, event: AuditEvent) -> list[tuple[str, str]]:
        """(setting, secure or insecure): what an event says. Of a setting that it calls both, it is insecure."""
        found: dict[str, str] = {}
        for value, condition in ((SECURE, self._secure), (INSECURE, self._insecure)):
            if condition.holds(event):
                found |= dict.fromkeys(self._settings(event, value), value)
        return list(found.items())

    def _settings(self, event: AuditEvent, value: str) -> Iterator[str]:
        """Which settings an event speaks of: the combinations of the values of `by`; without it there is one."""
        values = (sorted({t for v in get(event) for t in _texts(v)}) or [""] for get in self._by[value])
        return ("\x1f".join(one) for one in islice(product(*values), MAX_SETTINGS))

    def thing(self, setting: str, cluster: str) -> Thing:
        """What its statements are about."""
        return Thing(self._owner, setting, cluster)


def _texts(value: Any) -> list[str]:
    """A value as text; of a map its keys."""
    found = value if isinstance(value, dict) else [value]
    return [text for one in found if (text := text_of(one))]
