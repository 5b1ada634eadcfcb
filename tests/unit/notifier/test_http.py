"""URLs, keys and Retry-After: tables. What goes over the wire is in tests/integration."""

from datetime import UTC, datetime

import pytest

from leadsman_common.settings import SettingError, load, shown
from leadsman_notifier.config import Settings
from leadsman_notifier.http import check_url, idempotency_key, retry_after_s
from leadsman_notifier.sinks import SINKS, open_sinks

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
    check_url("webhook_url", url)


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
    with pytest.raises(SettingError, match="LEADSMAN_WEBHOOK_URL") as error:
        check_url("webhook_url", url)
    assert "secret" not in str(error.value)


def test_only_stdout_without_settings():
    assert list(open_sinks({})) == ["stdout"]


def test_each_sink_is_opened_by_its_settings():
    env = {
        "LEADSMAN_STDOUT_FORMAT": "off",
        "LEADSMAN_WEBHOOK_URL": "https://hooks.example/w",
        "LEADSMAN_SLACK_URL": "https://hooks.example/s",
        "LEADSMAN_SLACK_MIN_LEVEL": "high",
    }
    sinks = open_sinks(env)
    assert {name: sink.min_level for name, sink in sinks.items()} == {"slack": "high", "webhook": "informational"}


@pytest.mark.parametrize(
    "env",
    [
        {"LEADSMAN_STDOUT_FORMAT": "xml"},
        {"LEADSMAN_STDOUT_MIN_LEVEL": "urgent"},
        {"LEADSMAN_SLACK_URL": "slack"},
        {"LEADSMAN_SLACK_URL": "https://x.example", "LEADSMAN_SLACK_MIN_LEVEL": ""},
        {"LEADSMAN_WEBHOOK_URL": "https://x.example", "LEADSMAN_WEBHOOK_TOKEN": "a\nb"},
        {"LEADSMAN_WEBHOOK_URL": "https://x.example", "LEADSMAN_WEBHOOK_TIMEOUT_S": "long"},
    ],
    ids=lambda env: list(env)[-1],
)
def test_wrong_settings_of_a_sink(env):
    with pytest.raises(SettingError, match=list(env)[-1]):
        open_sinks(env)


@pytest.mark.parametrize("name", ["KEEP_S", "RETRY_S", "BACKOFF_S", "BACKOFF_MAX_S"])
def test_times_are_above_zero(name):
    with pytest.raises(SettingError, match=name):
        load(Settings, {f"LEADSMAN_NOTIFY_{name}": "0"})


def test_secrets_are_hidden():
    env = {
        "LEADSMAN_WEBHOOK_URL": "https://planted.example",
        "LEADSMAN_WEBHOOK_TOKEN": "planted",
        "LEADSMAN_SLACK_URL": "https://planted.example",
        "LEADSMAN_REDIS_URL": "redis://:planted@x",
    }
    assert "planted" not in str([shown(load(config, env)) for config in (*SINKS.values(), Settings)])


def test_every_file_of_sinks_is_in_the_table():
    import leadsman_notifier.sinks as package

    files = {path.stem for folder in package.__path__ for path in __import__("pathlib").Path(folder).glob("[a-z]*.py")}
    assert files == set(SINKS)
    assert all(config.__module__ == f"leadsman_notifier.sinks.{name}" for name, config in SINKS.items())
