"""The audit policies of managed clusters, as their vendors document them: data files in policies/.

A file has `title`, `read` (the day its sources were read), `sources`, `policy` (an audit.k8s.io Policy), `routes`
(which log takes an event), `undelivered` (logs that are off), `notes`, and `mend`: the one setting that helps most.
`base` takes all of that from another file, but for what the file says itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from leadsman_cli.audit_policy import BadPolicy, Match, policy_of
from leadsman_cli.audited import Audit, Route

KEYS = {"base", "title", "read", "sources", "policy", "routes", "undelivered", "notes", "mend"}
FOLDER = Path(__file__).parent / "policies"


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A vendor's policy, and what is worth knowing about it."""

    name: str
    title: str
    audit: Audit
    read: str
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    mend: str = ""


def names() -> list[str]:
    """The names that `named_policy` knows."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def named_policy(name: str) -> NamedPolicy:
    """Read a vendor's policy. Raises BadPolicy where the file is wrong."""
    found = _document(name)
    policy, warnings = policy_of(found["policy"])
    if warnings:
        raise BadPolicy(f"{name}: {warnings[0]}")
    if unknown := set(found) - KEYS:
        raise BadPolicy(f"{name}: unknown {', '.join(map(str, unknown))}")
    routes = tuple(_route(route) for route in found.get("routes", []))
    off = frozenset(found.get("undelivered", []))
    if nowhere := off - {route.log for route in routes}:
        raise BadPolicy(f"{name}: undelivered names a log that no route has: {', '.join(nowhere)}")
    return NamedPolicy(
        name,
        found["title"],
        Audit(policy, routes, off),
        str(found["read"]),
        tuple(found["sources"]),
        tuple(found.get("notes", [])),
        found.get("mend", ""),
    )


def _document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((FOLDER / f"{name}.yaml").read_text("utf-8"), yaml.CSafeLoader)
    return {**_document(found["base"]), **found} if "base" in found else found


def _route(route: dict[str, Any]) -> Route:
    match = {k: v for k, v in route.items() if k != "log"}
    return Route(route["log"], msgspec.convert(match, Match))
