"""Services: what they expose, and whether only inside (DETECTIONS R9 b)."""

from __future__ import annotations

import re

from leadsman_common.events import ServiceFacts, ServicePort
from leadsman_normalizer.facts.values import Tree, mapping, mappings, port, text, text_map, texts

INTERNAL_ANNOTATIONS = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": frozenset({"internal"}),
    "service.beta.kubernetes.io/aws-load-balancer-internal": frozenset({"true", "0.0.0.0/0"}),
    "networking.gke.io/load-balancer-type": frozenset({"internal"}),
    "cloud.google.com/load-balancer-type": frozenset({"internal"}),
    "service.beta.kubernetes.io/azure-load-balancer-internal": frozenset({"true"}),
}
_PORTS = {
    2375: "docker",
    2376: "docker",
    2379: "etcd",
    2380: "etcd",
    2746: "argo-server",
    3306: "mysql",
    4040: "weave-scope",
    5432: "postgres",
    6379: "redis",
    8200: "vault",
    8265: "ray",
    8500: "consul",
    8888: "jupyter",
    9090: "prometheus",
    9092: "kafka",
    9200: "elasticsearch",
    10250: "kubelet",
    10255: "kubelet",
    15672: "rabbitmq",
    27017: "mongodb",
}
_NAMES = {
    "kubernetes-dashboard": r"kubernetes-?dashboard",
    "argo-server": r"argo-server",
    "argocd": r"argo-?cd",
    "istio-ingressgateway": r"istio-ingressgateway",
    "kubeflow": r"kubeflow",
    "weave-scope": r"weave-scope",
    "jupyter": r"jupyter(?:hub|lab)?",
    "airflow": r"airflow",
    "jenkins": r"jenkins",
    "redis": r"redis",
    "postgres": r"postgres(?:ql)?",
    "mysql": r"mysql|mariadb",
    "mongodb": r"mongo(?:db)?",
    "elasticsearch": r"elasticsearch",
    "consul": r"consul",
    "vault": r"vault",
    "prometheus": r"prometheus",
    "kafka": r"kafka",
    "rabbitmq": r"rabbitmq",
    "etcd": r"etcd",
    "ray": r"ray(?:-head|-cluster)?",
}
_WORDS = {name: re.compile(rf"(?:^|[-_./])(?:{words})(?:$|[-_./])") for name, words in _NAMES.items()}


def service_facts(name: str, namespace: str, body: Tree, why: list[str]) -> ServiceFacts:
    """A Service's facts; a fragment of a patch gives what it holds."""
    metadata, spec = mapping(body, "metadata", why), mapping(body, "spec", why)
    annotations = text_map(metadata, "annotations", why)
    selector = text_map(spec, "selector", why)
    ports = [_port(found, why) for found in mappings(spec, "ports", why)[:1000] if "$patch" not in found]
    return {
        "type": text(spec, "type", why),
        "ports": ports,
        "external_ips": texts(spec, "externalIPs", why),
        "source_ranges": texts(spec, "loadBalancerSourceRanges", why),
        "lb_class": text(spec, "loadBalancerClass", why),
        "internal": any(annotations.get(key, "").lower() in values for key, values in INTERNAL_ANNOTATIONS.items()),
        "selector": selector,
        "external_name": text(spec, "externalName", why),
        "sensitive_targets": _sensitive(name, namespace, selector, ports),
    }


def _sensitive(name: str, namespace: str, selector: dict[str, str], ports: list[ServicePort]) -> list[str]:
    words = [name.lower(), *(value.lower() for value in selector.values())]
    found = {target for target, pattern in _WORDS.items() if any(pattern.search(word) for word in words)}
    for at in ports:
        for number in (at["port"], int(at["target"]) if at["target"].isascii() and at["target"].isdigit() else 0):
            if number in _PORTS:
                found.add(_PORTS[number])
    if namespace == "kube-system":
        found.add("kube-system")
    return sorted(found)


def _port(found: Tree, why: list[str]) -> ServicePort:
    target = found.get("targetPort")
    return {
        "port": port(found, "port", why),
        "target": str(target)[:64] if isinstance(target, int | str) and not isinstance(target, bool) else "",
        "node": port(found, "nodePort", why),
        "proto": text(found, "protocol", why) or "TCP",
    }
