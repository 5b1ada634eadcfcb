"""What of Redis' INFO says that it evicts."""

import pytest

from leadsman_common.eviction import complaint


@pytest.mark.parametrize(
    "policy",
    ["allkeys-lru", "allkeys-lfu", "allkeys-random", "allkeys-lrm", "volatile-lru", "volatile-ttl", "volatile-random"],
)
def test_an_evicting_policy_is_named(policy):
    assert policy in complaint({"maxmemory_policy": policy})
    assert policy in complaint({"a:1": {"maxmemory_policy": "noeviction"}, "b:2": {"maxmemory_policy": policy}})


@pytest.mark.parametrize(
    "info",
    [
        {"maxmemory_policy": "noeviction"},
        {"a:1": {"maxmemory_policy": "noeviction"}, "b:2": {"maxmemory_policy": "noeviction"}},
        {},
        {"used_memory": 1},
    ],
)
def test_no_complaint_without_one(info):
    assert complaint(info) == ""
