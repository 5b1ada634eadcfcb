"""The version of a release: `version.py vX.Y.Z` prints X.Y.Z where the tree and the changelog agree, else why not.

`version.py --set X.Y.Z` writes it everywhere and dates the changelog's section; `--notes vX.Y.Z` prints that section.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
VERSION = re.compile(r"\d+\.\d+\.\d+")
_TOML = re.compile(r'^version = "(?P<version>[^"]+)"', re.MULTILINE)
_CHART = re.compile(r"^(?P<name>version|appVersion): (?P<version>\S+)", re.MULTILINE)
_SECTION = re.compile(
    r"^## \[(?P<version>[^\]]+)\](?P<date> - \d{4}-\d{2}-\d{2})?\n(?P<text>.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL
)


def members(repo: Path = REPO) -> list[Path]:
    """The pyproject.toml of everything that is packaged."""
    return sorted(
        [*repo.glob("services/*/pyproject.toml"), repo / "common/pyproject.toml", repo / "cli/pyproject.toml"]
    )


def versions(repo: Path = REPO) -> dict[str, str]:
    """Every version that the tree names, by where it stands."""
    found = {
        str(path.relative_to(repo)): _TOML.search(path.read_text(encoding="utf-8"))["version"] for path in members(repo)
    }  # type: ignore[index]
    chart = (repo / "deploy/helm/leadsman/Chart.yaml").read_text(encoding="utf-8")
    return found | {f"Chart.yaml {m['name']}": m["version"] for m in _CHART.finditer(chart)}


def sections(repo: Path = REPO) -> dict[str, tuple[bool, str]]:
    """The changelog's sections by version: whether it has a date, and its text."""
    text = (repo / "CHANGELOG.md").read_text(encoding="utf-8")
    return {m["version"]: (bool(m["date"]), m["text"].strip()) for m in _SECTION.finditer(text)}


def problems(version: str, repo: Path = REPO) -> list[str]:
    """Why this version cannot be released, one line each."""
    if not VERSION.fullmatch(version):
        return [f"{version!r} is no X.Y.Z"]
    wrong = [f"{where} says {found}, not {version}" for where, found in versions(repo).items() if found != version]
    dated, text = sections(repo).get(version, (False, ""))
    if not text:
        wrong.append(f"CHANGELOG.md says nothing of {version}")
    elif not dated:
        wrong.append(f"CHANGELOG.md has no date for {version}")
    return wrong


def put(version: str, repo: Path = REPO, today: str = "") -> None:
    """Write the version everywhere, and make the changelog's Unreleased its section."""
    for path in members(repo):
        path.write_text(
            _TOML.sub(f'version = "{version}"', path.read_text(encoding="utf-8"), count=1), encoding="utf-8"
        )
    chart = repo / "deploy/helm/leadsman/Chart.yaml"
    chart.write_text(_CHART.sub(rf"\g<name>: {version}", chart.read_text(encoding="utf-8")), encoding="utf-8")
    log, today = repo / "CHANGELOG.md", today or dt.datetime.now(dt.UTC).date().isoformat()
    section = f"## [Unreleased]\n\n## [{version}] - {today}\n"
    log.write_text(log.read_text(encoding="utf-8").replace("## [Unreleased]\n", section, 1), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """See the module."""
    *option, version = arguments or [""]
    version = version.removeprefix("v")
    if option == ["--set"]:
        if not VERSION.fullmatch(version):
            sys.stderr.write(f"{version!r} is no X.Y.Z\n")
            return 1
        put(version)
        return 0
    if wrong := problems(version):
        sys.stderr.write("".join(f"{line}\n" for line in wrong))
        return 1
    sys.stdout.write(f"{sections()[version][1] if option == ['--notes'] else version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
