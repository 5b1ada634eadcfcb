"""`make demo`: the whole stream on this machine, an attack on two clouds, and the alerts that come of it.

It starts Kafka, Redis, stand-ins for the clouds and every service on loopback, plays records in where the clouds would
put them, shows the alerts, and takes everything down again. The last line is `demo: eks=N gke=N correlated=N`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]
sys.path[:0] = [str(HERE), str(HERE.parent)]

import stories  # noqa: E402 - scripts of deploy/local, which the line above makes visible
import world  # noqa: E402
from play import Player, of_files, of_stories  # noqa: E402
from processes import StackError  # noqa: E402
from view import Screen, counters  # noqa: E402
from watch import Watch  # noqa: E402

from leadsman_cli.readers import Unreadable  # noqa: E402
from leadsman_common.visible import clean  # noqa: E402

_PLAY_S = 6.0
_BOUND_S = 45.0  # for all that is still to come of them, after the last record was played
_QUIET_S = 2.0  # nothing new on any topic for so long: it is over
_FILE_QUIET_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """Distinct alert ids by cloud, and what was expected and did not come."""

    eks: int
    gke: int
    correlated: int
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"demo: eks={self.eks} gke={self.gke} correlated={self.correlated}"


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when every expected alert came (or the given files were played), 1 when not, 130 for Ctrl-C."""
    args = _arguments(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen(live=not args.no_live)
    if args.stream:
        world.attach(os.environ["LEADSMAN_KAFKA_BOOTSTRAP"], os.environ["LEADSMAN_AWS_ENDPOINT_URL"])
        return 0
    began = time.monotonic()
    outcome, failed = Outcome(0, 0, 0), False
    try:
        if args.attach:
            ways = world.attach(os.environ["LEADSMAN_KAFKA_BOOTSTRAP"], os.environ["LEADSMAN_AWS_ENDPOINT_URL"])
            outcome, failed = _demo(args, ways, screen)
        else:
            outcome, failed = _local(args, screen)
    except (StackError, OSError) as error:
        screen.line(f"demo: {error}", style="red")
        failed = True
    except KeyboardInterrupt:
        screen.line("demo: interrupted; everything that was started is stopped")
        return 130
    screen.line(f"  done in {time.monotonic() - began:.0f} s")
    print(outcome, flush=True)
    return 1 if failed else 0


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the whole stream on this machine, an attack on two clouds, alerts")
    parser.add_argument("--from", dest="files", type=Path, nargs="+", default=[], metavar="FILE", help="play this log")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    parser.add_argument("--no-live", action="store_true", help="plain lines, also on a terminal")
    parser.add_argument("--run-dir", type=Path, default=REPO / ".run" / "demo", help="logs and data (%(default)s)")
    parser.add_argument("--attach", action="store_true", help="play into the stack that LEADSMAN_* variables name")
    parser.add_argument("--stream", action="store_true", help="only make the Kinesis stream of that stack")
    args = parser.parse_args(arguments)
    if absent := [str(path) for path in args.files if not path.exists()]:
        parser.error(f"no such file: {', '.join(absent)}")
    return args


def _local(args: argparse.Namespace, screen: Screen) -> tuple[Outcome, bool]:
    """Start the stack, play, and take it down."""
    with world.run_dir(args.run_dir, screen, keep=args.keep) as run_dir:
        screen.line("Leadsman: the whole stream on this machine", style="bold")
        running = world.start(run_dir, screen, tie_to_parent=not args.keep)
        outcome, failed = _demo(args, running, screen)
        if failed:
            (run_dir / world.FAILED).touch()
        screen.line()
        if args.keep:
            screen.line("  left running; the next demo ends it, or:")
            screen.line(f"  .venv/bin/python deploy/local/stack.py down --run-dir {run_dir}")
    return outcome, failed


def _demo(args: argparse.Namespace, running: world.World, screen: Screen) -> tuple[Outcome, bool]:
    """Play into a running stack and show what comes of it."""
    told = [] if args.files else stories.built_in(datetime.now(UTC))
    unreadable: list[Unreadable] = []
    batches = of_files(args.files, unreadable) if args.files else of_stories(told, _PLAY_S)
    player = Player(batches, running.ways)
    screen.line()
    if told:
        screen.line(
            f"  playing {sum(len(story.records) for story in told)} records of two clusters, an attack on each among "
            "everyday work; their times are moved to now"
        )
    else:
        screen.line(f"  playing {', '.join(map(str, args.files))}, times as they are")
    screen.line()
    watch = Watch(running.bootstrap, player.sent_ms)
    try:
        with screen.footer():
            player.start()
            outcome = _see(watch, player, told, screen)
    finally:
        player.stop()
        watch.close()
    screen.line()
    screen.line(f"  {counters(sum(player.played.values()), watch)}")
    for (topic, reason), count in watch.dead.most_common(3):
        screen.line(f"  on {topic}: {clean(reason)} ({count} records)", style="yellow")
    for item in unreadable[:5]:
        screen.line(f"  {clean(item.file)}:{item.line}: {clean(item.reason)}", style="yellow")
    for slug in outcome.missing:
        screen.line(f"  expected and not seen: {slug}", style="red")
    if player.error is not None:
        screen.line(f"  playing failed: {player.error}", style="red")
    _next(screen)
    empty = bool(told) and 0 in (outcome.eks, outcome.gke, outcome.correlated)
    failed = bool(outcome.missing) or empty or player.error is not None
    return outcome, failed


def _see(watch: Watch, player: Player, told: list[stories.Story], screen: Screen) -> Outcome:
    """Show alerts until all that is expected has come, all is done and it is quiet, or the bound is met."""
    played_at, done = 0.0, False
    while True:
        for arrived in watch.poll():
            screen.alert(arrived)
        screen.count(sum(player.played.values()), watch)
        outcome = _outcome(watch, told)
        now = time.monotonic()
        if player.is_alive():
            continue
        played_at = played_at or now
        quiet = now - max(played_at, watch.last_news)
        if (told and now - played_at > _BOUND_S) or player.error is not None:
            return outcome
        still = quiet > (_QUIET_S if told else _FILE_QUIET_S)
        if not outcome.missing and still and (done or now - played_at > _BOUND_S):
            return outcome
        # however long nothing comes, the stream may be at work on what is there; what it had done by now is polled next
        done = still and not watch.behind()


def _outcome(watch: Watch, told: list[stories.Story]) -> Outcome:
    alerts = watch.alerts.values()
    seen = {(alert["cluster"]["provider"], alert["rule"]["name"]) for alert in alerts}
    missing = [f"{story.cloud} {slug}" for story in told for slug in story.expected if (story.cloud, slug) not in seen]
    return Outcome(
        sum(alert["cluster"]["provider"] == "aws" for alert in alerts),
        sum(alert["cluster"]["provider"] == "gcp" for alert in alerts),
        sum(bool(alert["joins"]) for alert in alerts),
        tuple(sorted(missing)),
    )


def _next(screen: Screen) -> None:
    screen.line()
    for what, how in (
        ("your own log, in one process:", ".venv/bin/leadsman scan audit.log"),
        ("your own log, through this stream:", "make demo ARGS='--from audit.log'"),
        ("the rules, one file each:", "rules/, and docs/writing-rules.md on how to write one"),
        ("what each service is told:", "docs/configuration.md"),
    ):
        screen.line(f"  {what:<36}{how}")


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
