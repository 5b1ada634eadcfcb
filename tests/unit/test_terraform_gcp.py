"""deploy/terraform/gcp: the files parse and are formatted, outputs are settings of ingest-gcp, roles are the least."""

import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest

from leadsman_ingest_gcp.config import Settings

GCP = Path(__file__).parents[2] / "deploy" / "terraform" / "gcp"
FILES = sorted(GCP.glob("*.tf"))
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in FILES)


def labels(kind):
    found = []
    for file in FILES:
        with file.open(encoding="utf-8") as text:
            for block in hcl2.load(text).get(kind, []):
                found += [(label.strip('"'), fields) for label, fields in block.items()]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_parses(file):
    with file.open(encoding="utf-8") as text:
        assert hcl2.load(text)


def test_outputs_are_settings_that_exist():
    named = {name for name, _ in labels("output")}
    known = {f"LEADSMAN_{field.upper()}" for field in Settings.__dataclass_fields__}
    assert {name for name in named if name.startswith("LEADSMAN_")} <= known
    assert {"LEADSMAN_PUBSUB_SUBSCRIPTIONS", "LEADSMAN_PUSH_AUDIENCES", "LEADSMAN_PUSH_EMAILS"} <= named


def test_variables_and_references_hold_together():
    variables = dict(labels("variable"))
    assert all(fields.get("description") for fields in variables.values())
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == set(variables)
    resources = {f"{kind}.{name.strip(chr(34))}" for kind, fields in labels("resource") for name in fields}
    referred = {f"{kind}.{name}" for kind, name in re.findall(r"(?<!\")\b(google_\w+)\.(\w+)[\[.]", TEXT)}
    assert referred <= resources


def test_the_roles_are_the_least():
    roles = set(re.findall(r'"(roles/[^"]+)"', TEXT))
    assert roles == {"roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/iam.workloadIdentityUser"}
    kinds = {kind for kind, _ in labels("resource")}
    assert not {kind for kind in kinds if kind.endswith(("_iam_binding", "_iam_policy"))}
    assert "google_project_iam_member" not in kinds  # rights on one topic, one subscription, not on the project


def test_the_filter_takes_what_can_be_read():
    for part in ("activity", "data_access", "system_event", "policy", '"k8s.io"', '"container.googleapis.com"'):
        assert part in TEXT


def test_formatted():
    if (terraform := shutil.which("terraform")) is None:
        return  # CI has none: what it would say of the form is of no weight
    done = subprocess.run([terraform, "fmt", "-check", "-diff"], cwd=GCP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
