"""Services: what they expose, and whether only inside (DETECTIONS R9 b)."""

from __future__ import annotations

import ipaddress
import re

from leadsman_common.events import ServiceFacts, ServicePort
from leadsman_normalizer.facts.values import Tree, mapping, mappings, port, text, text_map, texts

# what makes a load balancer internal, by the cloud whose controller reads it: another's annotation hides nothing
_INTERNAL = {
    "aws": {
        "service.beta.kubernetes.io/aws-load-balancer-scheme": frozenset({"internal"}),
        "service.beta.kubernetes.io/aws-load-balancer-internal": frozenset({"true", "0.0.0.0/0"}),
    },
    "gcp": {
        "networking.gke.io/load-balancer-type": frozenset({"Internal", "internal"}),
        "cloud.google.com/load-balancer-type": frozenset({"Internal", "internal"}),
    },
    "azure": {"service.beta.kubernetes.io/azure-load-balancer-internal": frozenset({"true"})},
    "other": {
        "service.beta.kubernetes.io/openstack-internal-load-balancer": frozenset({"true"}),
        "service.beta.kubernetes.io/oci-load-balancer-internal": frozenset({"true"}),
        "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type": frozenset({"intranet"}),
        "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type": frozenset({"private"}),
    },
}
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"  # read where spec.loadBalancerSourceRanges is empty
EXPOSING_ANNOTATIONS = frozenset({_RANGES, *(key for keys in _INTERNAL.values() for key in keys)})
MAX_PORTS = 1000
# this share of all addresses is the world: 0.0.0.0/0, or halves that together are as good
_WORLD = {4: 1 << 31, 6: 1 << 124}
SENSITIVE_PORTS = {
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


def service_facts(name: str, namespace: str, body: Tree, provider: str, why: list[str]) -> ServiceFacts:
    """A Service's facts; a fragment of a patch gives what it holds. `provider`: the cluster's, "" where not known."""
    metadata, spec = mapping(body, "metadata", why), mapping(body, "spec", why)
    annotations = text_map(metadata, "annotations", why)
    selector = text_map(spec, "selector", why)
    ports = [_port(found, why) for found in mappings(spec, "ports", why) if "$patch" not in found]
    facts: ServiceFacts = {
        "type": text(spec, "type", why),
        "ports": ports[:MAX_PORTS],
        "external_ips": texts(spec, "externalIPs", why),
        "source_ranges": texts(spec, "loadBalancerSourceRanges", why) or _listed(annotations.get(_RANGES, "")),
        "lb_class": text(spec, "loadBalancerClass", why),
        "internal": _internal(annotations, provider),
        "selector": selector,
        "external_name": text(spec, "externalName", why),
        "sensitive_targets": _sensitive(name, namespace, selector, ports),
        "exposure": [],
    }
    facts["exposure"] = _exposure(facts, spec, metadata, provider)
    return facts


def _exposure(facts: ServiceFacts, spec: Tree, metadata: Tree, provider: str) -> list[str]:
    """How far the Service is open. A fragment without a type that lifts a limit opens the load balancer it limited."""
    found = []
    if facts["type"] == "NodePort":
        found.append("node_port")
    if facts["type"] == "LoadBalancer":
        if facts["internal"]:
            found.append("load_balancer_internal")
        elif facts["source_ranges"] and not _whole_world(facts["source_ranges"]):
            found.append("load_balancer_ranges")
        else:
            found.append("load_balancer")
    elif not facts["type"] and "clusterIP" not in spec:
        ranges, said = facts["source_ranges"], metadata.get("annotations")
        unlimited = "loadBalancerSourceRanges" in spec and (not ranges or _whole_world(ranges))
        lifted = isinstance(said, dict) and any(
            key in said and said[key] not in values for keys in _believed(provider) for key, values in keys.items()
        )
        if unlimited or lifted:
            found.append("load_balancer")
    if facts["external_ips"]:
        found.append("external_ips")
    return found


def _believed(provider: str) -> list[dict[str, frozenset[str]]]:
    """The annotations that the cloud's controllers read; where the cloud is not known, those of each."""
    return [_INTERNAL[provider]] if provider in ("aws", "gcp", "azure") else list(_INTERNAL.values())


def _internal(annotations: dict[str, str], provider: str) -> bool:
    """Whether a cloud's annotations make the load balancer internal: all of them that are there must say so."""
    for keys in _believed(provider):
        said = [annotations[key] in values for key, values in keys.items() if key in annotations]
        if said and all(said):
            return True
    return False


def _whole_world(ranges: list[str]) -> bool:
    """Whether the ranges let at least half of the internet in; what is no range counts as open."""
    covered = {4: 0, 6: 0}
    for text_ in ranges[:1000]:
        try:
            network = ipaddress.ip_network(text_.strip(), strict=False)
        except ValueError:
            return True
        covered[network.version] += network.num_addresses
    return any(covered[version] >= share for version, share in _WORLD.items())


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value[:4096].split(",") if part.strip()]


def sensitive_words(words: list[str]) -> set[str]:
    """The sensitive things that these names speak of."""
    lower = [word.lower() for word in words]
    return {target for target, pattern in _WORDS.items() if any(pattern.search(word) for word in lower)}


def _sensitive(name: str, namespace: str, selector: dict[str, str], ports: list[ServicePort]) -> list[str]:
    found = sensitive_words([name, *selector.values(), *(at["target"] for at in ports)])
    for at in ports:
        for number in (at["port"], int(at["target"]) if at["target"].isascii() and at["target"].isdigit() else 0):
            if number in SENSITIVE_PORTS:
                found.add(SENSITIVE_PORTS[number])
    if namespace == "kube-system":
        found.add("kube-system")
    if namespace == "kubeflow":
        found.add("kubeflow")
    if (namespace, name) == ("default", "kubernetes"):
        found.add("kube-apiserver")
    return sorted(found)


def _port(found: Tree, why: list[str]) -> ServicePort:
    target = found.get("targetPort")
    return {
        "port": port(found, "port", why),
        "target": str(target)[:64] if isinstance(target, int | str) and not isinstance(target, bool) else "",
        "node": port(found, "nodePort", why),
        "proto": text(found, "protocol", why) or "TCP",
    }
