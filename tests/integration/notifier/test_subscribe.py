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

from leadsman_common.alert_stream import alert_record
from leadsman_common.kafka import AckedProducer
from leadsman_common.settings import Common
from leadsman_common.topic_reader import TopicReader
from leadsman_common.wire import alert_wire

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


def jars(pom, folder):
    """The class path of a pom of tests/fixtures/subscribe, by Maven."""
    maven = shutil.which("mvn")
    assert maven, "Maven"
    goal = ["dependency:build-classpath", f"-Dmdep.outputFile={folder}/cp"]
    file = REPO / "tests" / "fixtures" / "subscribe" / pom
    subprocess.run([maven, "-q", "-B", "-ntp", "-f", file, *goal], check=True, cwd=folder)
    return (folder / "cp").read_text()


@pytest.fixture(scope="module")
def classpath(tmp_path_factory):
    """What the page's Java programs need."""
    return jars("pom.xml", tmp_path_factory.mktemp("java"))


def java(at, folder, classpath, *arguments):
    """Run one of the page's Java programs until it has printed two lines: the first two words of each."""
    command = shutil.which("java")
    assert command, "Java 17"
    program = folder / "Subscribe.java"
    program.write_text(block("java", at), encoding="utf-8")
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    lines = lines_of([command, *quick, "-cp", classpath, program, *arguments], folder / "out", 2)
    return sorted(line.split()[:2] for line in lines)


def test_java(produce, bootstrap, topics, tmp_path, classpath):
    produce(alert("a1"), alert("a2", level="low"))
    found = java(0, tmp_path, classpath, bootstrap, topics["alerts"], *AVSC)
    assert found == [["a1", "critical"], ["a2", "low"]]


@pytest.fixture
def registry(schema_registry, local, bootstrap, topics, topic_prefix):
    """The URL of a registry; two alerts are on the topic in its format."""
    url = local("schema_registry").url(schema_registry.port)
    wire = alert_wire(Common(topic_prefix=topic_prefix, schema_registry_url=url))
    two = (alert("a1"), alert("a2", level="low"))
    AckedProducer(bootstrap).send(alert_record(topics["alerts"], a, wire.encode(a), "detector") for a in two)
    return url


def test_python_with_a_registry(bootstrap, topics, tmp_path, registry):
    program = tmp_path / "subscribe.py"
    program.write_text(block("python", 1), encoding="utf-8")
    lines = lines_of([sys.executable, program, bootstrap, topics["alerts"], registry], tmp_path / "out", 2)
    assert {(a["id"], a["level"]) for a in map(json.loads, lines)} == {("a1", "critical"), ("a2", "low")}


def test_java_with_a_registry(bootstrap, topics, tmp_path, classpath, registry):
    found = java(1, tmp_path, classpath, bootstrap, topics["alerts"], registry)
    assert found == [["a1", "critical"], ["a2", "low"]]


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
    produce(alert("a1", revision=7), alert("a1", revision=9))
    process = notifier(stdout_format="json")
    reader = TopicReader(bootstrap)
    until(lambda: len(list(reader.read(topics["alerts.ocsf"]))) == 2)
    stop(process)
    message, again = reader.read(topics["alerts.ocsf"])
    value, headers = message.value(), dict(message.headers())
    assert message.key() == b"a1"
    assert [json.loads(m.value())["type_uid"] for m in (message, again)] == [200401, 200402]
    assert json.loads(value)["unmapped"]["revision"] == 7
    assert headers["content-type"] == b"application/json"
    assert headers["ce_type"] == b"io.leadsman.alert.v1.ocsf"


@pytest.mark.long
def test_kafka_connect(notifier, produce, bootstrap, topics, tmp_path):
    """The page's connector on a standalone worker: the mirror as lines of a file."""
    produce(alert("a1"), alert("a2", level="low"))
    process = notifier(stdout_format="json")
    connector = json.loads(block("json"))
    assert connector["config"].keys() >= {"topics", "file"}
    lines = tmp_path / "alerts.jsonl"
    connector["config"] |= {"topics": topics["alerts.ocsf"], "file": str(lines)}
    (tmp_path / "connector.json").write_text(json.dumps(connector), encoding="utf-8")
    string = "org.apache.kafka.connect.storage.StringConverter"
    worker = {
        "bootstrap.servers": bootstrap,
        "key.converter": string,
        "value.converter": string,
        "offset.storage.file.filename": tmp_path / "offsets",
        "listeners": "http://127.0.0.1:0",
        "consumer.auto.offset.reset": "earliest",
    }
    (tmp_path / "worker.properties").write_text("".join(f"{k}={v}\n" for k, v in worker.items()), encoding="utf-8")
    command = [shutil.which("java"), "-Xmx256m", "-cp", jars("connect-pom.xml", tmp_path)]
    command += ["org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties", "connector.json"]
    with (tmp_path / "connect.log").open("wb") as log:
        connect = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(lambda: connect.poll() is not None or (lines.exists() and len(lines.read_text().splitlines()) == 2), 120)
        assert connect.poll() is None, (tmp_path / "connect.log").read_text()[-3000:]
    finally:
        connect.terminate()
        connect.wait(30)
    stop(process)
    assert {json.loads(line)["finding_info"]["uid"] for line in lines.read_text().splitlines()} == {"a1", "a2"}
