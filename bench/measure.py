"""How the benchmark measures: CPU time of processes, percentiles, and what machine it ran on."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


def note(text: str) -> None:
    """Say on stderr how far the run is; stdout holds nothing but the result."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def cpu_s(pid: int) -> float:
    """Tell the CPU time of a process so far, user and system, all threads (Linux; to a tick, 10 ms)."""
    # the command name is in parentheses and may hold anything; utime and stime are fields 14 and 15
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def busy_s() -> float:
    """Tell the time that the machine's cores have worked so far, whoever they worked for; taken away by a host, too."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / _TICKS


def cpu_us_each(work: Callable[[Any], object], items: Sequence[Any], *, repeats: int = 5) -> float:
    """Tell the CPU µs of `work` for one item: of each thousand items the best pass, so that others disturb little."""
    starts = range(0, len(items), 1000)
    best = [float("inf")] * len(starts)
    for _ in range(repeats):
        for at, start in enumerate(starts):
            some = items[start : start + 1000]
            began = time.process_time()
            for item in some:
                work(item)
            best[at] = min(best[at], time.process_time() - began)
    return sum(best) / len(items) * 1e6


def percentiles_ms(values_ms: Iterable[float]) -> dict[str, float]:
    """Give p50, p99 and max."""
    ordered = sorted(values_ms)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "max_ms": round(ordered[-1], 1),
        "samples": len(ordered),
    }


def machine() -> dict[str, Any]:
    """Describe where and when this ran, and what else the machine was doing."""
    names = ("confluent-kafka", "faust-streaming", "aiokafka", "fastavro", "msgspec", "redis")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in names},
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
