"""`leadsman posture`: how clusters are set up, as far as their logs have told, and what was secure and is not any more.

Reads the detector's state by its own settings (LEADSMAN_REDIS_URL and its like), or log files by --from.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import yaml
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadsman_cli.offline import Offline
from leadsman_cli.output import clean
from leadsman_cli.readers import Identity, Unreadable, files_below, read
from leadsman_cli.rules import load_rules
from leadsman_common.alerts import iso_time
from leadsman_common.errors import InvalidEvent
from leadsman_common.settings import SettingError, load
from leadsman_detector import posture as core
from leadsman_detector.config import Settings
from leadsman_detector.regressing import INSECURE, OWNER
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.statements import Statement, heads, in_order
from leadsman_detector.statements import read as read_statements
from leadsman_detector.stream import make_state, rules_folders
from leadsman_detector.versions import LIST, Support, out_of_support, read_support, skews
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

EXIT_UNREADABLE = 3
Series = tuple[str, str, list[tuple[int, bytes]]]  # cluster, group, members with their times, ms


@dataclass(slots=True)
class Posture:
    """One cluster: its settings, its components, and what regressed and still is so; what is to be said of versions."""

    cluster: str
    settings: list[core.Setting] = field(default_factory=list)
    components: list[core.Component] = field(default_factory=list)
    regressed: list[dict[str, Any]] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    @property
    def version(self) -> str:
        """The control plane's: as the cloud's calls say it, else as the API server says itself."""
        found = {s.name: s.value for s in self.settings}
        servers = sorted({c.version for c in self.components if c.name == "kube-apiserver"})
        return found.get("version") or found.get("version/kube-apiserver") or ", ".join(servers)


@click.command()
@click.argument("cluster", required=False)
@click.option(
    "--from",
    "files",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Log files or folders of them, in place of the detector's state.",
)
@click.option("--all", "everything", is_flag=True, help="Also flags that never changed, and namespaces without labels.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How it is written.")
def posture(cluster: str | None, files: tuple[Path, ...], everything: bool, output: str) -> int:
    """Say how CLUSTER (its id or name) is set up; without one, every cluster in a line.

    Settings, versions and flags as last known, with when and by whom each changed; what was secure and is not any
    more; versions that are out of support or may not run side by side. What no log has told is not there.
    """
    bad = 0
    try:
        if files:
            found, bad = _from_files(files)
        else:
            settings = load(Settings)
            found = asyncio.run(_from_state(settings))
        support = _support(rules_folders(settings) if not files else [default_rules_dir()])
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    except RedisError as error:
        raise click.ClickException(f"Redis does not answer: {error}") from error
    postures = [
        one for one in postures_of(found, support) if cluster in (None, one.cluster, one.cluster.split("/")[-1])
    ]
    if cluster and not postures:
        raise click.ClickException(f"nothing is known of {clean(cluster)}")
    if output == "json":
        for one in postures:
            sys.stdout.write(json.dumps(_json(one)) + "\n")
    elif cluster:
        for one in postures:
            _one(one, everything=everything)
    else:
        _every(postures)
    return EXIT_UNREADABLE if bad else 0


def postures_of(
    found: Iterable[Series], support: Mapping[tuple[str, int], Support], today: date | None = None
) -> list[Posture]:
    """What series of the state come to, by cluster."""
    said: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    clusters: dict[str, Posture] = {}
    for cluster, group, members in found:
        owner = group.partition("/")[0]
        if owner not in (core.OWNER, core.COMPONENTS) and not owner.startswith(OWNER):
            continue
        one = clusters.setdefault(cluster, Posture(cluster))
        if owner == core.COMPONENTS:
            one.components += (core.component_of(*member) for member in members)
        else:
            said[cluster, group] += (member for _, member in members)
    for (cluster, group), texts in sorted(said.items()):
        one, owner = clusters[cluster], group.partition("/")[0]
        if owner == core.OWNER and (setting := core.setting_of(texts)) is not None:
            one.settings.append(setting)
        elif owner != core.OWNER:
            one.regressed += _regressed(owner.removeprefix(OWNER), in_order(read_statements(texts)))
    for one in clusters.values():
        one.versions = list(_versions(one, support, today or datetime.now(UTC).date()))
    return [clusters[key] for key in sorted(clusters)]


def _regressed(rule: str, every: Sequence[Statement]) -> Iterator[dict[str, Any]]:
    """The setting of a rule, where it was secure and is not now."""
    changes = heads(every)
    if len(changes) < 2 or changes[-1].value != INSECURE:
        return
    told = json.loads(bytes(changes[-1].told))
    actor = told["actor"]["name"]
    setting = ", ".join(part for part in changes[-1].thing.split("\x1f") if part)
    yield {"rule": rule, "setting": setting, "level": told["level"], "since": iso_time(changes[-1].time), "by": actor}


def _versions(one: Posture, support: Mapping[tuple[str, int], Support], today: date) -> Iterator[str]:
    """What is to be said of a cluster's versions."""
    provider = one.cluster.partition("/")[0]
    if one.version and (said := out_of_support(support, provider, one.version, today)) is not None:
        yield said[0]
    servers = [c.version for c in one.components if c.name == "kube-apiserver"] or [one.version]
    yield from skews(sorted(set(servers)), ((c.name, c.version) for c in one.components))


def _support(folders: Sequence[Path]) -> dict[tuple[str, int], Support]:
    """The list of supported versions, of the last folder that has one."""
    for folder in [*reversed(folders), default_rules_dir()]:
        path = folder / "lists" / f"{LIST}.yml"
        if path.is_file():
            try:
                return read_support(yaml.safe_load(path.read_text("utf-8"))["values"])
            except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
                raise click.ClickException(f"{path}: {error}") from error
    return {}


async def _from_state(settings: Settings) -> list[Series]:
    state = make_state(settings)
    try:
        found: list[Series] = []
        for owner in (core.OWNER, OWNER):
            found += [(kept.cluster, kept.group, kept.members) async for kept in state.kept(owner=owner)]
        return found
    finally:
        await state.close()


def _from_files(paths: Sequence[Path]) -> tuple[list[Series], int]:
    """What log files tell; and how many of their records could not be read."""
    offline, bad = Offline(load_rules(()), posture=True), 0
    for path in files_below(tuple(paths)):
        with path.open("rb") as stream:
            for item in read(str(path), stream, "auto", Identity(), lambda _size: None):
                if isinstance(item, Unreadable):
                    bad += 1
                    continue
                try:
                    event = normalize(item)
                except InvalidEvent:
                    bad += 1
                    continue
                if not isinstance(event, Dropped):
                    offline.judge(event)
    if bad:
        click.echo(f"{bad} records could not be read", err=True)
    return list(offline.kept()), bad


def _json(one: Posture) -> dict[str, Any]:
    return {
        "cluster": one.cluster,
        "version": one.version,
        "settings": [
            {
                "name": s.name,
                "value": s.value,
                "since": iso_time(s.since),
                "by": s.told.by,
                "action": s.told.action,
                "ip": s.told.ip,
                "before": s.before,
            }
            for s in one.settings
        ],
        "components": [{**asdict(c), "seen": iso_time(c.seen)} for c in one.components],
        "regressed": one.regressed,
        "versions": one.versions,
    }


def _one(one: Posture, *, everything: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(Text(clean(one.cluster), "bold"), Text(clean(one.version)))
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("setting", "value", "since", "by", "before"):
        grid.add_column(column, overflow="fold")
    shown = [s for s in one.settings if everything or not _is_dull(s)]
    for s in shown:
        grid.add_row(*(Text(clean(t)) for t in (s.name, s.value, _day(s.since), s.told.by, s.before)))
    console.print(grid)
    if hidden := len(one.settings) - len(shown):
        console.print(Text(f"{hidden} more by --all", "dim"))
    versions = Counter((c.name, c.version) for c in one.components)
    for (name, version), count in sorted(versions.items()):
        console.print(Text(clean(f"{name} {version}" + (f", {count} of them" if count > 1 else ""))))
    for found in one.regressed:
        setting = f" ({found['setting']})" if found["setting"] else ""
        text = f"{found['level']}: {found['rule']}{setting}: not secure any more since {found['since'][:19]}Z"
        console.print(Text(clean(f"{text}, by {found['by']}"), "yellow"))
    for said in one.versions:
        console.print(Text(clean(said), "yellow"))


def _every(postures: Sequence[Posture]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    if not postures:
        click.echo("nothing is known of any cluster", err=True)
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("cluster", "version", "settings", "not secure any more", "versions"):
        grid.add_column(column, overflow="fold")
    for one in postures:
        regressed = ", ".join(sorted({f["rule"].removeprefix("posture-regression-") for f in one.regressed}))
        cells = (one.cluster, one.version, str(len(one.settings)), regressed or "-", "; ".join(one.versions) or "-")
        grid.add_row(*(Text(clean(cell)) for cell in cells))
    console.print(grid)


def _is_dull(setting: core.Setting) -> bool:
    """Whether a setting is one of many that nobody asks for first."""
    if setting.before:
        return False
    return setting.name.startswith("flag/") or (setting.name.startswith("pod-security/") and setting.value == "none")


def _day(micros: int) -> str:
    return iso_time(micros)[:19].replace("T", " ")
