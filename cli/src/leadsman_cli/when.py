"""Points in time as a person writes them: `90m`, `2d` (ago), or ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def moment_ms(text: str, now_ms: int) -> int:
    """Milliseconds since 1970. Raises ValueError."""
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", text.strip()):
        return now_ms - int(found[1]) * _UNITS_MS[found[2]]
    moment = datetime.fromisoformat(text.strip())
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


class When(click.ParamType):
    """A click type: milliseconds since 1970."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See moment_ms."""
        if isinstance(value, int):
            return value
        try:
            return moment_ms(str(value), int(datetime.now(UTC).timestamp() * 1000))
        except ValueError:
            self.fail(f"{value!r} is no time: 90m, 2d, or 2026-11-28T10:00:00Z", param, ctx)
