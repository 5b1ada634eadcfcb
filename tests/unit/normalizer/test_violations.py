"""Pod Security's audit annotation in place of a body. The texts are those of the API server's own checks (v1.37)."""

import json

import pytest

from leadsman_common.raw import RawEvent
from leadsman_normalizer.facts.violations import spec_of
from leadsman_normalizer.normalize import normalize

EVERYTHING = (
    'would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true, hostPID=true), '
    'hostPath volumes (volumes "root", "sock"), hostPort (containers "a", "b" use hostPorts 80, 443), '
    'privileged (containers "a", "b" must not set securityContext.privileged=true), non-default capabilities '
    '(container "c" must not include "CAP_BPF", "SYS_ADMIN" in securityContext.capabilities.add), '
    'procMount (container "d" must not set securityContext.procMount to "Unmasked")'
)
RESTRICTED = (
    'would violate PodSecurity "restricted:v1.37": allowPrivilegeEscalation != false (container "a" must set '
    'securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set '
    'securityContext.capabilities.drop=["ALL"]; container "b" must not include "NET_ADMIN" in '
    'securityContext.capabilities.add), restricted volume types (volumes "x", "y" use restricted volume types '
    '"hostPath", "nfs"), runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)
WINDOWS = (
    'would violate PodSecurity "baseline:latest": hostProcess (pod and container "w" must not set '
    "securityContext.windowsOptions.hostProcess=true)"
)


@pytest.mark.parametrize(
    ("said", "spec"),
    [
        (
            EVERYTHING,
            {
                "hostNetwork": True,
                "hostPID": True,
                "containers": [
                    {
                        "name": "a",
                        "securityContext": {"privileged": True},
                        "ports": [{"hostPort": 80}, {"hostPort": 443}],
                    },
                    {
                        "name": "b",
                        "securityContext": {"privileged": True},
                        "ports": [{"hostPort": 80}, {"hostPort": 443}],
                    },
                    {"name": "c", "securityContext": {"capabilities": {"add": ["CAP_BPF", "SYS_ADMIN"]}}},
                    {"name": "d", "securityContext": {"procMount": "Unmasked"}},
                ],
                "volumes": [{"name": "root", "hostPath": {}}, {"name": "sock", "hostPath": {}}],
            },
        ),
        (
            RESTRICTED,
            {
                "containers": [{"name": "b", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}],
                "volumes": [{"name": "x", "hostPath": {}}, {"name": "y", "hostPath": {}}],
            },
        ),
        (
            WINDOWS,
            {
                "containers": [{"name": "w", "securityContext": {"windowsOptions": {"hostProcess": True}}}],
                "securityContext": {"windowsOptions": {"hostProcess": True}},
            },
        ),
        ("", {}),
        ('would violate PodSecurity "restricted:latest": runAsNonRoot != true', {}),
    ],
    ids=["baseline", "restricted", "hostProcess", "nothing", "harmless"],
)
def test_spec_of(said, spec):
    assert spec_of(said) == spec


def test_long_text_is_bounded():
    assert spec_of('container "a", ' * 200_000) == {}


@pytest.mark.parametrize(
    ("resource", "group", "kind"),
    [("pods", "", "Pod"), ("deployments", "apps", "Deployment"), ("cronjobs", "batch", "CronJob")],
)
def test_an_event_without_a_body_has_the_facts_that_it_names(resource, group, kind):
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "a",
        "stage": "ResponseComplete",
        "requestURI": "/x",
        "verb": "create",
        "user": {"username": "alice"},
        "responseStatus": {"code": 201},
        "objectRef": {"resource": resource, "apiGroup": group, "namespace": "shop", "name": "web", "apiVersion": "v1"},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z",
        "stageTimestamp": "2026-11-23T10:00:00.000000Z",
        "annotations": {"pod-security.kubernetes.io/audit-violations": EVERYTHING},
    }
    found = normalize(RawEvent(json.dumps(event).encode(), format="k8s-audit"))
    pod = found["facts"]["pod"]
    assert (pod["kind"], pod["owner_name"], pod["host_network"], pod["host_ipc"]) == (kind, "web", True, False)
    assert [c["privileged"] for c in pod["containers"]] == [True, True, False, False]
    assert pod["containers"][2]["caps_add"] == ["BPF", "SYS_ADMIN"]
    assert [(v["type"], v["host_path"], v["tier"]) for v in pod["volumes"]] == [("hostPath", "", "")] * 2
    assert (found["coverage"]["body"], found["facts"]["touched"]) == ("none", ["*"])
