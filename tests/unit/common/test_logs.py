"""One JSON object a line, whoever logs, whatever stands in it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging
from leadsman_common import logs
log = logs.setup("svc")
log.info("own", text=TEXT)
library = logging.getLogger("some.library")
library.warning("it's %s", TEXT)
library.info("not wanted")
try:
    1 / 0
except ZeroDivisionError:
    library.exception("broke")
    log.exception("broke too")
"""
TEXT = "a\n\x1b[31m\"'{}\u2028\ud800"


def test_each_line_is_one_json_object():
    done = subprocess.run(
        [sys.executable, "-c", f"TEXT = {TEXT!r}\n{PROGRAM}"], check=True, capture_output=True, text=True
    )
    own, library, broke, broke_too = [json.loads(line) for line in done.stderr.splitlines()]
    assert (own["event"], own["text"], own["service"]) == ("own", TEXT, "svc")
    assert (library["logger"], library["level"], library["event"]) == ("some.library", "warning", f"it's {TEXT}")
    assert "ZeroDivisionError" in broke["exception"]
    assert "ZeroDivisionError" in broke_too["exception"]
