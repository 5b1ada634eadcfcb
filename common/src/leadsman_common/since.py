"""Spans of time and how far back to read, as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def span_ms(text: str, now_ms: int) -> int:
    """Return the Unix time, ms, that `text` names: 15m, 6h or 30d before `now_ms`, or a time in ISO 8601.

    A time without a zone is UTC. Raises ValueError.
    """
    if span := _SPAN.fullmatch(text.strip()):
        return max(0, now_ms - int(span[1]) * _UNIT_MS[span[2]])
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("is neither a span (15m, 6h, 30d) nor a time (2026-11-01T00:00:00Z)") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def span_text(seconds: float) -> str:
    """A span as people read it, in the largest unit that it fills: `1.5 d`, `6 h`, `15 min`, `40 s`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
