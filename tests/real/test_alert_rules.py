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


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"expr": "vector(0) > 1"}, 'alertname="{}"'),  # among the samples that are missed
        ({"expr": "vector(1)", "for": "0s"}, "alertname: {}, time: 3h"),  # in the quiet hours
    ],
    ids=["never", "always"],
)
def test_the_tests_see_a_rule_that_is_wrong(promtool, tmp_path, wrong, complaint):
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.update(wrong)
    (tmp_path / "tests").mkdir()
    (tmp_path / RULES.name).write_text(yaml.safe_dump(rules))
    shutil.copy(TESTS, tmp_path / "tests")
    done = promtool("test", "rules", tmp_path / "tests" / TESTS.name)
    assert done.returncode
    said = (done.stdout + done.stderr).replace("\\", "")
    assert [name for name in ALERTS if complaint.format(name) not in said] == []
