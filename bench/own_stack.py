"""A Kafka and a Redis of the benchmark's own, on loopback, for as long as a run lasts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import stack
from measure import note


@contextmanager
def own_stack() -> Iterator[tuple[Path, stack.Stack]]:
    """Give the run dir and the running stack; both are gone afterwards."""
    run_dir = Path(tempfile.mkdtemp(prefix="leadsman-bench-"))
    try:
        note("Kafka and Redis")
        yield run_dir, stack.start(run_dir, create_topics=False, tie_to_parent=True)
    finally:
        stack.stop(run_dir, grace_s=5)
        shutil.rmtree(run_dir, ignore_errors=True)
