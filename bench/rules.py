"""What rules cost: µs an event for 12, 100, 1,000 and 10,000 of them, over events that match none.

`bench/rules.py [--corpora DIR] [--events N] [--rules N ...]`. The rules are of twelve shapes (exact, contains,
startswith, endswith, a regular expression, a keyword, a network, a number, facts, labels, bodies, alternatives),
without verb and resource, and with them: each shape with one of the twelve most common pairs of the events, so that
events do come by. For comparison, not for the goal: each rule with any of sixty pairs, where a dozen rules leave most
events alone and ten thousand leave none. `match` is the engine over events that are decoded already; `scan` is the
whole of `leadsman scan` over their log lines. The stage RequestReceived, which is never evaluated, is left out.
Prints JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure
import noise

from leadsman_cli.readers import Identity, read
from leadsman_cli.scan import Scanner
from leadsman_common.events import AuditEvent
from leadsman_common.raw import RawEvent
from leadsman_detector.form import And, Leaf, Node, Or, Rule
from leadsman_detector.match import RuleSet
from leadsman_detector.rules import RuleFiles
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

GOAL = 1.5
SHAPES: tuple[Callable[[int], Node], ...] = (
    lambda n: Leaf("user.username", "equals", f"mallory-{n}"),
    lambda n: Leaf("userAgent", "pattern", (None, f"evil-agent-{n}/", None)),
    lambda n: Leaf("requestURI", "pattern", (f"/evil/{n}/", None)),
    lambda n: Leaf("objectRef.name", "pattern", (None, f"-evil{n}")),
    lambda n: Leaf("userAgent", "regex", rf"(?i)^(curl|evil)-{n}/\d+"),
    lambda n: Leaf("*", "pattern", (None, f"needle-{n}-in-hay", None)),
    lambda n: Leaf("src_endpoint.ip", "cidr", f"203.{n // 256 % 256}.{n % 256}.0/24"),
    lambda n: Leaf("responseStatus.code", "compare", ("gt", 600 + n)),
    lambda n: Leaf("facts.pod.containers.image_repo", "equals", f"evil/image-{n}"),
    lambda n: And((Leaf("objectRef.namespace", "equals", f"ns-{n}"), Leaf("user.groups", "equals", f"team-{n}"))),
    lambda n: Leaf("requestObject.metadata.labels.app", "equals", f"evil-{n}"),
    lambda n: Or((Leaf("objectRef.name", "equals", f"x{n}"), Leaf("userAgent", "pattern", (f"evil{n}-", None)))),
)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    noise.add_argument(parser)
    parser.add_argument("--events", type=int, default=8_000)
    parser.add_argument("--rules", type=int, nargs="+", default=[12, 100, 1_000, 10_000])
    arguments = parser.parse_args()
    name, lines = noise.lines(arguments.corpora, arguments.events)
    lines = [line for line in lines if b'"stage":"RequestReceived"' not in line]
    events = [e for line in lines if not isinstance(e := normalize(RawEvent(value=line)), Dropped)]
    routes = [(e["verb"], e["objectRef"]["resource"]) for e in events if e["objectRef"]["resource"]]
    common = [route for route, _ in Counter(routes).most_common(60)]
    result: dict[str, Any] = {"machine": measure.machine(), "events": name, "count": len(events)}
    for kind, pairs in (
        ("without_verb_and_resource", []),
        ("with_verb_and_resource", common[: len(SHAPES)]),
        ("with_any_of_sixty_pairs", common),
    ):
        rows = [_row(kind, count, pairs, events, lines) for count in arguments.rules]
        growth = {what: round(rows[-1][what] / rows[0][what], 2) for what in ("match_us", "scan_us")}
        result[kind] = {"rows": rows, "growth": growth}
        if kind != "with_any_of_sixty_pairs":
            result[kind]["met"] = max(growth.values()) <= GOAL
    print(json.dumps(result, indent=1))
    return 0


def rules_of(count: int, routes: Sequence[tuple[str, str]]) -> RuleSet:
    """So many rules, of all shapes in turn; with routes, each for a verb and a resource that occur."""
    rng = random.Random(count)
    rules = []
    for n in range(count):
        node = SHAPES[n % len(SHAPES)](n)
        if routes:
            verb, resource = routes[n % len(SHAPES)] if len(routes) <= len(SHAPES) else rng.choice(routes)
            node = And((Leaf("verb", "equals", verb), Leaf("objectRef.resource", "equals", resource), node))
        rules.append(Rule(id=f"rule-{n}", name=f"rule-{n}", title="", level="high", condition=node))
    return RuleSet(RuleFiles(tuple(rules), ()))


def _row(
    kind: str, count: int, routes: Sequence[tuple[str, str]], events: list[AuditEvent], lines: list[bytes]
) -> dict[str, Any]:
    measure.note(f"{count} rules, {kind}")
    began = time.process_time()
    rules = rules_of(count, routes)
    compile_s = time.process_time() - began
    matches = [m for event in events for m in rules.match(event)]  # makes the indexes, too
    if matches:
        raise RuntimeError(f"a rule matched: {matches[0].rule.name}")
    log = b"\n".join(lines)

    def scan(_: None) -> None:
        Scanner(rules).take(read("-", io.BytesIO(log), "k8s-audit", Identity(), _nothing))

    scan(None)
    return {
        "rules": count,
        "compile_s": round(compile_s, 2),
        "match_us": round(measure.cpu_us_each(rules.match, events), 2),
        "scan_us": round(measure.cpu_us_each(scan, [None]) / len(lines), 2),
    }


def _nothing(_: int) -> None:
    """Progress that nobody sees."""


if __name__ == "__main__":
    sys.exit(main())
