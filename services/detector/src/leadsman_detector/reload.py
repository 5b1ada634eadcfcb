"""Hot reload: a changed rules folder becomes the rules in force between two batches, whole or not at all.

A thread looks at the files; the handler takes what it loaded. One fatal problem refuses the folder as it stands, the
rules in force stay, and it is looked at again when it changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import structlog

from leadsman_common.clusters import NO_CLUSTERS, load_clusters
from leadsman_common.metrics import RULES, RULES_RELOADS
from leadsman_detector.documents import files_of
from leadsman_detector.match import RuleSet, load

SETTLE_S = 0.5  # a folder that is just being written is left until it stands still for so long
_Fingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]

_log = structlog.get_logger()


class RulesWatch:
    """The rules folders, looked at every `every_s` seconds (0: never) from entering to leaving."""

    def __init__(
        self,
        folders: Sequence[Path],
        in_force: RuleSet,
        every_s: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        registry: Path | None = None,
    ) -> None:
        """Set up. `registry`: clusters.yaml, which is looked at too: it says which clusters are a tenant's."""
        self._folders = tuple(folders)
        self._registry = registry
        self._every_s = every_s
        self._sleep = sleep
        self._digest = in_force.digest
        self.in_force = in_force
        self._seen = self._look()
        self._ready: RuleSet | None = None
        self._lock = threading.Lock()  # over _ready, which the thread sets and the handler takes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rules-watch", daemon=True)
        tell(in_force)

    def __enter__(self) -> Self:
        if self._every_s > 0:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def take(self) -> RuleSet | None:
        """Rules loaded since the last call, to be put in force now; asked between batches."""
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is not None:
            self.in_force = ready
            tell(ready)
            _log.info("rules in force", count=len(ready.rules), digest=ready.digest)
        return ready

    def look(self) -> None:
        """Look once, and load what has changed. What is wrong is logged and counted, never raised."""
        try:
            found = self._look()
            if found == self._seen:
                return
            while True:
                self._sleep(SETTLE_S)
                again = self._look()
                if again == found:
                    break
                found = again
            rules = load(
                self._folders, clusters=NO_CLUSTERS if self._registry is None else load_clusters(self._registry)
            )
            self._seen = found
        except OSError as error:  # the folder is gone, or a file between two looks: it is looked at again
            self._refuse([str(error)])
            return
        except Exception as error:  # noqa: BLE001 - the watch goes on, whatever is wrong with the files
            self._seen = found
            self._refuse([f"{type(error).__name__}: {error}"])
            return
        fatal = [str(problem) for problem in rules.problems if problem.fatal]
        if fatal or not rules.rules:
            self._refuse(fatal or ["no rule in it"])
        elif rules.digest != self._digest:
            for problem in rules.problems:
                _log.warning("rule has a problem", problem=str(problem))
            self._digest = rules.digest
            with self._lock:
                self._ready = rules
            RULES_RELOADS.labels("loaded").inc()
            _log.info("rules loaded anew", count=len(rules.rules), digest=rules.digest)

    def _look(self) -> _Fingerprint:
        return fingerprint([*self._folders, *([] if self._registry is None else [self._registry])])

    def _refuse(self, problems: Sequence[str]) -> None:
        RULES_RELOADS.labels("refused").inc()
        _log.error("rules refused, those in force stay", problems=list(problems)[:20], digest=self._digest)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.look()


def fingerprint(folders: Sequence[Path]) -> _Fingerprint:
    """What tells one state of the rule files from another, without reading them."""
    found = []
    for name, path in files_of(folders):
        stat = path.stat()
        found.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def tell(rules: RuleSet) -> None:
    """Say in the metrics which rules are in force."""
    counts = {"rules": str(len(rules.rules)), "correlations": str(len(rules.correlations))}
    RULES.info({"digest": rules.digest, **counts})
