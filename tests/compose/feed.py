"""Plays records with known alerts into the stack of docker compose, however often it breaks, and tells what came.

Runs inside the demo image (run.sh), whose steps it paces: by what was fed and what came out, never by the clock alone.
play A_SECOND    produces records to the raw topics at that pace, keyed and headed as ingest would, trying again until
                 Kafka has each, and tells their number at the end
stop             has `play` end
more RECORDS ALERTS [SERVICE WORKERS]
                 waits until that many more records were played and that many more alerts have come to the receiver;
                 and until SERVICE has just that many workers, of which each has handled something
check N          waits until the alerts on the topic, and those at the receiver, are what the first N records give in
                 one process without a broker; exits 1 when some are missing or too many
receive          takes what the notifier posts, and tells the ids at GET /
"""

import itertools
import json
import re
import socket
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import mix
from confluent_kafka import KafkaException

from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing, consumer
from leadsman_common.settings import Common, load

PART = 100
MOST = 10_000_000  # records, of which as many are played as the test takes
WAIT_S = 240.0
PLAYED, STOP = Path("/tmp/played"), Path("/tmp/stop")
_RECEIVED = re.compile(r"^leadsman_received_total\{.*\} (\S+)$", re.MULTILINE)


def samples():
    return enumerate(mix.samples(MOST, stories=0.2))


def outgoing(n, sample):
    raw = mix.raw_of(sample, n)
    return Outgoing(f"raw.{sample.cluster.cloud}", raw.key(), raw.value, raw.headers())


def play(a_second):
    settings, todo = load(Common), samples()
    began, producer, count = time.monotonic(), None, 0
    while not STOP.exists():
        time.sleep(max(0.0, min(began + count / a_second - time.monotonic(), 1.0)))
        part = list(itertools.islice(todo, PART))
        while part:
            try:
                producer = producer or AckedProducer(settings.kafka_bootstrap)
                producer.send(outgoing(n, s) for n, s in part)
                break
            except (KafkaException, DeliveryFailed, TimeoutError) as error:
                print(f"feed: Kafka is away, trying again: {error}", flush=True)
                producer = None
                time.sleep(1)
        count += len(part)
        told = PLAYED.with_suffix(".new")
        told.write_text(str(count), encoding="utf-8")
        told.rename(PLAYED)
    print(f"feed: {count} records played in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def played():
    return int(PLAYED.read_text(encoding="utf-8")) if PLAYED.exists() else 0


def more(records, alerts, service="", workers=0):
    began, fed, came = time.monotonic(), played(), len(delivered())
    while True:
        more_fed, more_came = played() - fed, len(delivered()) - came
        each = handled(service) if service else []
        enough = more_fed >= records and more_came >= alerts and len(each) == workers and all(each)
        if enough or time.monotonic() > began + WAIT_S:
            break
        time.sleep(1)
    told = f"; records by {service}: {each}" if service else ""
    print(f"feed: {more_fed} more records, {more_came} more alerts in {time.monotonic() - began:.0f} s{told}")
    return 0 if enough else 1


def handled(service):
    """What each worker of a service has received, by its own metrics; 0 where it does not answer."""
    try:
        found = {where[4][0] for where in socket.getaddrinfo(service, 8080, socket.AF_INET, socket.SOCK_STREAM)}
    except OSError:
        return []
    return [of_worker(address) for address in sorted(found)]


def of_worker(address):
    try:
        with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=10) as answer:
            return sum(int(float(value)) for value in _RECEIVED.findall(answer.read().decode()))
    except OSError:
        return 0


def expected(count):
    """The ids that a scan of the same records gives."""
    scanner = Scanner(load_rules(()))
    scanner.take(mix.raw_of(sample, n) for n, sample in itertools.islice(samples(), count))
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
    return 0


def main(what, *rest):
    if what == "play":
        return play(float(rest[0]))
    if what == "stop":
        return STOP.touch()
    if what == "more":
        return more(int(rest[0]), int(rest[1]), *rest[2:3], *map(int, rest[3:4]))
    return check(int(rest[0])) if what == "check" else receive()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
