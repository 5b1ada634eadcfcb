"""The everyday noise of a real API server, where the shared corpora are at hand, else the benchmark's own mix."""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

from mix import samples

FILE = Path("kube-apiserver", "n16-background-noise.ndjson")
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Take --corpora, the folder of real audit logs."""
    given = os.environ.get("LEADSMAN_CORPORA") or BESIDE
    parser.add_argument("--corpora", type=Path, default=Path(given), help="folder of real audit logs")


def lines(corpora: Path, count: int) -> tuple[str, list[bytes]]:
    """`count` native records, one a line, repeated until there are enough, and what they are called."""
    path = corpora / FILE
    if path.is_file():
        return FILE.name, list(itertools.islice(itertools.cycle(path.read_bytes().splitlines()), count))
    native = (s.value for s in samples(4 * count, alerting=0) if s.value.startswith(b'{"kind":"Event"'))
    return "the benchmark's mix, without its attacks", list(itertools.islice(native, count))
