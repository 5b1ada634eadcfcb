"""A mutating webhook that injects what Istio's and Linkerd's do: a sidecar, an init container that redirects."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BOUND = {"privileged": False, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}
REDIRECTS = {**BOUND, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}}
MESHES = {
    "istio": (
        {
            "name": "istio-init",
            "image": "docker.io/istio/proxyv2:1.28.1",
            "args": ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*"],
            "securityContext": {**REDIRECTS, "runAsUser": 0, "runAsNonRoot": False, "readOnlyRootFilesystem": False},
        },
        {
            "name": "istio-proxy",
            "image": "docker.io/istio/proxyv2:1.28.1",
            "args": ["proxy", "sidecar", "--proxyLogLevel=warning"],
            "securityContext": {**BOUND, "runAsUser": 1337, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        },
    ),
    "linkerd": (
        {
            "name": "linkerd-init",
            "image": "cr.l5d.io/linkerd/proxy-init:v2.4.3",
            "args": ["--ipv6=false", "--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140"],
            "securityContext": {**REDIRECTS, "runAsUser": 65534, "runAsNonRoot": True},
        },
        {
            "name": "linkerd-proxy",
            "image": "cr.l5d.io/linkerd/proxy:edge-25.11.1",
            "securityContext": {**BOUND, "runAsUser": 2102, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        },
    ),
}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # the name is http.server's
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = review["request"]
        init, sidecar = MESHES[self.path.strip("/").split("?")[0]]
        spec = asked["object"]["spec"]
        patch: list[dict[str, Any]] = [{"op": "add", "path": "/spec/containers/-", "value": sidecar}]
        if "initContainers" not in spec:
            patch.append({"op": "add", "path": "/spec/initContainers", "value": []})
        patch.append({"op": "add", "path": "/spec/initContainers/-", "value": init})
        encoded = base64.b64encode(json.dumps(patch).encode()).decode()
        answer = {"uid": asked["uid"], "allowed": True, "patchType": "JSONPatch", "patch": encoded}
        body = json.dumps({**review, "request": None, "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def injecting(pki: Path) -> Iterator[list[dict[str, Any]]]:
    """Serve both meshes on loopback; gives their MutatingWebhookConfigurations."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "audit-receiver.crt", pki / "audit-receiver.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    authority = base64.b64encode((pki / "ca.crt").read_bytes()).decode()
    labels = {"istio": {"istio-injection": "enabled"}, "linkerd": {"linkerd.io/inject": "enabled"}}
    try:
        yield [
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": f"{mesh}-injector-on-loopback"},
                "webhooks": [
                    {
                        "name": f"{mesh}.injector.example.com",
                        "admissionReviewVersions": ["v1"],
                        "sideEffects": "None",
                        "failurePolicy": "Fail",
                        "clientConfig": {
                            "url": f"https://127.0.0.1:{server.server_port}/{mesh}",
                            "caBundle": authority,
                        },
                        "namespaceSelector": {"matchLabels": chosen},
                        "rules": [
                            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                        ],
                    }
                ],
            }
            for mesh, chosen in labels.items()
        ]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
