"""Conditions are read as pySigma reads them, and what is read faster is the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadsman_detector import documents, rules, sigma_nodes

NAMES = ("a", "b", "sel_1", "sel_2", "not-it", "all", "_own")
DETECTION = {name: {"verb": f"v{n}", "objectRef.name": [f"x{n}*", "y"]} for n, name in enumerate(NAMES)}


def read(condition):
    """The nodes, or what is wrong with it."""
    try:
        return sigma_nodes.nodes_of(DETECTION, [condition], lambda *_: 1)
    except sigma_nodes.BadSigma as error:
        return str(error)


@pytest.fixture
def by_pysigma(monkeypatch):
    def slow(condition):
        with monkeypatch.context() as patch:
            patch.setattr(sigma_nodes, "read_condition", lambda *_: None)
            return read(condition)

    return slow


@pytest.mark.parametrize(
    ("condition", "good"),
    [
        ("a", True),
        ("a and b or not sel_1", True),
        ("a or b and sel_1 or sel_2", True),
        ("not not a and not (a or b)", True),
        ("( (a) )and(b)", True),
        ("1 of sel_*", True),
        ("any of them and not all of sel*", True),
        ("1 of a", True),
        ("1 of _*", True),
        ("all", True),
        ("not-it", True),
        ("nothing", False),
        ("1 of nothing*", False),
        ("a and", False),
        ("a b", False),
        ("(a", False),
        ("a)", False),
        ("a AND b", False),
        ("", False),
        ("a | count() > 3", False),
        ("2 of sel_*", False),
        ("1 of not-*", False),
        ("a & b", False),
    ],
)
def test_it_means_what_pysigma_says(condition, good, by_pysigma):
    found = read(condition)
    assert found == by_pysigma(condition)
    assert isinstance(found, list) is good


def test_the_usual_is_not_read_twice(monkeypatch):
    """The test above would hold as well if nothing were read here."""
    asked = []
    monkeypatch.setattr(sigma_nodes.SigmaDetections, "from_dict", _without_parsing(asked))
    assert isinstance(read("a and (b or not 1 of sel_*)"), list)
    assert asked == []


def _without_parsing(asked):
    real = sigma_nodes.SigmaDetections.from_dict

    def made(given):
        sigma = real(given)
        for one in sigma.parsed_condition:
            one.parse = lambda *_: asked.append(1)
        return sigma

    return made


CONDITIONS = st.recursive(
    st.sampled_from([*NAMES, "1 of sel_*", "all of them"]),
    lambda inner: st.one_of(
        inner.map(lambda a: f"not {a}"),
        inner.map(lambda a: f"({a})"),
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map("".join),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(CONDITIONS)
def test_any_condition(condition):
    found = read(condition)
    before, sigma_nodes.read_condition = sigma_nodes.read_condition, lambda *_: None
    try:
        assert found == read(condition)
    finally:
        sigma_nodes.read_condition = before


def test_the_shipped_rules_are_the_same_both_ways(monkeypatch):
    folder = rules.default_rules_dir()
    fast = rules.read([folder / "cloud", folder / "lists"])
    monkeypatch.setattr(sigma_nodes, "read_condition", lambda *_: None)
    monkeypatch.setattr(documents._Loader, "document", lambda self, node: self.construct_document(node))
    slow = rules.read([folder / "cloud", folder / "lists"])
    assert repr(fast.rules) == repr(slow.rules)
    assert fast.problems == slow.problems


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: &x {b: [1, yes, null, 1.5, '1']}\nc: *x\n", [{key: {"b": [1, True, None, 1.5, "1"]} for key in "ac"}]),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", [{"a": {"b": 1}, "c": {"b": 1, "d": 2}}]),
        ("2: a\ntrue: b\n", [{2: "a", True: "b"}]),
        ("a: !!str 1\n", [{"a": "1"}]),
        ("{}\n---\na: 1\n---\n---\nb: 2\n", [{}, {"a": 1}, {"b": 2}]),
        ("".join(f"a{n}: {{b: [{n}]}}\n---\n" for n in range(50)), [{f"a{n}": {"b": [n]}} for n in range(50)]),
    ],
)  # fmt: skip
def test_documents_are_as_yaml_has_them(text, data):
    found = list(documents.documents_of("x.yml", text))
    assert [one.data for one in found] == data
    assert all(isinstance(one, documents.Document) for one in found)


def test_a_key_that_stands_twice_is_said_with_its_line():
    for text in ("a: 1\nb: {c: 1,\n  c: 2}\n", "1: x\nb: 2\n1: y\n"):
        (problem,) = documents.documents_of("x.yml", text)
        assert "stands twice" in problem.reason
        assert problem.line in (2, 3)


def test_aliases_within_aliases_stay_small():
    text = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    (document,) = documents.documents_of("x.yml", text)
    assert document.data["a59"][0] is document.data["a58"]
