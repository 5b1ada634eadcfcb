"""A developers' and operators' week against a real API server raises nothing at medium or above.

Rollouts, scaling, jobs, logs, port-forwards, exec of harmless commands, debugging of one's own pods, a chart's life,
a namespace's quota and roles, nodes drained, tokens and certificates read.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import recordings

RECORDED = Path(__file__).parents[1] / "fixtures" / "everyday" / "recorded.ndjson.gz"
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: RequestResponse
    resources: [{group: "", resources: [pods/exec, pods/attach, pods/portforward, pods/ephemeralcontainers]}]
  - level: Metadata
    resources: [{group: "", resources: [secrets, serviceaccounts/token]}]
  - level: None
    resources: [{group: "", resources: [events]}, {group: coordination.k8s.io}, {group: events.k8s.io}]
  - level: RequestResponse
    verbs: [create, update, patch, delete, deletecollection]
  - level: Metadata
"""
IMAGE = "registry.example.com/shop/web:1"
SHOP = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "initContainers": [
                    {"name": "wait", "image": IMAGE, "command": ["sh", "-c", "until nc -z db 5432; do sleep 2; done"]}
                ],
                "containers": [
                    {
                        "name": "web",
                        "image": IMAGE,
                        "command": ["sh", "-c", "exec nginx -g 'daemon off;'"],
                        "livenessProbe": {"exec": {"command": ["curl", "-fsS", "http://localhost:8080/health"]}},
                        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "sleep 5"]}}},
                        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        },
    },
}
TEAM = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "readers", "namespace": "shop"},
        "rules": [
            {"apiGroups": [""], "resources": ["pods", "pods/log", "configmaps"], "verbs": ["get", "list", "watch"]}
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "readers", "namespace": "shop"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "readers"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "support"}],
    },
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"}, "data": {"a": "b"}},
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    },
]
WEEK = (
    "set image deployment/web web=registry.example.com/shop/web:2",
    "rollout status deployment/web --timeout=60s",
    "rollout restart deployment/web",
    "rollout undo deployment/web",
    "scale deployment/web --replicas=3",
    "autoscale deployment/web --min=2 --max=4 --cpu=80%",
    "set resources deployment/web --limits=cpu=200m",
    "set env deployment/web STAGE=production",
    "label deployment/web team=shop --overwrite",
    "annotate service/web example.com/owner=shop --overwrite",
    "create secret generic web --from-literal=a=b",
    "create job once --image=registry.example.com/shop/migrate:1 -- ./migrate up",
    "create cronjob nightly --image=registry.example.com/shop/report:1 --schedule=@daily",
    "create serviceaccount web",
    "create quota small --hard=pods=50",
    "expose deployment/web --name=web-internal --port=8080",
    "get pods,services,secrets",
    "describe deployment/web",
    "auth can-i create pods",
    "create token web",
    "delete job/once",
)
ON_A_POD = (
    "exec {pod} -c web -- ls -l /app",
    "exec {pod} -c web -- cat /etc/resolv.conf",
    "exec {pod} -c web -- env",
    "logs {pod} -c web --tail=5",
    "debug {pod} --image=registry.example.com/tools/debug:1 --target=web --profile=restricted --attach=false",
)


class Person:
    """Somebody at a keyboard. What fails fails: an audit log tells of that too."""

    def __init__(self, server, user):
        self._command = [
            str(server.home / "bin" / "kubectl"),
            "--kubeconfig",
            str(server.kubeconfig(user)),
            "-n",
            "shop",
        ]

    def types(self, line, send=None):
        done = subprocess.run(
            [*self._command, *line.split()], input=send, capture_output=True, text=True, timeout=90, check=False
        )
        return done.stdout

    def applies(self, *objects):
        text = "\n---\n".join(json.dumps(o) for o in objects)
        return self.types("apply -f -", text)


@pytest.fixture(scope="module")
def log(api_server, tmp_path_factory):
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    with api_server(policy) as server:
        admin, bob, operator = (Person(server, u) for u in ("admin", "bob", "sre-oncall"))
        for _ in range(60):  # a controller puts the role edit together
            if "yes" in bob.types("auth can-i get deployments.apps"):
                break
            time.sleep(1)
        start = server.audit_size()
        admin.applies(SHOP)
        admin.applies(*TEAM)
        bob.applies(WEB)
        time.sleep(8)
        for line in WEEK:
            bob.types(line)
        pods = []
        for _ in range(30):
            pods = bob.types("get pods -l app=web --field-selector=status.phase=Running -o name").split()
            if pods:
                break
            time.sleep(2)
        for line in ON_A_POD:
            bob.types(line.format(pod=pods[0]))
        operator.types("cordon node-1")
        operator.types("drain node-1 node-2 node-3 --ignore-daemonsets --delete-emptydir-data --force --timeout=20s")
        operator.types("uncordon node-1 node-2 node-3")
        bob.applies(WEB)
        bob.applies(WEB)
        admin.types("delete namespace shop --wait=false")
        time.sleep(8)
        return server.audit_events(start)


def test_a_week_raises_nothing(log, request, capsys):
    if request.config.getoption("--golden-write"):
        recordings.store(RECORDED, log)
    found = recordings.scanned(json.dumps(e).encode() for e in log)
    with capsys.disabled():
        say = request.config.get_terminal_writer().line
        say(f"\n{len(log)} events: " + ", ".join(sorted(f"{a['level']} {a['title']}" for a in found.above("low"))))
    subresources = {(e["objectRef"].get("subresource"), e["verb"]) for e in log if e.get("objectRef")}
    assert {"exec", "eviction", "scale", "ephemeralcontainers"} <= {s for s, _ in subresources}
    assert [(a["level"], a["title"]) for a in found.above("medium")] == []
