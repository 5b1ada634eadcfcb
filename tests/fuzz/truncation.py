"""Native events cut at every byte: nothing but InvalidEvent in front of the four leading fields, an event behind them.

`make fuzz` runs all cuts; tests/unit/normalizer/test_truncation.py runs a sample of the same.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seeds import REPO, corpora, real

from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize

LEADING = ("auditID", "verb", "user", "objectRef")
MARK = b"[Truncated...]"
MIN_EVENTS, MIN_CUTS = 100, 200_000
MAX_EVENT_BYTES = 24 * 1024
MAX_OF_FILE = 10
_MARK_EVERY = 10
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Whole:
    """An event before it is cut. `end`: the first cut (bytes kept) that leaves the four leading fields whole."""

    name: str
    value: bytes
    end: int
    event: AuditEvent


@dataclass(slots=True)
class Report:
    """What came of the cuts."""

    count: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def wholes(folder: Path | None) -> Iterator[Whole]:
    """Native events with the four leading fields, some of each file: the corpora, else our fixtures."""
    if folder is None:
        paths = sorted((REPO / "tests" / "fixtures" / "records").glob("*/*.json"))
        found = [(f"{p.parent.name}/{p.name}", p.read_bytes()) for p in paths if p.stem in ("native", "eks")]
    else:
        found = list(real(folder, "k8s-audit"))
    taken: Counter[str] = Counter()
    for name, data in found:
        value = data.strip()
        end = _end_of_leading(value) if taken[name] < MAX_OF_FILE else 0
        if not end or len(value) > MAX_EVENT_BYTES:
            continue
        event = normalize(RawEvent(value, format="k8s-audit"))
        if isinstance(event, dict):
            taken[name] += 1
            yield Whole(name, value, end, event)


def chosen(found: Iterable[Whole], events: int, cuts: int) -> list[Whole]:
    """One event of each file, then the next of each, until there are so many events and bytes to cut."""
    files: dict[str, list[Whole]] = {}
    for whole in found:
        files.setdefault(whole.name, []).append(whole)
    kept: list[Whole] = []
    size = turn = 0
    while any(turn < len(of_file) for of_file in files.values()):
        for of_file in files.values():
            if turn < len(of_file):
                kept.append(of_file[turn])
                size += len(of_file[turn].value)
            if len(kept) >= events and size >= cuts:
                return kept
        turn += 1
    return kept


def check(whole: Whole, cut: int, mark: bytes, report: Report) -> None:
    """Normalize the first `cut` bytes and note what came of them."""
    report.count["cuts"] += 1
    try:
        event = normalize(RawEvent(whole.value[:cut] + mark, format="k8s-audit"))
    except InvalidEvent:
        report.count["refused"] += 1
        trouble = "not salvaged" if cut >= whole.end else ""
    except Exception as error:  # noqa: BLE001 - what this looks for
        trouble = f"{type(error).__name__}: {error}"
    else:
        report.count["salvaged"] += 1
        trouble = _wrong(whole, event) if isinstance(event, dict) else f"dropped: {event.reason}"
    if trouble:
        report.failures.append(f"{whole.name}, cut at {cut} of {len(whole.value)}{mark.decode()}: {trouble}")


def _wrong(whole: Whole, event: AuditEvent) -> str:
    """What is wrong with a salvaged event; empty where nothing is."""
    if not (event["coverage"]["truncated"] and event["flags"] & Flag.TRUNCATED):
        return "not flagged as truncated"
    expected = whole.event
    for key in ("auditID", "verb", "user"):
        if event[key] != expected[key]:
            return f"another {key}"
    if event["action"] != expected["action"] or event["objectRef"]["namespace"] != expected["objectRef"]["namespace"]:
        return "another objectRef"
    audit_event_codec().encode(event)
    return ""


def _end_of_leading(value: bytes) -> int:
    """Where the last of the four leading fields ends, in bytes; 0 where one is missing or the text is no object.

    Found with the standard library's parser, so that the code under test does not judge itself.
    """
    parse = json.JSONDecoder().raw_decode
    try:
        text = value.decode()
        keys = set()
        at = _after_space(text, 1)
        while text[at] == '"' and keys != set(LEADING):
            key, at = parse(text, at)
            at = _after_space(text, at)
            _, at = parse(text, _after_space(text, at + 1))
            keys |= {key} & set(LEADING)
            end = at
            at = _after_space(text, at)
            at = _after_space(text, at + 1) if text[at] == "," else at
    except (ValueError, IndexError):
        return 0
    return len(text[:end].encode()) if keys == set(LEADING) else 0


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def main() -> int:
    """Every cut. Prints the counts; 1 where one of them was wrong."""
    folder = corpora()
    if folder is None:
        sys.stdout.write("truncation: no corpora here; the project's own fixtures are cut instead\n")
    events = chosen(wholes(folder), MIN_EVENTS, MIN_CUTS)
    report = Report()
    started = time.monotonic()
    for whole in events:
        for cut in range(len(whole.value)):
            check(whole, cut, b"", report)
            if cut % _MARK_EVERY == 0:
                check(whole, cut, MARK, report)
    count = report.count
    sys.stdout.write(
        f"truncation: {len(events)} events of {len({whole.name for whole in events})} files, {count['cuts']} cuts,"
        f" {count['salvaged']} salvaged, {count['refused']} refused, {len(report.failures)} wrong,"
        f" {time.monotonic() - started:.0f} s\n"
    )
    for failure in report.failures[:20]:
        sys.stdout.write(f"  {failure}\n")
    few = folder is not None and (len(events) < MIN_EVENTS or count["cuts"] < MIN_CUTS)
    if few:
        sys.stdout.write("  fewer events or cuts than asked\n")
    return 1 if report.failures or few else 0


if __name__ == "__main__":
    sys.exit(main())
