"""What a release asks for: one version everywhere, what changed, pinned bases, a workflow that signs."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((REPO / ".github" / "workflows" / "release.yml").read_text())


def load_version():
    spec = importlib.util.spec_from_file_location("version", REPO / "deploy" / "release" / "version.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


version = load_version()


@pytest.fixture
def tree(tmp_path):
    """A copy of what names versions, with a changelog of its own."""
    for path in [*version.members(), REPO / "deploy" / "helm" / "leadsman" / "Chart.yaml"]:
        copy = tmp_path / path.relative_to(REPO)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n- One.\n")
    return tmp_path


def test_the_tree_has_one_version():
    found = version.versions()
    assert len(set(found.values())) == 1
    assert len(found) == len(list((REPO / "services").glob("*/pyproject.toml"))) + 4


def test_a_version_is_put_everywhere(tree):
    version.put("2.3.4", tree, "2026-01-02")
    assert set(version.versions(tree).values()) == {"2.3.4"}
    assert version.problems("2.3.4", tree) == []
    assert version.sections(tree)["2.3.4"] == (True, "### Added\n\n- One.")
    assert version.sections(tree)["Unreleased"] == (False, "")


def test_what_does_not_agree_is_named(tree):
    version.put("2.3.4", tree, "2026-01-02")
    chart = tree / "deploy" / "helm" / "leadsman" / "Chart.yaml"
    chart.write_text(chart.read_text().replace("appVersion: 2.3.4", "appVersion: 2.3.3"))
    assert version.problems("2.3.4", tree) == ["Chart.yaml appVersion says 2.3.3, not 2.3.4"]
    assert "CHANGELOG.md says nothing of 2.3.5" in version.problems("2.3.5", tree)
    assert version.problems("2.3", tree) == ["'2.3' is no X.Y.Z"]


def test_the_workflow_makes_every_image_and_signs_it():
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", (REPO / "Dockerfile").read_text(), re.MULTILINE))
    released = set(WORKFLOW["jobs"]["images"]["strategy"]["matrix"]["target"])
    services = {path.parent.name for path in REPO.glob("services/*/pyproject.toml")}
    assert services | {"cli", "schema-registry"} == released
    assert released <= targets
    for job in ("images", "chart"):
        text = yaml.safe_dump(WORKFLOW["jobs"][job])
        assert "cosign sign --yes" in text
        assert "attest-build-provenance" in text
    build = next(s for s in WORKFLOW["jobs"]["images"]["steps"] if s.get("id") == "build")["with"]
    assert (build["sbom"], build["provenance"]) == (True, "mode=max")
    assert "bases.outputs" in build["build-contexts"]


def test_the_workflow_has_no_more_rights_than_it_needs():
    assert WORKFLOW["permissions"] == {}
    assert WORKFLOW["jobs"]["check"]["permissions"] == {"contents": "read"}


def test_bases_are_pinned_by_digest(tmp_path):
    fake = tmp_path / "docker"
    fake.write_text('#!/bin/sh\necho "{\\"digest\\": \\"sha256:$(printf %s "$4" | sha256sum | cut -c1-64)\\"}"\n')
    fake.chmod(0o755)
    script = REPO / "deploy" / "release" / "pin-bases.sh"
    done = subprocess.run(
        [script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    first, *pairs, last = done.stdout.splitlines()
    assert (first, last) == ("contexts<<END", "END")
    names = {re.fullmatch(r"(\S+)=docker-image://\1@sha256:[0-9a-f]{64}", pair)[1] for pair in pairs}
    assert names == {"debian:bookworm-slim", "python:3.11-slim"}
