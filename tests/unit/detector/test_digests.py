"""Workers with different rules are told of once it lasts longer than a reload takes."""

from __future__ import annotations

from leadsman_common.metrics import RULES_DIFFER
from leadsman_detector.digests import GRACE_MS, Digests


def test_a_difference_is_borne_for_a_reload_and_then_told():
    digests = Digests(reload_s=5)
    digests.look({"me": "a", "other": "b"}, "a", 0)
    digests.look({"me": "a", "other": "b"}, "a", 5_000 + GRACE_MS - 1)
    assert RULES_DIFFER._value.get() == 0
    digests.look({"me": "a", "other": "b", "third": "b"}, "a", 5_000 + GRACE_MS)
    assert RULES_DIFFER._value.get() == 2
    digests.look({"me": "b", "other": "b"}, "b", 30_000)
    assert RULES_DIFFER._value.get() == 0
    digests.look({"me": "b", "other": "c"}, "b", 31_000)
    assert RULES_DIFFER._value.get() == 0
