"""Records of the event's schema: their defaults, and what a test says of them."""

from __future__ import annotations

import copy
from typing import Any

from leadsman_common.schemas import load_avsc, records_of

RECORDS = records_of(load_avsc("audit-event"))


def defaults(record_type: str, /, **values: Any) -> Any:
    """A record of the schema with its defaults, and the values given."""
    record = {f["name"]: copy.deepcopy(f["default"]) for f in RECORDS[record_type]["fields"]}
    assert set(values) <= set(record), set(values) - set(record)
    return {**record, **values}
