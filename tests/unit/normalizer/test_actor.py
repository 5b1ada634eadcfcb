"""Who acts: classes of DETECTIONS 1.4."""

import pytest
from records import event_of, native

from leadsman_common.events import Flag
from leadsman_normalizer.actor import FLAG_OF_CLASS
from leadsman_normalizer.key import partition_key

MANAGED = "arn:aws:sts::123412341234:assumed-role/AWSWesleyClusterManagerLambda-Add-AddonManagerRole/1"


def user(name, *groups, **extra):
    return {"username": name, "groups": list(groups), "extra": {k: [v] for k, v in extra.items()}}


CASES = {
    "human": (user("ada@example.com"), "native", "human"),
    "local admin of AKS": (user("masterclient", "system:masters"), "native", "human"),
    "IAM role": (user("arn:aws:sts::111122223333:assumed-role/R/S"), "eks", "human"),
    "service account": (user("system:serviceaccount:web:ci"), "native", "service_account"),
    "controller": (user("system:serviceaccount:kube-system:replicaset-controller"), "native", "control_plane"),
    "a controller's token in a pod": (
        user(
            "system:serviceaccount:kube-system:replicaset-controller",
            **{"authentication.kubernetes.io/pod-name": "attack"},
        ),
        "native",
        "service_account",
    ),
    "another namespace's namesake": (
        user("system:serviceaccount:web:replicaset-controller"),
        "native",
        "service_account",
    ),
    "node": (user("system:node:n1", "system:nodes"), "native", "node"),
    "scheduler": (user("system:kube-scheduler"), "native", "control_plane"),
    "addon manager of EKS": (user("eks:addon-manager", arn=MANAGED), "eks", "managed_cloud"),
    "EKS without extras": (user("eks:node-manager"), "eks", "managed_cloud"),
    "a name mapped to eks:": (
        user("eks:addon-manager", arn="arn:aws:sts::111122223333:assumed-role/Deployers/eve"),
        "eks",
        "human",
    ),
    "eks: elsewhere": (user("eks:addon-manager"), "native", "human"),
    "aksService elsewhere": (user("aksService"), "native", "human"),
    "anonymous": (user("system:anonymous", "system:unauthenticated"), "native", "unauthenticated"),
    "by the group": (user("nobody", "system:unauthenticated"), "native", "unauthenticated"),
    "failed": ({}, "native", "failed_auth"),
}


@pytest.mark.parametrize(("who", "cloud", "wanted"), CASES.values(), ids=CASES.keys())
def test_classes_and_their_flags(who, cloud, wanted):
    code = 401 if wanted == "failed_auth" else 200
    event = event_of(native("get", "pods", user=who, responseStatus={"code": code}), cloud)
    assert event["actor"]["class"] == wanted
    bits = sum(FLAG_OF_CLASS.values())
    assert event["flags"] & bits == FLAG_OF_CLASS.get(wanted, 0)
    assert event["actor"]["unauthenticated"] is (wanted == "unauthenticated")


IMPERSONATED = {
    "anonymous": (user("system:anonymous", "system:unauthenticated"), "human"),
    "a controller": (user("system:kube-controller-manager"), "human"),
    "a node": (user("system:node:n1", "system:nodes"), "human"),
    "a service account": (user("system:serviceaccount:web:ci"), "service_account"),
    "another human": (user("bob@example.com"), "human"),
}


@pytest.mark.parametrize(("target", "wanted"), IMPERSONATED.values(), ids=IMPERSONATED.keys())
def test_impersonation_lends_no_trusted_class(target, wanted):
    event = event_of(native("get", "pods", impersonatedUser=target))
    actor = event["actor"]
    assert (actor["class"], actor["name"], actor["authenticated"]) == (wanted, target["username"], "ada@example.com")
    assert (actor["impersonating"], actor["unauthenticated"]) == (True, False)
    assert event["flags"] & Flag.IMPERSONATING
    assert not event["flags"] & Flag.UNAUTHENTICATED
    assert event["impersonatedUser"]["username"] == target["username"]


@pytest.mark.parametrize("nobody", [None, {}])
def test_an_empty_impersonation(nobody):
    event = event_of(native("get", "pods", impersonatedUser=nobody))
    assert event["actor"]["impersonating"] is (nobody is not None)
    assert (event["impersonatedUser"] is None) is (nobody is None)
    assert event["actor"]["class"] == "human"


def test_a_bound_token_says_where_it_lives():
    extra = {
        "authentication.kubernetes.io/pod-name": "api-0",
        "authentication.kubernetes.io/node-name": "n1",
        "authentication.kubernetes.io/credential-id": "JTI=1",
    }
    actor = event_of(native("get", "pods", user=user("system:serviceaccount:web:ci", **extra)))["actor"]
    assert (actor["namespace"], actor["service_account"], actor["pod"], actor["node"], actor["credential_id"]) == (
        "web",
        "ci",
        "api-0",
        "n1",
        "JTI=1",
    )


def test_the_cloud_identity_of_eks():
    who = user("ada", arn="arn:x", canonicalArn="arn:y", sessionName="s", accessKeyId="AKIA", principalId="AROA")
    cloud = event_of(native("get", "pods", user=who), "eks")["cloud"]
    assert [cloud[k] for k in ("principal", "canonical_arn", "session", "access_key_id", "principal_id")] == [
        "arn:x",
        "arn:y",
        "s",
        "AKIA",
        "AROA",
    ]
    assert event_of(native("get", "pods"))["cloud"] is None


@pytest.mark.parametrize(
    ("who", "key"),
    [
        (user("ada@example.com"), b"k8s//rack-1/harbour|ada@example.com"),
        (user("system:node:n1"), b"k8s//rack-1/harbour|pods./web/x"),
        (user("system:kube-scheduler"), b"k8s//rack-1/harbour|pods./web/x"),
    ],
)
def test_the_partition_key(who, key):
    assert partition_key(event_of(native("get", "pods", user=who))) == key
