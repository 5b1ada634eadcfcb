"""`leadsman except ALERT`: the exception that silences an alert until a day, for a rules folder, and its cases."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click
import yaml

from leadsman_cli.alerts_on_call import alert_on_topic, alerts_on_topic
from leadsman_cli.evidence_events import EvidenceEvents
from leadsman_cli.exception_cases import NoCase, cases_of
from leadsman_cli.exceptions import TooWide, check_end, filter_of, name_of, what_of
from leadsman_cli.redescribed import requests_of
from leadsman_cli.rules import registry_of, rules_option
from leadsman_common.alerts import Alert, iso_time
from leadsman_common.events import AuditEvent
from leadsman_common.visible import clean
from leadsman_detector.filters import CompiledFilter
from leadsman_detector.match import RuleSet, load
from leadsman_detector.rules import default_rules_dir

KEYS = {"id", "rule", "evidence", "actor", "objectRef", "cluster"}
LOOKED_AT = 50  # alerts of the rule, the latest of them
SHOWN = 10


@click.command("except")
@click.argument("given", metavar="ALERT")
@click.option("--reason", required=True, help="Why it is borne.")
@click.option("--expires", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day; at most a year.")
@click.option("--owner", default="", help="Who answers for it; who runs this where left out.")
@click.option(
    "--from",
    "scanned",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Alerts of `leadsman scan -o jsonl` in place of the topic.",
)
@click.option("--rules-dir", type=click.Path(file_okay=False, path_type=Path), help="The rules folder that it goes to.")
@click.option("--cases", "cases_dir", type=click.Path(file_okay=False, path_type=Path), help="Where its cases go.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("exceptions"),
    show_default=True,
    help="In place of the two: a folder that has, or gets, `rules` and `cases`.",
)
@rules_option
@click.option("--days", type=float, default=30.0, show_default=True, help="How far back the topic is looked through.")
def except_alert(
    given: str,
    reason: str,
    expires: datetime,
    owner: str,
    scanned: Path | None,
    rules_dir: Path | None,
    cases_dir: Path | None,
    out: Path,
    folders: tuple[Path, ...],
    days: float,
) -> int:
    """Write the exception by which nobody is told of an alert and its like any more, until a day.

    ALERT is an id, or its beginning; or a file with one alert of `scan -o jsonl`, `-` for standard input. The exception
    is a suppression of its actor, its cluster and namespace, and its image or kind of object together; another actor,
    place or image is told as ever. It is tried on the rules (-r: yours, where they are not those that come with
    Leadsman), and its cases are for `leadsman rules test`. Nothing is written that would be too wide.
    """
    if not reason.strip():
        raise click.UsageError("--reason: an exception that nobody can explain is refused")
    today = datetime.now(UTC).date()
    try:
        check_end(expires.date(), today)
    except ValueError as error:
        raise click.UsageError(f"--expires: {error}") from error
    alerts = _alerts_of(given, scanned)
    alert = _one(alerts, given, scanned) if alerts is not None else alert_on_topic(given, days)
    others = alerts if alerts is not None else alerts_on_topic(alert["rule"]["name"], days)
    rules = rules_dir or out / "rules"
    cases = cases_dir or (rules.with_name(f"{rules.name}-cases") if rules_dir else out / "cases")
    work = _Work(folders, rules / f"{name_of(alert)}.yml", cases / f"{name_of(alert)}.yml")
    lookup = EvidenceEvents(registry_of())
    try:
        own = work.write(alert, lookup.of(alert), reason.strip(), owner or getpass.getuser(), expires)
    except TooWide as error:
        raise click.ClickException(f"too wide, nothing is written: {error}") from error
    click.echo(f"{work.filter}: {alert['rule']['name']}: {what_of(alert)}, until {expires.date()}")
    click.echo(f"{work.cases}: {work.count} cases" if work.count else f"no case: {work.why_none}")
    _tell_silenced(own, alert, others, lookup, days if alerts is None else 0)
    return 0


@dataclass(slots=True)
class _Work:
    """What is written where, over which rules."""

    folders: tuple[Path, ...]
    filter: Path
    cases: Path
    count: int = 0
    why_none: str = ""

    def write(
        self, alert: Alert, events: Sequence[AuditEvent], reason: str, owner: str, expires: datetime
    ) -> CompiledFilter:
        """Write both, or nothing; gives the filter as the rules have it. Raises TooWide and ClickException."""
        with _replacing(self.filter):
            before, slug = self._load(), alert["rule"]["name"]
            chain = _is_chain(before, slug)
            end, today = expires.date(), datetime.now(UTC).date()
            document = filter_of(alert, events, chain=chain, reason=reason, owner=owner, expires=end, today=today)
            self.filter.parent.mkdir(parents=True, exist_ok=True)
            self.filter.write_text(_yaml(document), encoding="utf-8")
            after = self._load()
            own = self._own(after, chain=chain)
            if not all(own.holds(event) for event in (events if chain else events[-1:])):
                raise TooWide("it would not silence the alert: its event is not what it means")
            self._write_cases(slug, alert, events, before, after, chain=chain)
        return own

    def _load(self) -> RuleSet:
        folders = self.folders or (default_rules_dir(),)
        own = self.filter.parent
        more = [] if not own.is_dir() or own.resolve() in {f.resolve() for f in folders} else [own]
        return load([*folders, *more], clusters=registry_of())

    def _own(self, after: RuleSet, *, chain: bool) -> CompiledFilter:
        name = self.filter.stem
        compiled = [f for _, f in after.suppressions] if chain else [f for r in after.rules for f in r.filters]
        found = next((f for f in compiled if f.name == name), None)
        if found is None:
            wrong = [str(problem) for problem in after.problems if problem.file == self.filter.name]
            raise click.ClickException(f"the exception cannot be used: {'; '.join(wrong)}")
        return CompiledFilter(found.given, "")

    def _write_cases(
        self,
        slug: str,
        alert: Alert,
        events: Sequence[AuditEvent],
        before: RuleSet,
        after: RuleSet,
        *,
        chain: bool,
    ) -> None:
        whole = len({event["id"] for event in events}) == len({item["event_id"] for item in alert["evidence"]})
        requests = requests_of(events)
        if not events or (chain and not whole):
            self.why_none = "the events of the alert are no longer to be had"
        elif requests is None:
            self.why_none = "it is no request to an API server, which is what a case describes"
        else:
            # most rules speak of one event; what was gathered with it is not needed
            for few in [requests] if chain else [requests[-1:], requests]:
                try:
                    found = cases_of(slug, few, before, after)
                except NoCase as error:
                    self.why_none = str(error)
                    continue
                self.count = len(found)
                self.cases.parent.mkdir(parents=True, exist_ok=True)
                self.cases.write_text(_yaml({"rule": slug, "cases": found}), encoding="utf-8")
                return


@contextmanager
def _replacing(file: Path) -> Iterator[None]:
    """Take a file away to be written anew; what was there comes back where that goes wrong."""
    kept = file.read_text("utf-8") if file.exists() else None
    file.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        if kept is not None:
            file.write_text(kept, encoding="utf-8")
        raise


def _is_chain(rules: RuleSet, slug: str) -> bool:
    """Whether it is a correlation. Raises ClickException where it is neither that nor a rule."""
    if slug in {correlation.name for correlation in rules.correlations}:
        return True
    if slug not in {compiled.rule.name for compiled in rules.rules}:
        raise click.ClickException(f"{slug} is no rule of these folders (-r), and exceptions speak of rules")
    return False


def _alerts_of(given: str, scanned: Path | None) -> list[Alert] | None:
    """The alerts of a file or of standard input, the last revision of each; None where the topic is meant."""
    if scanned is None and given != "-" and not Path(given).is_file():
        return None
    name = str(scanned or given)
    text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    found: dict[str, Alert] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            alert = json.loads(line)
        except ValueError:
            alert = None
        if not isinstance(alert, dict) or not alert.keys() >= KEYS:
            raise click.ClickException(f"{name}:{number}: no alert of `scan -o jsonl`")
        found[alert["id"]] = cast("Alert", alert)
    return list(found.values())


def _one(alerts: Sequence[Alert], given: str, scanned: Path | None) -> Alert:
    wanted = [a for a in alerts if scanned is None or a["id"].startswith(given)]
    if len(wanted) != 1:
        what = f"begin with {clean(given, 64)!r}" if scanned else "in it: name one, and the file by --from"
        raise click.ClickException(f"{scanned or given}: {len(wanted) or 'no'} alerts {what}")
    return wanted[0]


def _tell_silenced(
    own: CompiledFilter, alert: Alert, alerts: Iterable[Alert], lookup: EvidenceEvents, days: float
) -> None:
    """Say which alerts of the rule it would have silenced, of the latest."""
    same = [a for a in alerts if a["rule"]["name"] == alert["rule"]["name"]]
    latest = sorted(same, key=lambda a: str(_time(a)), reverse=True)[:LOOKED_AT]
    silenced = [a for a in latest if _means(own, lookup.of(a), a)]
    among = f"the latest {LOOKED_AT} of {len(same)}" if len(same) > LOOKED_AT else f"{len(same)}"
    since = f" in the last {days:g} days" if days else ""
    click.echo(f"it would have silenced {len(silenced)} of {among} alerts of {alert['rule']['name']}{since}")
    for one in silenced[:SHOWN]:
        last = one["evidence"][-1]
        what = clean(f"{one['actor']['name']}: {last['action']} {last['object']}")
        click.echo(f"  {_time(one)[:19]}Z  {one['level']:13}  {what}  {one['id'][:18]}")
    if len(silenced) > SHOWN:
        click.echo(f"  and {len(silenced) - SHOWN} more")


def _means(own: CompiledFilter, events: Sequence[AuditEvent], alert: Alert) -> bool:
    return len(events) == len(alert["evidence"]) > 0 and all(own.holds(event) for event in events)


def _time(alert: Alert) -> str:
    given: Any = alert["time"]
    return given if isinstance(given, str) else iso_time(given)


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
