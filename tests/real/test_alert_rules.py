"""The alert rules under promtool (Debian's package prometheus): of PATH, or the one that PROMTOOL names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = FOLDER / "leadsman.rules.yaml"
TESTS = FOLDER / "tests" / "leadsman_test.yaml"
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool():
    binary = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if not binary:
        pytest.fail("no promtool: apt-get install prometheus, or name one in PROMTOOL", pytrace=False)

    def run(*arguments):
        return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)

    return run


def test_rules_are_rules(promtool):
    done = promtool("check", "rules", RULES)
    assert not done.returncode, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_rules_fire_when_they_should(promtool):
    done = promtool("test", "rules", TESTS)
    assert not done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("never", [True, False], ids=["never", "always"])
@pytest.mark.parametrize("name", ALERTS)
def test_the_tests_see_a_rule_that_is_wrong(promtool, tmp_path, name, never):
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        if rule["alert"] == name:
            rule.update(expr="vector(0) > 1") if never else rule.update(expr="vector(1)", **{"for": "0s"})
    (tmp_path / "tests").mkdir()
    (tmp_path / RULES.name).write_text(yaml.safe_dump(rules))
    shutil.copy(TESTS, tmp_path / "tests")
    assert promtool("test", "rules", tmp_path / "tests" / TESTS.name).returncode
