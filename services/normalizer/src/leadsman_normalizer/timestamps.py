"""RFC 3339 timestamps as microseconds since the epoch, as both Kubernetes and Cloud Logging write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(text: str) -> int:
    """`2026-11-23T15:57:04.713975Z` as microseconds; 0 for what is no timestamp. Digits past six are cut off."""
    if len(text) == 27 and text[26] == "Z" and text[19] == ".":  # the API server's own form: always microseconds
        second, fraction = text[:19], text[20:26]
        if fraction.isdigit() and fraction.isascii() and (base := _second(second)):
            return base + int(fraction)
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return (parsed - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return 0


@lru_cache(maxsize=4096)
def _second(text: str) -> int:
    try:
        return (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return 0
