"""Ingresses, Gateways and routes (Gateway API, Istio, OpenShift): the names under which things are exposed."""

from __future__ import annotations

from typing import Any

from leadsman_common.events import IngressFacts
from leadsman_normalizer.facts.services import SENSITIVE_PORTS, sensitive_words
from leadsman_normalizer.facts.values import Tree, mapping, mappings, text, texts

_OLD_CLASS = "kubernetes.io/ingress.class"
_BACKENDS = frozenset({"service", "backend", "defaultBackend", "backendRefs", "destination", "to", "alternateBackends"})
MAX_HOSTS = 200
MAX_DEPTH = 32


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
        class_name = "" if set(texts(spec, "gateways", why)) - {"mesh"} else "mesh"  # of sidecars alone: opens nothing
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
        "sensitive_targets": sorted(_targets(spec)),
    }


def _targets(spec: Tree) -> set[str]:
    """The sensitive things behind the routes, by the names and ports of the services they lead to."""
    names: list[str] = []
    ports: set[int] = set()
    _backends(spec, names, ports, 0)
    return sensitive_words(names) | {SENSITIVE_PORTS[port] for port in ports if port in SENSITIVE_PORTS}


def _backends(node: Any, names: list[str], ports: set[int], depth: int) -> None:
    """The backends of every kind: service and backendRefs name one, destination has a host, Route's `to` a name."""
    if depth > MAX_DEPTH or len(names) > MAX_HOSTS:
        return
    if isinstance(node, list):
        for item in node:
            _backends(item, names, ports, depth + 1)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        for backend in value if isinstance(value, list) else [value]:
            if key in _BACKENDS and isinstance(backend, dict):
                name, port = (
                    backend.get("name") or backend.get("host") or backend.get("serviceName"),
                    backend.get("port"),
                )
                if isinstance(name, str):
                    names.append(name.partition(".")[0])  # Istio's host may be the service's full DNS name
                number = port.get("number") if isinstance(port, dict) else port or backend.get("servicePort")
                if isinstance(number, int):
                    ports.add(number)
        _backends(value, names, ports, depth + 1)
