"""The tables of docs/costs.md: what 10, 50 and 200 clusters take, out of what was measured.

`.venv/bin/python docs/costs.py` rewrites the page; a test holds it to what this makes.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).with_name("costs.md")
BEGIN, END = "<!-- costs: made by docs/costs.py -->", "<!-- end of costs -->"

# measured: bench/README.md says how, on two cores of an AMD EPYC in a virtual machine, Python 3.11
RAW_BYTES = 1_830  # everyday noise of a real API server, as it is logged
RAW_RATIO = 8.0  # lz4 over 100 records, as the producers batch them
EVENT_BYTES = 1_450  # the same as audit.events
EVENT_RATIO = 6.6
CPU_US = {"ingest": 24, "normalizer": 124, "detector": 44, "notifier": 17}  # an event, the whole process
MEMORY_MIB = {"ingest": 128, "normalizer": 128, "detector": 128, "notifier": 128}  # what a process stays below
KAFKA_CPU_US = 122  # broker, Redis and the producing client at full load, an event through both topics
# what a deployment chooses
UTILIZATION = 0.6  # how much of a core a worker is planned for
RETENTION_D = {"raw": 3, "events": 7}
PARTITIONS = 6  # as the topics are declared: workers of one service at most


class Load(NamedTuple):
    """Clusters, and what one of them logs a second on average and at its peak."""

    clusters: int
    mean: float
    peak: float


LOADS = [Load(10, 30, 120), Load(50, 30, 120), Load(200, 30, 120)]


def workers(service: str, events_s: float) -> int:
    """Processes that carry that many events a second."""
    return max(1, math.ceil(events_s * CPU_US[service] / 1e6 / UTILIZATION))


def volume() -> str:
    """GB a day and on disk."""
    rows = []
    for load in LOADS:
        a_day = load.clusters * load.mean * 86_400
        raw, events = a_day * RAW_BYTES / 1e9, a_day * EVENT_BYTES / 1e9
        disk = raw / RAW_RATIO * RETENTION_D["raw"] + events / EVENT_RATIO * RETENTION_D["events"]
        rows.append(
            (
                str(load.clusters),
                f"{load.clusters * load.mean:,.0f} / {load.clusters * load.peak:,.0f}",
                f"{raw:,.0f}",
                f"{raw / RAW_RATIO:,.0f}",
                f"{events / EVENT_RATIO:,.0f}",
                f"{disk:,.0f}",
                f"{3 * disk:,.0f}",
            )
        )
    head = ("clusters", "events/s, mean / peak", "logged, GB a day", "raw.*, GB a day", "audit.events, GB a day")
    return _table((*head, "disk of one copy, GB", "of three copies, GB"), rows)


def machines() -> str:
    """Workers, cores and memory at the peak."""
    rows = []
    for load in LOADS:
        peak = load.clusters * load.peak
        count = {service: workers(service, peak) for service in CPU_US}
        cores = sum(peak * CPU_US[service] / 1e6 for service in CPU_US)
        memory = sum(count[service] * MEMORY_MIB[service] for service in CPU_US)
        over = max(count.values()) > PARTITIONS
        rows.append(
            (
                str(load.clusters),
                *(str(count[service]) for service in CPU_US),
                f"{cores:.1f}",
                f"{cores / UTILIZATION:.1f}",
                f"{peak * KAFKA_CPU_US / 1e6 / UTILIZATION:.1f}",
                f"{memory / 1024:.1f}",
                f"{max(count.values())}" if over else f"{PARTITIONS}",
            )
        )
    head = (
        "clusters",
        *CPU_US,
        "cores busy",
        "cores planned",
        "cores of Kafka and Redis",
        "memory, GiB",
        "partitions of raw.*",
    )
    return _table(head, rows)


def render(page: str) -> str:
    """The page with its tables between the marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{volume()}\n\n{machines()}\n\n{END}{rest.partition(END)[2]}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
