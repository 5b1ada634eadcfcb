"""Images behind a mirror are the upstream's where the registry of clusters says so; a name alone says nothing."""

import json

import pytest

from leadsman_common.clusters import load_clusters
from leadsman_common.raw import RawEvent
from leadsman_common.settings import SettingError
from leadsman_normalizer.config import Settings
from leadsman_normalizer.facts.images import parse_image
from leadsman_normalizer.normalize import normalize

CLUSTERS = """
defaults:
    registry_mirrors:
        - {mirror: "registry.example.com:5000/hub", upstream: docker.io}
        - {mirror: "registry.example.com:5000/hub/k8s", upstream: registry.k8s.io}
        - {mirror: harbor.example.com/cilium, upstream: quay.io/cilium}
clusters:
    - {name: bare, registry_mirrors: []}
"""


@pytest.fixture
def clusters(tmp_path):
    path = tmp_path / "clusters.yaml"
    path.write_text(CLUSTERS)
    return load_clusters(path)


def pod_of(clusters, *images, cluster="prod"):
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Request",
        "auditID": "a",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods",
        "verb": "create",
        "user": {"username": "alice"},
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z",
        "stageTimestamp": "2026-11-23T10:00:00.000000Z",
        "requestObject": {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": f"c{i}", "image": image} for i, image in enumerate(images)]},
        },
    }
    raw = RawEvent(json.dumps(event).encode(), format="k8s-audit", cluster=cluster)
    return normalize(raw, clusters)["facts"]["pod"]


@pytest.mark.parametrize(
    ("image", "host", "repo", "suffix"),
    [
        ("registry.example.com:5000/hub/calico/node:v3", "docker.io", "calico/node", "calico/node"),
        ("registry.example.com:5000/hub/nginx", "docker.io", "library/nginx", "library/nginx"),
        ("REGISTRY.example.com:5000/hub/nginx", "docker.io", "library/nginx", "library/nginx"),
        ("registry.example.com:5000/hub/k8s/kube-proxy", "registry.k8s.io", "kube-proxy", "kube-proxy"),
        ("harbor.example.com/cilium/operator", "quay.io", "cilium/operator", "cilium/operator"),
        ("registry.example.com:5000/hubble/ui", "registry.example.com:5000", "hubble/ui", "hubble/ui"),
        ("registry.example.com:5000/hub", "registry.example.com:5000", "hub", "hub"),
        ("registry.example.com/hub/nginx", "registry.example.com", "hub/nginx", "hub/nginx"),
        (
            "evil.example.net/registry.example.com/hub/nginx",
            "evil.example.net",
            "registry.example.com/hub/nginx",
            "hub/nginx",
        ),
    ],
    ids=[
        "mirror",
        "library",
        "letter case",
        "longest",
        "upstream with a path",
        "not by whole segments",
        "the mirror itself",
        "another port",
        "the mirror's name as a path",
    ],
)
def test_a_mirror_is_undone(clusters, image, host, repo, suffix):
    pod = pod_of(clusters, image)
    (found,) = pod["containers"]
    assert (found["image_host"], found["image_repo"], found["image_suffix"]) == (host, repo, suffix)
    assert found["image_raw"] == image


def test_tag_and_digest_stay(clusters):
    digest = "sha256:" + "a" * 64
    (found,) = pod_of(clusters, f"registry.example.com:5000/hub/nginx:1@{digest}")["containers"]
    assert (found["image_name"], found["tag"], found["digest"]) == ("nginx", "1", digest)


def test_a_cluster_without_the_mirror_keeps_the_name(clusters):
    (found,) = pod_of(clusters, "registry.example.com:5000/hub/nginx", cluster="bare")["containers"]
    assert found["image_host"] == "registry.example.com:5000"


@pytest.mark.parametrize(
    ("image", "host", "repo"),
    [
        ("mirror.gcr.io/library/nginx", "docker.io", "library/nginx"),
        ("mirror.gcr.io/nginx", "docker.io", "library/nginx"),
        ("mirror.gcr.io/kannix/monero-miner:1", "docker.io", "kannix/monero-miner"),
        ("public.ecr.aws/docker/library/nginx:1", "docker.io", "library/nginx"),
        ("k8s.gcr.io/kube-proxy:v1.20.0", "registry.k8s.io", "kube-proxy"),
        ("k8s.gcr.io/sig-storage/livenessprobe", "registry.k8s.io", "sig-storage/livenessprobe"),
        ("gcr.io/google-containers/pause", "registry.k8s.io", "pause"),
        ("eu.gcr.io/k8s-artifacts-prod/pause", "registry.k8s.io", "pause"),
        ("europe-west1-docker.pkg.dev/k8s-artifacts-prod/images/pause", "registry.k8s.io", "pause"),
        ("europe-west1-artifactregistry.gcr.io/gke-release/gke-release/netd:v1", "gke.gcr.io", "netd"),
        ("us-docker.pkg.dev/gke-release/gke-release/netd", "gke.gcr.io", "netd"),
        ("gcr.io/gke-release/netd", "gke.gcr.io", "netd"),
    ],
)
def test_other_names_of_a_registry(image, host, repo):
    found = parse_image(image)
    assert (found.host, found.repo) == (host, repo)


@pytest.mark.parametrize(
    "image",
    [
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/calico/node",
        "europe-west1-docker.pkg.dev/my-project/docker-hub/calico/node",
        "europe-west1-docker.pkg.dev/my-gke-release/gke-release/netd",
        "europe-west1-docker.pkg.dev/gke-release/other/netd",
        "europe-west1-docker.pkg.dev.evil.net/gke-release/gke-release/netd",
        "public.ecr.aws/dockers/library/nginx",
        "public.ecr.aws/x/docker/library/nginx",
        "gcr.io/my-project/google-containers/pause",
        "xgcr.io/gke-release/netd",
        "evil.net/mirror.gcr.io/library/nginx",
        "mirror.gcr.io.evil.net/library/nginx",
        "myacr.azurecr.io/mcr/oss/kube-proxy",
    ],
)
def test_what_anyone_may_publish_is_no_other_name(image):
    host, _, repo = image.partition("/")
    assert (parse_image(image).host, parse_image(image).repo) == (host, repo)


def test_the_service_reads_the_file_that_its_setting_names(tmp_path):
    path = tmp_path / "clusters.yaml"
    path.write_text(CLUSTERS)
    assert Settings(clusters=str(path)).registry() == load_clusters(path)
    assert Settings().registry().entries == ()


def test_the_service_does_not_start_with_a_file_that_cannot_be_used(tmp_path):
    path = tmp_path / "clusters.yaml"
    path.write_text("clusters: [{}]")
    with pytest.raises(SettingError, match=r"LEADSMAN_CLUSTERS: .*clusters\.yaml: clusters, number 1: has no name"):
        Settings(clusters=str(path)).registry()
