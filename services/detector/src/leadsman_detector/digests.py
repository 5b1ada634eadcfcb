"""Whether all workers run the same rules. After a hot reload they differ for a moment; for longer they must say so."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from leadsman_common.metrics import RULES_DIFFER

GRACE_MS = 10_000  # what a reload may take beside the interval at which folders are looked at

_log = structlog.get_logger()


class Digests:
    """What this worker has seen of the others' rules."""

    def __init__(self, reload_s: float) -> None:
        self._bear_ms = int(reload_s * 1000) + GRACE_MS
        self._since_ms: int | None = None
        self._said = False

    def look(self, told: Mapping[str, str], own: str, now_ms: int) -> None:
        """Compare with what every worker told; logs and counts those that differ for longer than a reload takes."""
        others = {who: digest for who, digest in told.items() if digest != own}
        if not others:
            if self._said:
                _log.info("all workers run the same rules again", digest=own)
            self._since_ms, self._said = None, False
            RULES_DIFFER.set(0)
            return
        if self._since_ms is None:
            self._since_ms = now_ms
        if now_ms - self._since_ms < self._bear_ms:
            return
        RULES_DIFFER.set(len(others))
        if not self._said:
            _log.error("workers run other rules than this one", digest=own, others=others)
            self._said = True
