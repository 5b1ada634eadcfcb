"""`leadsman coverage`: what the rules can see under an audit policy, for people and for tools."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadsman_cli.attack_layer import layer
from leadsman_cli.audit_policy import BadPolicy, parse_policy
from leadsman_cli.audited import Audit
from leadsman_cli.coverage import Coverage, cover
from leadsman_cli.named_policies import NamedPolicy, named_policy, names
from leadsman_cli.output import clean
from leadsman_cli.rules import load_rules, rules_option

COLOURS = {"can fire": "green", "degraded": "yellow", "unknown": "magenta", "blind": "bold red"}


@click.command()
@click.option("--policy", required=True, metavar="FILE|NAME", help=f"An audit policy file, or {', '.join(names())}.")
@rules_option
@click.option("-o", "--output", type=click.Choice(["table", "jsonl"]), default="table", help="How it is written.")
@click.option(
    "--attack-layer", "layer_file", type=click.Path(dir_okay=False, path_type=Path), help="Write an ATT&CK layer."
)
def coverage(policy: str, folders: tuple[Path, ...], output: str, layer_file: Path | None) -> int:
    """Say for each rule whether it can fire under an audit policy, is degraded, or is blind, and why.

    FILE is an audit.k8s.io Policy, as kube-apiserver reads it; the names are the policies of managed clusters, as their
    vendors document them. Exit code 0 whatever is found, 1 on a usage or rule error.
    """
    named = _read(policy)
    rules = load_rules(folders)
    for problem in rules.problems:
        click.echo(f"rule error: {problem}", err=True)
    found = cover([r.rule for r in rules.rules], rules.correlations, named.audit)
    found.sort(key=lambda c: (not c.alert, c.name))
    if output == "jsonl":
        _jsonl(found)
    else:
        _table(found, named)
    if layer_file is not None:
        layer_file.write_bytes(msgspec.json.format(msgspec.json.encode(layer(found, named.title)), indent=2) + b"\n")
    return 1 if rules.problems and not found else 0


def _read(policy: str) -> NamedPolicy:
    try:
        if policy in names():
            return named_policy(policy)
        file = Path(policy)
        if not file.is_file():
            raise click.UsageError(f"--policy: no such file, and none of {', '.join(names())}: {policy}")
        parsed, warnings = parse_policy(file.read_text("utf-8"))
    except (BadPolicy, UnicodeDecodeError) as error:
        raise click.ClickException(f"{policy}: {error}") from None
    for warning in warnings:
        click.echo(f"{policy}: {warning}", err=True)
    return NamedPolicy(file.name, file.name, Audit(parsed), "", ())


def _jsonl(found: Sequence[Coverage]) -> None:
    for one in found:
        line = {
            "rule": one.name,
            "title": one.title,
            "level": one.level,
            "status": one.status,
            "why": one.why,
            "notes": one.notes,
            "alert": one.alert,
        }
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _table(found: Sequence[Coverage], named: NamedPolicy) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rule", "status", "why"):
        grid.add_column(column, overflow="fold", no_wrap=column != "why")
    for one in found:
        why = [Text(clean(line)) for line in one.why]
        name = one.name if one.alert else f"{one.name} (no alert)"
        grid.add_row(name, Text(one.status, COLOURS[one.status]), Text("\n").join(why))
    console.print(Text(clean(named.title), "bold"), Text(f"(read {named.read})" if named.read else ""))
    console.print(grid)
    of: dict[str, list[str]] = {}
    for one in found:
        for note in one.notes:
            of.setdefault(note, []).append(one.name)
    for note in (*named.notes, *(f"{note} ({', '.join(rules)})" for note, rules in of.items())):
        console.print(Text(clean(f"note: {note}"), "dim"))
    if named.mend:
        console.print(Text(f"what helps most: {named.mend}"))
    for source in named.sources:
        console.print(Text(f"source: {source}", "dim"))
