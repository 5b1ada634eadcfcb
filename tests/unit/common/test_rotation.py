"""Secrets that change in their files: what is looked at, what is refused, and a real process that takes the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import structlog

from leadsman_common.rotation import Rotation, secret_files

SERVICE = """
import sys
from dataclasses import dataclass
from leadsman_common.service import run
from leadsman_common.settings import Common, setting
from leadsman_common.stopping import on_signals

@dataclass(frozen=True)
class Settings(Common):
    api_token: str = setting("a secret", "", secret=True)
    many: int = setting("a number", 1, secret=True)

def body(settings, log):
    stop = on_signals()
    print("token", settings.api_token, settings.many, flush=True)
    stop.wait()
    print("done", flush=True)

sys.exit(run("example", Settings, body))
"""


@pytest.fixture
def started(tmp_path):
    """started(): a service with its secrets in files, looked at ten times a second."""
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "token").write_text("one")
    (tmp_path / "many").write_text("1")
    env = {
        **os.environ,
        "LEADSMAN_API_TOKEN_FILE": str(tmp_path / "token"),
        "LEADSMAN_MANY_FILE": str(tmp_path / "many"),
        "LEADSMAN_SECRETS_LOOK_S": "0.1",
    }
    command = [sys.executable, "service.py", "an argument"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=(tmp_path / "log").open("w")
    ) as process:
        yield process
        process.kill()


def replace(path, text):
    """As who gives secrets does it: nobody ever reads half a file, or an empty one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_a_changed_secret_is_in_force_in_the_same_process(started, tmp_path):
    assert started.stdout.readline() == "token one 1\n"
    replace(tmp_path / "token", "two")
    assert [started.stdout.readline() for _ in range(2)] == ["done\n", "token two 1\n"]
    assert started.poll() is None
    started.send_signal(signal.SIGTERM)
    assert started.stdout.readline() == "done\n"
    assert started.wait(20) == 0


def test_a_secret_of_no_use_is_refused_and_the_old_one_stays(started, tmp_path):
    assert started.stdout.readline() == "token one 1\n"
    replace(tmp_path / "many", "many")
    deadline = time.monotonic() + 20
    while "the old ones stay" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    replace(tmp_path / "many", "2")
    assert [started.stdout.readline() for _ in range(2)] == ["done\n", "token one 2\n"]


def test_what_is_looked_at(tmp_path):
    for name in ("token", "ca.pem", "aws", "redis.pem", "other"):
        (tmp_path / name).write_text("x")
    env = {
        "LEADSMAN_WEBHOOK_TOKEN_FILE": str(tmp_path / "token"),
        "LEADSMAN_GONE_FILE": str(tmp_path / "gone"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws"),
        "OTHER_FILE": str(tmp_path / "other"),
    }
    settings = SimpleNamespace(
        kafka_options={"ssl.ca.location": str(tmp_path / "ca.pem"), "sasl.username": str(tmp_path / "other")},
        redis_url=f"rediss://example:6379/0?ssl_ca_certs={tmp_path / 'redis.pem'}",
    )
    assert {path.name for path in secret_files(env, settings)} == {"token", "ca.pem", "aws", "redis.pem"}


def test_a_file_that_is_replaced_counts_once_it_is_there(tmp_path):
    path, stops = tmp_path / "token", []
    path.write_text("one")
    rotation = Rotation([path], lambda: None, structlog.get_logger(), 0, lambda: stops.append(1))
    assert not rotation.look()
    path.write_text("two")
    assert rotation.look()
    assert rotation.due
    assert stops == [1]
