"""The drawing of an alert's evidence: all of it is there, in order, and nothing of it acts."""

import re
import xml.etree.ElementTree as ET

import chains
import pytest
from hostile import STRINGS, hidden, poisoned

from leadsman_common.chain import OTHERS, decisive, facts_text, in_order, lanes_of, side_of, what_text
from leadsman_common.timeline import WIDTH, draw
from leadsman_common.visible import cells, clipped

SVG = "{http://www.w3.org/2000/svg}"
STORIES = {"3": chains.three, "10": chains.ten, "60": chains.sixty}
ELEMENTS = {"svg", "title", "desc", "style", "rect", "path", "circle", "text", "tspan"}


def read(drawn):
    """The drawing as XML, which it must be."""
    return ET.fromstring(drawn)  # noqa: S314 - ours


def words(drawn):
    """Every text that is shown, in order."""
    return ["".join(t.itertext()) for t in read(drawn).iter(f"{SVG}tspan")]


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("bad", [False, True], ids=["plain", "hostile"])
def test_every_event_is_there_and_nothing_acts(name, bad):
    alert = chains.hostile(STORIES[name]()) if bad else STORIES[name]()
    drawn = draw(alert)
    tree = read(drawn)
    titles = ["".join(t.itertext()) for t in tree.iter(f"{SVG}title")]
    for item in alert["evidence"]:
        assert any(f"offset {item['offset']}" in title for title in titles), item["offset"]
    assert {e.tag.removeprefix(SVG) for e in tree.iter()} <= ELEMENTS
    attributes = {name for e in tree.iter() for name in e.attrib}
    assert not {a for a in attributes if a.startswith("on") or "href" in a or a == "src"}
    assert not hidden("".join(tree.itertext()).replace("\n", ""))
    assert re.findall(r"https?://[^\"<\s]+|url\(|@import|javascript:", re.sub(r"<title>.*?</title>", "", drawn)) == [
        "http://www.w3.org/2000/svg"
    ]


@pytest.mark.parametrize("text", STRINGS, ids=range(len(STRINGS)))
def test_whatever_stands_in_an_alert_it_is_well_formed_and_harmless(text):
    drawn = draw(poisoned(chains.three(), text))
    tree = read(drawn)
    assert {e.tag.removeprefix(SVG) for e in tree.iter()} <= ELEMENTS
    assert not hidden("".join(tree.itertext()).replace("\n", ""))
    assert len(drawn) < 60_000


def test_rows_are_in_order_and_the_decisive_one_is_marked():
    alert = chains.three()
    alert["evidence"].reverse()
    shown = words(draw(alert))
    places = [shown.index(name) for name in ("metrics-reader-ext", "payments/ledger-api-6c9f7d5b8-x2vkq")]
    assert places == sorted(places)
    drawn = draw(alert)
    assert drawn.count(">DECISIVE<") == 1
    assert drawn.rindex("  get pods/exec  ") < drawn.index(">DECISIVE<") < drawn.rindex("bash -c")


def test_the_decisive_event_says_what_it_changed():
    shown = words(draw(chains.ten()))
    at = len(shown) - 1 - shown[::-1].index("changed  ")
    assert shown[at + 1] == "image repo: xmrig/xmrig"


def test_the_decisive_event_is_the_one_at_the_alerts_time():
    alert = chains.ten()
    alert["time"] = alert["evidence"][4]["time"]
    assert decisive(alert, in_order(alert)) == alert["evidence"][4]["event_id"]
    alert["time"] = 5
    assert decisive(alert, in_order(alert)) == alert["evidence"][-1]["event_id"]


def test_sides_and_lanes():
    chain = in_order(chains.ten())
    assert [side_of(item) for item in chain].count("cloud") == 3
    lanes = list(lanes_of(chain).values())
    assert [lane.side for lane in lanes] == ["cloud", "cloud", "cluster", "cluster", "sensor"]
    assert lanes[1].colour == lanes[3].colour  # one service account, on both sides
    assert lanes[4].actor == "falco"


def test_many_actors_share_a_lane():
    crowd = [chains.event(n, f"user-{n}", "get pods", "shop/a") for n in range(40)]
    lanes = list(lanes_of(crowd).values())
    assert len(lanes) == 8
    assert lanes[-1].actor == OTHERS
    assert lanes[-1].events == 33
    read(draw(chains.alert(crowd, "A crowd")))


def test_the_like_in_a_row_are_one_row_and_a_dot_each():
    drawn = draw(chains.sixty())
    assert "14x list secrets" in drawn
    assert "30x get secrets" in drawn
    assert int(read(drawn).get("height")) < 800
    assert drawn.count('r="3"') == 14 + 30 + 4


def test_long_pauses_are_told():
    assert "2 h 36 min later" in draw(chains.ten())


def test_an_alert_without_evidence_has_no_drawing():
    assert draw({**chains.three(), "evidence": []}) == ""


def test_facts_in_words():
    item = chains.event(
        0,
        "a",
        "create pods",
        "b",
        matched=[
            ("verb", "create", False),
            ("facts.pod.host_pid", "true", False),
            ("facts.pod.volumes.host_path", "/", True),
        ],
    )
    assert facts_text(item) == "host path: /, host pid"


@pytest.mark.parametrize(
    ("action", "source", "expected"),
    [
        ("create pods/exec", "eks-audit", "create pods/exec"),
        ("patch deployments.apps", "eks-audit", "patch deployments"),
        ("get /", "eks-audit", "get"),
        ("eks:CreateAccessEntry", "cloudtrail", "eks:CreateAccessEntry"),
        ("container:google.container.v1.ClusterManager.UpdateCluster", "gke-logentry", "container:UpdateCluster"),
        ("falco:Terminal-shell-in-container", "falco", "Terminal shell in container"),
    ],
)
def test_what_was_done(action, source, expected):
    assert what_text(chains.event(0, "a", action, "b", source))[0] == expected


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("exactly", 7, "exactly"),
        ("too long a text", 8, "too lon…"),
        ("東京東京", 5, "東京…"),
        ("e\u0301\u0300\u0301x", 5, "e\u0301x"),
        ("a\u202eb", 9, "a\\u202eb"),
        ("anything", 0, ""),
        ("", 5, ""),
    ],
)
def test_clipped(text, width, expected):
    assert clipped(text, width) == expected
    assert cells(clipped(text, width)) <= width


def test_no_line_is_wider_than_its_place():
    drawn = read(draw(chains.hostile(chains.sixty())))
    for inner in drawn.iter(f"{SVG}svg"):
        if inner.get("x") is None:
            continue
        assert int(inner.get("x")) + int(inner.get("width")) <= WIDTH
        text = "".join("".join(t.itertext()) for t in inner.iter(f"{SVG}tspan"))
        assert cells(text) * 6.6 <= int(inner.get("width")) + 10, text
