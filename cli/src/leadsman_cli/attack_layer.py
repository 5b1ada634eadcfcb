"""A coverage as a layer for the ATT&CK Navigator. Pure.

Format: https://github.com/mitre-attack/attack-navigator/blob/master/layers/spec/v4.5/layerformat.md
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from leadsman_cli.coverage import Coverage, Status

SCORES: dict[Status, int] = {"can fire": 100, "degraded": 50, "unknown": 0, "blind": 0}
COLOURS = ("#ff6666", "#ffe766", "#8ec843")  # of the scores 0, 50 and 100
LABELS = ("blind", "degraded", "can fire")
_TECHNIQUE = re.compile(r"attack\.(t\d{4}(?:\.\d{3})?)", re.IGNORECASE)


def layer(found: Sequence[Coverage], policy: str) -> dict[str, Any]:
    """The layer: each technique of a rule that alerts, scored by the best of its rules. `policy`: what was judged."""
    rules: dict[str, list[Coverage]] = {}
    for coverage in found:
        for technique in _techniques(coverage) if coverage.alert else ():
            rules.setdefault(technique, []).append(coverage)
    return {
        "name": f"Leadsman: {policy}",
        "versions": {"navigator": "5.1.0", "layer": "4.5"},  # without `attack`: the version the Navigator shows
        "domain": "enterprise-attack",
        "description": f"What Leadsman's rules can see under this audit policy: {policy}",
        "sorting": 3,
        "layout": {"layout": "side", "showID": True, "showName": True, "expandedSubtechniques": "annotated"},
        "techniques": [
            {
                "techniqueID": technique,
                "score": max(SCORES[c.status] for c in rules[technique]),
                "comment": "; ".join(f"{c.name}: {c.status}" for c in rules[technique]),
                "enabled": True,
            }
            for technique in sorted(rules)
        ],
        "gradient": {"colors": list(COLOURS), "minValue": 0, "maxValue": 100},
        "legendItems": [{"label": label, "color": colour} for label, colour in zip(LABELS, COLOURS, strict=True)],
    }


def _techniques(coverage: Coverage) -> list[str]:
    return [match[1].upper() for tag in coverage.tags if (match := _TECHNIQUE.fullmatch(tag))]
