"""`make demo` as a reader runs it: what it says last, how it exits, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
DEMO = REPO / "deploy" / "local" / "demo"
LAST = re.compile(r"demo: eks=(\d+) gke=(\d+) correlated=(\d+)")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path: Path, local) -> Iterator[Path]:
    """Give a run dir of the test's own; what a failing demo leaves in it is stopped."""
    path = tmp_path / "demo"
    yield path
    local("stack").stop(path, grace_s=2)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEMO / "run.py"), "--run-dir", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder.parent,
        # a shell that runs the tests in the background has them ignore ctrl-C, and all they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - one thread here
    )


def processes_in(folder: Path) -> list[str]:
    """Every process that works in the folder, as all that the demo starts do (and the demo itself does not)."""
    if sys.platform != "linux":
        return subprocess.run(
            ["lsof", "-t", "+d", str(folder)], check=False, capture_output=True, text=True
        ).stdout.split()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = (process / "cwd").readlink()
            if where.is_relative_to(folder) or str(where).startswith(f"{folder} "):
                found.append(f"{process.name}: {(process / 'cmdline').read_bytes()!r}")
        except OSError:  # it has just ended
            continue
    return found


def test_the_attacks_are_seen_on_both_clouds_and_nothing_is_left(folder):
    demo = start(folder)
    output, _ = demo.communicate(timeout=500)
    assert demo.returncode == 0, output
    found = LAST.fullmatch(output.splitlines()[-1])
    assert found, output
    assert [int(n) >= least for n, least in zip(found.groups(), (13, 8, 4), strict=True)] == [True] * 3, output
    # the cloud's own log and the cluster's, on both clouds
    assert "eks:UpdateClusterConfig" in output, output
    assert "ClusterManager.UpdateCluster" in output, output
    assert "held by reason" in output
    assert "held by binding" in output
    assert "dead letters 0" in output
    assert processes_in(folder) == []
    assert not folder.exists()


def test_a_log_of_the_readers_own_goes_the_same_way(folder, tmp_path):
    log = tmp_path / "two-clouds.ndjson"
    attacks = [(DEMO / "records" / f"{cloud}-attack.ndjson").read_text() for cloud in ("eks", "gke")]
    attacks.append((DEMO / "records" / "eks-cloudtrail.ndjson").read_text())
    log.write_text("".join(attacks) + "neither JSON nor an event\n")
    demo = start(folder, "--from", str(log))
    output, _ = demo.communicate(timeout=500)
    assert demo.returncode == 0, output
    found = LAST.fullmatch(output.splitlines()[-1])
    assert found, output
    # the trail's cluster is the one that its records name, the other log's the file's
    assert [int(n) >= least for n, least in zip(found.groups(), (12, 8, 3), strict=True)] == [True] * 3, output
    # kept for a person to look at, not dropped
    assert "dead letters 1" in output
    assert processes_in(folder) == []


def left_after(folder: Path, wait_s: float) -> list[str]:
    """What still runs after a while: a process just being started dies with the demo, a moment later."""
    deadline = time.monotonic() + wait_s
    while (left := processes_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def in_full_swing(demo: subprocess.Popen[str], folder: Path) -> None:
    """Wait until four processes of it were seen at once, some of which may be short ones."""
    deadline = time.monotonic() + 400
    while len(found := processes_in(folder)) < 4:
        assert demo.poll() is None, demo.communicate()[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_ctrl_c_stops_everything(folder):
    demo = start(folder)
    in_full_swing(demo, folder)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 130, output
    assert left_after(folder, 30) == []


def test_kill_leaves_nothing_running(folder):
    demo = start(folder)
    in_full_swing(demo, folder)
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait(timeout=30)
    assert left_after(folder, 30) == []
