"""Alerts as a page: all of them are told, chains are drawn, and nothing in it acts."""

from html.parser import HTMLParser

import chains
import pytest
from hostile import STRINGS, hidden, poisoned

from leadsman_cli.page import page

TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "p",
        "details",
        "summary",
        "span",
        "bdi",
        "dl",
        "dt",
        "dd",
    ),
    *("div", "table", "tr", "th", "td", "b", "code", "br", "a"),
    *("svg", "desc", "rect", "path", "circle", "text", "tspan"),
}


class Reader(HTMLParser):
    """What a browser would make of it: tags, attributes, text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def told(*alerts):
    return Reader("".join(page(alerts)))


def test_every_event_with_its_place_its_rule_and_what_it_changed():
    found = told(chains.three())
    text = " ".join(found.text)
    for part in (
        "audit.events/3/41147",
        "cluster-role-exec: writes, effective",
        "changed",
        "get pods/exec",
        "14:15:47",
    ):
        assert part in text
    assert found.tags.count("svg") >= 1


def test_one_event_has_no_drawing():
    alone = {**chains.three(), "evidence": chains.three()["evidence"][:1]}
    assert "svg" not in told(alone).tags


def test_the_worst_first_and_how_many():
    text = " ".join(told(chains.sixty(), chains.three()).text)
    assert text.index("2 alerts") < text.index("1 critical, 1 high") < text.index("exec-by-new-role")
    assert text.index("exec-by-new-role") < text.index("secret-harvest")


def test_nothing_found():
    assert "nothing found" in " ".join(told().text)


@pytest.mark.parametrize("text", STRINGS, ids=range(len(STRINGS)))
def test_nothing_in_it_acts(text):
    found = told(poisoned(chains.three(), text))
    assert set(found.tags) <= TAGS
    assert not {name for name, _ in found.attributes if name.startswith("on") or name in ("src", "srcset")}
    assert {value for name, value in found.attributes if name == "href"} <= {text}
    assert not [v for n, v in found.attributes if n == "href" and not v.startswith("https://")]
    assert not hidden("".join(found.text).replace("\n", ""))
