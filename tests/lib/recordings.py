"""Recordings of a real API server: kept small, read back, and scanned as `leadsman scan` would."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanned, Scanner

# what says nothing to a rule and is most of an object
NOISE = frozenset({"managedFields"})
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BODILESS = ("customresourcedefinitions",)


def trimmed(event: dict[str, Any]) -> dict[str, Any]:
    """The event without managedFields, kubectl's copy of the object, and the bodies of CRDs."""
    for key in ("requestObject", "responseObject"):
        body = event.get(key)
        if isinstance(body, dict):
            event[key] = (
                {"kind": body.get("kind")}
                if (event.get("objectRef") or {}).get("resource") in BODILESS
                else _clean(body)
            )
    return event


def _clean(body: Any) -> Any:
    if isinstance(body, list):
        return [_clean(x) for x in body]
    if not isinstance(body, dict):
        return body
    return {k: _clean(v) for k, v in body.items() if k not in NOISE and k != APPLIED}


def store(path: Path, events: Iterable[dict[str, Any]]) -> None:
    """Write events as JSON lines, gzip; the same events give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(trimmed(e), separators=(",", ":"), ensure_ascii=False) + "\n" for e in events)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def lines_of(path: Path) -> list[bytes]:
    """The lines of a stored recording."""
    return gzip.decompress(path.read_bytes()).splitlines()


def scanned(lines: Iterable[bytes]) -> Scanned:
    """What the shipped rules and filters say of these lines."""
    rules = load_rules(())
    assert not rules.problems, [str(p) for p in rules.problems]
    scanner = Scanner(rules)
    scanner.take(
        read("recording.ndjson", io.BytesIO(b"\n".join(lines) + b"\n"), "auto", Identity(), lambda _size: None)
    )
    assert not scanner.found.bad, scanner.found.bad[:3]
    return scanner.found
