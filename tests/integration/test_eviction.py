"""A detector refuses to start on a Redis that evicts, by what INFO says; one that may not ask only warns."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
import redis
import structlog

from leadsman_detector.state_redis import RedisState, connect

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def evicting(local, tmp_path_factory):
    """The URL of a Redis of its own, which is told to evict."""
    server, processes = local("redis_server"), local("processes")
    folder = tmp_path_factory.mktemp("evicting")
    process = server.start(folder, port=None, tie_to_parent=True)
    url = server.url(process.port)
    redis.Redis.from_url(url).config_set("maxmemory-policy", "volatile-lru")
    yield url
    processes.stop(folder, [process], grace_s=3)


def eviction_of(url):
    async def ask():
        state = RedisState(connect(url), "t:")
        try:
            return await state.eviction()
        finally:
            await state.close()

    return asyncio.run(ask())


def test_the_detector_does_not_start(evicting):
    env = {**os.environ, "LEADSMAN_REDIS_URL": evicting, "LEADSMAN_HTTP_PORT": "-1"}
    command = [sys.executable, "-m", "leadsman_detector"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "maxmemory-policy volatile-lru" in done.stderr


def test_one_that_keeps_is_taken(evicting):
    client = redis.Redis.from_url(evicting)
    client.config_set("maxmemory-policy", "noeviction")
    try:
        assert eviction_of(evicting) == ""
    finally:
        client.config_set("maxmemory-policy", "volatile-lru")


def test_an_account_that_may_not_ask_is_warned(evicting, capsys):
    client = redis.Redis.from_url(evicting)
    client.acl_setuser("poor", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"], commands=["-info"])
    url = evicting.replace("redis://", "redis://poor:pw@")
    structlog.reset_defaults()
    assert eviction_of(url) == ""
    assert "does not let us see" in capsys.readouterr().out
