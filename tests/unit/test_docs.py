"""docs/configuration.md and docs/operations.md say what the code says: their tables are made from it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs"
NO_SETTINGS = {"LEADSMAN_NAME_FILE", "LEADSMAN_KEYS"}  # a form of names, and a constant of the code


def load_tables(name="tables"):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["docs/configuration.md", "docs/operations.md", "SECURITY.md"])
def test_the_tables_are_those_of_the_code(name):
    page = (REPO / name).read_text(encoding="utf-8")
    assert load_tables().render(REPO / name) == page, "run: .venv/bin/python docs/tables.py"


def test_every_setting_that_the_sources_name_is_in_it():
    """Also one that stands in no settings class. A name that ends in _ is the beginning of a family's."""
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    sources = [p for part in ("common", "services", "cli") for p in (REPO / part).rglob("src/**/*.py")]
    assert len(sources) > 30
    named = {name for p in sources for name in re.findall(r"\bLEADSMAN_[A-Z0-9_]+", p.read_text(encoding="utf-8"))}
    assert {name for name in named - NO_SETTINGS if f"`{name}" not in page} == set()


def test_the_cost_sheet_is_what_its_program_makes():
    page = (DOCS / "costs.md").read_text(encoding="utf-8")
    assert load_tables("costs").render(page) == page, "run: .venv/bin/python docs/costs.py"
