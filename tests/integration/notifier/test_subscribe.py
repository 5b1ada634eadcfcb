"""Consumers written from docs/subscribe.md alone, taken out of it and run: Python, Java, kcat. And the OCSF mirror."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from notifying import alert, stop, until
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from leadsman_common.topic_reader import TopicReader

REPO = Path(__file__).parents[3]
PAGE = (REPO / "docs" / "subscribe.md").read_text(encoding="utf-8")
AVSC = [
    REPO / "schemas" / "avro" / "alert.avsc",
    *sorted((REPO / "schemas" / "avro" / "released").glob("alert-*.avsc")),
]

pytestmark = pytest.mark.integration


def block(language, at=0):
    """The page's code in that language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[at]


def lines_of(command, out, count):
    """Run a consumer until it has printed so many lines."""
    with out.open("wb") as stdout:
        process = subprocess.Popen([str(part) for part in command], stdout=stdout, stderr=subprocess.PIPE)
    try:
        until(lambda: len(out.read_text().splitlines()) >= count or process.poll() is not None, 90)
        assert process.poll() is None, process.stderr.read().decode()
    finally:
        process.kill()
        process.wait()
    return out.read_text().splitlines()


def test_python(produce, bootstrap, topics, tmp_path):
    produce(alert("a1"), alert("a2", level="low"))
    program = tmp_path / "subscribe.py"
    program.write_text(block("python"), encoding="utf-8")
    lines = lines_of([sys.executable, program, bootstrap, topics["alerts"], *AVSC], tmp_path / "out", 2)
    assert {(a["id"], a["level"]) for a in map(json.loads, lines)} == {("a1", "critical"), ("a2", "low")}


def test_java(produce, bootstrap, topics, tmp_path):
    java, maven = shutil.which("java"), shutil.which("mvn")
    assert java, "Java 17"
    assert maven, "Maven"
    produce(alert("a1"), alert("a2", level="low"))
    pom = REPO / "tests" / "fixtures" / "subscribe" / "pom.xml"
    goal = ["dependency:build-classpath", f"-Dmdep.outputFile={tmp_path}/cp"]
    subprocess.run([maven, "-q", "-B", "-ntp", "-f", pom, *goal], check=True, cwd=tmp_path)
    program = tmp_path / "Subscribe.java"
    program.write_text(block("java"), encoding="utf-8")
    command = [java, "-cp", (tmp_path / "cp").read_text(), program, bootstrap, topics["alerts"], *AVSC]
    lines = lines_of(command, tmp_path / "out", 2)
    assert sorted(line.split()[:2] for line in lines) == [["a1", "critical"], ["a2", "low"]]


def kcat(line, bootstrap, topics):
    """Run one of the page's lines, with the test's broker and topics in the place of the page's."""
    words = [bootstrap if w == "127.0.0.1:9092" else topics.get(w, w) for w in shlex.split(line)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def test_kcat_and_the_ocsf_mirror(notifier, produce, bootstrap, topics, local):
    local("processes").ensure_command("kcat", {"apt-get": "kcat"})
    produce(alert("a1"), alert("a2", level="low"))
    process = notifier(stdout_format="json")
    mirrored, plain = block("sh").splitlines()
    until(lambda: len(kcat(mirrored, bootstrap, topics)) == 2)
    stop(process)
    found = [json.loads(line) for line in kcat(mirrored, bootstrap, topics)]
    assert {f["finding_info"]["uid"] for f in found} == {"a1", "a2"}
    assert all(DetectionFinding.model_validate(f).class_uid == 2004 for f in found)
    assert sorted(line.split()[0] for line in kcat(plain, bootstrap, topics)) == ["a1", "a2"]


def test_a_record_of_the_mirror_has_key_and_headers(notifier, produce, topics, bootstrap):
    produce(alert("a1"))
    process = notifier(stdout_format="json")
    reader = TopicReader(bootstrap)
    until(lambda: list(reader.read(topics["alerts.ocsf"])))
    stop(process)
    (message,) = reader.read(topics["alerts.ocsf"])
    value, headers = message.value(), dict(message.headers())
    assert message.key() == b"a1"
    assert json.loads(value)["type_uid"] == 200401
    assert headers["content-type"] == b"application/json"
    assert headers["ce_type"] == b"io.leadsman.alert.v1.ocsf"
