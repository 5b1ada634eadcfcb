"""`leadsman config`: what settings come to, and their JSON schema."""

import json

import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.config_command import SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_a_schema_of_its_environment(service, capsys):
    assert main(["config", service, "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["LEADSMAN_KAFKA_BOOTSTRAP"]["type"] == "string"
    assert schema["properties"]["LEADSMAN_KAFKA_OPTIONS"]["writeOnly"] is True
    assert set(schema["required"]) <= schema["properties"].keys()


def test_values_their_origin_and_no_secret(monkeypatch, tmp_path, capsys):
    secret = tmp_path / "options"
    secret.write_text("sasl.password=hunter2")
    monkeypatch.setenv("LEADSMAN_KAFKA_OPTIONS_FILE", str(secret))
    monkeypatch.setenv("LEADSMAN_NORMALIZER_BATCH", "77")
    assert main(["config", "normalizer", "-o", "json"]) == 0
    out = capsys.readouterr().out
    said = json.loads(out)
    assert said["LEADSMAN_NORMALIZER_BATCH"] == {"value": 77, "from": "the environment"}
    assert said["LEADSMAN_KAFKA_OPTIONS"] == {"value": "***", "from": "a file"}
    assert said["LEADSMAN_LEDGER"] == {"value": True, "from": "default"}
    assert main(["config", "normalizer"]) == 0
    assert "hunter2" not in out + capsys.readouterr().out


def test_a_mistake_is_named(monkeypatch, capsys):
    monkeypatch.setenv("LEADSMAN_NORMALIZER_BATCH", "many")
    assert main(["config", "normalizer"]) == 1
    assert "LEADSMAN_NORMALIZER_BATCH" in capsys.readouterr().err
