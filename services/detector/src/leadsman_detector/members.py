"""Members of the state's series as what they tell; one that another release wrote otherwise is as if aged out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import msgspec

from leadsman_detector.state import StateReply

T = TypeVar("T")


def of(reply: StateReply) -> list[bytes]:
    """The members that a Range was answered with."""
    return cast("list[bytes]", reply)


def numbers(reply: StateReply) -> list[int]:
    """Members that are numbers in decimal."""
    return [int(member) for member in of(reply) if member.lstrip(b"-").isdigit()]


def read(decoder: msgspec.json.Decoder[T], member: bytes) -> T | None:
    """What a member tells; None where it cannot be read."""
    try:
        return decoder.decode(member)
    except msgspec.MsgspecError:
        return None


def read_all(decoder: msgspec.json.Decoder[T], members: Sequence[bytes]) -> list[T]:
    """What all of them tell, without those that cannot be read."""
    return [found for member in members if (found := read(decoder, member)) is not None]
