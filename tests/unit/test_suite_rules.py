"""The suite's own rules: a failing case fails the run, and in CI a skipped one does too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def run_pytest(tmp_path):
    """Run pytest on one file, with the suite's conftest, in a process of its own."""

    def run(source: str, *arguments: str, ci: str | None = None) -> subprocess.CompletedProcess[str]:
        shutil.copy(CONFTEST, tmp_path / "conftest.py")
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_planted.py").write_text(f"import pytest\n{source}")
        env = {key: value for key, value in os.environ.items() if key not in {"CI", "PYTEST_ADDOPTS"}}
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half the time of a run
        if ci is not None:
            env["CI"] = ci
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "."],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


PASSING = "def test_good():\n    assert True\n"
FAILING = PASSING + "def test_bad():\n    assert 1 == 2\n"
FAILING_FIXTURE = PASSING + ("@pytest.fixture\ndef broken():\n    raise ValueError\ndef test_bad(broken):\n    pass\n")
SKIP = "def test_skipped():\n    pytest.skip('no broker')\n"
SKIPS = {
    "call": SKIP,
    "mark": "@pytest.mark.skip(reason='no broker')\ndef test_skipped():\n    pass\n",
    "fixture": "@pytest.fixture\ndef f():\n    pytest.skip('no broker')\ndef test_skipped(f):\n    pass\n",
    "module": "pytest.skip('no broker', allow_module_level=True)\n",
}
ALLOWED = """
def test_absent():
    pytest.skip('shared corpora absent: ../shared')
def test_absent_by_fixture(corpora):
    pass
@pytest.mark.xfail
def test_expected_failure():
    assert False
"""


def test_a_passing_run_exits_with_zero(run_pytest):
    assert run_pytest(PASSING, ci="true").returncode == 0


@pytest.mark.parametrize("source", [FAILING, FAILING_FIXTURE], ids=["test", "fixture"])
def test_a_failing_case_fails_the_run(run_pytest, source):
    assert run_pytest(source).returncode == 1


@pytest.mark.parametrize("kind", SKIPS)
def test_a_skip_fails_the_run_in_ci(run_pytest, kind):
    done = run_pytest(PASSING + SKIPS[kind], ci="true")
    assert done.returncode != 0
    assert "a skipped test is a failure in CI" in done.stdout
    assert "no broker" in done.stdout


@pytest.mark.parametrize("ci", [None, "false"])
def test_a_skip_is_a_skip_elsewhere(run_pytest, ci):
    done = run_pytest(PASSING + SKIP, ci=ci)
    assert done.returncode == 0
    assert "1 skipped" in done.stdout


def test_absent_corpora_and_expected_failures_stand_in_ci(run_pytest, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADSMAN_CORPORA", str(tmp_path / "absent"))
    done = run_pytest(ALLOWED, ci="true")
    assert done.returncode == 0
    assert "2 skipped, 1 xfailed" in done.stdout


def test_golden_compares_or_writes(run_pytest, tmp_path):
    def source(text: str) -> str:
        return f"def test_it(golden):\n    golden({str(tmp_path / 'g' / 'file.txt')!r}, {text!r})\n"

    absent = run_pytest(source("one\n"))
    written = run_pytest(source("one\n"), "--golden-write")
    same = run_pytest(source("one\n"))
    changed = run_pytest(source("two\n"))
    assert [run.returncode for run in (absent, written, same, changed)] == [1, 0, 0, 1]
    assert "-one\n+two" in changed.stdout
    assert (tmp_path / "g" / "file.txt").read_text() == "one\n"
