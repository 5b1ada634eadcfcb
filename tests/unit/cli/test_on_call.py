"""`leadsman notify`: what it says without a broker. `show` and `events` are in tests/integration."""

import json

import pytest

from leadsman_cli.__main__ import main


@pytest.fixture
def env(monkeypatch):
    def put(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"LEADSMAN_{name.upper()}", str(value))

    return put


def test_a_sample_says_that_it_is_one(env, capfdbinary):
    env(stdout_format="json")
    assert main(["notify", "test", "stdout", "--level", "critical"]) == 0
    first, told = capfdbinary.readouterr().out.decode().splitlines()
    alert = json.loads(first)
    assert (alert["id"], alert["level"]) == ("leadsman-test", "critical")
    assert alert["title"].startswith("TEST, nothing happened")
    assert told == "stdout took the sample (id leadsman-test)"


def test_a_channel_that_does_not_take_it(env, tmp_path, capsys):
    path = tmp_path / "notify.yaml"
    path.write_text(
        "channels: {hook: {type: webhook, url: 'http://127.0.0.1:9/x', token: planted}}\nallow: [127.0.0.1]\n",
        encoding="utf-8",
    )
    env(notify_config=path)
    assert main(["notify", "test", "hook"]) == 1
    said = capsys.readouterr().err
    assert "hook did not take it: ConnectError" in said
    assert "planted" not in said


@pytest.mark.parametrize(
    ("config", "channel", "says"),
    [
        ("channels: {a: {type: stdout}}", "b", "no channel 'b'; there are a"),
        ("channels: {a: {type: pigeon}}", "a", "type is one of"),
        ("channels: {a: {type: webhook, url: 'http://10.0.0.1/'}}", "a", "no public address"),
    ],
)
def test_what_cannot_be_tested(env, tmp_path, capsys, config, channel, says):
    path = tmp_path / "notify.yaml"
    path.write_text(config, encoding="utf-8")
    env(notify_config=path)
    assert main(["notify", "test", channel]) == 1
    assert says in capsys.readouterr().err


def test_the_list(env, capsys):
    env(slack_url="https://hooks.example/x")
    assert main(["notify", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["slack  slack  from medium", "stdout  stdout  from informational"]
