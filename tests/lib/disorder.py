"""Events as a stream brings them at its worst."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def in_disorder(items: Sequence[Item], chance: random.Random, *, twice: float, largest: int) -> list[list[Item]]:
    """All of them in any order, some twice, in batches of any size up to `largest`; `twice` is how likely."""
    left = [*items, *(item for item in items if chance.random() < twice)]
    chance.shuffle(left)
    batches = []
    while left:
        size = chance.randint(1, largest)
        batches.append(left[:size])
        left = left[size:]
    return batches
