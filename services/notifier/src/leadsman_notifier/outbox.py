"""What one channel has still to be told, and in which messages: a pure state machine, the clock is an argument.

An alert is told at once while the channel's limit has room. What is over the limit, what follows in a group and what
comes in quiet hours waits in a bucket and is told together. The offset of an alert may be committed once it was told,
so Kafka keeps whatever waits here: a notifier that dies reads it again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from leadsman_common.alerts import LEVELS, Alert
from leadsman_notifier.limits import Limit
from leadsman_notifier.message import SAMPLES, Count, Message, brief, digest, rank, single
from leadsman_notifier.told import Told

DIGEST_MEMBERS = 5_000  # ids in one digest's record on the deliveries topic
MANY_SINGLES = 100  # whole alerts in memory
STORM, GROUP, QUIET = "storm", "group", "quiet hours"


class Place(NamedTuple):
    """Where an alert stands on the topic."""

    partition: int
    offset: int
    timestamp_ms: int = 0


class Member(NamedTuple):
    """An alert of a message: its id, its level's rank, the partition that it came from."""

    id: str
    rank: int
    partition: int


class _Item:
    """An alert that waits; `places` are all the records that told of it."""

    __slots__ = ("cluster", "id", "level", "places", "rule")

    def __init__(self, alert: Alert, place: Place) -> None:
        self.id = alert["id"]
        self.level = alert["level"]
        self.rule = alert["rule"]["name"]
        self.cluster = alert["cluster"]["id"] or alert["cluster"]["name"]
        self.places = [place]


@dataclass
class Bucket:
    """What waits to be told together: why, since when it may be, and the alerts, a few of them whole."""

    why: str
    due_s: float
    items: dict[str, _Item] = field(default_factory=dict)
    samples: dict[str, Alert] = field(default_factory=dict)

    def add(self, alert: Alert, place: Place) -> None:
        """Put an alert in, or a further record of one that is in."""
        item = self.items.get(alert["id"])
        if item is None:
            item = self.items[alert["id"]] = _Item(alert, place)
        else:
            item.places.append(place)
            if rank(alert["level"]) <= rank(item.level):
                return
            item.level = alert["level"]
        self._sample(alert)

    def _sample(self, alert: Alert) -> None:
        if alert["id"] not in self.samples and len(self.samples) >= SAMPLES:
            lowest = min(self.samples.values(), key=lambda a: rank(a["level"]))
            if rank(lowest["level"]) >= rank(alert["level"]):
                return
            del self.samples[lowest["id"]]
        self.samples[alert["id"]] = alert


@dataclass
class Parcel:
    """A message on its way, with what it tells of and the records that this settles."""

    message: Message
    members: list[Member]
    places: list[Place]
    announced: bool = False  # whether the deliveries topic says that it is being sent


class Outbox:
    """One channel's alerts that wait. `share` says which part of the limit is this worker's."""

    def __init__(
        self,
        channel: str,
        *,
        per_minute: int = 0,
        group_by: tuple[str, ...] = (),
        group_s: float = 60.0,
        capacity: int = 10_000,
    ) -> None:
        """`capacity`: how many may wait before `full` asks the stream to read no further."""
        self.channel = channel
        self.told = Told()
        self.limit = Limit(per_minute)
        self._whole = per_minute
        self._capacity = capacity
        self._group_by = group_by
        self._group_s = group_s
        self._singles: OrderedDict[str, tuple[Alert, list[Place]]] = OrderedDict()
        self._buckets: dict[tuple[str, ...], Bucket] = {}
        self._bucket_of: dict[str, tuple[str, ...]] = {}  # alert id -> the bucket it waits in
        self._groups: dict[tuple[str, ...], float] = {}
        self._again: deque[Parcel] = deque()  # digests that an earlier notifier had begun to send
        self._promised: dict[str, Parcel] = {}  # alert id -> such a digest
        self._begun: dict[str, int] = {}  # alert id -> rank, single messages that it had begun to send
        self._open: dict[int, OrderedDict[int, None]] = {}  # partition -> offsets that wait, in order
        self._next: dict[int, int] = {}  # partition -> offset after the last one seen
        self._current: Parcel | None = None
        self._last_storm_s = 0.0

    # --- what an earlier notifier left ------------------------------------------------------------------------

    def begun(self, alert_id: str, level_rank: int) -> None:
        """An earlier notifier had begun to tell of that alert alone: tell of it alone again, under the same key."""
        self._begun[alert_id] = level_rank

    def again(self, message: Message, members: Iterable[Member], *, announced: bool = True) -> None:
        """An earlier notifier had begun to send that digest: send it before anything else, as it was.

        `announced`: its record on the deliveries topic is this worker's to take back.
        """
        parcel = next((one for one in self._again if one.message.key == message.key), None)
        if parcel is None:
            parcel = Parcel(message, [], [])
            self._again.append(parcel)
        parcel.announced |= announced
        parcel.members += [member for member in members if member not in parcel.members]
        self._promised |= {member.id: parcel for member in parcel.members}

    def share(self, owned: int, partitions: int) -> None:
        """How many of the topic's partitions are this worker's."""
        self.limit.share(owned, partitions, self._whole)

    # --- in ---------------------------------------------------------------------------------------------------

    def passed(self, place: Place) -> None:
        """A record that this channel is not told of."""
        self._next[place.partition] = place.offset + 1

    def accept(self, alert: Alert, place: Place, now_s: float, *, quiet_until_s: float | None = None) -> str:
        """Take an alert: `waiting`, or `repeated` where the channel has been told of it at this level or above."""
        self._next[place.partition] = place.offset + 1
        alert_id, level = alert["id"], rank(alert["level"])
        if self.told.rank(alert_id) >= level:
            return "repeated"
        if self._joins(alert, place, level):
            return "repeated"
        self._hold(place)
        if self._begun.get(alert_id, -1) >= level or not (self._whole or self._group_by or quiet_until_s):
            self._singles[alert_id] = (alert, [place])
        elif quiet_until_s is not None:
            self._put((QUIET,), QUIET, quiet_until_s, alert, place)
        elif (group := self._group_of(alert)) and now_s < self._groups.get(group, 0.0):
            self._put(group, GROUP, self._groups[group], alert, place)
        else:
            if group:
                self._open_group(group, now_s)
            if self._has_room(now_s):
                self._singles[alert_id] = (alert, [place])
            else:
                self._put((STORM,), STORM, now_s, alert, place)
        return "waiting"

    def _joins(self, alert: Alert, place: Place, level: int) -> bool:
        """Whether it waits already, at this level or above; a higher level takes its place there."""
        alert_id = alert["id"]
        parcel = self._promised.get(alert_id)
        if waiting := self._singles.get(alert_id):
            waiting[1].append(place)
            if level > rank(waiting[0]["level"]):
                self._singles[alert_id] = (alert, waiting[1])
        elif key := self._bucket_of.get(alert_id):
            self._buckets[key].add(alert, place)
        elif parcel is not None and any(m.id == alert_id and m.rank >= level for m in parcel.members):
            parcel.places.append(place)
        else:
            return False
        self._hold(place)
        return True

    def _hold(self, place: Place) -> None:
        self._open.setdefault(place.partition, OrderedDict())[place.offset] = None

    def _has_room(self, now_s: float) -> bool:
        if not self.limit.per_minute:
            return True
        if self._buckets.get((STORM,)):
            return False
        return self.limit.used(now_s) + len(self._singles) + (self._current is not None) < self.limit.singles

    def _group_of(self, alert: Alert) -> tuple[str, ...]:
        return tuple(f"{name}={_GROUPS[name](alert)}" for name in self._group_by)

    def _open_group(self, group: tuple[str, ...], now_s: float) -> None:
        if len(self._groups) > 10_000:
            self._groups = {g: until for g, until in self._groups.items() if until > now_s}
        self._groups[group] = now_s + self._group_s

    def _put(self, key: tuple[str, ...], why: str, due_s: float, alert: Alert, place: Place) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(why, due_s)
        bucket.add(alert, place)
        self._bucket_of[alert["id"]] = key

    # --- out --------------------------------------------------------------------------------------------------

    def next(self, now_s: float) -> Parcel | None:
        """The message that may be sent now; the same one until `done` or `dropped` is told of it."""
        if self._current is None and (chosen := self._choose(now_s)) is not None:
            self._current = chosen
            self._promised |= {member.id: chosen for member in chosen.members}
        return self._current

    def _choose(self, now_s: float) -> Parcel | None:
        if self._again:
            return self._again.popleft()
        if self._singles and self.limit.single_at(now_s) <= now_s:
            alert_id, (alert, places) = self._singles.popitem(last=False)
            return self._alone(alert_id, alert, places)
        if self.limit.digest_at(now_s) > now_s:
            return None
        for key, bucket in self._buckets.items():
            if self._due_s(bucket) <= now_s:
                return self._together(key, bucket, now_s)
        return None

    def _due_s(self, bucket: Bucket) -> float:
        return max(bucket.due_s, self._last_storm_s + self.limit.spacing_s) if bucket.why == STORM else bucket.due_s

    def _alone(self, alert_id: str, alert: Alert, places: list[Place]) -> Parcel:
        told = self.told.rank(alert_id)
        message = single(alert, LEVELS[told] if 0 <= told < len(LEVELS) else "")
        return Parcel(message, [Member(alert_id, rank(alert["level"]), places[0].partition)], places)

    def _together(self, key: tuple[str, ...], bucket: Bucket, now_s: float) -> Parcel:
        if bucket.why == STORM:
            self._last_storm_s = now_s
        taken = list(bucket.items)[:DIGEST_MEMBERS]
        items = [bucket.items.pop(alert_id) for alert_id in taken]
        for alert_id in taken:
            del self._bucket_of[alert_id]
        if not bucket.items:
            del self._buckets[key]
        samples = [bucket.samples.pop(item.id) for item in items if item.id in bucket.samples]
        if len(items) == 1 and samples:
            return self._alone(items[0].id, samples[0], items[0].places)
        samples.sort(key=lambda a: -rank(a["level"]))
        members = [Member(item.id, rank(item.level), item.places[0].partition) for item in items]
        message = digest(self.channel, [m[:2] for m in members], _counts(items), map(brief, samples), bucket.why)
        return Parcel(message, members, [place for item in items for place in item.places])

    def done(self, parcel: Parcel, now_s: float) -> None:
        """The channel took the message."""
        self.limit.note(now_s)
        for member in parcel.members:
            self.told.add(member.id, member.rank)
        self.dropped(parcel)

    def dropped(self, parcel: Parcel) -> None:
        """The message is out of the way: told, or given up and kept elsewhere."""
        for place in parcel.places:
            self._open.get(place.partition, OrderedDict()).pop(place.offset, None)
        for member in parcel.members:
            self._begun.pop(member.id, None)
            self._promised.pop(member.id, None)
        if self._current is parcel:
            self._current = None

    def wait_s(self, now_s: float) -> float:
        """How long until a message may be sent, 0 for now, at most a second."""
        due = min(map(self._due_s, self._buckets.values()), default=None)
        at = [] if due is None else [max(self.limit.digest_at(now_s), due)]
        if self._singles:
            at.append(self.limit.single_at(now_s))
        if self._again or self._current:
            at.append(now_s)
        return min(1.0, max(0.0, min(at, default=now_s + 1.0) - now_s))

    # --- offsets ----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return sum(map(len, self._open.values()))

    @property
    def full(self) -> bool:
        """Whether the stream should read no further for now."""
        return self.waiting >= self._capacity or len(self._singles) >= MANY_SINGLES

    def commits(self) -> Mapping[int, int]:
        """The offset to commit of each partition: of the first record that waits, else after the last one seen."""
        return {p: next(iter(self._open.get(p) or ()), offset) for p, offset in self._next.items()}

    def forget(self, partition: int) -> None:
        """Another worker has that partition now, and reads what waits here."""
        self._next.pop(partition, None)
        self._open.pop(partition, None)
        for alert_id, (_, places) in list(self._singles.items()):
            places[:] = [p for p in places if p.partition != partition]
            if not places:
                del self._singles[alert_id]
        for key, bucket in list(self._buckets.items()):
            for alert_id, item in list(bucket.items.items()):
                item.places[:] = [p for p in item.places if p.partition != partition]
                if not item.places:
                    del bucket.items[alert_id], self._bucket_of[alert_id]
                    bucket.samples.pop(alert_id, None)
            if not bucket.items:
                del self._buckets[key]
        if self._current is not None and all(p.partition == partition for p in self._current.places):
            self._current = None


def _counts(items: Iterable[_Item]) -> list[Count]:
    counted = Counter((item.level, item.rule, item.cluster) for item in items)
    return [Count(level, rule, cluster, count) for (level, rule, cluster), count in counted.items()]


_GROUPS = {
    "rule": lambda a: a["rule"]["name"],
    "cluster": lambda a: a["cluster"]["id"] or a["cluster"]["name"],
    "namespace": lambda a: a["objectRef"]["namespace"],
    "actor": lambda a: a["actor"]["name"],
    "level": lambda a: a["level"],
}
GROUP_BY = tuple(_GROUPS)
