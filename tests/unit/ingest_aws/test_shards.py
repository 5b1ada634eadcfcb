"""Parents are read to their end before their children."""

import pytest

from leadsman_ingest_aws.shards import Shard, readable

A, B = Shard("a", closed=True), Shard("b", closed=True)
LEFT, RIGHT, MERGED = Shard("l", ("a",)), Shard("r", ("a",)), Shard("m", ("a", "b"))


@pytest.mark.parametrize(
    ("shards", "finished", "expected"),
    [
        pytest.param([], set(), "", id="none"),
        pytest.param([A, B], set(), "ab", id="no resharding"),
        pytest.param([A, LEFT, RIGHT], set(), "a", id="split: the parent first"),
        pytest.param([A, LEFT, RIGHT], {"a"}, "lr", id="split: then the children"),
        pytest.param([LEFT, RIGHT], set(), "lr", id="the parent aged out"),
        pytest.param([A, B, MERGED], {"a"}, "b", id="merge: one parent is left"),
        pytest.param([A, B, MERGED], {"a", "b"}, "m", id="merge: both parents read"),
        pytest.param([B, MERGED], {"b"}, "m", id="merge: one read, one aged out"),
        pytest.param([A, LEFT], {"a", "l"}, "", id="all finished"),
    ],
)
def test_readable(shards, finished, expected):
    assert "".join(shard.id for shard in readable(shards, finished)) == expected
