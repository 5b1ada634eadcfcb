"""How far back, as people write it."""

import pytest

from leadsman_common.since import span_ms

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("15m", NOW - 900_000),
        ("90s", NOW - 90_000),
        ("6h", NOW - 6 * 3_600_000),
        ("30d", NOW - 30 * 86_400_000),
        ("2026-11-01T00:00:00Z", 1_793_491_200_000),
        ("2026-11-01", 1_793_491_200_000),
        ("2026-11-01T01:00:00+01:00", 1_793_491_200_000),
        (" 1w ", NOW - 604_800_000),
        ("2026-11-01 00:00", 1_793_491_200_000),
        ("999999d", 0),
    ],
)
def test_spans_and_times(text, ms):
    assert span_ms(text, NOW) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "15", "-1h", "9999999d", "2026-13-01"])
def test_neither(text):
    with pytest.raises(ValueError, match="neither a span"):
        span_ms(text, NOW)
