"""A real Prometheus scrapes every service while records go through, and every panel of the dashboard is asked of it."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path

import canary_lines
import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

REPO = Path(__file__).parents[2]
DASHBOARD = json.loads((REPO / "deploy" / "grafana" / "leadsman.json").read_text())
RULES = REPO / "deploy" / "prometheus" / "leadsman.rules.yaml"
PANELS = {p["title"]: p for p in DASHBOARD["panels"] if p["type"] != "row"}
# what stays without a series while nothing goes wrong and nothing is on trial
QUIET = {
    "Errors",
    "Filtered",
    "Refused",
    "Dead letters",
    "Records lost upstream",
    "Left in their queue",
    "Suppressed",
    "On trial",
}
QUIET_SERIES = "leadsman_(rules_reloads|state_troubles|state_rebuilds|state_groups_evicted|sink_)"
HOPS = {"delivery", "ingest", "normalize", "detect", "notify"}
# the ways in that the other tests do not need
OTHERS = ("ingest-azure", "ingest-kafka", "ingest-k8s")
CLUSTER = "quay"

pytestmark = pytest.mark.e2e


class Prometheus:
    """What is asked of a running one."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path, **arguments):
        address = f"{self.url}{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - of our own
            return json.load(answer)["data"]

    def query(self, expr):
        return self.get("/api/v1/query", query=expr)["result"]

    def until(self, condition, what, timeout_s=90):
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"not come about: {what}")
            time.sleep(0.5)
        return found

    def comes_to(self, wanted, ask, timeout_s=60):
        """`ask()` gives what is wanted, once it does: what a service counts is told by a scrape that comes after."""
        deadline = time.monotonic() + timeout_s
        while (found := ask()) != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
        assert found == wanted

    def scrapes(self, services):
        """Wait until each of these has told what it counted up to now."""
        since = f"timestamp(leadsman_build_info) >= {time.time():.3f}"
        self.until(lambda: {r["metric"]["service"] for r in self.query(since)} == services, "a scrape of each")


def audit_event(at):
    uri = f"/api/v1/namespaces/default/pods?n={at}"
    stage = {"stage": "ResponseComplete", "level": "Metadata", "responseStatus": {"code": 200}}
    user = {"username": "system:serviceaccount:default:reader"}
    ref = {"resource": "pods", "namespace": "default", "apiVersion": "v1"}
    return {"auditID": f"quay-{at}", "verb": "list", "requestURI": uri, "user": user, "objectRef": ref, **stage}


class Others:
    """The ways in that the stream does not have, on topics of their own and a port."""

    def __init__(self, stream, folder, port):
        self.stream, self.port = stream, port
        self.topics = {"k8s-audit": f"{stream.prefix}collected", "aks-audit": f"{stream.prefix}hub"}
        made = stream.admin.create_topics([NewTopic(topic, 1, 1) for topic in self.topics.values()])
        for future in made.values():
            future.result(20)
        sources = folder / "sources.yaml"
        sources.write_text(
            yaml.safe_dump(
                {"sources": [{"topic": self.topics["k8s-audit"], "format": "k8s-audit", "cluster": CLUSTER}]}
            )
        )
        connection = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=a2V5"
        self.env = {
            "ingest-kafka": {
                "LEADSMAN_KAFKA_SOURCES": str(sources),
                "LEADSMAN_SOURCE_GROUP": f"{stream.prefix}leadsman-ingest-kafka",
            },
            "ingest-azure": {
                "LEADSMAN_EVENTHUBS_CONNECTION": connection,
                "LEADSMAN_EVENTHUBS": self.topics["aks-audit"],
                "LEADSMAN_EVENTHUBS_BOOTSTRAP": stream.world.bootstrap,
                "LEADSMAN_EVENTHUBS_OPTIONS": "security.protocol=plaintext",
                "LEADSMAN_EVENTHUBS_GROUP": f"{stream.prefix}leadsman-ingest-azure",
            },
            "ingest-k8s": {"LEADSMAN_AUDIT_ANYONE": "true", "LEADSMAN_LISTEN_PORT": str(port)},
        }

    def send(self, at):
        """A record for each."""
        event = audit_event(at)
        resource = f"/SUBSCRIPTIONS/5F/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/{CLUSTER}"
        aks = {"category": "kube-audit", "resourceId": resource, "properties": {"log": json.dumps(event)}}
        producer = Producer({"bootstrap.servers": self.stream.world.bootstrap})
        producer.produce(self.topics["k8s-audit"], json.dumps(event))
        producer.produce(self.topics["aks-audit"], json.dumps({"records": [aks]}))
        assert producer.flush(20) == 0
        batch = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event]}).encode()
        post = urllib.request.Request(f"http://127.0.0.1:{self.port}/audit/{CLUSTER}", batch)
        with urllib.request.urlopen(post, timeout=30) as answer:  # noqa: S310
            assert answer.status == 200


@pytest.fixture(scope="module")
def others(local, run_dir, stream):
    """Those, running."""
    others = Others(stream, run_dir, local("processes").free_port())
    for name in OTHERS:
        stream.services.start(name, env=others.env[name])
    for name in OTHERS:
        stream.services.wait_ready(name)
    yield others
    stream.services.stop(*OTHERS)
    for future in stream.admin.delete_topics(list(others.topics.values())).values():
        future.result(20)


@pytest.fixture(scope="module")
def prometheus(local, run_dir, stream, others):  # noqa: ARG001 - it scrapes them
    """Scrapes each service of the pipeline under a job of its own, as deploy/compose/prometheus.yaml does."""
    processes = local("processes")
    command = processes.ensure_command("prometheus", {"apt-get": "prometheus"})
    jobs = [
        {
            "job_name": f"leadsman-{name}",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{stream.services.port(name)}"]}],
        }
        for name in (*stream.service_names(), *OTHERS)
    ]
    config = run_dir / "prometheus.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": jobs,
            }
        )
    )

    def start_on(port):
        arguments = [f"--config.file={config}", f"--storage.tsdb.path={run_dir / 'prometheus-data'}"]
        arguments.append(f"--web.listen-address=127.0.0.1:{port}")
        return processes.spawn(run_dir, "prometheus", [command, *arguments], port=port, tie_to_parent=True)

    def answers(port):
        return local("services").http_status(port, "/-/ready") == 200

    process = processes.start_ready(run_dir, start_on, answers, port=None, timeout_s=60)
    yield Prometheus(process.port)
    processes.stop(run_dir, [process])


@pytest.fixture(scope="module")
def scraped(prometheus, stream, others, records):
    """The same, after records of both clouds went through the stream and were scraped."""
    services = {*stream.service_names(), *OTHERS}
    prometheus.until(
        lambda: {r["metric"]["service"] for r in prometheus.query("leadsman_build_info")} == services, "up"
    )
    # clusters of their own: what the other tests count stays as it is
    eks, gke = records("eks"), [line.replace(b"shipyard", b"drydock") for line in records("gke")]
    raw = stream.count("raw.aws") + stream.count("raw.gcp")
    collected = stream.count("raw.k8s") + stream.count("raw.azure")
    for part in range(3):  # a rate needs more than one look: each part is told before the next one goes in
        lines = [line.decode() for line in eks[part::3]] + [canary_lines.line()]
        stream.put_cloudwatch("drydock", "111122223333", lines)
        stream.publish(gke[part::3])
        others.send(part)
        raw, collected = raw + len(lines) + len(gke[part::3]), collected + len(OTHERS)
        stream.until(
            lambda due=collected: stream.count("raw.k8s") + stream.count("raw.azure") >= due, "what the others send"
        )
        stream.wait_through(raw=raw)
        prometheus.scrapes(services)
    prometheus.until(lambda: prometheus.query('leadsman_deliveries_total{result="delivered"} > 0'), "a delivery")
    return prometheus


def asked(expr):
    """The query with what Grafana puts in; the interval is longer than these tests take."""
    return expr.replace("$job", "leadsman-.*").replace("$__rate_interval", "10m")


def test_every_service_is_scraped(scraped, local):
    everyone = dict.fromkeys(local("services").MODULES, "1")
    scraped.comes_to(
        everyone, lambda: {r["metric"]["job"].removeprefix("leadsman-"): r["value"][1] for r in scraped.query("up")}
    )
    assert everyone.keys() == {path.parent.name for path in REPO.glob("services/*/pyproject.toml")}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_shows_something(scraped, panel):
    for target in panel["targets"]:
        query = asked(target["expr"])
        if not scraped.query(query) and (panel["title"] in QUIET or re.search(QUIET_SERIES, query)):
            continue
        empty = "" if "leadsman_hop_seconds" in query else "NaN"  # of a hop that nothing went by there is no median
        scraped.until(lambda q=query, no=empty: [s for s in scraped.query(q) if s["value"][1] != no], query, 30)


def test_every_hop_tells_rate_duration_lag_and_silence(scraped, stream):
    def services(expr):
        return {r["metric"]["service"] for r in scraped.query(f"{expr} > 0")}

    everyone = {*stream.service_names(), *OTHERS}

    def groups():
        return {r["metric"]["group"].removeprefix(stream.prefix) for r in scraped.query("leadsman_lag_records")}

    scraped.comes_to(everyone, lambda: services("leadsman_received_total"))
    # the notifier: the mirror of the alerts, which has a group and a pace of its own
    scraped.comes_to(everyone, lambda: services("leadsman_produced_total"))
    # it has leadsman_delivery_seconds
    scraped.comes_to(everyone - {"notifier"}, lambda: services("leadsman_batch_seconds_count"))
    scraped.comes_to(everyone, lambda: services("leadsman_last_received_timestamp_seconds"))
    readers = ("normalizer", "detector", "ingest-azure", "ingest-kafka", "notifier-webhook", "notifier.ocsf")
    scraped.comes_to({f"leadsman-{name}" for name in readers}, groups)


def test_latency_is_told_by_hop(scraped):
    scraped.comes_to(HOPS, lambda: {r["metric"]["hop"] for r in scraped.query("leadsman_hop_seconds_count > 0")})
    for own in HOPS - {"delivery"}:  # the records are old, the stream is not
        (slowest,) = scraped.query(f'max(leadsman_hop_seconds_sum{{hop="{own}"}} / leadsman_hop_seconds_count)')
        assert float(slowest["value"][1]) < 60


def test_a_canary_tells_the_latency_of_its_cluster_by_hop(scraped):
    own = 'cluster="aws/111122223333/eu-west-1/drydock"'  # other tests send canaries of other clusters

    def hops():
        found = scraped.query(f'leadsman_canary_seconds_count{{{own},hop!="notify"}}')
        return {r["metric"]["hop"]: int(r["value"][1]) for r in found}

    scraped.comes_to(dict.fromkeys(("request", "delivery", "ingest", "normalize", "detect"), 3), hops)
    scraped.until(lambda: scraped.query(f'leadsman_canary_seconds_count{{{own},hop="notify"}} >= 3'), "each notified")
    (slowest,) = scraped.query(f"max(leadsman_canary_seconds_sum{{{own}}} / leadsman_canary_seconds_count)")
    assert float(slowest["value"][1]) < 60


def test_the_lag_of_what_is_done_is_none(scraped):
    scraped.until(lambda: scraped.query("sum(leadsman_lag_records) == 0"), "no lag", 30)


def test_the_alert_rules_are_loaded_and_well(scraped):
    def rules():
        return [rule for group in scraped.get("/api/v1/rules")["groups"] for rule in group["rules"]]

    scraped.comes_to({"ok"}, lambda: {rule["health"] for rule in rules()})  # "unknown" until each was asked once
    assert not [rule["name"] for rule in rules() if rule["state"] == "firing"]


def test_clusters_have_an_age(scraped):
    ours = {"aws/111122223333/eu-west-1/drydock", "gcp/example-drydock/europe-west4/drydock"}

    def aged():
        return {r["metric"]["cluster"] for r in scraped.query("leadsman_last_event_timestamp_seconds")}

    scraped.until(lambda: ours <= aged(), f"the age of {ours}")
