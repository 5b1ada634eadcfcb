"""`leadsman rules`: what is loaded, and what is wrong with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import click

from leadsman_detector.match import RuleSet, load
from leadsman_detector.rules import default_rules_dir


@click.group()
def rules() -> None:
    """Look at the rules."""


@rules.command("list")
@click.option("-r", "--rules", "folders", multiple=True, type=click.Path(exists=True, path_type=Path), help="Rules.")
@click.option("--problems", is_flag=True, help="Only what is wrong; exit 1 where anything is.")
def list_rules(folders: tuple[Path, ...], problems: bool) -> int:
    """List rules and correlations with their levels, and the digest that alerts carry."""
    loaded = load_rules(folders)
    for problem in loaded.problems:
        click.echo(str(problem), err=not problems)
    if not problems:
        entries = [(r.rule.name, r.rule.level, r.rule.title) for r in loaded.rules]
        entries += [(c.name, c.level, c.title) for c in loaded.correlations]
        for name, level, title in sorted(entries):
            click.echo(f"{name:34} {level:14} {title}")
        click.echo(f"{len(loaded.rules)} rules, {len(loaded.correlations)} correlations, digest {loaded.digest}")
    return 1 if loaded.problems else 0


@cache
def load_rules(folders: tuple[Path, ...]) -> RuleSet:
    """The rules of these folders, or the ones that come with Leadsman; read once a process."""
    return load(list(folders) or [default_rules_dir()])
