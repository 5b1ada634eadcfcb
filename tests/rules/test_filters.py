"""Each filter takes away what it is for, and nothing that only looks like it.

The known thing is made out of the filter itself (its namespace, registry, repository, path, name); then one part at a
time is another's.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import re2
import recordings
import yaml

from leadsman_common.alerts import level_at_least
from leadsman_normalizer.facts.paths import judge

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[2] / "rules"
CONTAINERS = "facts.pod.containers."
FILES = sorted(p for p in (RULES / "filters").glob("*.yml") if not p.stem.startswith("public-"))
FILTERS = [(p.stem, d) for p in FILES for d in yaml.safe_load_all(p.read_text())]
PODS = [pytest.param(d, id=d["title"]) for _, d in FILTERS if "image" in d["filter"] and "helper" not in d["filter"]]
ROLES = [pytest.param(d, id=d["title"]) for stem, d in FILTERS if stem == "operators-roles" and "role" in d["filter"]]
# for each pattern a name that it means
MEANT = [
    "602401143452.dkr.ecr.eu-west-1.amazonaws.com", "europe-west1-artifactregistry.gcr.io", "registry.crowdstrike.com",
    "ebs-csi-driver/aws-ebs-csi-driver", "eks/aws-ebs-csi-driver",
    "cloud-provider-gcp/gcp-compute-persistent-disk-csi-driver",
    "gcp-compute-persistent-disk-csi-driver", "oss/kubernetes-csi/azuredisk-csi", "csi-secrets-store/driver",
    "oss/kubernetes-csi/secrets-store/driver", "netd", "gke-release/gke-release/netd", "longhornio/longhorn-manager",
    "openebs/node-disk-manager", "ceph/ceph", "sig-storage/csi-provisioner", "falcon-sensor/us-1/release/falcon-sensor",
    "gitlab-org/gitlab-runner/gitlab-runner-helper", "argocd-server", "cert-manager-controller-issuers",
    "kube-prometheus-stack-operator", "prometheus-operator", "kube-state-metrics", "ingress-nginx", "ebs-csi-node-role",
    "csi-gce-pd-provisioner-role", "istiod-clusterrole-istio-system", "istio-reader-clusterrole", "datadog", "traefik",
]  # fmt: skip
POWERS = {
    "cluster_admin": ("*", "*", "*"),
    "escalate": ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    "bindings": ("rbac.authorization.k8s.io", "rolebindings", "create"),
    "impersonate": ("", "users", "impersonate"),
    "secrets": ("", "secrets", "list"),
    "token": ("", "serviceaccounts/token", "create"),
    "workload_write": ("", "pods", "create"),
    "node": ("", "nodes", "patch"),
    "admission": ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "update"),
    "storage": ("", "persistentvolumes", "create"),
}


def first(value):
    return value[0] if isinstance(value, list) else value


def meant(selection, field):
    """A value of this field that the selection means."""
    for suffix in ("", "|re", "|re|expand"):
        if field + suffix not in selection:
            continue
        given = first(selection[field + suffix])
        if suffix.endswith("expand"):
            given = first(yaml.safe_load((RULES / "lists" / f"{given.strip('%')}.yml").read_text())["values"])
        return next(m for m in MEANT if re2.search(given, m)) if suffix else given
    raise AssertionError(field)


def event(resource, body, group="", namespace="", user="alice@example.com", groups=("system:authenticated",)):
    path = f"/apis/{group}/v1" if group else "/api/v1"
    uri = f"{path}/namespaces/{namespace}/{resource}" if namespace else f"{path}/{resource}"
    ref = {"resource": resource, "name": body["metadata"]["name"], "apiGroup": group, "apiVersion": "v1"}
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "x", "verb": "create",
        "stage": "ResponseComplete", "requestURI": uri, "user": {"username": user, "groups": list(groups)},
        "sourceIPs": ["198.51.100.10"], "userAgent": "kubectl/v1.37.2",
        "objectRef": {**ref, "namespace": namespace} if namespace else ref,
        "responseStatus": {"code": 201}, "requestObject": body, "responseObject": body,
        "requestReceivedTimestamp": "2026-11-23T20:00:00.000000Z", "stageTimestamp": "2026-11-23T20:00:00.010000Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }  # fmt: skip


def level_of(rule, given):
    """The highest level at which the rule speaks of the event; empty where it says nothing."""
    found = recordings.scanned([json.dumps(given).encode()]).above("informational")
    levels = [a["level"] for a in found if a["rule"]["name"] == rule]
    return max(levels, key=("", "informational", "low", "medium", "high", "critical").index, default="")


def quiet(rule, given, document):
    level = level_of(rule, given)
    cap = (document.get("leadsman") or {}).get("level", "")
    return level == "" or (cap and level_at_least(cap, level))


def loud(rule, given):
    level = level_of(rule, given)
    return level != "" and level_at_least(level, "medium")


# --- agents ------------------------------------------------------------------------------------------------------


def workload(kind, namespace, container, pod, init=None):
    spec = {**pod, "containers": [container]}
    if init:
        spec = {**pod, "containers": [{"name": "app", "image": "registry.example.com/app:1"}], "initContainers": [init]}
    resource, group = ("pods", "") if kind == "Pod" else (f"{kind.lower()}s", "batch" if kind == "Job" else "apps")
    body = {
        "kind": kind,
        "apiVersion": f"{group}/v1".lstrip("/"),
        "metadata": {"name": "agent", "namespace": namespace},
    }
    body["spec"] = spec if kind == "Pod" else {"template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}
    return event(resource, body, group, namespace)


class Agent:
    """What a filter of an agent means, with parts that can be exchanged."""

    def __init__(self, document):
        given = document["filter"]
        self.rule = first(given["rules"])
        image = first(given["image"])
        self.host, self.repo = meant(image, f"{CONTAINERS}image_host"), meant(image, f"{CONTAINERS}image_repo")
        self.namespace = first(given.get("place", {}).get("objectRef.namespace", "shop"))
        self.kind = first(given.get("owner", {}).get("facts.pod.owner_kind", "Deployment"))
        self.container = {"name": "tool"}
        self.pod = {}
        self.init = given.get("init")
        self.actor = first(given.get("controller", {}).get("actor.name", "alice@example.com"))
        if self.rule == "host-network-pod":
            self.pod["hostNetwork"] = True
        elif self.rule == "host-namespaces":
            self.pod["hostPID"] = True
        elif self.rule == "privileged-container":
            only = "more_power" in given
            strong = {"capabilities": {"add": ["NET_ADMIN"]}} if only else {"privileged": True}
            self.container["securityContext"] = strong
        else:
            paths = given["path"]["facts.pod.volumes.host_path"]
            known = [p for p in ([paths] if isinstance(paths, str) else paths) if judge(p).tier in ("high", "medium")]
            self.path = known[0] if known else "/run/xtables.lock"

    def event(self):
        container, pod = dict(self.container), copy.deepcopy(self.pod)
        container["image"] = f"{self.host}/{self.repo}:1"
        if self.rule == "sensitive-volume":
            pod["volumes"] = [{"name": "v", "hostPath": {"path": self.path}}]
            container["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
        init = {**container, "name": first(self.init[f"{CONTAINERS}name"])} if self.init else None
        made = workload(self.kind, self.namespace, container, pod, init)
        if self.actor != "alice@example.com":
            groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
            made["user"] = {"username": self.actor, "groups": groups}
        return made


@pytest.mark.parametrize("document", PODS)
def test_the_agent_itself_is_quiet(document):
    agent = Agent(document)
    assert quiet(agent.rule, agent.event(), document)


def only_low(agent):
    return agent.rule == "sensitive-volume" and judge(agent.path).tier == "low"


@pytest.mark.parametrize("document", PODS)
@pytest.mark.parametrize("registry", ["registry.example.com/mirror", "docker.io.example.com", "203.0.113.7:5000"])
def test_the_same_repository_of_another_registry_is_loud(document, registry):
    agent = Agent(document)
    agent.host = registry
    assert only_low(agent) or loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", PODS)
def test_another_image_of_the_same_registry_is_loud(document):
    agent = Agent(document)
    agent.repo = f"{agent.repo}-fork/tool"
    assert only_low(agent) or loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", [p for p in PODS if "place" in p.values[0]["filter"]])
def test_the_same_image_in_another_namespace_is_loud(document):
    agent = Agent(document)
    agent.namespace = "shop"
    assert only_low(agent) or loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", [p for p in PODS if "owner" in p.values[0]["filter"]])
def test_another_kind_of_owner_is_loud(document):
    agent = Agent(document)
    agent.kind = "ReplicaSet"
    assert only_low(agent) or loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", [p for p in PODS if "every" in (p.values[0].get("leadsman") or {})])
def test_a_foreign_container_beside_it_is_loud(document):
    agent = Agent(document)
    made = agent.event()
    foreign = {**agent.container, "name": "foreign", "image": "docker.io/someone/tool:1"}
    for body in ("requestObject", "responseObject"):
        spec = made[body]["spec"]
        (spec if agent.kind == "Pod" else spec["template"]["spec"])["containers"].append(foreign)
    assert only_low(agent) or loud(agent.rule, made)


@pytest.mark.parametrize("document", [p for p in PODS if "foreign_command" in p.values[0]["filter"]])
@pytest.mark.parametrize("command", [["sleep", "infinity"], ["/bin/sh", "-c", "id"], ["tail", "-f", "/dev/null"]])
def test_a_command_that_is_not_its_own_is_loud(document, command):
    agent = Agent(document)
    agent.container["command"] = command
    assert only_low(agent) or loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", [p for p in PODS if "more_power" in p.values[0]["filter"]])
@pytest.mark.parametrize("power", [{"privileged": True}, {"capabilities": {"add": ["ALL"]}}])
def test_more_power_than_it_needs_is_loud(document, power):
    agent = Agent(document)
    agent.container["securityContext"] = power
    assert loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", [p for p in PODS if "path" in p.values[0]["filter"]])
def test_a_path_that_is_not_its_own_is_loud(document):
    agent = Agent(document)
    agent.path = "/root/.ssh"
    assert loud(agent.rule, agent.event())


@pytest.mark.parametrize("document", [p for p in PODS if "controller" in p.values[0]["filter"]])
def test_a_sidecar_that_somebody_writes_by_hand_is_loud(document):
    agent = Agent(document)
    agent.actor = "alice@example.com"
    assert loud(agent.rule, agent.event())


# --- roles -------------------------------------------------------------------------------------------------------


class Role:
    """What a filter of an operator's role means."""

    def __init__(self, document):
        given = document["filter"]
        self.rules = given["rules"]
        self.kind = given["role"]["facts.role.kind"]
        self.name = meant(given["role"], "facts.role.name")
        self.namespace = first(given.get("place", {}).get("facts.role.namespace", ""))
        more = given.get("more_power", [])
        over = {c for m in ([more] if isinstance(more, dict) else more) for c in m.get("facts.role.rules.classes", [])}
        self.over = [c for c in POWERS if c in over]
        self.powers = [c for c in POWERS if c not in over]
        self.user, self.groups = "alice@example.com", ["system:authenticated"]

    def event(self):
        rules = [
            dict(zip(("apiGroups", "resources", "verbs"), ([x] for x in POWERS[p]), strict=True)) for p in self.powers
        ]
        meta = {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}
        group = "rbac.authorization.k8s.io"
        body = {"kind": self.kind, "apiVersion": f"{group}/v1", "metadata": meta, "rules": rules}
        return event(f"{self.kind.lower()}s", body, group, self.namespace, self.user, self.groups)


@pytest.mark.parametrize("document", ROLES)
def test_the_operators_role_is_low(document):
    role = Role(document)
    assert role.powers
    assert level_of("privileged-cluster-role", role.event()) == "low"


@pytest.mark.parametrize("document", ROLES)
def test_the_same_power_under_another_name_is_loud(document):
    role = Role(document)
    role.name = f"my-{role.name}-2"
    assert loud("privileged-cluster-role", role.event())


@pytest.mark.parametrize("document", [p for p in ROLES if "place" in p.values[0]["filter"]])
def test_the_same_role_in_another_namespace_is_loud(document):
    role = Role(document)
    role.namespace = "shop"
    assert loud("privileged-cluster-role", role.event())


@pytest.mark.parametrize("document", ROLES)
def test_the_same_role_by_the_account_of_a_workload_is_loud(document):
    role = Role(document)
    role.user = "system:serviceaccount:shop:cart"
    role.groups = ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
    assert loud("privileged-cluster-role", role.event())


@pytest.mark.parametrize("document", [p for p in ROLES if "more_power" in p.values[0]["filter"]])
def test_a_power_that_the_operator_does_not_need_is_loud(document):
    role = Role(document)
    for power in role.over:
        if power in ("storage", "workload_write") and role.kind == "Role":
            continue  # low in a namespace, whoever has it
        other = Role(document)
        other.powers = [*other.powers, power]
        assert loud("privileged-cluster-role", other.event()), power


# --- the others --------------------------------------------------------------------------------------------------


def binding(
    name="velero-server", role="cluster-admin", subjects=(("velero", "velero-server"),), user="alice@example.com"
):
    members = [{"kind": "ServiceAccount", "namespace": ns, "name": account} for ns, account in subjects]
    group = "rbac.authorization.k8s.io"
    body = {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{group}/v1",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": members,
    }
    return event("clusterrolebindings", body, group, user=user)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (binding(), "low"),
        (binding(name="velero-2"), "critical"),
        (binding(subjects=[("shop", "velero-server")]), "critical"),
        (binding(subjects=[("velero", "velero-server"), ("shop", "cart")]), "critical"),
        (binding(subjects=[("velero", "default")]), "critical"),
    ],
)
def test_veleros_binding(given, wanted):
    assert level_of("privileged-cluster-role", given) == wanted


def service(name="ingress-nginx-controller", namespace="ingress-nginx", app="ingress-nginx", ports=(80, 443), **spec):
    body = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}}
    listed = [{"name": f"p{p}", "port": p, "targetPort": p, "protocol": "TCP"} for p in ports]
    body["spec"] = {"type": "LoadBalancer", "selector": {"app.kubernetes.io/name": app}, "ports": listed, **spec}
    return event("services", body, "", namespace)


@pytest.mark.parametrize(
    ("given", "low"),
    [
        (service(), True),
        (service("istio-ingressgateway", "istio-ingress", "istio-ingressgateway", (15021, 80, 443)), True),
        (service(namespace="shop"), False),
        (service(app="api"), False),
        (service(name="api"), False),
        (service(ports=(80, 443, 6379)), False),
        (service(type="NodePort"), False),
        (service(externalIPs=["203.0.113.80"]), False),
    ],
)
def test_public_load_balancers(given, low):
    assert level_of("service-exposed", given) == "low" if low else loud("service-exposed", given)


SCRIPT = """cp /usr/bin/cilium-mount /hostbin/cilium-mount;
nsenter --cgroup=/hostproc/1/ns/cgroup --mount=/hostproc/1/ns/mnt "${BIN_PATH}/cilium-mount" $CGROUP_ROOT;
rm /hostbin/cilium-mount
"""


@pytest.mark.parametrize(
    ("name", "image", "script", "low"),
    [
        ("mount-cgroup", "quay.io/cilium/cilium:v1.18.4", SCRIPT, True),
        ("mount-cgroup", "quay.io/cilium/cilium:v1.18.4", f"{SCRIPT}nsenter -t 1 -m sh\n", False),
        ("mount-cgroup", "quay.io/cilium/cilium:v1.18.4", SCRIPT.replace('cilium-mount" ', '../../bin/sh" '), False),
        ("mount-cgroup", "quay.io/someone/cilium:v1.18.4", SCRIPT, False),
        ("tool", "quay.io/cilium/cilium:v1.18.4", SCRIPT, False),
    ],
)
def test_ciliums_helpers(name, image, script, low):
    given = workload(
        "DaemonSet", "kube-system", {}, {}, {"name": name, "image": image, "command": ["sh", "-ec", script]}
    )
    rule = "dangerous-container-command"
    assert level_of(rule, given) == "low" if low else loud(rule, given)


# --- what was excepted and is so no longer -----------------------------------------------------------------------


def patched(made, container, second):
    """A strategic merge patch of this container of a workload, some seconds after it was made."""
    answer = copy.deepcopy(made["requestObject"])
    answer["spec"]["template"]["spec"]["containers"][0] |= container
    sent = {"spec": {"template": {"spec": {"containers": [{"name": "tool", **container}]}}}}
    when = f"2026-11-23T20:00:{second:02}.00000"
    return {
        **made,
        "verb": "patch",
        "auditID": f"patch-{second}",
        "requestURI": f"{made['requestURI']}/agent",
        "requestObject": sent,
        "responseObject": answer,
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": f"{when}0Z",
        "stageTimestamp": f"{when}5Z",
    }


CALICO = [p for p in PODS if p.id.startswith("Calico")]


@pytest.mark.parametrize("known", [True, False], ids=["known before", "nothing known before"])
@pytest.mark.parametrize(
    ("container", "wanted"),
    [
        ({"image": "docker.io/someone/tool:1"}, True),
        ({"command": ["sleep", "infinity"]}, True),
        ({"image": "quay.io/calico/node:v3.32.0"}, False),
        ({"terminationMessagePath": "/dev/null"}, False),
    ],
)
@pytest.mark.parametrize("document", CALICO)
def test_a_known_agent_that_becomes_another_is_loud(document, container, wanted, known):
    agent = Agent(document)
    agent.repo = "calico/node"
    made = agent.event()
    events = [made, patched(made, container, 10)] if known else [patched(made, container, 10)]
    found = recordings.scanned(json.dumps(e).encode() for e in events).above("medium")
    assert bool([a for a in found if a["rule"]["name"] == agent.rule]) is wanted
