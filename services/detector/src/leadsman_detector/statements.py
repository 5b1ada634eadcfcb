"""What events say of one thing over time: a setting's values, or whether it is secure. Its changes are kept for long.

A statement that says the same as the one before it adds nothing, so only those that begin something else (heads) are
kept for long, and all of them for a day, so that one that comes late finds its neighbours. In between, what a late
statement makes a head becomes one. So the changes are a function of the set of statements, in whatever order they
come, and what is said again and again (flags at each start, labels at each apply) costs a day's space and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from leadsman_common.events import AuditEvent
from leadsman_detector import members
from leadsman_detector.state import ALL_TIME, DAY_MS, Put, Range, StateReply

EVER_MS = 3650 * DAY_MS  # of what changed
MAX_RECENT = 64  # statements of one thing within a day; the latest are kept
MAX_HEADS = 1_000  # changes of one thing; the latest are kept
MAX_NAME = 200


class Statement(msgspec.Struct, array_like=True, frozen=True):
    """What one event says. `told` is whatever its readers need of the event; fields are only ever added at the end."""

    id: str  # the event's
    time: int  # microseconds
    value: str
    thing: str  # which thing it is about, in words
    told: msgspec.Raw

    @property
    def position(self) -> tuple[int, str]:
        """Where it stands among the statements of its thing."""
        return self.time, self.id


@dataclass(frozen=True, slots=True)
class Thing:
    """What statements are about, in one cluster. `owner` is the kind of state that it is."""

    owner: str
    name: str
    cluster: str

    @property
    def group(self) -> str:
        """The state's group of it. Names may be an attacker's: a long one is cut and told apart by its hash."""
        name = self.name
        if len(name) > MAX_NAME:
            digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
            name = f"{name[:MAX_NAME]}.{digest}"
        return f"{self.owner}/{name}"

    def recent(self, said: Statement) -> Put:
        """Keep a statement for a day."""
        return self._put("recent", said, DAY_MS, MAX_RECENT)

    def head(self, said: Statement) -> Put:
        """Keep it for long: something else is so from it on."""
        return self._put("heads", said, EVER_MS, MAX_HEADS)

    def ranges(self) -> tuple[Range, Range]:
        """Ask for all that was said."""
        group = self.group
        return (
            Range(f"{group}/recent", self.cluster, *ALL_TIME, group),
            Range(f"{group}/heads", self.cluster, *ALL_TIME, group),
        )

    def _put(self, series: str, said: Statement, ttl_ms: int, cap: int) -> Put:
        group, name = self.group, said.id.encode()
        return Put(f"{group}/{series}", self.cluster, said.time // 1000, encode(said), ttl_ms, cap, group, name=name)


def tells(event: AuditEvent) -> bool:
    """Whether an event says how things are: a request that took effect, or a component that speaks of itself."""
    took_effect = event["outcome"]["effective"] and not event["dryRun"]
    return took_effect or event["action"].startswith("control-plane/")


def encode(said: Statement) -> bytes:
    """A statement as a member."""
    return msgspec.json.encode(said)


def united(replies: Sequence[StateReply], arrived: Statement) -> list[Statement]:
    """All that is known to have been said, each once, in order; with `arrived`, which may be too old to be kept."""
    return in_order([arrived, *(said for reply in replies for said in read(members.of(reply)))])


def in_order(found: Sequence[Statement]) -> list[Statement]:
    """Each statement once, in order of time."""
    return sorted({said.id: said for said in found}.values(), key=lambda s: s.position)


def read(found: Sequence[bytes]) -> list[Statement]:
    """The statements of members, as they stand."""
    return members.read_all(_DECODER, found)


def heads(every: Sequence[Statement]) -> list[Statement]:
    """Those that say something else than the one before them."""
    return [said for before, said in pairwise([None, *every]) if said and (not before or before.value != said.value)]


def new_heads(every: Sequence[Statement], arrived: Statement) -> list[Statement]:
    """The heads that the arrival of one makes: itself, the one after it, or none."""
    after = next((said for said in every if said.position > arrived.position), None)
    return [said for said in heads(every) if said.id == arrived.id or (after is not None and said.id == after.id)]


_DECODER: msgspec.json.Decoder[Statement] = msgspec.json.Decoder(Statement)
