"""Settings of the detector, read once from LEADSMAN_* variables."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from leadsman_common.clusters import Clusters, registry_of
from leadsman_common.settings import Common, SettingError, setting
from leadsman_detector.rules import folder_of

RUNNERS = ("faust", "plain")


@dataclass(frozen=True)
class Settings(Common):
    """What the detector is told."""

    redis_url: str = setting("Redis that holds the correlations' state", "redis://127.0.0.1:6379/0", secret=True)
    redis_cluster: bool = setting("whether that is a Redis Cluster", False)
    state_namespace: str = setting("put in front of every key, after the topic prefix; a replay has its own", "live:")
    redis_eviction_allowed: bool = setting("start though that Redis would evict keys when its memory is full", False)
    state_wait_s: float = setting("how long a batch waits for a state that is away; then it is judged without", 2.0)
    state_history_h: float = setting("hours of audit.events that bring a lost state back", 24.0)
    baseline_h: float = setting(
        "a cluster's first hours, in which what stood there before is one report and no alert each; 0: none", 24.0
    )
    state_groups: int = setting(
        "groups of each correlation in a cluster, four times as many of what lives longer than a day; 0: no bound",
        50_000,
    )
    rules_dir: tuple[str, ...] = setting(
        "folders of rules, comma-separated, each over those before it; `shipped` are those that come with it, and so "
        "is empty",
        (),
    )
    clusters: str = setting("file of the registry of clusters, for rules folders of a tenant; none without it", "")
    rules_reload_s: float = setting("how often the rules folders are looked at for changes; 0: never", 10.0)
    runner: str = setting("what reads audit.events: faust or plain", "faust")
    group: str = setting("consumer group, after the topic prefix", "leadsman-detector")
    data_dir: str = setting(
        "folder that Faust keeps its files in", lambda: str(Path(tempfile.gettempdir()) / "leadsman-detector")
    )
    batch: int = setting("records handled together at most", 500)
    fetch_wait_ms: int = setting("how long a fetch may wait to fill up", 50)
    session_timeout_s: float = setting("a worker that is silent so long loses its partitions to the others", 8.0)
    max_bad_in_a_row: int = setting("bad records in a row after which the service stops; 0: never", 1000)
    stall_s: float = setting("records wait and none is handled for so long: leadsman_stalled", 30.0)
    stall_exit_s: float = setting("and for so long: leave the process", 120.0)

    def __post_init__(self) -> None:
        """Check what no type says. Raises SettingError."""
        if self.runner not in RUNNERS:
            raise SettingError(f"LEADSMAN_RUNNER={self.runner!r}: faust or plain")
        if self.rules_reload_s < 0:
            raise SettingError("LEADSMAN_RULES_RELOAD_S must not be negative")
        if self.state_wait_s < 0 or self.state_history_h < 0 or self.state_groups < 0:
            raise SettingError("LEADSMAN_STATE_WAIT_S, _HISTORY_H and _GROUPS must not be negative")
        if self.baseline_h < 0:
            raise SettingError("LEADSMAN_BASELINE_H must not be negative")
        if self.batch < 1:
            raise SettingError("LEADSMAN_BATCH must be positive")
        if not 0 < self.stall_s <= self.stall_exit_s:
            raise SettingError("LEADSMAN_STALL_S must be above 0 and at most LEADSMAN_STALL_EXIT_S")
        if self.session_timeout_s < 6:
            raise SettingError("LEADSMAN_SESSION_TIMEOUT_S: brokers take 6 seconds and more")
        for folder in self.rules_dir:
            if not folder_of(folder).exists():
                raise SettingError(f"LEADSMAN_RULES_DIR: there is no {folder}")
        self.registry()

    def registry(self) -> Clusters:
        """The registry of clusters; empty without a file. Raises SettingError where the file cannot be used."""
        return registry_of(self.clusters)
