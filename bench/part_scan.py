"""What `leadsman scan` does in a second, over a file of the mix, as a command."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import note
from mix import counted, expected, samples


def measure(count: int) -> dict[str, Any]:
    """Events/s and CPU µs an event, the command's start (a scan of ten records) taken off."""
    with tempfile.TemporaryDirectory() as folder:
        file, few = Path(folder) / "mix.ndjson", Path(folder) / "few.ndjson"
        records = list(samples(count))
        file.write_bytes(b"".join(sample.value + b"\n" for sample in records))
        few.write_bytes(b"".join(sample.value + b"\n" for sample in records[:10]))
        note(f"scan: {count} records, {file.stat().st_size / 1e6:.0f} MB")
        start_wall, start_cpu, _ = min(_scan(few) for _ in range(2))
        wall_s, cpu_s, alerts = _scan(file)
    return {
        "events": count,
        "alerts": alerts,
        "alerts_known": expected(records).total(),
        "start_s": round(start_wall, 2),
        "events_per_s": round(count / max(wall_s - start_wall, 1e-3)),
        "events_per_s_a_core": round(count / max(cpu_s - start_cpu, 1e-3)),
        "cpu_us_per_event": round((cpu_s - start_cpu) / count * 1e6, 1),
    }


def _scan(file: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds, alerts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "leadsman_cli", "scan", "-o", "jsonl", str(file)]
    done = subprocess.run(command, check=True, capture_output=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, sum(counted(json.loads(line)) for line in done.stdout.splitlines())
