"""What routing tells of an event before it is decoded is what the event says."""

import json
from pathlib import Path

import pytest

from leadsman_detector.fields import getter
from leadsman_detector.routing import GATED, known_fields

EVENTS = sorted((Path(__file__).parent / "normalize").glob("*/*.json"))


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_routing_tells_what_the_event_says(path: Path):
    event = json.loads(path.read_bytes())
    known = known_fields(event["action"], event["flags"])
    for field, values in known.items():
        assert getter(field)(event) == values, field


def test_every_gated_field_is_told_of_some_event():
    events = [json.loads(path.read_bytes()) for path in EVENTS]
    told = {field for e in events for field, values in known_fields(e["action"], e["flags"]).items()}
    assert told >= GATED
