"""URLs, keys and Retry-After: tables. What goes over the wire is in tests/integration."""

from datetime import UTC, datetime

import pytest

from leadsman_common.settings import SettingError
from leadsman_notifier.http import check_url, idempotency_key, retry_after_s
from leadsman_notifier.net import Net

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 00:01:30 -0000", 90.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 400, None),
        ("\u0663", None),
        ("Thu, 99 Jan 2026 00:01:30 GMT", None),
    ],
)
def test_retry_after(value, expected):
    assert retry_after_s(value, NOW) == expected


@pytest.mark.parametrize("alert_id", ["a" * 32, "local-0a1b", "x:y.z_1"])
def test_an_id_is_its_own_key(alert_id):
    assert idempotency_key(alert_id) == alert_id


@pytest.mark.parametrize("alert_id", ["", "a\r\nX-Forged: 1", "é", "a b", "a" * 129, "\ud800"])
def test_an_id_that_no_header_holds_is_hashed(alert_id):
    key = idempotency_key(alert_id)
    assert len(key) == 32
    assert key == idempotency_key(alert_id) != idempotency_key(alert_id + "x")


@pytest.mark.parametrize("url", ["https://hooks.example/x", "http://127.0.0.1:8080/", "http://[::1]:80/a?b=c"])
def test_good_urls(url):
    check_url(url, Net(["127.0.0.0/8", "::1"]))


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example/x",
        "ftp://hooks.example",
        "file:///etc/passwd",
        "gopher://x",
        "https://",
        "https://u:secret@hooks.example",
        "https://hooks.example:99999/",
        "https://[::1",
        "https://hooks.example/\n",
    ],
)
def test_bad_urls_are_refused_and_not_shown(url):
    with pytest.raises(SettingError, match="url is no http") as error:
        check_url(url, Net(["127.0.0.0/8", "::1"]))
    assert "secret" not in str(error.value)
