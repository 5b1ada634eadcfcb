"""Native events as the audit policy of a managed cluster (policies/) leaves them: their level, and their log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from leadsman_cli.audit_policy import LEVELS, Attributes, evaluate, matches
from leadsman_cli.described import Event
from leadsman_cli.named_policies import NamedPolicy, named_policy

_LEFT_OUT = {"Metadata": ("requestObject", "responseObject"), "Request": ("responseObject",)}


@dataclass(frozen=True, slots=True)
class Logged:
    """What a cloud logs of events. `withheld` names in words what it keeps back."""

    events: list[Event]
    withheld: tuple[str, ...]


def logged(events: Sequence[Event], policy: str, cloud: str) -> Logged:
    """Events at the levels of a named policy; `cloud` is what the words call it."""
    kept: list[Event] = []
    withheld: dict[str, None] = {}
    for event in events:
        level = level_of(event, policy)
        if level == "None":
            withheld[f"{cloud} does not log {what(event)}"] = None
            continue
        if level == "Metadata" and "requestObject" in event:
            withheld[f"{cloud} logs {what(event)} without bodies"] = None
        left_out = _LEFT_OUT.get(level, ())
        kept.append({**{k: v for k, v in event.items() if k not in left_out}, "level": level})
    return Logged(kept, tuple(withheld))


def level_of(event: Event, policy: str) -> str:
    """The level at which a request is logged: its own, or the policy's where that is lower."""
    config = evaluate(_policy(policy).audit.policy, attributes(event))
    level = "None" if event["stage"] in config.omit_stages else config.level
    return str(min(event["level"], level, key=LEVELS.index))


def log_of(event: Event, policy: str) -> str:
    """The log that the policy's cloud puts an event in; empty where it has one alone."""
    asked = attributes(event)
    return next((route.log for route in _policy(policy).audit.routes if matches(route.match, asked)), "")


def attributes(event: Event) -> Attributes:
    """What a policy looks at in a request."""
    user, ref = event["user"], event.get("objectRef") or {}
    return Attributes(
        event["verb"],
        user.get("username"),
        tuple(user.get("groups", ())),
        ref.get("apiGroup", ""),
        ref.get("resource", ""),
        ref.get("subresource", ""),
        ref.get("namespace", ""),
        ref.get("name", ""),
        "" if ref else event["requestURI"].partition("?")[0],
    )


def what(event: Event) -> str:
    """A request in words: `create workflows.argoproj.io`, `get /version`."""
    ref = event.get("objectRef")
    if ref is None:
        return f"{event['verb']} {event['requestURI'].partition('?')[0]}"
    name = ".".join(part for part in (ref["resource"], ref.get("apiGroup", "")) if part)
    return f"{event['verb']} {name}" + (f"/{ref['subresource']}" if "subresource" in ref else "")


@cache
def _policy(name: str) -> NamedPolicy:
    return named_policy(name)
