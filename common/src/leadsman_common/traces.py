"""Whether this process makes OpenTelemetry traces. Without LEADSMAN_TRACES_ENDPOINT nothing of that is loaded.

A record's W3C `traceparent` travels in its Kafka headers from hop to hop; docs/operations.md says what a trace shows.
Who handles records asks for a Hop once a batch; where it is None, that is all that traces cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from leadsman_common.settings import Common, SettingError

if TYPE_CHECKING:
    from leadsman_common.spans import Hop, Spans

TRACEPARENT = "traceparent"


class _Process:
    """What this process makes its spans with, for code that every service shares."""

    spans: Spans | None = None


def start(service: str, settings: Common) -> None:
    """Have this process make traces, where its settings say so. `stop` is due at the end. Raises SettingError."""
    if not 0 <= settings.traces_sample <= 1:
        raise SettingError(f"LEADSMAN_TRACES_SAMPLE={settings.traces_sample} is not between 0 and 1")
    if settings.traces_endpoint:
        if not settings.traces_endpoint.startswith(("http://", "https://")):
            raise SettingError(f"LEADSMAN_TRACES_ENDPOINT={settings.traces_endpoint!r}: http://HOST:PORT is due")
        from leadsman_common.spans import Spans  # noqa: PLC0415 - its half second is for those who want traces

        _Process.spans = Spans(service, settings.traces_endpoint, settings.traces_sample)


def stop() -> None:
    """Send what waits, for a moment at most, and make no more."""
    spans, _Process.spans = _Process.spans, None
    if spans is not None:
        spans.close()


def spans() -> Spans | None:
    """What makes spans, or None."""
    return _Process.spans


@contextmanager
def hop() -> Iterator[Hop | None]:
    """The spans of a batch, or None: they end with the context, as errors where it raises."""
    if _Process.spans is None:
        yield None
        return
    with _Process.spans.hop() as spans_of_it:
        yield spans_of_it
