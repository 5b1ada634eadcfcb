"""Which sources are silent, which clusters are unclaimed or unwatched: once each, by one id, and over when they are."""

import pytest
import yaml

from leadsman_common.alerts import Alert
from leadsman_common.avro import alert_codec
from leadsman_common.clusters import NO_CLUSTERS, load_clusters
from leadsman_common.sightings import Life, Listed, ListedCluster, Seen, Sightings, Watch, decode, encode
from leadsman_normalizer.silence import changes, looked, troubles, watched_ms

MIN = 60_000
HOUR = 60 * MIN
DAY = 24 * HOUR
NOW = 1_700_000_000_000
ID = "aws/111122223333/eu-west-1/"


def cluster(name, incarnation=""):
    parts = {"name": name, "provider": "aws", "account": "111122223333", "region": "eu-west-1"}
    return {"id": f"{ID}{name}{incarnation}", **parts}


def seen(name, source="eks-audit", last=0, first=30 * HOUR, incarnation="", late=0, gaps=()):
    """Seen from `first` until `last`, both before NOW; its events are `late` older."""
    times = (NOW - first - late, NOW - last - late, NOW - first, NOW - last)
    return Seen(cluster(name, incarnation), source, *times, gaps, "raw.aws")


def registry(tmp_path, *entries):
    path = tmp_path / "clusters.yaml"
    path.write_text(yaml.safe_dump({"clusters": list(entries)}))
    return load_clusters(path)


def news(view, of, now=NOW):
    """What a look finds, taken into the view as the follower does: (rule, cluster, source, level, revision)."""
    told = []
    for raised, alert in list(changes(view, troubles(view, of, now), now)):
        view.apply(decode(encode(raised)))
        if alert is not None:
            assert alert_codec().decode(alert_codec().encode(alert))["id"] == raised.alert_id
            source = raised.about.rpartition("|")[2]
            told.append((alert["rule"]["name"], alert["cluster"]["id"], source, alert["level"], alert["revision"]))
    return told


SILENT = ("source-silent", f"{ID}prod", "eks-audit", "high", 0)


@pytest.mark.parametrize(
    ("sightings", "expects", "found"),
    [
        pytest.param([seen("prod", last=17 * MIN)], None, [], id="within what an audit log may be silent"),
        pytest.param([seen("prod", last=18 * MIN)], None, [SILENT], id="an audit log goes on all the time"),
        pytest.param(
            [seen("prod", last=18 * MIN, first=20 * HOUR)],
            None,
            [],
            id="not yet a day: a file, or a log that is quiet at night",
        ),
        pytest.param([seen("prod", last=18 * MIN, late=90 * HOUR)], None, [], id="a past that was read back for hours"),
        pytest.param(
            [seen("prod", last=18 * MIN, late=90 * HOUR)],
            {"eks-audit": "5m"},
            [SILENT],
            id="but what is declared is due",
        ),
        pytest.param([seen("prod", "gke-logentry", 20 * HOUR, 7 * DAY)], None, [], id="Admin Activity may be rare"),
        pytest.param([seen("prod", "eks-api", 20 * HOUR)], None, [], id="a component's log"),
        pytest.param([seen("prod", last=18 * MIN)], {"eks-audit": "1h"}, [], id="the registry's bound holds"),
        pytest.param([seen("prod", last=2 * MIN)], {"eks-audit": "1m"}, [SILENT], id="a short one too"),
        pytest.param(
            [seen("prod"), seen("prod", "eks-api", 2 * HOUR)],
            {"eks-api": "1h"},
            [("source-silent", f"{ID}prod", "eks-api", "high", 0)],
            id="a declared source of any kind",
        ),
        pytest.param(
            [seen("prod", last=18 * MIN), Life(f"{ID}prod", (), NOW - 10 * MIN)], None, [], id="it was deleted"
        ),
        pytest.param(
            [
                seen("prod", last=40 * HOUR, first=50 * HOUR),
                Life(f"{ID}prod", (NOW - 39 * HOUR,), NOW - 40 * HOUR),
                seen("prod", last=18 * MIN, first=38 * HOUR, incarnation="@20231113T071320Z"),
            ],
            None,
            [("source-silent", f"{ID}prod@20231113T071320Z", "eks-audit", "high", 0)],
            id="of one made anew, the new one",
        ),
    ],
)
def test_silence(sightings, expects, found, tmp_path):
    entry = {"name": "prod", **({"expects": expects} if expects else {})}
    assert news(Sightings(sightings), registry(tmp_path, entry)) == found


def test_one_alert_an_episode_and_its_end(tmp_path):
    view, of = Sightings([seen("prod", last=18 * MIN)]), registry(tmp_path, {"name": "prod"})
    (first,) = [alert for _, alert in changes(view, troubles(view, of, NOW), NOW)]
    assert first["title"] == (
        f"eks-audit of {ID}prod is silent, and is expected within 10 min. Likely cause: what writes raw.aws is not "
        "known, and nothing else comes by raw.aws: the cluster's logging, or the way to raw.aws"
    )
    assert news(view, of) == [SILENT]
    assert [news(view, of, NOW + at * MIN) for at in (1, 60, 6000)] == [[], [], []]
    again = Sightings([decode(encode(r)) for r in (*view.seen.values(), *view.raised.values())])  # after a restart
    assert news(again, of, NOW + HOUR) == []
    again.apply(Seen(cluster("prod"), "eks-audit", NOW, NOW + HOUR, NOW, NOW + HOUR))
    assert news(again, of, NOW + HOUR) == [("source-silent", f"{ID}prod", "eks-audit", "informational", 1)]
    assert news(again, of, NOW + HOUR) == []
    (second,) = [a for _, a in changes(again, troubles(again, of, NOW + 2 * HOUR), NOW + 2 * HOUR)]
    assert (second["rule"]["name"], second["revision"]) == ("source-silent", 0)
    assert second["id"] != first["id"]  # another episode


@pytest.mark.parametrize(
    ("since", "away", "found"),
    [
        pytest.param(10 * MIN, 5 * HOUR, [], id="nobody looked, and it has had no time to come again"),
        pytest.param(20 * MIN, 5 * HOUR, [SILENT], id="it has had"),
        pytest.param(20 * HOUR, 5 * HOUR, [SILENT], id="somebody looks all the time"),
    ],
)
def test_after_nobody_looked(since, away, found):
    view = Sightings([seen("prod", last=6 * HOUR), Watch(NOW - since, NOW, away)])
    assert news(view, NO_CLUSTERS) == found


def test_who_looks_without_a_break():
    watch = looked(None, NOW)
    for at in range(0, 20, 4):
        watch = looked(watch, NOW + at * MIN)
    assert watch == Watch(NOW, NOW + 16 * MIN)
    assert looked(watch, NOW + 30 * MIN) == Watch(NOW + 30 * MIN, NOW + 30 * MIN, 14 * MIN)
    assert looked(watch, NOW + 30 * MIN, 10 * MIN) == Watch(NOW, NOW + 30 * MIN)  # it is looked at so rarely


@pytest.mark.parametrize(
    ("watch", "minutes"),
    [
        (None, 300),
        (Watch(0, NOW + 299 * MIN), 300),
        (Watch(0, NOW + 60 * MIN), 60),  # the first after nobody looked for four hours
        (Watch(NOW + 290 * MIN, NOW + 299 * MIN, 90 * MIN), 210),
    ],
)
def test_a_pause_that_nobody_watched_is_no_rhythm(watch, minutes):
    assert watched_ms(watch, NOW, NOW + 300 * MIN) == minutes * MIN


def test_whoever_looks_finds_the_same_id():
    found: list[list[Alert | None]] = []
    for at in (18 * MIN, 40 * MIN):
        view = Sightings([seen("prod", last=0)])
        found.append([alert for _, alert in changes(view, troubles(view, NO_CLUSTERS, NOW + at), NOW + at)])
    assert [a["id"] for a in found[0]] == [a["id"] for a in found[1]]


def test_what_is_expected_and_has_never_come(tmp_path):
    entries = {"name": "prod", "expects": {"eks-audit": "1h", "cloudtrail": "1d"}}, {"name": "later"}
    view, of = Sightings(), registry(tmp_path, *entries)
    assert news(view, of) == []  # it may be on its way
    assert news(view, of, NOW + 31 * MIN) == [("cluster-unwatched", "///later", "", "high", 0)]
    view = Sightings(view.raised.values())  # a restart does not begin to wait anew
    assert news(view, of, NOW + 61 * MIN) == [("source-silent", "///prod", "eks-audit", "high", 0)]
    view.apply(Seen(cluster("prod"), "eks-audit", *[NOW + 62 * MIN] * 4))
    view.apply(Seen(cluster("later"), "eks-audit", *[NOW + 62 * MIN] * 4))
    over = news(view, of, NOW + 63 * MIN)
    assert {(name, level, revision) for name, _, _, level, revision in over} == {
        ("source-silent", "informational", 1),
        ("cluster-unwatched", "informational", 1),
    }


def test_unclaimed(tmp_path):
    view = Sightings(
        [seen("prod"), seen("stranger"), seen("stranger", "cloudtrail"), seen("long-gone", last=30 * HOUR)]
    )
    assert [one for one in news(view, NO_CLUSTERS) if one[0] == "cluster-unclaimed"] == []
    of = registry(tmp_path, {"name": "prod"}, {"name": "long-gone"})
    assert news(view, of)[-1] == ("cluster-unclaimed", f"{ID}stranger", "", "medium", 0)
    assert news(view, of) == []
    of = registry(tmp_path, {"name": "prod"}, {"name": "stranger"}, {"name": "long-gone"})
    assert news(view, of) == [("cluster-unclaimed", f"{ID}stranger", "", "informational", 1)]


def test_what_the_cloud_lists_and_no_log_tells_of(tmp_path):
    made = [ListedCluster("eu-west-1", name, NOW - ms) for name, ms in (("prod", 9e9), ("dark", 9e9), ("new", MIN))]
    made = [ListedCluster(one.region, one.name, int(one.made_ms)) for one in made]
    view = Sightings([seen("prod"), seen("dark", "cloudtrail"), Listed("aws/111122223333/eu-west-1", NOW, made)])
    of = registry(tmp_path, {"name": "prod"}, {"name": "dark"}, {"name": "new"})
    assert ("cluster-unwatched", f"{ID}dark", "", "high", 0) in news(view, of)
    assert not any(one[1] == f"{ID}new" for one in news(view, of, NOW + 20 * MIN))
    assert ("cluster-unwatched", f"{ID}new", "", "high", 0) in news(view, of, NOW + 30 * MIN)
    view.apply(seen("dark", last=-31 * MIN, first=0))
    assert ("cluster-unwatched", f"{ID}dark", "", "informational", 1) in news(view, of, NOW + 31 * MIN)
    # the cloud lists it no more: it is over as well
    view.apply(Listed("aws/111122223333/eu-west-1", NOW + 32 * MIN, made[:1]))
    assert ("cluster-unwatched", f"{ID}new", "", "informational", 1) in news(view, NO_CLUSTERS, NOW + 32 * MIN)
