"""`leadsman acknowledge ALERT`: the entry for a rules folder by which a known finding counts a level less.

The folder is what survives restarts and is the same on every worker; this only writes the entry (risk.py uses it).
"""

from __future__ import annotations

import getpass
import json
from datetime import date
from pathlib import Path
from typing import Any

import click
import yaml

from leadsman_cli.alerts_on_call import alert_on_topic
from leadsman_common.alerts import Alert, fingerprint
from leadsman_common.visible import clean

TITLE = "Findings that a person has acknowledged"


@click.command()
@click.argument("alert_id", metavar="ALERT")
@click.option("--reason", required=True, help="Why it is known.")
@click.option("--by", default="", help="Who says so; who runs this where left out.")
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it counts; for ever where left out."
)
@click.option(
    "--from",
    "scanned",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Alerts of `leadsman scan -o jsonl` in place of the topic.",
)
@click.option(
    "--to",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the entry to this file of a rules folder; standard output where left out.",
)
@click.option("--days", type=float, default=30.0, show_default=True, help="How far back the topic is looked through.")
def acknowledge(
    alert_id: str, reason: str, by: str, expires: Any, scanned: Path | None, file: Path | None, days: float
) -> int:
    """Say that a finding is known: the same actor, object and facts under the same rule count a level less.

    From the fourth time within 30 days on. Each worker reads it from its rules folder within LEADSMAN_RULES_RELOAD_S.
    Other actors, objects and facts are told as ever. `leadsman except` has nobody told at all.
    """
    alert = _of_scan(scanned, alert_id) if scanned is not None else alert_on_topic(alert_id, days)
    entry = _entry(alert, by or getpass.getuser(), reason, expires.date() if expires else None)
    if file is None:
        click.echo(_text([entry]), nl=False)
        return 0
    entries = [one for one in _entries(file) if one.get("fingerprint") != entry["fingerprint"]]
    file.write_text(_text([*entries, entry]), encoding="utf-8")
    click.echo(f"{file}: {entry['rule']}: {entry['what']}")
    return 0


def _entry(alert: Alert, by: str, reason: str, expires: date | None) -> dict[str, Any]:
    ref = alert["objectRef"]
    where = "/".join(part for part in (ref["namespace"], ref["name"]) if part)
    entry: dict[str, Any] = {
        "fingerprint": fingerprint(alert),
        "rule": alert["rule"]["name"],
        "what": clean(
            f"{alert['actor']['name'] or 'nobody'} on {ref['resource']} {where} in {alert['cluster']['name']}"
        ),
        "by": by,
        "reason": reason,
    }
    return {**entry, "expires": expires} if expires else entry


def _entries(file: Path) -> list[dict[str, Any]]:
    """What stands in a file already. Raises ClickException for a file of something else."""
    if not file.exists():
        return []
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise click.ClickException(f"{file}: not YAML: {error}") from error
    given = found.get("acknowledged") if isinstance(found, dict) else None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise click.ClickException(f"{file}: holds something other than what is acknowledged")
    return given


def _text(entries: list[dict[str, Any]]) -> str:
    return yaml.safe_dump({"title": TITLE, "acknowledged": entries}, sort_keys=False, allow_unicode=True, width=120)


def _of_scan(file: Path, alert_id: str) -> Alert:
    """The last alert of a scan whose id begins so. Raises ClickException."""
    found: dict[str, Alert] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        try:
            alert = json.loads(line)
            if alert["id"].startswith(alert_id):
                found[alert["id"]] = alert
        except (ValueError, KeyError, TypeError) as error:
            raise click.ClickException(f"{file}:{number}: no alert of `scan -o jsonl`") from error
    if len(found) != 1:
        raise click.ClickException(f"{file}: {len(found) or 'no'} alerts begin with {clean(alert_id, 64)!r}")
    return next(iter(found.values()))
