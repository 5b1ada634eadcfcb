"""What a cluster does all day is decided by its action and flags: no shipped rule asks for more of such an event."""

from __future__ import annotations

import pytest

from leadsman_cli.rules import load_rules
from leadsman_common.events import Flag

DONE = Flag.EFFECTIVE
EVERYDAY = [
    ("list pods", DONE | Flag.CONTROL_PLANE),
    ("watch pods", DONE | Flag.NODE),
    ("get configmaps", DONE | Flag.SERVICE_ACCOUNT),
    ("get /", DONE | Flag.SERVICE_ACCOUNT),
    ("get pods/log", DONE | Flag.SERVICE_ACCOUNT),
    ("update leases.coordination.k8s.io", DONE | Flag.SERVICE_ACCOUNT),
    ("watch pods", DONE | Flag.SERVICE_ACCOUNT),
    ("update leases.coordination.k8s.io", DONE | Flag.NODE),
    ("patch nodes/status", DONE | Flag.NODE),
    ("patch pods/status", DONE | Flag.NODE),
    ("patch services/status", DONE | Flag.CONTROL_PLANE),
    ("create pods/binding", DONE | Flag.CONTROL_PLANE),
    ("create events", DONE | Flag.CONTROL_PLANE),
    ("create tokenreviews.authentication.k8s.io", DONE | Flag.NODE),
    ("watch secrets", DONE | Flag.CONTROL_PLANE),
    ("create selfsubjectaccessreviews.authorization.k8s.io", DONE | Flag.CONTROL_PLANE),
    ("delete pods", DONE | Flag.CONTROL_PLANE),
    ("update endpointslices.discovery.k8s.io", DONE | Flag.CONTROL_PLANE),
]
# who comes for the first time, or comes back, with which credential and from where: of people every request is looked
# at, of workloads what they seldom do
CREDENTIALS = {"credential-used-inside", "credential-used-outside", "pod-token-used-inside", "pod-token-used-outside"}
PERSON = CREDENTIALS | {
    "cloud-principal-first-used", "cloud-masters-first-used", "certificate-first-used", "system-certificate-first-used",
    "name-first-used", "system-name-first-used", "identity-returned",
}  # fmt: skip
WORKLOAD = CREDENTIALS | {"account-token-used", "account-used", "address-first-used", "identity-returned"}
# what people and workloads do all day, and only few rules look at
COUNTED = [
    ("get configmaps", DONE, PERSON),
    ("get pods/log", DONE, PERSON),
    ("list pods", DONE | Flag.SERVICE_ACCOUNT, WORKLOAD | {"kinds-listed", "account-listed"}),
    (
        "get nodes/proxy",
        DONE | Flag.SERVICE_ACCOUNT,
        {"kubelet-reached", "kubelet-commanded"},
    ),  # metrics, told by what stands behind it
    ("get secrets", DONE | Flag.SERVICE_ACCOUNT, WORKLOAD | {"secret-read", "sensitive-action", "secret-read-by-tool"}),
    ("list pods", DONE, PERSON | WORKLOAD | {"kinds-listed", "account-listed"}),
    (
        "create selfsubjectaccessreviews.authorization.k8s.io",
        DONE,
        PERSON | WORKLOAD | {"access-review", "unlimited-account-used"},
    ),
    ("list pods", Flag.FORBIDDEN | Flag.FAILED, {"request-refused", "account-refused"}),
    ("list pods", Flag.FORBIDDEN | Flag.FAILED | Flag.NODE, {"account-refused"}),
    ("get secrets", DONE | Flag.NODE, {"secret-read-by-tool"}),  # a kubelet's, told by the client's name
    ("delete pods", DONE, PERSON | WORKLOAD | {"workload-deleted", "unlimited-account-used"}),
]


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


@pytest.mark.parametrize(("action", "flags"), EVERYDAY)
def test_no_rule_wants_to_see_more_of_it(rules, action, flags):
    assert [r.rule.name for r in rules.candidates(action, int(flags))] == []


@pytest.mark.parametrize(("action", "flags", "names"), COUNTED)
def test_what_people_do_is_counted_and_no_more(rules, action, flags, names):
    assert {r.rule.name for r in rules.candidates(action, int(flags))} <= names


@pytest.mark.parametrize(
    ("action", "flags", "rule"),
    [
        ("list pods", DONE | Flag.UNAUTHENTICATED, "unauthenticated-request-allowed"),
        ("list pods", DONE | Flag.IMPERSONATING, "unauthenticated-request-allowed"),
        ("get pods/exec", Flag.HAS_EXEC | Flag.FAILED | Flag.FAILED_AUTH, "unauthenticated-exec"),
        ("get nodes/proxy", DONE | Flag.HAS_EXEC, "pod-attach"),
        ("patch services", DONE | Flag.HAS_SERVICE, "service-exposed"),
        ("create gateways.networking.istio.io", DONE, "service-exposed"),
        ("patch clusterroles.rbac.authorization.k8s.io", DONE | Flag.HAS_ROLE, "cluster-role-exec"),
        ("create rolebindings.rbac.authorization.k8s.io", DONE | Flag.HAS_BINDING, "privileged-cluster-role"),
    ],
)
def test_what_a_rule_needs_reaches_it(rules, action, flags, rule):
    assert rule in [r.rule.name for r in rules.candidates(action, int(flags))]
