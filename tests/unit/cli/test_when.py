"""Points in time as a person writes them."""

import pytest

from leadsman_cli.when import moment_ms

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90m", NOW_MS - 5_400_000),
        ("2d", NOW_MS - 172_800_000),
        (" 1w ", NOW_MS - 604_800_000),
        ("2026-11-28T10:00:00Z", 1_795_860_000_000),
        ("2026-11-28T11:00:00+01:00", 1_795_860_000_000),
        ("2026-11-28 10:00", 1_795_860_000_000),
    ],
)
def test_moments(text, ms):
    assert moment_ms(text, NOW_MS) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-3h", "9999999d", "2026-13-01"])
def test_no_moments(text):
    with pytest.raises(ValueError, match=r"isoformat|month"):
        moment_ms(text, NOW_MS)
