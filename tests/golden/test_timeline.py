"""The drawing of a chain across cloud and cluster, against what a person has looked at. `make golden` rewrites."""

import chains

from leadsman_common.timeline import draw


def test_a_chain_as_it_was_looked_at(golden):
    golden("timeline/cloud-and-cluster.svg", draw(chains.ten()) + "\n")
