"""Why an alert matters and what to check first, by rule: advice.yaml, and what the operator adds in notify.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
import yaml


class Advice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For one rule: a sentence or two, and a short list."""

    why: str
    check: tuple[str, ...] = ()


@cache
def built_in() -> Mapping[str, Advice]:
    """What comes with Leadsman."""
    document = yaml.safe_load((Path(__file__).parent / "advice.yaml").read_bytes())
    return msgspec.convert(document, dict[str, Advice])


def advice_for(rule: str, own: Mapping[str, Advice]) -> Advice:
    """The operator's words for that rule, else ours, else the default's."""
    ours = built_in()
    return own.get(rule) or ours.get(rule) or own.get("default") or ours["default"]
