"""The local stack itself: what `make up` and `make down` promise."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from leadsman_common import topics as declared
from leadsman_common.topic_reader import TopicReader

REPO = Path(__file__).parents[2]
STACK = REPO / "deploy" / "local" / "stack.py"
TOPICS = declared.load(REPO / "schemas" / "topics")

pytestmark = pytest.mark.integration


def run(command, run_dir, *options, env=None):
    return subprocess.run(
        [sys.executable, str(STACK), command, "--run-dir", str(run_dir), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
        timeout=180,
    )


def env_of(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def processes_of(run_dir):
    """Every living process that has the run dir as its working folder or in its command line: pid -> command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = (folder / "cwd").readlink().is_relative_to(run_dir)
            if int(folder.name) != os.getpid() and (str(run_dir) in command or inside):
                found[int(folder.name)] = command
    return found


def listening(pid):
    """The local addresses on which a process listens, from /proc."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(_address(fields[1].partition(":")[0]))
    return addresses


def _address(text):
    words = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """A stack of this module's own, started by the command, one retention overridden."""
    run_dir = tmp_path_factory.mktemp("stack")
    done = run("up", run_dir, env={"LEADSMAN_RETENTION_AUDIT_EVENTS_MS": "123456789"})
    try:
        assert done.returncode == 0, done.stderr
        yield run_dir, env_of(done.stdout)
    finally:
        run("down", run_dir)


def test_up_prints_and_writes_where_it_is(up):
    run_dir, env = up
    assert env == env_of((run_dir / "env").read_text())
    assert env.keys() == {"LEADSMAN_KAFKA_BOOTSTRAP", "LEADSMAN_REDIS_URL"}
    with redis.Redis.from_url(env["LEADSMAN_REDIS_URL"]) as client:
        assert client.ping()


def test_topics_are_as_declared(up):
    _, env = up
    admin = AdminClient({"bootstrap.servers": env["LEADSMAN_KAFKA_BOOTSTRAP"]})
    found = admin.list_topics(timeout=10).topics
    assert {name: len(found[name].partitions) for name in TOPICS} == {
        name: topic.partitions for name, topic in TOPICS.items()
    }
    resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in TOPICS}
    answers = admin.describe_configs(list(resources.values()))
    for name, topic in TOPICS.items():
        config = answers[resources[name]].result(timeout=10)
        retention = 123456789 if name == "audit.events" else topic.retention_ms
        assert config["retention.ms"].value == str(retention), name
        assert config["max.message.bytes"].value == str(topic.max_message_bytes), name
        assert config["cleanup.policy"].value == topic.cleanup_policy, name


def test_everything_listens_on_loopback_only(up):
    run_dir, _ = up
    by_pid = {pid: listening(pid) for pid in processes_of(run_dir)}
    assert len(by_pid) == 2
    for addresses in by_pid.values():
        assert addresses
        assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_record_of_1500_kb_comes_back(up):
    _, env = up
    value = os.urandom(1_500_000)
    client = {"bootstrap.servers": env["LEADSMAN_KAFKA_BOOTSTRAP"]}
    producer = Producer({**client, "message.max.bytes": 2_097_152, "acks": "all"})
    failures = []
    producer.produce("raw.aws", value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failures == []
    consumer = Consumer({**client, "group.id": "large", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["raw.aws"])
        message = consumer.poll(30)
    finally:
        consumer.close()
    assert message is not None
    assert message.error() is None
    assert message.value() == value


def test_a_record_beyond_the_limit_is_refused(up):
    _, env = up
    producer = Producer({"bootstrap.servers": env["LEADSMAN_KAFKA_BOOTSTRAP"], "message.max.bytes": 10_000_000})
    errors = []
    producer.produce("raw.aws", os.urandom(2_200_000), on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    assert [error.name() for error in errors] == ["MSG_SIZE_TOO_LARGE"]


def test_an_unknown_topic_is_not_created_by_using_it(up):
    _, env = up
    admin = AdminClient({"bootstrap.servers": env["LEADSMAN_KAFKA_BOOTSTRAP"]})
    admin.list_topics("no-such-topic", timeout=10)
    assert "no-such-topic" not in admin.list_topics(timeout=10).topics


def test_redis_keeps_what_it_is_told(up):
    _, env = up
    with redis.Redis.from_url(env["LEADSMAN_REDIS_URL"], decode_responses=True) as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
        assert client.config_get(*wanted) == wanted


def test_a_second_up_reuses(up):
    run_dir, env = up
    before = processes_of(run_dir)
    again = run("up", run_dir, env={"LEADSMAN_RETENTION_AUDIT_EVENTS_MS": "123456789"})
    assert again.returncode == 0
    assert "already running" in again.stderr
    assert env_of(again.stdout) == env
    assert processes_of(run_dir) == before
    assert run("status", run_dir).returncode == 0


def test_create_brings_settings_up_to_date_and_says_what_was_missing(up):
    _, env = up
    bootstrap = env["LEADSMAN_KAFKA_BOOTSTRAP"]
    topic = TOPICS["alerts"]
    assert declared.create(bootstrap, [topic], "other-") == ["other-alerts"]
    assert declared.create(bootstrap, [topic], "other-", env={topic.retention_setting: "60000"}) == []
    resource = ConfigResource(ResourceType.TOPIC, "other-alerts")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + 30  # a change takes a moment until all of the broker knows it
    while admin.describe_configs([resource])[resource].result(timeout=10)["retention.ms"].value != "60000":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    declared.delete(bootstrap, ["other-alerts", "never-was"])


def test_down_leaves_nothing_even_after_up_was_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, str(STACK), "up", "--run-dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as starting:
        deadline = time.monotonic() + 120
        while not (tmp_path / "kafka.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        starting.send_signal(signal.SIGKILL)
    assert len(processes_of(tmp_path)) == 2
    assert run("status", tmp_path).stdout.count("pid") == 2
    down = run("down", tmp_path)
    assert down.returncode == 0
    assert "kafka" in down.stderr
    assert processes_of(tmp_path) == {}
    assert not list(tmp_path.glob("*.pid"))
    assert run("status", tmp_path).returncode == 1
    again = run("down", tmp_path)
    assert again.returncode == 0
    assert "nothing was running" in again.stderr


@pytest.mark.parametrize("delay_s", [0.7, 0.8, 0.9, 1.1])
def test_down_leaves_nothing_whenever_up_was_killed(tmp_path, delay_s):
    with subprocess.Popen(
        [sys.executable, str(STACK), "up", "--run-dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as starting:
        time.sleep(delay_s)
        starting.send_signal(signal.SIGKILL)
    assert run("down", tmp_path).returncode == 0
    assert processes_of(tmp_path) == {}


def test_two_ups_at_once_start_one_stack_and_a_dead_broker_comes_back_with_its_records(tmp_path):
    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _: run("up", tmp_path), range(2))
        assert (first.returncode, second.returncode) == (0, 0)
        assert first.stdout == second.stdout
        assert len(processes_of(tmp_path)) == 2
        producer = Producer({"bootstrap.servers": env_of(first.stdout)["LEADSMAN_KAFKA_BOOTSTRAP"]})
        producer.produce("alerts", b"kept", partition=0)
        assert producer.flush(30) == 0
        broker = next(pid for pid, command in processes_of(tmp_path).items() if "kafka.Kafka" in command)
        os.kill(broker, signal.SIGKILL)
        again = run("up", tmp_path)
        assert again.returncode == 0, again.stderr
        bootstrap = env_of(again.stdout)["LEADSMAN_KAFKA_BOOTSTRAP"]
        # a broker that came back leads its partitions again a moment later: the reader waits for that
        span = TopicReader(bootstrap).spans("alerts")[0]
        assert (span.low, span.end) == (0, 1)
    finally:
        run("down", tmp_path)
    assert processes_of(tmp_path) == {}


def test_down_leaves_a_process_alone_that_was_given_an_old_pid(tmp_path, local):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "kafka.pid").write_text(f'{{"pid": {bystander.pid}, "started": "another time", "port": 1}}')
        (tmp_path / "redis.pid").write_text("torn")
        assert local("stack").stop(tmp_path) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_one_that_ignores_sigterm_is_killed(tmp_path, local):
    processes = local("processes")
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    process = processes.spawn(tmp_path, "stubborn", [sys.executable, "-c", script], port=1)
    deadline = time.monotonic() + 10
    while "up" not in processes.log_tail(tmp_path, "stubborn") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.running()
    assert local("stack").stop(tmp_path, grace_s=0.5) == ["stubborn"]
    assert not process.running()


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("up", tmp_path, "--redis-port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "redis stopped while starting" in done.stderr
    assert processes_of(tmp_path) == {}


def test_what_is_tied_dies_with_its_parent(tmp_path, local):
    script = (
        "import sys, time; from pathlib import Path; sys.path.append(sys.argv[1]); import processes;"
        "processes.spawn(Path(sys.argv[2]), 'tied', ['sleep', '60'], port=1, tie_to_parent=True);"
        "print('up', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(STACK.parent), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "up\n"
    tied = local("processes").find(tmp_path, "tied")
    assert tied is not None
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while tied.running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not tied.running()


def test_the_topics_fixture_makes_prefixed_topics(topics, topic_prefix, bootstrap):
    assert topics["audit.events"] == f"{topic_prefix}audit.events"
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics
    assert {base: len(found[full].partitions) for base, full in topics.items()} == {
        base: min(3, topic.partitions) for base, topic in TOPICS.items()
    }


@pytest.mark.parametrize("value", ["left over", "again"])
def test_redis_is_empty_for_every_test(redis_url, value):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("key", value)


def test_moto_answers_as_aws(moto_endpoint):
    import boto3

    queues = boto3.client(
        "sqs",
        endpoint_url=moto_endpoint,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    url = queues.create_queue(QueueName="q")["QueueUrl"]
    queues.send_message(QueueUrl=url, MessageBody="line")
    assert queues.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "line"


def test_pubsub_gives_back_what_was_published(pubsub_emulator):
    import grpc
    from google.pubsub_v1 import PublisherClient, SubscriberClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

    topic, subscription = "projects/p/topics/t", "projects/p/subscriptions/s"
    with grpc.insecure_channel(pubsub_emulator) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic)
        publisher.publish(topic=topic, messages=[{"data": b"line"}])
        answer = subscriber.pull(subscription=subscription, max_messages=1, timeout=10)
    assert [received.message.data for received in answer.received_messages] == [b"line"]


def test_create_raises_what_the_broker_refuses(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    with pytest.raises(KafkaException):
        admin.create_topics([NewTopic("bad name!", 1)])["bad name!"].result(timeout=10)
