"""Every record of a cloud's own API in the corpora: what it raises, or why nothing."""

from __future__ import annotations

import io

import pytest
from corpora_files import FORMATS, files

from leadsman_cli.readers import Identity, Unreadable, files_below, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.errors import InvalidEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

CLOUD_FORMATS = {"cloudtrail", "azure-activity"}
TRAIL = "traildiscover"
ARC = "panther-analysis/azure_activity_rules/azure_kubernetes_rolebinding_created.azure-activity.ndjson"
KHI = "khi/gke_audit"
REFUSED_READ = "a read that was refused: it changes nothing, and the account's whole log is full of such"
WITHOUT_PARAMETERS = "a call refused before its parameters were read: the record names neither role, trust nor cluster"
NO_CLUSTER = "a call of a person to the account, in which no cluster and no service account takes part"
EVERYDAY = "how a pod takes its role, everyday work: an inventory for correlations (pod-identity-taken)"
BINDING = "a role or binding without a word of whom it lets do what: the cluster's own log has that, and rules judge it"
LET_IN = "an identity of IAM that the cluster let in, everyday work; what it did there is in the audit log"
THE_END = "the end of an operation, whose start is the event"
# (file, place in it, call) -> what is raised, as slug and level; or why nothing
EXPECTED: dict[tuple[str, int, str], list[tuple[str, str]] | str] = {
    (f"{TRAIL}/EKS/AssociateAccessPolicy.json.cloudtrail", 0, "AssociateAccessPolicy"): [
        ("cluster-access-given", "informational")  # refused
    ],
    (f"{TRAIL}/EKS/CreateAccessEntry.json.cloudtrail", 0, "CreateAccessEntry"): [
        ("cluster-access-given", "informational")  # refused
    ],
    (f"{TRAIL}/EKS/DescribeCluster.json.cloudtrail", 0, "DescribeCluster"): REFUSED_READ,
    (f"{TRAIL}/EKS/ListClusters.json.cloudtrail", 0, "ListClusters"): REFUSED_READ,
    (f"{TRAIL}/IAM/CreateRole.json.cloudtrail", 0, ""): WITHOUT_PARAMETERS,
    (f"{TRAIL}/IAM/ListOpenIDConnectProviders.json.cloudtrail", 0, ""): REFUSED_READ,
    (f"{TRAIL}/IAM/PutRolePolicy.json.cloudtrail", 0, ""): WITHOUT_PARAMETERS,
    (f"{TRAIL}/SecurityTokenService/AssumeRole.json.cloudtrail", 0, ""): NO_CLUSTER,
    (f"{TRAIL}/SecurityTokenService/GetSessionToken.json.cloudtrail", 0, ""): NO_CLUSTER,
    ("argo-workflows-aws-plugin/AssumeRoleWithWebIdentity.AccessDenied.json", 0, "AssumeRoleWithWebIdentity"): (
        "one refusal of a role whose trust does not name the account: mostly a mistake, which clients repeat for ever"
    ),
    ("eks-security-immersion-day/AssumeRole.pod-identity.json", 0, "AssumeRole"): EVERYDAY,
    ("eks-security-immersion-day/AssumeRoleForPodIdentity.json", 0, "AssumeRoleForPodIdentity"): EVERYDAY,
    ("eks-user-guide/CreateCluster.json", 0, "CreateCluster"): [("control-plane-logging-never-on", "medium")],
    ("stratus-red-team/CreateAccessEntry.partial.json", 0, "CreateAccessEntry"): [("cluster-access-given", "medium")],
    (f"{KHI}/cluster_creation_started_with_error.yaml", 0, "google.container.v1.ClusterManager.CreateCluster"): (
        "a new cluster, with Google's defaults"
    ),
    (f"{KHI}/cluster_creation_finished.yaml", 0, ""): THE_END,
    (f"{KHI}/cluster_deletion_started.yaml", 0, "google.container.v1.ClusterManager.DeleteCluster"): (
        "the end of a cluster, which is its owner's everyday work; there is no rule of inventory for it"
    ),
    (f"{KHI}/cluster_deletion_finished.yaml", 0, ""): THE_END,
    (f"{KHI}/nodepool_creation_finished.yaml", 0, ""): THE_END,
    (f"{KHI}/nodepool_deletion_started.yaml", 0, "google.container.v1.ClusterManager.DeleteNodePool"): (
        "fewer nodes; no access and no setting changes"
    ),
    ("rotel-lambda-forwarder/authenticator.log", 0, "AccessGranted"): LET_IN,
    ("sumologic-documentation/eks/Authenticator.json", 0, "AccessGranted"): LET_IN,
    (ARC, 0, "connectedclusters/rbac.authorization.k8s.io/rolebindings/write"): BINDING,
    (ARC, 1, "connectedclusters/rbac.authorization.k8s.io/clusterrolebindings/write"): BINDING,
    (ARC, 2, "managedclusters/rbac.authorization.k8s.io/clusterrolebindings/write"): BINDING,
    (ARC, 3, "managedclusters/rbac.authorization.k8s.io/roles/write"): BINDING,
}
# files without any record, each with why
EMPTY = {f"{TRAIL}/IAM/CreateOpenIDConnectProvider.json.cloudtrail": "its publisher wrote an empty array: `[]`"}


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


def call_of(item):
    """The call that a record is: its name, "" where it is no event of ours, None where it is no cloud's call."""
    try:
        event = normalize(item)
    except InvalidEvent:
        return None
    if isinstance(event, Dropped):
        return ""
    return event["cloud"]["operation"] if event["cloud"] and event["cloud"]["operation"] else None


def is_of_a_cloud(source_format, name):
    return source_format in CLOUD_FORMATS or (
        name.startswith(KHI) and name.rpartition("/")[2].startswith(("cluster_", "nodepool_"))
    )


def samples(corpora):
    """File, place, call and record of every sample of a cloud's API, wherever in the corpora it lies."""
    for source_format, name, data in files(corpora):
        if name.startswith("kube-apiserver/"):
            continue
        items = read(name, io.BytesIO(data), FORMATS[source_format], Identity(), lambda _: None)
        for place, item in enumerate(items):
            assert not isinstance(item, Unreadable) or source_format not in CLOUD_FORMATS, item
            call = None if isinstance(item, Unreadable) else call_of(item)
            if call or is_of_a_cloud(source_format, name):
                yield name, place, call, item


def test_each_sample_raises_what_it_should(corpora, rules):
    found, expected = {}, {}
    for name, place, call, item in samples(corpora):
        scanner = Scanner(rules)
        scanner.take([item])
        scanner.finish()
        key = (name, place, call)
        found[key] = sorted((alert["rule"]["name"], alert["level"]) for alert in scanner.found.alerts.values())
        told = EXPECTED.get(key)
        expected[key] = [] if isinstance(told, str) else told
    assert found == expected
    assert set(EXPECTED) - set(found) == set()


def test_files_without_a_record_are_those_we_know_of(corpora):
    held = {name for name, *_ in samples(corpora)}
    there = {name for source_format, name, _ in files(corpora) if source_format in CLOUD_FORMATS}
    assert there - held == set(EMPTY)


def test_a_folder_of_samples_is_read_as_a_whole(corpora):
    named = {str(path.relative_to(corpora)) for path in files_below((corpora / TRAIL,))}
    assert {name for _, name, _ in files(corpora) if name.startswith(TRAIL)} <= named
