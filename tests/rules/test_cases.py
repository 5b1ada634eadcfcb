"""Every case of tests/rules/*.yml on each of its clouds; the same that `leadsman rules test` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadsman_cli.judge_cases import judge
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all

pytestmark = pytest.mark.slow

FILES, ERRORS = read_all(Path(__file__).parent, load_rules(()))
RUNS = [
    pytest.param(file, case, cloud, id=f"{file.rule}: {case.name} [{cloud}]")
    for file in FILES
    for case in file.cases
    for cloud in case.on()
]


def test_every_case_file_can_be_read():
    assert ERRORS == []


@pytest.mark.parametrize(("file", "case", "cloud"), RUNS)
def test_case(file, case, cloud):
    result = judge(load_rules(()), file, case, cloud)
    assert result.status != "failed", f"{file.where(case)}: {'; '.join(result.reasons)}"
