"""import-linter as pyproject.toml sets it up: green as the code stands, and red for each kind of bad import.

One shared environment hides such a fault from every other test. The imports are planted in a copy of the sources.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.fixture
def sources(tmp_path):
    """A copy of every package's sources: name of the package -> its folder."""
    found = {}
    for folder in sorted(REPO.glob("*/src/leadsman_*")) + sorted(REPO.glob("services/*/src/leadsman_*")):
        found[folder.name] = tmp_path / folder.name
        shutil.copytree(folder, found[folder.name], ignore=shutil.ignore_patterns("__pycache__", "_schemas"))
    return found


def lint(folder):
    """lint-imports over the copy: the folder comes before the editable installs on the path."""
    shutil.copy(REPO / "pyproject.toml", folder / "pyproject.toml")
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def plant(sources, module, line):
    package, *inner = module.split(".")
    path = sources[package].joinpath(*inner)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    # a module that the copy does not have yet is made
    file.write_text((file.read_text(encoding="utf-8") if file.exists() else "") + f"\n{line}\n", encoding="utf-8")


def test_the_code_as_it_stands(sources, tmp_path):
    assert len(sources) >= 7
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


BAD = {
    "service imports service": [("leadsman_notifier.stream", "import leadsman_detector")],
    "service imports cli": [("leadsman_notifier.stream", "import leadsman_cli")],
    "common imports service": [("leadsman_common.topics", "from leadsman_notifier import render")],
    "core imports redis": [("leadsman_notifier.render", "import redis")],
    "core imports kafka inside a function": [
        ("leadsman_detector.match", "def planted():\n    from confluent_kafka import Producer")
    ],
    "core imports what imports boto3": [
        ("leadsman_notifier.planted", "import boto3"),
        ("leadsman_notifier.render", "import leadsman_notifier.planted"),
    ],
    "core imports pySigma": [("leadsman_detector.match", "import sigma.rule")],
}


@pytest.mark.parametrize("imports", BAD.values(), ids=BAD)
def test_a_bad_import_is_found(sources, tmp_path, imports):
    for module, line in imports:
        plant(sources, module, line)
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert " BROKEN" in done.stdout
    assert imports[-1][0] in done.stdout
