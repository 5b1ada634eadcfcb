"""An audit log that grows and is rotated: every line once, in order, through crashes, half lines and odd answers."""

import gzip
import os
import threading
import time

import pytest

from leadsman_cli.follow import Follower
from leadsman_cli.tail_file import Refused, load_position, store_position, tail


class Log:
    """A log on disk with a reader that keeps its place."""

    def __init__(self, folder):
        self.path, self.kept = folder / "audit.log", folder / "place"
        self.said, self.got, self.stamp = [], [], time.time() - 1000
        self.follower = None

    def write(self, text, path=None):
        path = path or self.path
        with path.open("ab") as out:
            out.write(text.encode())
        self.stamp += 1
        os.utime(path, (self.stamp, self.stamp))

    def read(self, again=False, most=1 << 20):
        """All there is now; `again`: with a new reader, from the place that was kept."""
        if again or self.follower is None:
            self.follower = Follower(self.path, load_position(self.kept), self.said.append)
        found = []
        while (piece := self.follower.read(most)) is not None:
            found += piece.lines.decode().splitlines()
            store_position(self.kept, piece.position)
        self.got += found
        return found


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)


def rename(log, name):
    log.path.rename(log.path.with_name(name))


def pack(log, name):
    """As kube-apiserver's --audit-log-compress: the file is replaced by its gzip."""
    target = log.path.with_name(name)
    target.write_bytes(gzip.compress(log.path.read_bytes()))
    stamp = log.path.stat().st_mtime
    os.utime(target, (stamp + 0.5, stamp + 0.5))
    log.path.unlink()


def copy_and_cut(log, name):
    target = log.path.with_name(name)
    target.write_bytes(log.path.read_bytes())
    os.utime(target, (log.stamp, log.stamp))
    os.truncate(log.path, 0)


ROTATIONS = [
    pytest.param(lambda log, n: rename(log, f"audit-2026-11-28T0{n}-00-00.000.log"), id="kube-apiserver"),
    pytest.param(lambda log, n: rename(log, f"audit.log.{n}"), id="logrotate"),
    pytest.param(lambda log, n: pack(log, f"audit-2026-11-28T0{n}-00-00.000.log.gz"), id="packed"),
    pytest.param(lambda log, n: copy_and_cut(log, f"audit.log.{n}"), id="copied and cut"),
]


def test_half_lines_wait_for_their_end(log):
    log.write("one\ntw")
    assert log.read() == ["one"]
    assert log.read() == []
    log.write("o\nthree\n")
    assert log.read() == ["two", "three"]


def test_pieces_end_with_lines(log):
    log.write("".join(f"line-{n}\n" for n in range(100)))
    assert log.read(most=16) == [f"line-{n}" for n in range(100)]


def test_a_file_that_is_not_there_yet(log):
    assert log.read() == []
    log.write("one\n")
    assert log.read() == ["one"]


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_rotations_while_it_reads(log, rotate):
    for n in range(1, 4):
        log.write(f"{n}-a\n{n}-b\n")
        assert log.read()[-2:] == [f"{n}-a", f"{n}-b"]
        if rotate is not ROTATIONS[3].values[0]:  # what is written between the last look and a cut is lost to anybody
            log.write(f"{n}-late\n")
        rotate(log, n)
    log.write("end\n")
    log.read()
    late = [] if rotate is ROTATIONS[3].values[0] else ["late"]
    assert list(dict.fromkeys(log.got)) == [f"{n}-{x}" for n in range(1, 4) for x in ("a", "b", *late)] + ["end"]


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_rotations_while_it_is_away(log, rotate):
    log.write("1-a\n")
    assert log.read() == ["1-a"]
    log.write("1-b\n1-half")
    rotate(log, 1)
    log.write("2-a\n")
    rotate(log, 2)
    log.write("3-a\n")
    assert log.read(again=True) == ["1-b", "1-half", "2-a", "3-a"]
    assert log.read(again=True) == []
    assert log.said == []


def test_without_a_place_it_begins_with_the_oldest(log):
    log.write("old\n")
    rename(log, "audit-2026-11-28T01-00-00.000.log")
    log.write("new\n")
    assert log.read() == ["old", "new"]


def test_the_end_of_what_is_there_can_be_asked_for(log):
    log.write("old\n")
    log.follower = Follower(log.path, None, log.said.append)
    log.follower.skip_to_end()
    log.write("new\n")
    assert log.read() == ["new"]


def test_a_file_that_is_gone_is_said(log):
    log.write("one\n")
    log.read()
    log.path.unlink()
    log.write("two\n")
    assert log.read(again=True) == ["two"]
    assert "is gone" in log.said[0]


def test_an_empty_file_among_the_rotated_ones_is_passed_over(log):
    log.path.with_name("audit.log.1").touch()
    log.write("one\n")
    assert log.read() == ["one"]
    log.path.with_name("audit.log.2").touch()
    rename(log, "audit.log.3")
    log.write("two\n")
    assert log.read() == ["two"]


def test_other_files_in_the_folder_are_left_alone(log):
    log.write("other\n", log.path.with_name("auditd.log"))
    log.write("{}\n", log.path.with_name("audit.yaml"))
    log.write("one\n")
    assert log.read() == ["one"]


class Webhook:
    """Answers as told, then takes."""

    def __init__(self, *answers):
        self.answers, self.taken = list(answers), []

    def post(self, lines):
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        self.taken += lines.decode().splitlines()


def run(log, webhook, stop=None):
    follower = Follower(log.path, load_position(log.kept), log.said.append)
    stored = lambda piece: store_position(log.kept, piece.position)  # noqa: E731
    tail(follower, webhook.post, stored, stop or threading.Event(), once=True, poll_s=0.01)


def test_what_was_not_stored_is_posted_again(log):
    log.write("one\ntwo\n")
    webhook = Webhook(Refused(503, "", 0.01), Refused(401, "", 0.01), ConnectionRefusedError())
    run(log, webhook)
    assert webhook.taken == ["one", "two"]
    run(log, webhook)
    assert webhook.taken == ["one", "two"]


def test_what_is_too_large_is_posted_in_halves(log):
    log.write("one\ntwo\nthree\n")
    webhook = Webhook(Refused(413, "", 0), Refused(413, "", 0))
    run(log, webhook)
    assert webhook.taken == ["one", "two", "three"]


def test_the_place_is_kept_only_after_the_answer(log):
    log.write("one\n")
    stop = threading.Event()

    class Dying(Webhook):
        def post(self, lines):
            super().post(lines)
            stop.set()  # it was stored, and the answer never came
            raise ConnectionResetError

    run(log, Dying(), stop)
    assert not log.kept.exists()
    webhook = Webhook()
    run(log, webhook)
    assert webhook.taken == ["one"]
