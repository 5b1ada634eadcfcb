"""Alerts in OCSF's form, validated by a library of others, and what a consumer may rely on."""

import copy
import json

import pytest
from hostile import STRINGS, poisoned
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from pydantic import BaseModel

from leadsman_common.ocsf import VERSION, to_ocsf
from leadsman_common.schemas import schemas_dir

EXAMPLE = json.loads((schemas_dir() / "examples" / "alerts" / "privileged-container.json").read_text(encoding="utf-8"))


def finding(**changes):
    return to_ocsf({**copy.deepcopy(EXAMPLE), **changes}, "0.1.0")


ACCOUNT = {"uid": "111122223333", "name": "111122223333", "type_id": 10, "type": "AWS Account"}


def empties(value, path=""):
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in empties(v, f"{path}.{k}")] + ([path] if not value else [])
    if isinstance(value, list):
        return [p for v in value for p in empties(v, f"{path}[]")] + ([path] if not value else [])
    return [path] if value in ("", None) else []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"revision": 1790001234567},
        {"evidence": []},
        {"joins": ["reason"], "evidence": EXAMPLE["evidence"] * 3},
        {"tags": []},
        {"level": "unheard-of"},
        {"title": "", "time": 0},
        {"cluster": dict.fromkeys(EXAMPLE["cluster"], "")},
        *[{"poison": text} for text in STRINGS[::7]],
    ],
)
def test_it_validates(changes):
    alert = poisoned(EXAMPLE, changes["poison"]) if "poison" in changes else {**copy.deepcopy(EXAMPLE), **changes}
    made = json.loads(json.dumps(to_ocsf(alert, "0.1.0", again=bool(alert["revision"]))))
    parsed = DetectionFinding.model_validate(made)
    assert (parsed.class_uid, parsed.metadata.version) == (2004, VERSION)
    assert parsed.type_uid == made["class_uid"] * 100 + made["activity_id"]
    assert empties(made) == []


def test_the_library_refuses_what_is_none():
    with pytest.raises(ValueError, match="severity_id"):
        DetectionFinding.model_validate({**finding(), "severity_id": "loud"})
    made = finding()
    del made["finding_info"]["uid"]
    with pytest.raises(ValueError, match="uid"):
        DetectionFinding.model_validate(made)


def known(model, value, path=""):
    """The fields of a JSON value that the library's model does not have, outside free-form objects."""
    found = []
    for name, item in value.items():
        field = model.model_fields.get(name)
        if field is None:
            found.append(f"{path}{name}")
            continue
        inner = next((a for a in _types(field.annotation) if isinstance(a, type) and issubclass(a, BaseModel)), None)
        for one in item if isinstance(item, list) else [item]:
            if inner and isinstance(one, dict):
                found += known(inner, one, f"{path}{name}.")
    return found


def _types(annotation):
    inner = getattr(annotation, "__args__", ())
    return [annotation, *[t for a in inner for t in _types(a)]]


# fields of OCSF 1.5.0 that this library's models leave out
LEFT_OUT = {
    "is_alert", "evidences.uid", "evidences.actor", "evidences.src_endpoint", "evidences.http_request",
    "finding_info.related_events_count",
}  # fmt: skip


def test_no_field_is_invented():
    assert set(known(DetectionFinding, finding())) <= LEFT_OUT


def test_what_it_says():
    made = finding()
    assert made["finding_info"]["uid"] == made["metadata"]["uid"] == EXAMPLE["id"]
    assert (made["severity_id"], made["severity"]) == (5, "Critical")
    assert made["cloud"] == {"provider": "AWS", "region": "eu-central-1", "account": ACCOUNT}
    assert [r["type"] for r in made["resources"]] == ["pods", "cluster"]
    assert made["time"] == EXAMPLE["time"] // 1000
    assert len(made["evidences"]) == len(EXAMPLE["evidence"])
    assert finding(revision=5)["activity_name"] == "Create"
    assert to_ocsf(EXAMPLE, "0.1.0", again=True)["activity_name"] == "Update"
