"""The detector's shell put together: settings to a runner and a handler."""

from __future__ import annotations

from leadsman_common.settings import SettingError
from leadsman_detector.runner import Runner, Source


def make_runner(name: str, source: Source) -> Runner:
    """The runner of that name, faust or plain; each imports its client only when it is chosen."""
    if name == "faust":
        from leadsman_detector.runner_faust import FaustRunner  # noqa: PLC0415

        return FaustRunner(source)
    if name == "plain":
        from leadsman_detector.runner_plain import PlainRunner  # noqa: PLC0415

        return PlainRunner(source)
    raise SettingError(f"LEADSMAN_RUNNER={name!r}: faust or plain")
