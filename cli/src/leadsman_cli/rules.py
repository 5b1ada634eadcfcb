"""`leadsman rules`: what is loaded, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click

from leadsman_common.clusters import NO_CLUSTERS, Clusters, InvalidClustersError, load_clusters
from leadsman_detector.form import Correlation, Rule
from leadsman_detector.match import RuleSet, load
from leadsman_detector.rules import SHIPPED, default_rules_dir, folder_of


class RulesFolder(click.Path):
    """A folder of rules that exists, or the word for those that come with Leadsman."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        return super().convert(folder_of(str(value)), param, ctx)


rules_option = click.option(
    "-r",
    "--rules",
    "folders",
    multiple=True,
    type=RulesFolder(),
    help=f"Rules, each folder over those before it; `{SHIPPED}` are those that come with Leadsman.",
)


@click.group()
def rules() -> None:
    """Look at the rules."""


@rules.command("list")
@rules_option
@click.option("--problems", is_flag=True, help="Only what is wrong; exit 1 where anything is.")
def list_rules(folders: tuple[Path, ...], problems: bool) -> int:
    """List rules and correlations with their levels and files, and the digest that alerts carry."""
    loaded = load_rules(folders)
    for problem in loaded.problems:
        click.echo(str(problem), err=not problems)
    if not problems:
        for form in sorted([*_forms(loaded), *loaded.disabled], key=lambda f: f.name):
            said = "; ".join(_standing(form, loaded))
            click.echo(f"{form.name:34} {form.level:14} {form.title}{f' ({said})' if said else ''}  [{form.origin}]")
        click.echo(f"{len(loaded.rules)} rules, {len(loaded.correlations)} correlations, digest {loaded.digest}")
    return 1 if loaded.problems else 0


def _forms(loaded: RuleSet) -> list[Rule | Correlation]:
    return [*(compiled.rule for compiled in loaded.rules), *loaded.correlations]


def _standing(form: Rule | Correlation, loaded: RuleSet) -> Iterator[str]:
    """What overlays and trials make of a rule, in words."""
    if form.enabled is not True:
        yield "in some clusters" if form.enabled else "disabled"
    if form.shadow:
        yield "in shadow" if form.shadow is True else "in shadow in some clusters"
    if not isinstance(form, Correlation):
        return
    disabled = {rule.name for rule in loaded.disabled}
    if off := [name for name in form.rules if name in disabled]:
        yield f"without {', '.join(off)}, disabled"
    shadow = {other.name for other in _forms(loaded) if other.shadow is True}
    if form.shadow is not True and (untold := [name for name in form.rules if name in shadow]):
        yield f"without {', '.join(untold)}, in shadow"


@cache
def load_rules(folders: tuple[Path, ...], registry: Path | None = None) -> RuleSet:
    """The rules of these folders, or the ones that come with Leadsman; read once a process.

    `registry`: clusters.yaml, for folders of a tenant; see registry_of. Raises UsageError.
    """
    return load(list(folders) or [default_rules_dir()], clusters=registry_of(registry))


def folders_in_service() -> tuple[Path, ...]:
    """The folders of LEADSMAN_RULES_DIR, as the detector reads it; none where it is empty. Raises UsageError."""
    names = [part.strip() for part in os.environ.get("LEADSMAN_RULES_DIR", "").split(",")]
    folders = tuple(folder_of(name) for name in names if name)
    if missing := [folder for folder in folders if not folder.exists()]:
        raise click.UsageError(f"LEADSMAN_RULES_DIR: no such folder: {missing[0]}")
    return folders


def registry_of(file: Path | None = None) -> Clusters:
    """clusters.yaml, of LEADSMAN_CLUSTERS where it is not given; none without it. Raises UsageError."""
    given = file or os.environ.get("LEADSMAN_CLUSTERS")
    try:
        return load_clusters(Path(given)) if given else NO_CLUSTERS
    except InvalidClustersError as error:
        raise click.UsageError(str(error)) from error
