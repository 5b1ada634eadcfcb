"""Points in time as a person writes them: `90m`, `2d` (ago), or ISO 8601."""

from __future__ import annotations

import time
from typing import Any

import click

from leadsman_common.since import span_ms


class When(click.ParamType):
    """A click type: milliseconds since 1970."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See span_ms."""
        if isinstance(value, int):
            return value
        try:
            return span_ms(str(value), time.time_ns() // 1_000_000)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
