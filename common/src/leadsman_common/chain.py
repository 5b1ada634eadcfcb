"""An alert's evidence as a chain of people's doings: on which side each event happened, in whose lane, and in words.

Pure; what timeline.py draws and other pages tell. Names of actors and objects are as the alert has them and may be an
attacker's: `actor_text` alone is made visible here, for it is shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

from leadsman_common.alerts import Alert, Evidence
from leadsman_common.events import parse_action
from leadsman_common.visible import clean

Side: TypeAlias = Literal["cloud", "cluster", "sensor"]
SIDES: tuple[Side, ...] = ("cloud", "cluster", "sensor")
MAX_LANES = 7  # the busiest; all further actors of a side share one more
RUN_FROM = 14  # of longer chains the like in a row are one row
OTHERS = "\x00others"
Key: TypeAlias = tuple[Side, str]  # a side, an actor
_RUN = 3
_FACTS = 4
_SENSORS = ("falco", "guardduty", "scc")
_CLOUDS = ("cloudtrail", "azure-activity", "eks-authenticator")
_TOLD = ("facts.", "known.", "signal.", "first_seen")


@dataclass(frozen=True)
class Lane:
    """A column: one actor on one side, or all further ones of it."""

    side: Side
    actor: str  # empty: nobody; for the shared lane, OTHERS
    colour: int  # the same for one actor on both sides
    events: int


Lanes: TypeAlias = dict[Key, Lane]


@dataclass(frozen=True)
class Row:
    """One event, or the like of them in a row."""

    items: tuple[Evidence, ...]
    lane: Lane
    decisive: bool

    @property
    def first(self) -> Evidence:
        """The first of them."""
        return self.items[0]


def in_order(alert: Alert) -> list[Evidence]:
    """An alert's events by time."""
    return sorted(alert["evidence"], key=lambda e: (e["time"], e["event_id"]))


def decisive(alert: Alert, chain: Sequence[Evidence]) -> str:
    """The id of the event that completed the story: the last one at the alert's own time, else the last of all."""
    at_time = [e for e in chain if e["time"] == alert["time"]]
    return (at_time or list(chain))[-1]["event_id"]


def side_of(item: Evidence) -> Side:
    """Where an event happened: in the cloud's API, in the cluster, or as what another sensor saw."""
    source = item["source"]["format"]
    if source in _SENSORS:
        return "sensor"
    return "cloud" if source in _CLOUDS or parse_action(item["action"]).operation else "cluster"


def actor_text(name: str, limit: int = 60) -> str:
    """An actor's name without what all of its kind share: an assumed role's ARN, a service account's prefix."""
    short = name.partition(":assumed-role/")[2] or name
    account = short.removeprefix("system:serviceaccount:")
    return clean(short if account == short else f"serviceaccount {account.replace(':', '/')}", limit) or "nobody"


def what_text(item: Evidence) -> tuple[str, str]:
    """What was done and to what: `create pods/exec`, `payments/ledger-api`; for a sensor what it saw."""
    verb, resource, _, subresource, operation = parse_action(item["action"])
    kind = f"{resource}/{subresource}" if subresource else resource
    if side_of(item) == "sensor":
        operation = operation.partition(":")[2].replace("-", " ")
    elif "." in operation:  # container:google.container.v1.ClusterManager.UpdateCluster
        operation = f"{operation.partition(':')[0]}:{operation.rpartition('.')[2]}"
    return operation or f"{verb} {kind}".strip(), item["object"]


def facts_text(item: Evidence, limit: int = _FACTS) -> str:
    """What decided, by the last words of the fields; what the event itself changed goes first."""
    facts: dict[str, str] = {}
    for fact in sorted(item["matched"], key=lambda m: not m.get("changed")):
        field, value = fact["field"], fact["value"].partition("\n")[0]
        if not field.startswith(_TOLD) or field.endswith(".kind"):
            continue
        name = field.rpartition(".")[2].replace("_", " ")
        if value == "true":
            facts.setdefault(name, name)
        else:
            facts.setdefault(value, f"{name}: {value}")
    return ", ".join(list(facts.values())[:limit])


def _key(item: Evidence) -> Key:
    """The lane of an event; a sensor's events are the sensor's own, for whom it saw is seldom known to it."""
    side = side_of(item)
    return side, item["source"]["format"] if side == "sensor" else item["actor"]


def lanes_of(chain: Sequence[Evidence]) -> Lanes:
    """The lanes by side and actor, in the order in which they begin within their side."""
    counts: dict[Key, int] = {}
    for item in chain:
        counts[_key(item)] = counts.get(_key(item), 0) + 1
    busiest = set(sorted(counts, key=lambda k: -counts[k])[:MAX_LANES])
    keys: dict[Key, int] = {}
    for key, count in counts.items():
        own = key if key in busiest else (key[0], OTHERS)
        keys[own] = keys.get(own, 0) + count
    colours = {actor: n for n, actor in enumerate(dict.fromkeys(actor for _, actor in keys if actor != OTHERS))}
    ordered = sorted(keys, key=lambda k: SIDES.index(k[0]))
    return {key: Lane(*key, colours.get(key[1], MAX_LANES) % (MAX_LANES + 1), keys[key]) for key in ordered}


def rows_of(chain: Sequence[Evidence], lanes: Lanes, last: str) -> list[Row]:
    """The rows in order; `last` is the id of the decisive event, which is always one of its own."""

    def lane_of(item: Evidence) -> Lane:
        return lanes.get(_key(item)) or lanes[side_of(item), OTHERS]

    def alike(item: Evidence) -> tuple[object, ...]:
        own = item["event_id"] if item["event_id"] == last else ""
        return *_key(item), item["action"], own, item["http"] >= 400

    rows: list[Row] = []
    for _, found in groupby(chain, alike if len(chain) > RUN_FROM else lambda item: item["event_id"]):
        items = tuple(found)
        parts = [items] if len(items) >= _RUN else [(item,) for item in items]
        rows += [Row(part, lane_of(part[0]), part[0]["event_id"] == last) for part in parts]
    return rows
