"""`leadsman`: the command line. Exit codes: 0 done, 1 a usage or rule error, 3 some input could not be read."""

from __future__ import annotations

import sys

import click

from leadsman_cli.acknowledge import acknowledge
from leadsman_cli.alerts_on_call import events, notify, show
from leadsman_cli.archive import archive
from leadsman_cli.canary import canary
from leadsman_cli.config_command import config
from leadsman_cli.coverage_command import coverage
from leadsman_cli.dlq import dlq
from leadsman_cli.doctor_command import doctor
from leadsman_cli.except_command import except_alert
from leadsman_cli.posture import posture
from leadsman_cli.replay import replay
from leadsman_cli.rules import rules
from leadsman_cli.rules_test import test_rules
from leadsman_cli.scan import scan
from leadsman_cli.state import state
from leadsman_cli.tail import tail
from leadsman_cli.tail_file import tail_file
from leadsman_cli.topics import topics
from leadsman_cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="leadsman-cli", prog_name="leadsman")
def cli() -> None:
    """Detect attacks on Kubernetes in the audit logs of every cloud."""


cli.add_command(scan)
cli.add_command(rules)
cli.add_command(coverage)
cli.add_command(topics)
cli.add_command(state)
cli.add_command(posture)
cli.add_command(show)
cli.add_command(acknowledge)
cli.add_command(except_alert)
cli.add_command(events)
cli.add_command(notify)
cli.add_command(tail_file)
cli.add_command(doctor)
cli.add_command(canary)
cli.add_command(dlq)
cli.add_command(verify)
cli.add_command(replay)
cli.add_command(archive)
cli.add_command(tail)
cli.add_command(config)
rules.add_command(test_rules)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; usage errors end with 1, not with click's 2, which DESIGN 8 keeps free."""
    try:
        result = cli.main(args=arguments, prog_name="leadsman", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 1
    except click.Abort:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
