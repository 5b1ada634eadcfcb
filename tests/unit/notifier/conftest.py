"""An alert to start from: the example of the topic."""

import copy
import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "schemas" / "examples" / "alerts" / "privileged-container.json"


@pytest.fixture
def make_alert():
    """make_alert(level="low", actor__name="x"): the example with some fields changed."""
    example = json.loads(EXAMPLE.read_text(encoding="utf-8"))

    def make(**changes):
        alert = copy.deepcopy(example)
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = alert
            for parent in parents:
                target = target[parent]
            target[last] = value
        return alert

    return make
