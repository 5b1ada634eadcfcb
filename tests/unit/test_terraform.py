"""deploy/terraform: the files parse, are formatted, and their outputs name settings that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest

from leadsman_common.settings import load
from leadsman_ingest_aws.config import Settings

AWS = Path(__file__).parents[2] / "deploy" / "terraform" / "aws"
FILES = sorted(AWS.glob("*.tf"))


def parsed(kind):
    """Every block of a kind, by its labels: name -> its fields."""
    found = {}
    for file in FILES:
        with file.open(encoding="utf-8") as text:
            for block in hcl2.load(text).get(kind, []):
                for label, fields in block.items():
                    inner = {f"{bare(label)}.{bare(k)}": v for k, v in fields.items()} if kind == "resource" else {}
                    found |= inner or {bare(label): fields}
    return found


def bare(label):
    return label.strip('"')


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_parses(file):
    with file.open(encoding="utf-8") as text:
        assert hcl2.load(text)


def test_outputs_name_settings_that_exist():
    outputs = parsed("output")
    shown = {bare(name) for name in outputs["settings"]["value"]}
    secret = {bare(name) for name in outputs["secret_settings"]["value"]}
    known = {f"LEADSMAN_{field.upper()}" for field in Settings.__dataclass_fields__}
    hidden = {f"LEADSMAN_{n.upper()}" for n, f in Settings.__dataclass_fields__.items() if f.metadata["secret"]}
    assert shown | secret <= known
    assert secret <= hidden
    assert not shown & hidden
    assert outputs["secret_settings"]["sensitive"] in (True, "true")
    assert {
        "LEADSMAN_KINESIS_STREAM",
        "LEADSMAN_SQS_QUEUES",
        "LEADSMAN_LOG_GROUPS",
        "LEADSMAN_CHECKPOINT_TABLE",
    } <= shown


def test_values_of_the_outputs_form_are_understood():
    """An ARN of a stream, URLs of queues, ARNs of log groups, ACCOUNT=ROLE, as the expressions make them."""
    settings = load(
        Settings,
        {
            "LEADSMAN_KINESIS_STREAM": "arn:aws:kinesis:eu-west-1:111122223333:stream/leadsman-logs",
            "LEADSMAN_SQS_QUEUES": "https://sqs.eu-west-1.amazonaws.com/111122223333/leadsman-files,"
            "https://sqs.eu-west-1.amazonaws.com/111122223333/leadsman-events",
            "LEADSMAN_LOG_GROUPS": "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/eks/harbour/cluster",
            "LEADSMAN_ASSUME_ROLES": "111122223333=arn:aws:iam::111122223333:role/leadsman-ingest-aws",
        },
    )
    places = [*settings.streams, *settings.queues, *settings.groups]
    assert {(place.region, place.account) for place in places} == {("eu-west-1", "111122223333")}


def test_variables_and_references_hold_together():
    """Every variable is described and used, and nothing refers to a variable or a resource that is not there."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
    variables, resources = parsed("variable"), parsed("resource")
    assert all(fields.get("description") for fields in variables.values())
    used = set(re.findall(r"\bvar\.(\w+)", text))
    assert used == set(variables)
    referred = {f"{kind}.{name}" for kind, name in re.findall(r"(?<!data\.)\b(aws_\w+)\.(\w+)", text)}
    assert {one for one in referred if not one.startswith(("aws_caller", "aws_partition", "aws_region"))} <= set(
        resources
    )


def test_no_permission_is_a_star():
    text = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
    actions = re.findall(r'"((?:kinesis|sqs|s3|logs|dynamodb|kms|firehose):[^"]*)"', text)
    assert "kinesis:GetRecords" in actions
    assert [action for action in actions if "*" in action and not action.startswith("s3:ObjectCreated")] == []
    assert not re.search(r'Resource\s*=\s*"\*"', text)


def test_formatted():
    if (terraform := shutil.which("terraform")) is None:
        return  # CI has none: what it would say of the form is of no weight
    done = subprocess.run([terraform, "fmt", "-check", "-diff"], cwd=AWS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_valid_where_the_provider_is_at_hand(tmp_path):
    """`terraform validate`, which needs the provider's schema: a mirror or the registry; elsewhere the rest must do."""
    terraform = shutil.which("terraform")
    if terraform is None:
        return
    shutil.copytree(AWS, tmp_path / "aws", ignore=shutil.ignore_patterns(".terraform*"))
    init = subprocess.run(
        [terraform, "init", "-backend=false", "-input=false"],
        cwd=tmp_path / "aws",
        capture_output=True,
        timeout=120,
        check=False,
    )
    if init.returncode:
        return
    done = subprocess.run([terraform, "validate"], cwd=tmp_path / "aws", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
