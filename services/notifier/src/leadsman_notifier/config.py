"""Settings of the notifier; each sink's own stand in its file of sinks/."""

from __future__ import annotations

from dataclasses import dataclass

from leadsman_common.alerts import level_rank
from leadsman_common.settings import Common, SettingError, setting, variable


@dataclass(frozen=True)
class Settings(Common):
    """What the notifier is told."""

    redis_url: str = setting("Redis that remembers deliveries; empty: this process's memory", "", secret=True)
    notify_keep_s: int = setting("how long a delivery is remembered", 7 * 24 * 3600)
    notify_retry_s: float = setting("how long a failing sink is tried before its alerts are dead-lettered", 900.0)
    notify_backoff_s: float = setting("first wait after a failure, doubled each time", 0.5)
    notify_backoff_max_s: float = setting("longest wait between two tries, unless the sink asks for more", 30.0)
    notify_bad_in_a_row: int = setting("stop after so many undecodable records in a row; 0 never", 1000)

    def __post_init__(self) -> None:
        """Check the numbers. Raises SettingError."""
        for name in ("notify_keep_s", "notify_retry_s", "notify_backoff_s", "notify_backoff_max_s"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{variable(name)} must be above 0")


def check_level(name: str, level: str) -> None:
    """Raise SettingError unless `level` is one."""
    try:
        level_rank(level)
    except ValueError as error:
        raise SettingError(f"{variable(name)}={level!r} is no level") from error
