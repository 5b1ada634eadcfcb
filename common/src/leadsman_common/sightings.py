"""What is known of clusters beside their events: the records of the topic `sightings`, and what they add up to.

    Seen    the normalizer saw events of a cluster's source: since when, until when, with which pauses
    Listed  a cloud's own API named these clusters of an account and region, or of a project
    Life    when a cluster was made anew under its old name, and when it was deleted
    Raised  what an alert about a source or a cluster has come to: it stands, or it is over
    Sign    what may explain a silence: an ingest service that is there or has a trouble, logs that were switched off
    Canary  a cluster's own test request came back (canary.py)
    Watch   since when somebody looks at what is silent, with every record read

The topic is compacted: the last record of each key stays, for ever. A cluster that was made anew has another id from
then on, PLAIN@TIME, and so none of the state of the one before. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Cluster
from leadsman_common.rhythm import Gaps, merged

SIGHTINGS = "sightings"
# formats that are the audit log itself; without one of them nothing can be detected
AUDIT = ("k8s-audit", "eks-audit", "gke-logentry", "aks-audit")
# a cluster is up some minutes after the call that made it: what comes closer together, and no deletion between, is one
# making, told by the call, by its end, by the cluster itself and by the cloud's list
SAME_MAKING_MS = 30 * 60_000
MAX_LIVES = 50
# the kinds of signs
ALIVE, TROUBLE, LOGGING_OFF = "alive", "trouble", "logging-off"
MAX_SIGN = 300  # of a sign's text
BEAT_S = 60  # how often an ingest service says that it is there


class Seen(msgspec.Struct, tag="seen", frozen=True):
    """Events of one source of a cluster: the first and the newest by their own time, when one came first and last.

    `topic` is the raw topic, without a prefix, that the last one came by.
    """

    cluster: Cluster
    format: str
    first_ms: int
    newest_ms: int
    came_ms: int
    last_ms: int
    gaps: Gaps = ()
    topic: str = ""

    @property
    def key(self) -> str:
        """The record's key."""
        return f"seen|{self.cluster['id']}|{self.format}"


class ListedCluster(msgspec.Struct, frozen=True):
    """A cluster as the cloud's API names it; `made_ms` is 0 where it does not say."""

    region: str
    name: str
    made_ms: int = 0


class Listed(msgspec.Struct, tag="listed", frozen=True):
    """All clusters of a scope, such as `aws/111122223333/eu-west-1` or `gcp/example-project`, at one time."""

    scope: str
    at_ms: int
    clusters: list[ListedCluster]

    @property
    def key(self) -> str:
        """The record's key."""
        return f"listed|{self.scope}"

    def known(self) -> list[tuple[Cluster, int]]:
        """The clusters with their plain ids, and when they were made."""
        provider, _, rest = self.scope.partition("/")
        account = rest.partition("/")[0]
        return [
            (
                Cluster(
                    id=f"{provider}/{account}/{one.region}/{one.name}",
                    name=one.name,
                    provider=provider,
                    account=account,
                    region=one.region,
                ),
                one.made_ms,
            )
            for one in self.clusters
        ]


class Life(msgspec.Struct, tag="life", frozen=True):
    """By its plain id: the times from which on a cluster is another one, in order, and its last deletion (0: none)."""

    plain: str
    made_ms: tuple[int, ...] = ()
    deleted_ms: int = 0

    @property
    def key(self) -> str:
        """The record's key."""
        return f"life|{self.plain}"


class Raised(msgspec.Struct, tag="raised", frozen=True):
    """An alert by what it is about. `since_ms` is when that began; `alert_id` is empty while it is only suspected."""

    about: str  # kind of alert, cluster's id, source
    cluster: Cluster
    since_ms: int
    alert_id: str = ""
    over: bool = False

    @property
    def key(self) -> str:
        """The record's key."""
        return f"raised|{self.about}"


class Sign(msgspec.Struct, tag="sign", frozen=True):
    """`about` is a raw topic (ALIVE, TROUBLE), or a cluster's plain id or PROVIDER/ACCOUNT (LOGGING_OFF).

    `place` is what has the trouble (a queue, a log group) or who was alive. `text` is for people.
    """

    kind: str
    about: str
    place: str
    at_ms: int
    text: str = ""

    @property
    def key(self) -> str:
        """The record's key."""
        return f"sign|{self.kind}|{self.about}|{self.place}"


class Canary(msgspec.Struct, tag="canary", frozen=True):
    """The newest canary that an actor of a cluster sent: when the API server had it, and when it came by here.

    The next one is due `every_s` later; 0: none will come any more.
    """

    cluster: Cluster
    actor: str
    every_s: int
    at_ms: int
    came_ms: int

    @property
    def key(self) -> str:
        """The record's key."""
        return f"canary|{self.cluster['id']}|{self.actor}"


class Watch(msgspec.Struct, tag="watch", frozen=True):
    """Somebody looked without a break from `since_ms` until `until_ms`, and before that nobody for `away_ms`."""

    since_ms: int
    until_ms: int
    away_ms: int = 0

    @property
    def key(self) -> str:
        """The record's key: there is one."""
        return "watch|"


Record = Seen | Listed | Life | Raised | Sign | Canary | Watch
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """The value on the topic."""
    return msgspec.json.encode(record)


def decode(value: bytes) -> Record:
    """A record. Raises InvalidEvent."""
    try:
        record: Record = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"sightings: {error}") from error
    return record


def plain_id(cluster_id: str) -> str:
    """The id without an incarnation."""
    return cluster_id.partition("@")[0]


class Sightings:
    """What all records come to. Not for several threads at once."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.seen: dict[tuple[str, str], Seen] = {}  # by the cluster's id and the source's format
        self.listed: dict[str, Listed] = {}
        self.lives: dict[str, Life] = {}
        self.raised: dict[str, Raised] = {}
        self.signs: dict[str, Sign] = {}  # by their keys
        self.canaries: dict[str, Canary] = {}  # by their keys
        self.watch: Watch | None = None
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        """Take a record in. Two workers write of one source: the earliest and the latest hold, in whatever order."""
        match record:
            case Seen():
                at = (record.cluster["id"], record.format)
                known = self.seen.get(at, record)
                last_ms = max(known.last_ms, record.last_ms)
                self.seen[at] = Seen(
                    record.cluster,
                    record.format,
                    min(known.first_ms, record.first_ms),
                    max(known.newest_ms, record.newest_ms),
                    min(known.came_ms, record.came_ms),
                    last_ms,
                    merged(known.gaps, record.gaps, last_ms),
                    (record if record.last_ms == last_ms else known).topic or known.topic,
                )
            case Listed():
                self.listed[record.scope] = record
            case Life():
                known_life = self.lives.get(record.plain, record)
                made_ms = tuple(sorted({*known_life.made_ms, *record.made_ms}))[-MAX_LIVES:]
                deleted_ms = max(known_life.deleted_ms, record.deleted_ms)
                self.lives[record.plain] = Life(record.plain, made_ms, deleted_ms)
            case Raised():
                self.raised[record.about] = record
            case Sign():
                if record.at_ms >= self.signs.get(record.key, record).at_ms:
                    self.signs[record.key] = record
            case Canary():
                if record.at_ms >= self.canaries.get(record.key, record).at_ms:
                    self.canaries[record.key] = record
            case Watch():
                self.watch = record

    def incarnation(self, plain: str, at_ms: int) -> str:
        """Which cluster of that id lived at a time, as in `id@20261128T081500Z`; empty for the first one."""
        life = self.lives.get(plain)
        made_ms = max((ms for ms in life.made_ms if ms <= at_ms), default=0) if life else 0
        return f"{datetime.fromtimestamp(made_ms / 1000, UTC):%Y%m%dT%H%M%SZ}" if made_ms else ""

    def current(self, cluster_id: str, now_ms: int) -> str:
        """The id of the cluster of that plain id that lives now; an id with an incarnation of the registry's stays."""
        if "@" in cluster_id:
            return cluster_id
        found = self.incarnation(cluster_id, now_ms)
        return f"{cluster_id}@{found}" if found else cluster_id

    def made(self, plain: str, at_ms: int) -> Life | None:
        """A cluster was made at that time: its life from then on, where another of that id was there before.

        None where this is the first one, or where it is known already.
        """
        life = self.lives.get(plain, Life(plain))
        last_ms = max(life.made_ms, default=0)
        if not last_ms < life.deleted_ms <= at_ms:  # else nothing of the old one can be there any more
            firsts = [s.first_ms for (known, f), s in self.seen.items() if plain_id(known) == plain and f in AUDIT]
            since_ms = last_ms or min(firsts, default=at_ms)
            if at_ms < since_ms + SAME_MAKING_MS:
                return None
        return Life(plain, (*life.made_ms, at_ms), life.deleted_ms)

    def deleted(self, plain: str, at_ms: int) -> Life | None:
        """A cluster was deleted at that time; None where that is known."""
        life = self.lives.get(plain, Life(plain))
        return Life(plain, life.made_ms, at_ms) if at_ms > life.deleted_ms else None
