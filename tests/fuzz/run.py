"""`make fuzz`: every target for FUZZ_SECONDS each (30), then the full truncation run. Exits 1 where anything was found.

FUZZ_TARGETS names some of them only. What a target learnt stays in .cache/fuzz/NAME, and what broke it beside that.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import truncation
from seeds import REPO, corpora, seeds

from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.sources import SOURCES

TARGETS = (*SOURCES, "envelope-aws", "envelope-gcp", "avro")
CACHE = REPO / ".cache" / "fuzz"
LIMITS = (
    "-timeout=10",  # of the clock, for what hangs; the second of CPU is measured by the target itself
    "-rss_limit_mb=1024",  # of the whole process, with all that it learnt; what one input takes is measured as well
    "-malloc_limit_mb=64",
    "-max_len=262144",
    "-len_control=0",
)
MAX_SEEDS = 300


def main() -> int:
    """Run the targets and print a line of figures for each."""
    seconds = int(os.environ.get("FUZZ_SECONDS") or 30)
    wanted = os.environ.get("FUZZ_TARGETS", "").split() or [*TARGETS, "truncation"]
    sys.stdout.write(f"fuzz: {seconds} s a target, seeds {'with' if corpora() else 'without'} the corpora\n")
    broken = [name for name in wanted if name != "truncation" and not fuzz(name, seconds)]
    if "truncation" in wanted and truncation.main():
        broken.append("truncation")
    sys.stdout.write(f"broken: {', '.join(broken)}\n" if broken else "nothing found\n")
    return 1 if broken else 0


def fuzz(name: str, seconds: int) -> bool:
    """Run one target; whether it held."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    planted = plant(name, folder)
    command = [sys.executable, str(Path(__file__).with_name("target.py")), name, str(folder), *LIMITS]
    command += [f"-max_total_time={seconds}", f"-artifact_prefix={CACHE}/{name}-", "-print_final_stats=1"]
    started = time.monotonic()
    # stderr goes to a file: a pipe that nobody reads would stop the target
    log = CACHE / f"{name}.log"
    with log.open("wb") as out:
        code = subprocess.run(command, stdout=out, stderr=out, check=False, timeout=seconds + 300).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    runs = _last(r"number_of_executed_units: (\d+)", text)
    peak = _last(r"peak_rss_mb: *(\d+)", text)
    slowest, growth = _last(r"slowest (\d+) ms", text), _last(r"growth (\d+) KiB", text)
    sys.stdout.write(
        f"{name:24} {planted:4} seeds {runs or '?':>9} runs {time.monotonic() - started:4.0f} s,"
        f" slowest input {slowest or '?':>4} ms, largest growth {int(growth or 0) // 1024:3} MiB,"
        f" process {peak or '?':>4} MiB  {'ok' if code == 0 else f'BROKEN ({code}), see {log}'}\n"
    )
    sys.stdout.flush()
    return code == 0


def plant(name: str, folder: Path) -> int:
    """Write the seeds into the target's corpus; their number."""
    found = list(encoded() if name == "avro" else seeds(name))
    step = max(1, len(found) // MAX_SEEDS)
    for value in found[::step]:
        (folder / hashlib.sha256(value).hexdigest()[:16]).write_bytes(value)
    return len(found[::step])


def encoded() -> list[bytes]:
    """Events of the other targets' seeds in Avro."""
    found = []
    for name in SOURCES:
        for value in list(seeds(name))[:40]:
            try:
                event = normalize(RawEvent(value, format=name))
            except InvalidEvent:
                continue
            if isinstance(event, dict):
                found.append(audit_event_codec().encode(event))
    return found


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else ""


if __name__ == "__main__":
    sys.exit(main())
