"""Where the fuzz targets and the truncation run take their records from: examples, fixtures and, beside us, corpora."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
MAX_SEED_BYTES = 64 * 1024
# formats of the corpora's index by the source that reads them
OF_CORPORA = {
    "k8s-audit": "k8s-audit",
    "eks-audit": "k8s-audit",
    "eks-authenticator": "eks-authenticator",
    "eks-api": "eks-api",
    "eks-controller-manager": "eks-controllermanager",
    "eks-scheduler": "eks-scheduler",
    "eks-unknown": "eks-scheduler",
    "cloudtrail": "cloudtrail",
    "aks-audit": "aks-record",
    "azure-activity": "azure-activity",
    "gke-logentry": "gke-logentry",
    "envelope-aws": "cloudwatch-envelope",
    "envelope-gcp": "pubsub-envelope",
}
OF_FIXTURES = {"k8s-audit": "native", "eks-audit": "eks", "gke-logentry": "gke", "aks-audit": "aks"}
_KLOG = (
    b"I1102 09:00:00.123456      10 controller.go:615] quota admission added evaluator for: pods",
    b'I1102 09:00:00.123456      10 flags.go:64] FLAG: --anonymous-auth="true"',
    b'I1102 09:00:00.123456      10 server.go:155] "Version info" version="v1.34.1-eks-0000000"',
)
_AKS = (
    (
        b'{"AuditId":"a","Level":"Request","Stage":"ResponseComplete","Verb":"create","RequestUri":"/x?dryRun=All",'
        b'"User":{"username":"masterclient","groups":["system:masters"]},"SourceIps":"[\\"8.8.8.8\\",\\"10.0.0.1\\"]",'
        b'"ObjectRef":"{\\"resource\\":\\"pods\\",\\"namespace\\":\\"web\\"}","ResponseStatus":{"code":201},'
        b'"RequestObject":{"spec":{"containers":[{"image":"nginx"}]}},"RequestReceivedTime":"2026-11-23T10:00:00Z",'
        b'"Annotations":{},"Type":"AKSAudit","_ResourceId":"/subscriptions/s/managedclusters/blue"}'
    ),
    b'{"category":"guard","properties":{"log":"{\\"kind\\":\\"SubjectAccessReview\\",\\"spec\\":{\\"user\\":\\"a\\"}}"}}',
    b'{"category":"guard","properties":{"log":"time=2026-11-23T10:00:00Z level=warning msg=\\"denied\\""}}',
)


def corpora() -> Path | None:
    """The folder of real audit logs, null where it is absent; LEADSMAN_CORPORA names another."""
    path = Path(os.environ.get("LEADSMAN_CORPORA") or REPO.parent / "shared" / "corpora")
    return path if path.is_dir() else None


def seeds(source: str) -> Iterator[bytes]:
    """The records that a source's target starts from."""
    for path in sorted((REPO / "schemas" / "examples").glob("raw.*/*.headers.json")):
        if json.loads(path.read_bytes()).get("format") == source:
            yield path.with_name(path.name.replace(".headers.json", ".json")).read_bytes()
    if source in OF_FIXTURES:
        for path in sorted((REPO / "tests" / "fixtures" / "records").glob(f"*/{OF_FIXTURES[source]}.json")):
            yield path.read_bytes()
    if source in ("eks-api", "eks-controller-manager", "eks-scheduler", "eks-unknown"):
        yield from _KLOG
    if source == "aks-audit":
        yield from _AKS
    folder = corpora()
    if folder is not None and source in OF_CORPORA:
        for _, value in real(folder, OF_CORPORA[source]):
            if len(value) <= MAX_SEED_BYTES:
                yield value


def real(folder: Path, index_format: str) -> Iterator[tuple[str, bytes]]:
    """File and bytes of each record of one format of the corpora, as they stand there."""
    for entry in json.loads((folder / "index.json").read_bytes()):
        path = folder / entry["file"]
        if entry["format"] != index_format or path.suffix == ".yaml":
            continue
        data = path.read_bytes()
        if path.suffix in (".ndjson", ".log") or entry["count"] > 1:
            yield from ((entry["file"], line) for line in data.splitlines() if line.strip())
        else:
            yield entry["file"], data
    if index_format == "k8s-audit":
        for path in sorted((folder / "kube-apiserver").glob("*.ndjson")):
            yield from ((f"kube-apiserver/{path.name}", line) for line in path.read_bytes().splitlines())
