"""Each example of a raw topic through normalize, against what a person has read. `make golden` rewrites."""

import json
from pathlib import Path

import pytest

from leadsman_common.raw import from_headers
from leadsman_common.schemas import schemas_dir
from leadsman_normalizer.normalize import normalize

EXAMPLES = sorted(
    path for path in (schemas_dir() / "examples").glob("raw.*/*.json") if not path.name.endswith(".headers.json")
)


def test_there_are_examples_of_each_cloud():
    assert {path.parent.name for path in EXAMPLES} >= {"raw.aws", "raw.gcp", "raw.k8s", "raw.azure"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_as_it_was_read(path: Path, golden):
    told = json.loads(path.with_name(f"{path.stem}.headers.json").read_bytes())
    headers = [(name, value.encode()) for name, value in told.items()]
    event = normalize(from_headers(path.read_bytes(), headers, path.parent.name, 0, 7))
    assert isinstance(event, dict)
    golden(f"normalize/{path.parent.name}/{path.name}", json.dumps(event, indent=1, ensure_ascii=False) + "\n")
