"""The clouds' own lists of clusters: EKS by the stand-in, GKE by its REST interface, both onto `sightings`."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from aws_paths import ACCOUNT, KEYS, REGION, Aws, LogGroup

from leadsman_common.sightings import Listed, Sign, decode
from leadsman_ingest_gcp import gke
from leadsman_ingest_gcp.config import Settings

pytestmark = pytest.mark.integration


class Gke(BaseHTTPRequestHandler):
    """projects.locations.clusters.list."""

    def do_GET(self):
        answer = self.server.answers.get(self.path)
        self.send_response(200 if answer is not None else 403)
        self.end_headers()
        self.wfile.write(json.dumps(answer or {"error": {"code": 403}}).encode())

    def log_message(self, *_args):
        pass


@pytest.fixture
def gke_api():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gke)
    server.answers = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def told(kind, records_of):
    """What stands on `sightings`, of one kind: a service's own signs stand there too, in any order."""
    return [found for record in records_of("sightings") if isinstance(found := decode(record.value()), kind)]


def test_eks_lists_its_clusters(moto_endpoint, run_service, records_of, eventually):
    aws = Aws(moto_endpoint)
    eks = boto3.client("eks", endpoint_url=moto_endpoint, region_name=REGION, **KEYS)
    wanted = {f"{aws.name}-{at}" for at in range(3)}
    for name in wanted:
        vpc = {"subnetIds": ["subnet-1", "subnet-2"]}
        eks.create_cluster(name=name, roleArn=f"arn:aws:iam::{ACCOUNT}:role/r", resourcesVpcConfig=vpc)
    env = {"LEADSMAN_EKS_INVENTORY": f"{ACCOUNT}/{REGION},{ACCOUNT}/eu-central-1", "LEADSMAN_INVENTORY_S": "1"}
    service = run_service("leadsman_ingest_aws", {**LogGroup(aws).env, **env})

    def listed():
        return {one.scope: {c.name: c for c in one.clusters} for one in told(Listed, records_of)}

    eventually("both regions", lambda: len(listed()) == 2, 90)
    here = listed()[f"aws/{ACCOUNT}/{REGION}"]
    assert wanted <= here.keys()
    made = eks.describe_cluster(name=next(iter(wanted)))["cluster"]["createdAt"].timestamp()
    assert abs(here[next(iter(wanted))].made_ms / 1000 - made) < 2
    eks.delete_cluster(name=(gone := min(wanted)))
    eventually("the deletion", lambda: gone not in listed()[f"aws/{ACCOUNT}/{REGION}"])
    assert service.stop() == 0
    # and that it was there, to its end
    assert {(sign.kind, sign.about, sign.place) for sign in told(Sign, records_of)} >= {
        ("alive", "raw.aws", "ingest-aws")
    }


def settings(api, project="example-project"):
    return Settings(
        pubsub_subscriptions=("projects/p/subscriptions/s",), gke_endpoint=api.url, gke_inventory=(project,)
    )


def test_gke_lists_its_clusters(gke_api):
    path = "/v1/projects/example-project/locations/-/clusters"
    clusters = [
        {"name": "ship", "location": "europe-west4", "createTime": "2026-01-01T00:00:00+00:00", "status": "RUNNING"},
        {"name": "yard", "location": "europe-west4-a", "nodePools": [{"name": "default"}]},
    ]
    gke_api.answers[path] = {"clusters": clusters}
    ((scope, ask),) = gke.scopes(settings(gke_api)).items()
    assert scope == "gcp/example-project"
    assert [(c.region, c.name, c.made_ms) for c in ask()] == [
        ("europe-west4", "ship", 1_767_225_600_000),
        ("europe-west4-a", "yard", 0),
    ]
    gke_api.answers[path] = {}  # none
    assert ask() == []
    gke_api.answers[path] = {"clusters": clusters[:1], "missingZones": ["europe-west4-a"]}
    with pytest.raises(gke.Incomplete, match="europe-west4-a"):  # what is not known is not taken for gone
        ask()
    with pytest.raises(OSError, match="403"):
        gke.scopes(settings(gke_api, "another-project"))["gcp/another-project"]()


def test_gke_goes_on_beside_the_logs(gke_api, run_service, records_of, eventually, pubsub_emulator):
    gke_api.answers["/v1/projects/example-project/locations/-/clusters"] = {
        "clusters": [{"name": "ship", "location": "europe-west4"}]
    }
    env = {
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        "LEADSMAN_PUBSUB_SUBSCRIPTIONS": "projects/p/subscriptions/none",
        "LEADSMAN_GKE_INVENTORY": "refused-project,example-project",
        "LEADSMAN_GKE_ENDPOINT": gke_api.url,
    }
    service = run_service("leadsman_ingest_gcp", env)
    eventually("the list", lambda: told(Listed, records_of), 90)
    assert {listed.scope for listed in told(Listed, records_of)} == {"gcp/example-project"}
    assert service.lines("the clusters of a scope cannot be listed")[0]["scope"] == "gcp/refused-project"
    assert service.process.poll() is None
