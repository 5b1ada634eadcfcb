"""schemas/asyncapi.yaml: made of the topics' files, valid AsyncAPI 3, and every topic is in it."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from leadsman_common import topics

REPO = Path(__file__).parents[2]
SCHEMA = json.loads((REPO / "tests" / "fixtures" / "asyncapi" / "3.0.0.json").read_bytes())
DOCUMENT = yaml.safe_load((REPO / "schemas" / "asyncapi.yaml").read_text(encoding="utf-8"))


def load_script():
    spec = importlib.util.spec_from_file_location("asyncapi_page", REPO / "docs" / "asyncapi.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def validate(document):
    jsonschema.Draft7Validator(SCHEMA).validate(document)


def test_it_is_up_to_date():
    page = load_script()
    assert page.FILE.read_text(encoding="utf-8") == page.render(), "make docs"


def test_it_validates():
    validate(DOCUMENT)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda d: d.update(asyncapi="3"),
        lambda d: d["info"].pop("title"),
        lambda d: d["channels"]["alerts"].update(adress="x"),
        lambda d: next(iter(d["operations"].values())).update(action="publish"),
    ],
)
def test_what_is_wrong_is_found(break_it):
    document = json.loads(json.dumps(DOCUMENT))
    break_it(document)
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_every_topic_and_every_reference():
    declared = topics.load(REPO / "schemas" / "topics")
    assert {c["address"] for c in DOCUMENT["channels"].values()} == set(declared)
    for operation in DOCUMENT["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in DOCUMENT["channels"]
    for channel in DOCUMENT["channels"].values():
        payload = channel["messages"]["record"].get("payload", {})
        if "schemaFormat" in payload:
            assert json.loads((REPO / "schemas" / payload["schema"]["$ref"]).read_bytes())["type"] == "record"
