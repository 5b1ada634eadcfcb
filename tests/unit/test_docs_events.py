"""docs/events.md is what docs/events.py makes of the schema, and that says of every field where it comes from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from leadsman_common.schemas import load_avsc, records_of

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("docs_events", DOCS / "events.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(made):
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    assert page == made.page(), "run: .venv/bin/python docs/events.py"


def test_each_field_has_its_sources_and_no_other_has(made):
    assert list(made.SOURCES) == list(made.leaves(load_avsc("audit-event")))
    assert all(cell for cells in made.SOURCES.values() for cell in cells)


def test_each_fact_is_told_and_no_other_is(made):
    facts = records_of(load_avsc("audit-event"))["Facts"]
    assert list(made.FACTS) == [field["name"] for field in facts["fields"]]
    assert all(read_from for read_from, _ in made.FACTS.values())


def test_every_field_of_the_schema_is_on_the_page(made):
    page = made.page()
    records = records_of(load_avsc("audit-event"))
    names = {field["name"] for record in records.values() for field in record["fields"]}
    assert {
        name for name in names if not any(mark in page for mark in (f"`{name}`", f".{name}`", f"`{name}."))
    } == set()
