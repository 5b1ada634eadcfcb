"""The records of the deliveries topic. What is read back from a broker is in tests/integration."""

import json
import typing

from leadsman_common.schemas import load_avsc, records_of, schemas_dir
from leadsman_notifier import deliveries


def test_the_typed_dicts_are_the_schema():
    records = records_of(load_avsc("delivery"))
    for name, record in records.items():
        assert [f["name"] for f in record["fields"]] == list(typing.get_type_hints(getattr(deliveries, name)))
        assert all(f["doc"] and "default" in f for f in record["fields"])


def test_the_example_is_read_as_it_was_written():
    (file,) = (schemas_dir() / "examples" / "deliveries").glob("*.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    codec = deliveries.delivery_codec()
    assert codec.decode(codec.encode(record)) == record
