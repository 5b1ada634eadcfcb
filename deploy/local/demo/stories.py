"""The two built-in stories: an attack on an EKS cluster and one on a GKE cluster, among everyday noise.

The attacks stand in records/*.ndjson, one record a line: what the clusters' logs say, and what the cloud's own does;
noise.py makes the rest. What is played is those records with every time moved by the same amount, so that the last one
happened just now; their order is kept.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import noise

Cloud = Literal["aws", "gcp"]
RECORDS = Path(__file__).resolve().parent / "records"
# the attacks' own clock, and how long they take
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
SPAN = timedelta(minutes=13)
_SEED = 1883
_TIMES = ("stageTimestamp", "timestamp", "eventTime")
_TIME = re.compile(rb"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{6})?Z")


@dataclass(frozen=True)
class Story:
    """What is played on one cloud, and the alerts that must come of it: slugs of rules and of correlations."""

    cloud: Cloud
    cluster: str
    account: str
    records: list[bytes]
    rules: frozenset[str]
    correlations: frozenset[str]

    @property
    def expected(self) -> frozenset[str]:
        """Every slug that must be seen."""
        return self.rules | self.correlations


def built_in(now: datetime) -> list[Story]:
    """Return both stories, their last record at `now`."""
    rng = random.Random(_SEED)  # noqa: S311 - the same noise each time is what is wanted
    return [
        Story(
            "aws",
            "payments-prod",
            "111122223333",
            _told(("eks-attack", "eks-cloudtrail"), noise.eks(rng, START, SPAN, 320), now),
            frozenset(
                {
                    "unauthenticated-request-allowed",
                    "cluster-role-exec",
                    "dangerous-container-command",
                    "privileged-container",
                    "sensitive-volume",
                    "crypto-mining-image",
                }
            ),
            frozenset({"exec-by-new-role", "opened-then-anonymous", "cluster-access-used"}),
        ),
        Story(
            "gcp",
            "analytics-prod",
            noise.PROJECT,
            _told(("gke-attack",), noise.gke(rng, START, SPAN, 220), now),
            frozenset(
                {
                    "cluster-role-exec",
                    "dangerous-container-command",
                    "service-exposed",
                    "host-network-pod",
                    "unauthenticated-exec",
                    "unauthenticated-request-allowed",
                }
            ),
            frozenset({"exec-by-new-role", "opened-then-anonymous"}),
        ),
    ]


def _told(files: Sequence[str], everyday: list[dict[str, Any]], now: datetime) -> list[bytes]:
    lines = [line for file in files for line in (RECORDS / f"{file}.ndjson").read_text(encoding="utf-8").splitlines()]
    together = sorted([*map(json.loads, lines), *everyday], key=_at)
    moved = now - _at(together[-1])
    return [shifted(json.dumps(record, separators=(",", ":")).encode(), moved) for record in together]


def _at(record: dict[str, Any]) -> datetime:
    """When it was written: a native event, a LogEntry, a record of CloudTrail."""
    return datetime.fromisoformat(next(str(record[key]) for key in _TIMES if key in record))


def shifted(record: bytes, by: timedelta) -> bytes:
    """Move every time in a record's text, keeping seconds or microseconds as they are written."""

    def moved(found: re.Match[bytes]) -> bytes:
        at = datetime.fromisoformat(found[0].decode()) + by
        form = "%Y-%m-%dT%H:%M:%S.%fZ" if found[2] else "%Y-%m-%dT%H:%M:%SZ"
        return at.strftime(form).encode()

    return _TIME.sub(moved, record)
