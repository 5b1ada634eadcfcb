"""notify.yaml while the notifier runs: it is read anew every few seconds, with the files that it names.

Routes, silences, quiet hours and advice change in place. Channels and `allow` change by starting the process anew, as
secrets do (leadsman_common.rotation). A file that cannot be used is refused as a whole; what was in force stays.
"""

from __future__ import annotations

import threading
from typing import Any

from leadsman_common.settings import SettingError
from leadsman_notifier.config import Settings
from leadsman_notifier.config_file import Notify


class Watched:
    """The configuration in force; `anew` once only a new process can apply a change."""

    def __init__(self, settings: Settings, stop: threading.Event, log: Any) -> None:
        """Read it for the first time. Raises SettingError."""
        self._settings = settings
        self._stop = stop
        self._log = log
        self._notify = settings.notify()
        self._refused = ""
        self.anew = False

    def now(self) -> Notify:
        """What holds now."""
        return self._notify

    def run(self) -> None:
        """Look at the file until told to stop."""
        every_s = self._settings.notify_reload_s if self._settings.notify_config else 0
        while not self._stop.wait(every_s or 3600):
            if every_s:
                self.look()

    def look(self) -> None:
        """Look once."""
        try:
            notify = self._settings.notify()
        except SettingError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._log.error("changed notify.yaml refused, what was in force stays", reason=self._refused)
            return
        self._refused = ""
        if notify == self._notify:
            return
        if (notify.channels, notify.allow) != (self._notify.channels, self._notify.allow):
            self._log.info("channels changed: starting anew")
            self.anew = True
            self._stop.set()
            return
        self._notify = notify
        self._log.info("notify.yaml read anew", routes=len(notify.plan.routes), silences=len(notify.plan.silences))
