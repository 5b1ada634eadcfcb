"""docs/coming-from.md: the rules of other tools, and which of ours cover them, out of docs/coming-from.yml.

`.venv/bin/python docs/coming-from.py` writes the page; a test holds the page to what this makes.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
PAGE, DATA = HERE / "coming-from.md", HERE / "coming-from.yml"
INTRO = """\
# Coming from another tool

<!-- made by docs/coming-from.py from docs/coming-from.yml: do not edit -->

What the default rules of other tools are called, and which rules of Leadsman cover them ([rules.md](rules.md) describes
each) or why none does. One rule here holds on every cloud, where others have one for each. Inventories tell of everyday
work: they are informational here, or no alert at all.

Not in the tables are rules about processes in containers and on nodes (Falco's syscall rules, Elastic Defend, Datadog
Workload Protection): what such a sensor sees enters as a signal and joins with requests
([sources/signals.md](sources/signals.md)).
Rules in Sigma's format, SigmaHQ's for Kubernetes among them, load as they are ([writing-rules.md](writing-rules.md)).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRO, *(_set(one) for one in yaml.safe_load(DATA.read_text(encoding="utf-8")))])


def _set(given: dict[str, Any]) -> str:
    at = f" at `{given['commit'][:12]}`, of {given['date']}" if "commit" in given else f", as read on {given['date']}"
    rows = "\n".join(_row(rule) for rule in given["rules"])
    note = f"\n{given['note']}\n" if "note" in given else ""
    head = f"## {given['name']}\n\n[The source]({given['source']}){at}.\n{note}"
    return f"{head}\n| theirs | ours | |\n|---|---|---|\n{rows}\n"


def _row(rule: dict[str, Any]) -> str:
    ours = ", ".join(f"[{slug}](rules.md#{slug})" for slug in rule.get("ours", ())) or "-"
    told = [*(["inventory"] if rule.get("inventory") else []), *([rule["why"]] if "why" in rule else [])]
    return f"| {rule['theirs'].replace('|', chr(92) + '|')} | {ours} | {': '.join(told)} |"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
