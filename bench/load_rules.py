"""How long it takes to load all rules that come with Leadsman: CPU seconds of the best of five, as JSON.

`.venv/bin/python bench/load_rules.py`. The first load also reads pySigma and libyaml and is told apart.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> int:
    """Print the figures."""
    began = time.process_time()
    from leadsman_detector.match import load  # noqa: PLC0415 - what it costs to import is part of it
    from leadsman_detector.rules import default_rules_dir  # noqa: PLC0415

    load([default_rules_dir()])
    first_s, again = time.process_time() - began, []
    for _ in range(5):
        began = time.process_time()
        rules = load([default_rules_dir()])
        again.append(time.process_time() - began)
    counts = {"rules": len(rules.rules), "correlations": len(rules.correlations)}
    figures = {**counts, "first_cpu_s": round(first_s, 3), "load_cpu_s": round(min(again), 3)}
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
