"""A canary that stays away is one alert until it is back, whoever else poses as one; a retired one nobody misses."""

import json
from datetime import UTC, datetime

import pytest

from leadsman_common import metrics
from leadsman_common.canary import user_agent
from leadsman_common.clusters import NO_CLUSTERS
from leadsman_common.raw import RawEvent
from leadsman_common.sightings import LOGGING_OFF, Canary, Seen, Sightings, Sign, Watch, decode, encode
from leadsman_normalizer.causes import canary_cause
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.sightings import MOST_CANARIES, Known
from leadsman_normalizer.silence import changes, looked, troubles
from leadsman_normalizer.timing import Timing, Told

MIN = 60_000
NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ID = "aws/111122223333/eu-west-1/prod"
CLUSTER = {"id": ID, "name": "prod", "provider": "aws", "account": "111122223333", "region": "eu-west-1"}
ACCOUNT = "system:serviceaccount:leadsman:leadsman-canary"


def request(at_ms, every_s=300, came_ms=0, who=ACCOUNT, code=200, verb="patch", resource="configmaps", agent=""):
    """The event of a canary, sent 20 ms before the API server had it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    value = {
        "kind": "Event",
        "level": "Metadata",
        "auditID": f"{at_ms}-{who}-{every_s}",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/leadsman/{resource}/leadsman-canary",
        "verb": verb,
        "user": {"username": who},
        "userAgent": agent or user_agent(at_ms - 20, every_s),
        "objectRef": {"resource": resource, "namespace": "leadsman", "name": "leadsman-canary", "apiVersion": "v1"},
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": at,
        "stageTimestamp": at,
    }
    where = {"provider": "aws", "account": "111122223333", "region": "eu-west-1", "cluster": "prod"}
    came_ms = came_ms or at_ms + 1000
    return normalize(RawEvent(json.dumps(value).encode(), format="k8s-audit", received_ms=came_ms, **where))


class World:
    """One worker, who looks each minute; everything that he wrote can be read again by another one."""

    def __init__(self):
        self.written, self.told = [], []
        self.start()
        self.watch = None

    def start(self):
        self.known = Known()
        for value in self.written:
            self.known.apply(decode(value))
        self.known.there.set()

    def comes(self, *events):
        for event in events:
            self.known.place(event)
        self.written += [out.value for out in self.known.due("sightings")]

    def looks(self, from_ms, until_ms):
        for now_ms in range(from_ms, until_ms + 1, MIN):
            self.watch = looked(self.watch, now_ms, MIN)
            self.note(self.watch)
            for raised, alert in self.known.look(
                lambda view, at=now_ms: list(changes(view, troubles(view, NO_CLUSTERS, at), at))
            ):
                self.note(raised)
                if alert is not None and alert["rule"]["name"] == "canary-missing":
                    self.told.append(((now_ms - NOW) // MIN, alert["level"], alert["revision"], alert["id"]))

    def note(self, record):
        self.known.apply(record)
        self.written.append(encode(record))

    def sends(self, from_min, until_min, every_min=5, **more):
        """Canaries of these minutes, with the looks between them."""
        for at in range(from_min, until_min, every_min):
            self.comes(request(NOW + at * MIN, every_s=every_min * 60, **more))
            self.looks(NOW + at * MIN + 2000, NOW + (at + every_min - 1) * MIN + 2000)


def levels(told):
    return [(at, level, revision) for at, level, revision, _ in told]


def test_one_alert_an_outage_and_its_end():
    world = World()
    world.sends(0, 60)
    assert world.told == []
    world.looks(NOW + 60 * MIN, NOW + 180 * MIN)
    assert levels(world.told) == [(64, "high", 0)]  # the last one came at 55: within two of its intervals
    world.start()  # after a restart
    world.looks(NOW + 180 * MIN, NOW + 200 * MIN)
    assert len(world.told) == 1
    world.sends(200, 260)
    assert levels(world.told[1:]) == [(200, "informational", 1)]
    assert world.told[0][3] == world.told[1][3]
    world.looks(NOW + 260 * MIN, NOW + 300 * MIN)
    assert levels(world.told[2:]) == [(264, "high", 0)]
    assert world.told[2][3] != world.told[0][3]  # another outage


def test_one_that_is_retired_is_not_missed():
    world = World()
    world.sends(0, 30)
    world.comes(request(NOW + 31 * MIN, every_s=0))
    world.looks(NOW + 31 * MIN, NOW + 300 * MIN)
    assert world.told == []
    world.sends(300, 330)  # and one that is sent again is missed again
    world.looks(NOW + 330 * MIN, NOW + 360 * MIN)
    assert levels(world.told) == [(334, "high", 0)]
    world.comes(request(NOW + 361 * MIN, every_s=0))  # nor any more, once somebody retires it
    world.looks(NOW + 362 * MIN, NOW + 400 * MIN)
    assert levels(world.told[1:]) == [(362, "informational", 1)]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"who": "eve", "every_s": 0}, id="another account ends it"),
        pytest.param({"who": "eve"}, id="another account sends its own"),
        pytest.param({"every_s": 0, "code": 403}, id="refused"),
        pytest.param({"every_s": 0, "verb": "get"}, id="no write"),
        pytest.param({"every_s": 0, "resource": "secrets"}, id="of another thing"),
        pytest.param({"agent": "leadsman-canary/0.1.0 sent=soon every=300s"}, id="that says nothing"),
        pytest.param({"came_ms": NOW + 180 * MIN}, id="that comes by hours late"),
    ],
)
def test_what_does_not_stand_for_it(other):
    world = World()
    world.sends(0, 30)
    world.comes(request(NOW + 31 * MIN, **other))
    world.looks(NOW + 31 * MIN, NOW + 38 * MIN)
    assert levels(world.told) == [(34, "high", 0)]


def test_an_old_log_that_is_read_back_brings_none():
    world = World()
    world.comes(*[request(NOW + at * MIN, came_ms=NOW + 9000 * MIN) for at in range(0, 600, 5)])
    world.comes(request(NOW, every_s=0, who="eve"))  # the end of one that was never there
    world.looks(NOW + 9000 * MIN, NOW + 9060 * MIN)
    assert world.told == []


def test_when_everything_was_down_it_has_time_to_come_again():
    world = World()
    world.sends(0, 30)
    world.looks(NOW + 300 * MIN, NOW + 304 * MIN)
    world.sends(305, 320)
    assert world.told == []
    world.looks(NOW + 500 * MIN, NOW + 520 * MIN)
    assert levels(world.told) == [(509, "high", 0)]


def test_made_up_accounts_are_bounded():
    world = World()
    world.sends(0, 5)
    world.comes(*[request(NOW + 6 * MIN, who=f"eve-{n}") for n in range(1000)])
    assert world.known.look(lambda view: len(view.canaries)) == MOST_CANARIES


def test_two_workers_in_whatever_order():
    newer, older = (Canary(CLUSTER, ACCOUNT, 300, NOW + at, NOW + at) for at in (5, 0))
    for order in ((newer, older), (older, newer)):
        assert [*Sightings(decode(encode(one)) for one in order).canaries.values()] == [newer]


LAST = NOW - 9 * MIN


def log(last_ms, newest_ms=None):
    return Seen(CLUSTER, "eks-audit", 0, last_ms if newest_ms is None else newest_ms, 0, last_ms, (), "raw.aws")


@pytest.mark.parametrize(
    ("records", "cause"),
    [
        pytest.param(
            [log(NOW)],
            "eks-audit of it goes on, so the canary is not sent (its CronJob is suspended, gone or fails), is refused, "
            "or is not logged any more",
            id="alone",
        ),
        pytest.param(
            [log(LAST + MIN), Sign(LOGGING_OFF, ID, "", LAST + MIN, "eks:Update by eve")],
            "eks-audit stopped with it: logging was switched off at 2025-12-31T23:52:00Z (eks:Update by eve)",
            id="with the whole log",
        ),
        pytest.param(
            [log(LAST + 4 * MIN)],
            "eks-audit stopped with it: what writes raw.aws is not known, and nothing else comes by raw.aws: the "
            "cluster's logging, or the way to raw.aws",
            id="just before it was due",
        ),
        pytest.param([log(NOW, NOW - 90 * MIN)], "eks-audit of it comes 1.5 h late", id="late"),
        pytest.param([], "nothing is known of its audit log", id="unknown"),
    ],
)
def test_the_likely_cause(records, cause):
    view = Sightings([*records, Watch(0, NOW)])
    canary = Canary(CLUSTER, ACCOUNT, 300, LAST, LAST)
    assert canary_cause(view, canary, [*view.seen.values()], NOW) == cause


def test_its_alert_says_what_and_why():
    world = World()
    world.comes(request(NOW))
    now_ms = NOW + 9 * MIN
    ((_, alert),) = world.known.look(lambda view: list(changes(view, troubles(view, NO_CLUSTERS, now_ms), now_ms)))
    assert (alert["rule"]["name"], alert["level"], alert["cluster"]["id"]) == ("canary-missing", "high", ID)
    assert alert["title"].startswith(
        f"The canary of {ID} does not come back, and is due every 5 min ({ACCOUNT}). Likely cause: "
    )


class Record:
    """What of a Kafka message the timing asks: appended 3 ms after it was received."""

    def topic(self):
        return "raw.aws"

    def timestamp(self):
        return 1, NOW + 1003


def test_each_hop_is_measured():
    def measured():
        found = {}
        for sample in metrics.CANARY_SECONDS.collect()[0].samples:
            if sample.labels["cluster"] == ID and sample.name.endswith("_sum"):
                found[sample.labels["hop"]] = round(sample.value, 3)
        return found

    assert measured() == {}
    timing = Timing()
    timing.note(Record(), request(NOW), NOW + 1000)
    timing.note(Record(), request(NOW, agent="curl/8"), NOW + 1000)
    Told().tell(timing, NOW + 1053)
    assert measured() == {"request": 0.02, "delivery": 1.0, "ingest": 0.003, "normalize": 0.05}
