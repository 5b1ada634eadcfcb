"""The cases of an exception: what was excepted is quiet, and the same by somebody or somewhere else is not.

They are tried before they are written, with the rules as they are and with the exception.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from leadsman_cli.cases import Case, CaseFile
from leadsman_cli.exceptions import TooWide
from leadsman_cli.judge_cases import level_of, scanned
from leadsman_detector.match import RuleSet

Requests = list[dict[str, Any]]


class NoCase(ValueError):
    """No case can say it; the text says why."""


def cases_of(rule: str, requests: Requests, before: RuleSet, after: RuleSet) -> list[dict[str, Any]]:
    """The cases. `before` are the rules without the exception, `after` those with it.

    Raises TooWide where it silences another as well, and NoCase.
    """
    if _level(rule, requests, before) == "none":
        raise NoCase(f"its events alone do not raise {rule}, which hangs on what was before")
    if _level(rule, requests, after) != "none":
        raise NoCase("described as a case, its events lack what the exception asks for")
    cases = [_case("what was excepted", "none", requests)]
    for what, other in _others(requests):
        told, still = (_level(rule, other, rules) for rules in (before, after))
        if told == "none":
            continue
        if still == "none":
            raise TooWide(f"it would silence the same by {what} as well")
        cases.append(_case(f"the same by {what}", still, other))
    return cases


def _level(rule: str, requests: Requests, rules: RuleSet) -> str:
    case = msgspec.convert(_case("tried", "none", requests), Case)
    found, _ = scanned(rules, CaseFile(Path("cases.yml"), rule, (case,), (1,)), case, "native")
    return level_of(found, rule)


def _case(name: str, expect: str, requests: Requests) -> dict[str, Any]:
    said: dict[str, Any] = {"request": requests[0]} if len(requests) == 1 else {"requests": requests}
    return {"name": name, "expect": expect, "clouds": ["native"], **said}


def _others(requests: Requests) -> Iterator[tuple[str, Requests]]:
    """The requests by another actor, in another namespace, in another cluster."""
    own = _actor(requests[-1])
    by_another = copy.deepcopy(requests)
    for request in by_another:
        if _actor(request) == own:
            request["as" if request.get("as") else "user"]["username"] = _another(own)
    yield "another actor", by_another
    if any(request.get("namespace") for request in requests):
        elsewhere = copy.deepcopy(requests)
        for request in elsewhere:
            _move(request)
        yield "them in another namespace", elsewhere
    if any(request.get("cluster") for request in requests):
        yield "them in another cluster", [{**request, "cluster": "another-cluster"} for request in requests]


def _actor(request: dict[str, Any]) -> str:
    return str((request.get("as") or request["user"]).get("username", ""))


def _another(name: str) -> str:
    return f"{name.rpartition(':')[0]}:another" if name.startswith("system:serviceaccount:") else "another@example.com"


def _move(request: dict[str, Any]) -> None:
    namespace = request.get("namespace")
    if not namespace:
        return
    request["namespace"] = f"{namespace}-2"
    bodies: Sequence[Any] = (request.get("body"), request.get("response"))
    for body in bodies:
        metadata = body.get("metadata") if isinstance(body, dict) else None
        if isinstance(metadata, dict) and metadata.get("namespace") == namespace:
            metadata["namespace"] = f"{namespace}-2"
