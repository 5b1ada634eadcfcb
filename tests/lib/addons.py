"""The add-ons of tests/fixtures/addons, and what is left of alerts about them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parents[1] / "fixtures" / "addons"
RECORDED = HERE / "recorded.ndjson.gz"


def folders() -> list[Path]:
    """One folder for each add-on, with v1/ and v2/ in it."""
    return sorted(p for p in HERE.iterdir() if p.is_dir())


def left() -> set[tuple[str, str, str]]:
    """Level, rule and title of each alert at medium or above that stays, as left.yml argues."""
    listed = yaml.safe_load((HERE / "left.yml").read_text())["left"] or []
    assert all(item["why"] for item in listed)
    return {(item["level"], item["rule"], item["title"]) for item in listed}


def low() -> dict[str, set[str]]:
    """By rule the objects about which an alert at low stays, as left.yml argues."""
    listed = yaml.safe_load((HERE / "left.yml").read_text())["low"]
    assert all(item["why"] for item in listed.values())
    return {rule: set(item["objects"]) for rule, item in listed.items()}


def soft(found: Any) -> dict[str, set[str]]:
    """What a scan raised at low: by rule the objects."""
    by_rule: dict[str, set[str]] = {}
    for alert in found.above("low"):
        if alert["level"] == "low":
            by_rule.setdefault(alert["rule"]["name"], set()).add(alert["title"].rsplit(" on ", 1)[1])
    return by_rule


def loud(found: Any) -> set[tuple[str, str, str]]:
    """What a scan raised at medium or above."""
    return {(a["level"], a["rule"]["name"], a["title"]) for a in found.above("medium")}


def counted(found: Any) -> str:
    """How many alerts of each level."""
    return ", ".join(f"{n} {level}" for level, n in Counter(a["level"] for a in found.above("informational")).items())
