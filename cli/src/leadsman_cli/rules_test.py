"""`leadsman rules test`: rules against their cases, on every cloud."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadsman_cli.cases import CLOUDS, CaseError, CaseFile, case_files, load_cases
from leadsman_cli.judge_cases import Result, judge_all
from leadsman_cli.junit import write_junit
from leadsman_cli.output import clean
from leadsman_cli.rules import load_rules, rules_option
from leadsman_detector.match import RuleSet

DEFAULT_DIR = Path("tests/rules")
_LOOKS = {"passed": ("ok", "green"), "failed": ("FAILED", "bold red"), "blind": ("blind", "yellow")}


@click.command("test")
@click.argument("folder", metavar="[DIR]", default=DEFAULT_DIR, type=click.Path(path_type=Path))
@rules_option
@click.option("--rule", "slug", default="", help="Only the cases of this rule.")
@click.option("--cloud", type=click.Choice(CLOUDS), help="Only on this cloud.")
@click.option("-v", "--verbose", is_flag=True, help="A line for each case.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write the results as JUnit XML.")
def test_rules(
    folder: Path, folders: tuple[Path, ...], slug: str, cloud: str | None, verbose: bool, junit: Path | None
) -> int:
    """Run the case files below DIR (./tests/rules by default) against the rules.

    A case describes requests; what each cloud would log of them is made from that and scanned as any log file. `blind`
    says that the cloud keeps back what the rule needs. Exit code 0 where every case comes out as expected, else 1.
    """
    if not folder.exists():
        raise click.UsageError(f"no such folder: {folder}")
    rules = load_rules(folders)
    errors = [f"rule error: {problem}" for problem in rules.problems if problem.fatal]
    files, bad = read_all(folder, rules, slug)
    errors += bad
    results = list(judge_all(rules, files, cloud or ""))
    if not results and not errors:
        raise click.UsageError(f"no case in {folder}" + (f" of {slug}" if slug else ""))
    _report(results, verbose=verbose)
    for error in errors:
        click.echo(error, err=True)
    if junit is not None:
        write_junit(junit, results, errors)
    return 1 if errors or any(r.status == "failed" for r in results) else 0


def read_all(folder: Path, rules: RuleSet, slug: str = "") -> tuple[list[CaseFile], list[str]]:
    """The case files below a folder, and what is wrong with those that cannot be used."""
    files: list[CaseFile] = []
    errors: list[str] = []
    known = {r.rule.name for r in rules.rules} | {c.name for c in rules.correlations}
    for path in case_files(folder):
        try:
            file = load_cases(path)
        except CaseError as error:
            errors.append(str(error))
            continue
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
            continue
        if slug and file.rule != slug:
            continue
        named = {file.rule} | {rule for case in file.cases for rule in case.also}
        if missing := named - known:
            errors.append(f"{path}:1: no such rule: {', '.join(sorted(missing))}")
        else:
            files.append(file)
    return files, errors


def _report(results: Sequence[Result], *, verbose: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if results:
        console.print(_by_case(results) if verbose else _by_rule(results))
    for result in results:
        if result.status == "failed":
            where = f"{result.file.where(result.case)}: {result.case.name} [{result.cloud}]"
            console.print(Text(clean(f"{where}: {'; '.join(result.reasons)}"), "red"), soft_wrap=True)
    held_back = {reason for result in results if result.status == "blind" for reason in result.reasons}
    for reason in sorted(held_back):
        console.print(Text(clean(f"blind: {reason}"), "yellow"), soft_wrap=True)
    cases = {(result.file.rule, result.case.name) for result in results}
    console.print(f"{len(cases)} cases, {len(results)} runs: {_counts(results, zero=True)}")


def _by_rule(results: Sequence[Result]) -> Table:
    """A line a rule: how many of its cases came out how on each cloud."""
    grid, clouds = _grid(results, "rule", "cases")
    for rule in dict.fromkeys(r.file.rule for r in results):
        of_rule = [r for r in results if r.file.rule == rule]
        cells = [Text(_counts([r for r in of_rule if r.cloud == cloud]) or "-") for cloud in clouds]
        failed = any(r.status == "failed" for r in of_rule)
        grid.add_row(Text(rule, "bold red" if failed else ""), str(len({r.case.name for r in of_rule})), *cells)
    return grid


def _by_case(results: Sequence[Result]) -> Table:
    """A line a case: what it gave on each cloud."""
    grid, clouds = _grid(results, "rule", "case")
    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        rows.setdefault((result.file.rule, result.case.name), {})[result.cloud] = result
    for (rule, case), found in rows.items():
        grid.add_row(rule, Text(clean(case)), *(_cell(found.get(cloud)) for cloud in clouds))
    return grid


def _grid(results: Sequence[Result], *heads: str) -> tuple[Table, list[str]]:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        grid.add_column(head, overflow="fold")
    clouds = [c for c in CLOUDS if any(r.cloud == c for r in results)]
    for cloud in clouds:
        grid.add_column(cloud, no_wrap=True)
    return grid, [*clouds]


def _counts(results: Sequence[Result], *, zero: bool = False) -> str:
    counts = [(sum(r.status == status for r in results), status) for status in ("passed", "failed", "blind")]
    return ", ".join(f"{count} {status}" for count, status in counts if count or zero)


def _cell(result: Result | None) -> Text:
    if result is None:
        return Text("-", "dim")
    text, style = _LOOKS[result.status]
    return Text(f"{text} {result.got}", style) if result.status == "failed" else Text(text, style)
