"""notify.yaml: what it may say, what is refused and how that is told. Routes, silences and quiet hours: tables."""

import datetime as dt

import pytest
import yaml

from leadsman_common.settings import SettingError, load, shown
from leadsman_notifier.channels import CHANNELS, open_channels
from leadsman_notifier.config import Settings
from leadsman_notifier.config_file import load_notify, parse
from leadsman_notifier.net import Net

FULL = """
channels:
    soc: {type: slack, url_env: SLACK, min_level: low, group_by: [rule, cluster], group_s: 30}
    pager: {type: pagerduty, routing_key: planted-key}
    mail: {type: mail, host: smtp.internal, sender: Leadsman <leadsman@example.com>, to: [soc@example.com]}
    log: {type: file, path: /tmp/alerts.jsonl}
routes:
    - {match: {level: high, cloud: aws}, channels: [pager], continue: true}
    - {match: {namespace: "team-*", labels: {env: prod}}, channels: [mail]}
    - {channels: [soc, log]}
silences:
    - {match: {rule: pod-attach, actor: alice@example.com}, owner: bob@example.com, until: 2026-02-01T00:00:00Z}
quiet_hours:
    - {channels: [soc], from: "22:00", to: "06:00", timezone: Europe/Berlin, below: high,
       days: [mon, tue, wed, thu, fri]}
advice:
    my-rule: {why: Because., check: [Look.]}
allow: [10.0.0.0/8, hooks.internal]
"""
ENV = {"SLACK": "https://hooks.example/planted"}
UTC = dt.UTC


def config(text=FULL, env=None):
    return parse(yaml.safe_load(text), ENV if env is None else env)


def test_a_full_file():
    notify = config()
    assert list(notify.channels) == ["soc", "pager", "mail", "log"]
    assert notify.channels["soc"].url == ENV["SLACK"]
    assert notify.channels["soc"].group_by == ("rule", "cluster")
    assert notify.channels["pager"].limit_per_minute == 20
    assert notify.channels["log"].limit_per_minute == 0
    assert set(open_channels(notify.channels, Net(notify.allow))) == set(notify.channels)


def test_without_routes_every_channel_is_told(make_alert):
    notify = parse({"channels": {"a": {"type": "stdout"}, "b": {"type": "stdout"}}}, {})
    assert notify.plan.channels(make_alert(), {}) == {"a", "b"}


@pytest.mark.parametrize(
    ("change", "labels", "expected"),
    [
        ({}, {}, {"pager", "soc", "log"}),
        ({"level": "low"}, {}, {"soc", "log"}),
        ({"cluster__provider": "gcp"}, {}, {"soc", "log"}),
        ({"objectRef__namespace": "team-a"}, {"env": "prod"}, {"pager", "mail"}),
        ({"objectRef__namespace": "team-a", "level": "low"}, {"env": "prod"}, {"mail"}),
        ({"objectRef__namespace": "team-a"}, {"env": "dev"}, {"pager", "soc", "log"}),
        ({"objectRef__namespace": "TEAM-a"}, {"env": "prod"}, {"pager", "soc", "log"}),
        ({"level": "unheard-of"}, {}, {"pager", "soc", "log"}),
    ],
)
def test_routes(make_alert, change, labels, expected):
    assert config().plan.channels(make_alert(**change), labels) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"rule": "privileged-*"}, True),
        ({"rule": ["x", "privileged-container"]}, True),
        ({"rule": "privileged"}, False),
        ({"cluster": "shop"}, True),
        ({"cluster": "aws/*/shop"}, True),
        ({"tag": "attack.t1611"}, True),
        ({"tag": "attack.t9999"}, False),
        ({"attempt": True}, False),
        ({"attempt": False, "actor": "alice@*"}, True),
        ({"level": "critical"}, True),
    ],
)
def test_matches(make_alert, match, expected):
    document = {"channels": {"a": {"type": "stdout"}}, "routes": [{"match": match, "channels": ["a"]}]}
    assert (parse(document, {}).plan.channels(make_alert(), {}) == {"a"}) is expected


@pytest.mark.parametrize(
    ("now", "rule", "on"),
    [
        ("2026-01-31T23:59:59+00:00", "pod-attach", True),
        ("2026-02-01T00:00:00+00:00", "pod-attach", False),
        ("2026-01-31T23:59:59+00:00", "pod-exec", False),
    ],
)
def test_a_silence_holds_until_it_expires(make_alert, now, rule, on):
    alert = make_alert(rule__name=rule)
    found = config().plan.silenced(alert, {}, dt.datetime.fromisoformat(now))
    assert (found is not None) is on


@pytest.mark.parametrize(
    ("now", "level", "until"),
    [
        ("2026-01-05T21:30:00+01:00", "low", None),
        ("2026-01-05T22:00:00+01:00", "low", "2026-01-06T06:00:00+01:00"),  # Monday night
        ("2026-01-06T05:59:59+01:00", "medium", "2026-01-06T06:00:00+01:00"),
        ("2026-01-06T06:00:00+01:00", "low", None),
        ("2026-01-05T23:00:00+01:00", "high", None),
        ("2026-01-10T03:00:00+01:00", "low", "2026-01-10T06:00:00+01:00"),  # Saturday, begun on Friday
        ("2026-01-10T23:00:00+01:00", "low", None),  # Saturday night
        ("2026-03-29T01:00:00+01:00", "low", None),  # Sunday; the clock goes forward
    ],
)
def test_quiet_hours(make_alert, now, level, until):
    found = config().plan.quiet_until("soc", make_alert(level=level), dt.datetime.fromisoformat(now))
    assert found == (dt.datetime.fromisoformat(until).timestamp() if until else None)
    assert config().plan.quiet_until("pager", make_alert(level=level), dt.datetime.fromisoformat(now)) is None


WRONG = {
    "nothing": ("{}", "channels"),
    "no channel": ("{channels: {}}", "none is given"),
    "unknown key": ("{channels: {a: {type: stdout}}, route: []}", "route"),
    "unknown type": ("{channels: {a: {type: pigeon}}}", "channels.a: type is one of"),
    "unknown field": ("{channels: {a: {type: stdout, colour: red}}}", "channels.a: .*colour"),
    "missing field": ("{channels: {a: {type: slack}}}", "channels.a: .*url"),
    "name": ("{channels: {A_b: {type: stdout}}}", "A_b"),
    "level": ("{channels: {a: {type: stdout, min_level: urgent}}}", "channels.a: min_level"),
    "limit": ("{channels: {a: {type: stdout, limit_per_minute: -1}}}", "limit_per_minute"),
    "group": ("{channels: {a: {type: stdout, group_by: [colour]}}}", "group_by"),
    "route to nowhere": ("{channels: {a: {type: stdout}}, routes: [{channels: [b]}]}", "no channel 'b'"),
    "match": ("{channels: {a: {type: stdout}}, routes: [{channels: [a], match: {leevl: low}}]}", "leevl"),
    "match level": ("{channels: {a: {type: stdout}}, routes: [{channels: [a], match: {level: x}}]}", "no level"),
    "silence without owner": (
        "{channels: {a: {type: stdout}}, silences: [{match: {}, until: 2026-01-01T00:00:00Z}]}", "owner",
    ),
    "silence without end": ("{channels: {a: {type: stdout}}, silences: [{match: {}, owner: a}]}", "until"),
    "silence without zone": (
        "{channels: {a: {type: stdout}}, silences: [{match: {}, owner: a, until: '2026-01-01T00:00:00'}]}", "timezone",
    ),
    "quiet day": (
        "{channels: {a: {type: stdout}}, quiet_hours: [{channels: [a], from: '22:00', to: '06:00', days: [x]}]}", "'x'",
    ),
    "quiet zone": (
        "{channels: {a: {type: stdout}}, quiet_hours: [{channels: [a], from: '22:00', to: '06:00', timezone: X/Y}]}",
        "X/Y",
    ),
    "allow": ("{channels: {a: {type: stdout}}, allow: ['http://x']}", "allow"),
    "env": ("{channels: {a: {type: slack, url_env: NOT_THERE}}}", "channels.a: url_env"),
    "file": ("{channels: {a: {type: slack, url_file: /not/there}}}", "channels.a: '/not/there'"),
    "both": ("{channels: {a: {type: slack, url: x, url_env: SLACK}}}", "both given"),
    "list": ("[1]", "object"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(text, says):
    with pytest.raises(SettingError, match=says):
        config(text)


def test_no_secret_is_told(tmp_path):
    path = tmp_path / "notify.yaml"
    for text in ("channels: {a: {type: slack, url: https://planted.example\n", "channels: {a: {type: planted: x}"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingError) as error:
            load_notify(path)
        assert "planted" not in str(error.value)
        assert str(path) in str(error.value)


def test_a_secret_in_a_file(tmp_path):
    (tmp_path / "url").write_text("https://hooks.example/x\n", encoding="utf-8")
    notify = config(f"{{channels: {{a: {{type: slack, url_file: {tmp_path}/url}}}}}}")
    assert notify.channels["a"].url == "https://hooks.example/x"


BAD_CHANNELS = {
    "url": {"type": "webhook", "url": "ftp://x"},
    "private url": {"type": "webhook", "url": "http://10.0.0.1/"},
    "token": {"type": "webhook", "url": "https://x.example", "token": "a\nb"},
    "ca": {"type": "webhook", "url": "https://x.example", "ca_file": "/not/there"},
    "mail nobody": {"type": "mail", "host": "h", "sender": "a@b.example", "to": []},
    "mail header": {"type": "mail", "host": "h", "sender": "a@b.example\nBcc: x", "to": ["c@d.example"]},
    "mail password in the clear": {
        "type": "mail", "host": "h", "sender": "a@b.example", "to": ["c@d.example"], "security": "none",
        "user": "u", "password": "p",
    },
    "file": {"type": "file", "path": "/not/there/x"},
    "apprise": {"type": "apprise", "url": "nosuchservice://x"},
    "apprise here": {"type": "apprise", "url": "dbus://"},
    "apprise private": {"type": "apprise", "url": "json://127.0.0.1/"},
    "facility": {"type": "syslog", "host": "h", "facility": 99},
    "jira key": {"type": "jira", "api_key": "a\r\nb"},
}  # fmt: skip


@pytest.mark.parametrize("fields", BAD_CHANNELS.values(), ids=BAD_CHANNELS)
def test_a_channel_that_cannot_work_is_refused_at_the_start(fields):
    notify = parse({"channels": {"a": fields}}, {})
    with pytest.raises(SettingError, match=r"channels\.a"):
        open_channels(notify.channels, Net())


def test_settings_alone_make_three_channels():
    settings = load(Settings, {"LEADSMAN_WEBHOOK_URL": "https://a.example", "LEADSMAN_SLACK_URL": "https://b.example"})
    notify = settings.notify()
    assert {n: c.min_level for n, c in notify.channels.items()} == {
        "webhook": "informational", "slack": "medium", "stdout": "informational",
    }  # fmt: skip
    with pytest.raises(SettingError, match="no channel"):
        load(Settings, {"LEADSMAN_STDOUT_FORMAT": "off"}).notify()


@pytest.mark.parametrize("name", ["RETRY_S", "BACKOFF_S", "BACKOFF_MAX_S"])
def test_times_are_above_zero(name):
    with pytest.raises(SettingError, match=name):
        load(Settings, {f"LEADSMAN_NOTIFY_{name}": "0"})


def test_secret_settings_are_hidden():
    names = ("WEBHOOK_URL", "WEBHOOK_TOKEN", "WEBHOOK_HMAC_KEY", "SLACK_URL")
    settings = load(Settings, {f"LEADSMAN_{name}": "https://planted.example" for name in names})
    assert "planted" not in str(shown(settings))


def test_every_file_of_channels_is_in_the_table():
    import pathlib

    import leadsman_notifier.channels as package

    files = {path.stem for folder in package.__path__ for path in pathlib.Path(folder).glob("[a-z]*.py")}
    assert files == set(CHANNELS)
    for name, config_class in CHANNELS.items():
        assert config_class.__struct_config__.tag == name
        assert config_class.__module__ == f"leadsman_notifier.channels.{name}"
