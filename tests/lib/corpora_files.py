"""The logs of the corpora: which files there are, and as what each is read."""

from __future__ import annotations

import json

import yaml

# formats of the index: how `leadsman scan -f` is told; envelopes and logs of several kinds are known by their looks
FORMATS = {
    "k8s-audit": "k8s-audit",
    "gke-logentry": "gke-logentry",
    "eks-authenticator": "auto",
    "eks-logevent": "auto",
    "eks-api": "auto",
    "eks-controllermanager": "auto",
    "eks-scheduler": "auto",
    "cloudwatch-envelope": "eks-cloudwatch",
    "cloudwatch-insights": "auto",
    "cloudtrail": "cloudtrail",
    "pubsub-envelope": "auto",
    "aks-record": "aks",
    "aks-eventhub": "aks",
    "azure-activity": "auto",
}
NO_LOGS = {"k8s-manifest", "gke-go-client"}


def files(corpora):
    """Format of the index, path and bytes of every file of logs."""
    for entry in json.loads((corpora / "index.json").read_bytes()):
        if entry["format"] in NO_LOGS:
            continue
        data = (corpora / entry["file"]).read_bytes()
        if entry["file"].endswith(".yaml"):
            data = json.dumps(yaml.safe_load(data), default=str).encode()
        yield entry["format"], entry["file"], data
    for path in sorted((corpora / "kube-apiserver").glob("*.ndjson")):
        yield "k8s-audit", f"kube-apiserver/{path.name}", path.read_bytes()
