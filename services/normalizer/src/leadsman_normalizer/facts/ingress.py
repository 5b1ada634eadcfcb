"""Ingresses, Gateways and routes (Gateway API, Istio, OpenShift): the names under which things are exposed."""

from __future__ import annotations

from leadsman_common.events import IngressFacts
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, texts

_OLD_CLASS = "kubernetes.io/ingress.class"
MAX_HOSTS = 200


def ingress_facts(kind: str, body: Tree, why: list[str]) -> IngressFacts:
    """Hosts, TLS and class of whatever kind this is; a fragment of a patch gives what it holds."""
    spec = mapping(body, "spec", why)
    annotations = mapping(mapping(body, "metadata", why), "annotations", why)
    hosts: list[str] = []
    tls = False
    class_name = ""
    if kind == "Ingress":
        hosts = [text(rule, "host", why) for rule in mappings(spec, "rules", why)]
        hosts += [host for entry in mappings(spec, "tls", why) for host in texts(entry, "hosts", why)]
        tls = bool(spec.get("tls"))
        class_name = text(spec, "ingressClassName", why) or text(annotations, _OLD_CLASS, why)
    elif kind == "Gateway" and "servers" in spec:  # Istio
        servers = mappings(spec, "servers", why)
        hosts = [host for server in servers for host in texts(server, "hosts", why)]
        tls = any(server.get("tls") for server in servers)
        class_name = "istio"
    elif kind == "Gateway":
        listeners = mappings(spec, "listeners", why)
        hosts = [text(listener, "hostname", why) for listener in listeners]
        tls = any(listener.get("protocol") in ("HTTPS", "TLS") or listener.get("tls") for listener in listeners)
        class_name = text(spec, "gatewayClassName", why)
    elif kind == "VirtualService":
        hosts = texts(spec, "hosts", why)
        tls = bool(spec.get("tls"))
    elif kind == "Route":  # OpenShift
        hosts = [text(spec, "host", why)]
        tls = bool(spec.get("tls"))
    else:
        hosts = texts(spec, "hostnames", why)
        tls = kind == "TLSRoute"
    return {
        "kind": kind,
        "hosts": list(dict.fromkeys(host for host in hosts if host))[:MAX_HOSTS],
        "tls": tls,
        "class": class_name,
    }
