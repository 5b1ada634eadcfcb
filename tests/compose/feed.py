"""Plays records with known alerts into the stack of docker compose, however often it breaks, and tells what came.

Runs inside the demo image (run.sh).
play N SECONDS   produces N records to the raw topics over that time, keyed and headed as ingest would, and tries again
                 until Kafka has each
check N          waits until the alerts on the topic, and those at the receiver, are what the same records give in one
                 process without a broker; exits 1 when some are missing or too many
receive          takes what the notifier posts, and tells the ids at GET /
"""

import json
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import mix
from confluent_kafka import KafkaException

from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing, consumer
from leadsman_common.settings import Common, load

PART = 200
WAIT_S = 180.0


def samples(count):
    return list(enumerate(mix.samples(count, stories=0.2)))


def outgoing(n, sample):
    raw = mix.raw_of(sample, n)
    return Outgoing(f"raw.{sample.cluster.cloud}", raw.key(), raw.value, raw.headers())


def play(count, seconds):
    settings, todo = load(Common), samples(count)
    began, producer = time.monotonic(), None
    for first in range(0, len(todo), PART):
        time.sleep(max(0.0, began + seconds * first / len(todo) - time.monotonic()))
        while True:
            try:
                producer = producer or AckedProducer(settings.kafka_bootstrap)
                producer.send(outgoing(n, s) for n, s in todo[first : first + PART])
                break
            except (KafkaException, DeliveryFailed, TimeoutError) as error:
                print(f"feed: Kafka is away, trying again: {error}", flush=True)
                producer = None
                time.sleep(1)
    print(f"feed: {count} records played in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def expected(count):
    """The ids that a scan of the same records gives."""
    scanner = Scanner(load_rules(()))
    scanner.take(mix.raw_of(sample, n) for n, sample in samples(count))
    return set(scanner.found.alerts)


def check(count):
    wanted, found, copies = expected(count), set(), 0
    until = time.monotonic() + WAIT_S
    with_alerts = consumer(load(Common).kafka_bootstrap, "compose-test", {"auto.offset.reset": "earliest"})
    with_alerts.subscribe(["alerts"])
    while wanted - found and time.monotonic() < until:
        for message in with_alerts.consume(500, timeout=1.0):
            if message.error() is None:
                found.add(alert_codec().decode(message.value())["id"])
                copies += 1
    with_alerts.close()
    received = delivered()
    while wanted - received and time.monotonic() < until:
        time.sleep(1)
        received = delivered()
    for where, ids in (("on the topic", found), ("at the receiver", received)):
        print(f"check: {len(wanted)} alerts expected; {where}: {len(wanted - ids)} lost, {len(ids - wanted)} too many")
    print(f"check: {copies} records on the topic alerts")
    return 0 if found == received == wanted else 1


def delivered():
    with urllib.request.urlopen("http://receiver:8000/", timeout=10) as answer:
        return set(json.load(answer))


class Receiver(BaseHTTPRequestHandler):
    ids: ClassVar[set[str]] = set()

    def do_POST(self):
        self.ids.add(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["id"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        body = json.dumps(sorted(self.ids)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


def receive():
    ThreadingHTTPServer(("0.0.0.0", 8000), Receiver).serve_forever()  # noqa: S104 - inside its container


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "receive":
        receive()
    sys.exit(play(int(rest[0]), float(rest[1])) if what == "play" else check(int(rest[0])))
