"""The Helm chart before a real API server: every object and every pod template, under restricted Pod Security.

A dry run goes through admission and stops before storage; then one release is really installed and upgraded. The CRDs
of KEDA and the Prometheus operator are those of their Go modules, which `go mod download` brings and checks.
"""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chart
import pytest

NAMESPACE = "leadsman"
PROFILE = "pod-security.kubernetes.io"
CRDS = {
    "github.com/kedacore/keda/v2@v2.17.2": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    "github.com/prometheus-operator/prometheus-operator@v0.83.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
}
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n"


def crds(folder):
    """The files of CRDS, as the Go module proxy has them."""
    for module, paths in CRDS.items():
        done = subprocess.run(
            ["go", "mod", "download", "-json", module], cwd=folder, capture_output=True, timeout=300, check=True
        )
        root = Path(json.loads(done.stdout)["Dir"])
        yield from (root / path for path in paths)


class Cluster:
    """An API server with a namespace that enforces, warns and audits the restricted profile."""

    def __init__(self, server):
        self.server = server

    def kubectl(self, *arguments, send=None):
        command = [str(self.server.home / "bin" / "kubectl"), "--kubeconfig", str(self.server.kubeconfig())]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": send}) if send is not None else None
        return subprocess.run(
            [*command, *arguments], input=text, capture_output=True, text=True, timeout=300, check=False
        )

    def dry_run(self, objects):
        """Apply without storing, unknown fields refused; every warning is an error."""
        apply = ("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-n", NAMESPACE, "-f", "-")
        return self.kubectl(*apply, send=objects)

    def helm(self, *arguments):
        return chart.helm(*arguments, "-n", NAMESPACE, "--kubeconfig", str(self.server.kubeconfig()))


@pytest.fixture(scope="module")
def cluster(api_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chart")
    (folder / "policy.yaml").write_text(POLICY)
    definitions = list(crds(folder))
    with api_server(folder / "policy.yaml") as server:
        cluster = Cluster(server)
        labels = {f"{PROFILE}/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        assert not cluster.kubectl("apply", "-f", "-", send=[namespace]).returncode
        for path in definitions:
            done = cluster.kubectl("apply", "--server-side", "-f", str(path))
            assert not done.returncode, done.stderr
        done = cluster.kubectl("wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
        assert not done.returncode, done.stderr
        # a pod is admitted only where its service account is
        names = {pod["spec"].get("serviceAccountName", "") for pod in every_pod()} - {""}
        accounts = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}} for name in names]
        assert not cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", send=accounts).returncode
        yield cluster


def every_pod():
    return [pod for path in chart.SETS.values() for pod in chart.pods(chart.template("-f", str(path)))]


@pytest.mark.parametrize("values", chart.SETS)
def test_every_object_is_accepted(cluster, values):
    found = chart.template("-f", str(chart.SETS[values]))
    if values == "everything":
        assert {"ScaledObject", "ServiceMonitor", "PrometheusRule"} <= {one["kind"] for one in found}
    done = cluster.dry_run(found)
    assert not done.returncode, done.stderr
    assert not done.stderr
    assert done.stdout.count("(server dry run)") == len(found)


@pytest.mark.parametrize("values", chart.SETS)
def test_every_pod_template_is_accepted_as_a_pod(cluster, values):
    found = list(chart.pods(chart.template("-f", str(chart.SETS[values]))))
    done = cluster.dry_run(found)
    assert not done.returncode, done.stderr
    assert not done.stderr
    assert done.stdout.count("created (server dry run)") == len(found)


def broken(change):
    objects = chart.template("-f", str(chart.SETS["everything"]))
    one = next(o for o in objects if o["kind"] == change[0])
    place = one
    for key in change[1][:-1]:
        place = place[key]
    place[change[1][-1]] = change[2]
    return one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Deployment", ("spec", "template", "spec", "hostNetwork"), True), "would violate PodSecurity"),
        (("Pod", ("spec", "hostNetwork"), True), "violates PodSecurity"),
        (("Deployment", ("spec", "template", "spec", "securityContexts"), {}), "unknown field"),
        (("ScaledObject", ("spec", "triggers", 0, "metadata"), "x"), 'expected "map"'),
        (("ServiceMonitor", ("spec", "endpoints", 0, "interval"), "often"), "should match"),
        (("PrometheusRule", ("spec", "groups", 0, "rule"), []), "unknown field"),
    ],
    ids=lambda x: x[0] if isinstance(x, tuple) else "",
)
def test_what_is_wrong_is_refused(cluster, change, message):
    done = cluster.dry_run([broken(change)])
    assert done.returncode
    assert message in done.stderr


def test_a_release_is_installed_upgraded_and_taken_away(cluster):
    """Really stored, so that a selector that cannot change would be refused. Hooks need images: without them."""
    once = ("leadsman", str(chart.CHART), "--no-hooks")
    cluster.kubectl("delete", "serviceaccount", "--all", "-n", NAMESPACE)
    everything = ("-f", str(chart.SETS["everything"]), "--set", "detector.serviceAccount.create=true")
    cluster.helm("install", *once, "-f", str(chart.SETS["defaults"]))
    cluster.helm("upgrade", *once, *everything)
    history = json.loads(cluster.helm("history", "leadsman", "-o", "json").stdout)
    assert [one["status"] for one in history] == ["superseded", "deployed"]
    scaled = cluster.kubectl("get", "scaledobjects", "-n", NAMESPACE, "-o", "name").stdout.split()
    assert len(scaled) == 3
    cluster.helm("rollback", "leadsman", "1", "--no-hooks")
    assert not cluster.kubectl("get", "scaledobjects", "-n", NAMESPACE, "-o", "name").stdout
    cluster.helm("uninstall", "leadsman", "--no-hooks")
    assert not cluster.kubectl("get", "deployments,networkpolicies", "-n", NAMESPACE, "-o", "name").stdout


def test_the_topics_job_runs_first_and_behind_a_policy_of_its_own(cluster):
    """The hook holds the install up until its pod has ended; meanwhile the test looks at what there is.

    The pod wants a node that is not there, or a pretend kubelet would end it at once.
    """
    names = "networkpolicies,deployments,jobs"
    topics = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=topics", "-o", "name")
    with ThreadPoolExecutor(1) as pool:
        values = ("-f", str(chart.SETS["defaults"]), "--set", "defaults.nodeSelector.leadsman-test=absent")
        install = pool.submit(cluster.helm, "install", "hooked", str(chart.CHART), *values, "--timeout", "90s")
        until = time.monotonic() + 60
        while not (pod := cluster.kubectl("get", "pods", *topics).stdout.strip()):
            assert time.monotonic() < until, "no pod of the topics job"
            time.sleep(0.5)
        meanwhile = cluster.kubectl("get", names, "-n", NAMESPACE, "-o", "name").stdout.split()
        ended = json.dumps({"status": {"phase": "Succeeded"}})
        done = cluster.kubectl("patch", pod, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", ended)
        assert not done.returncode, done.stderr
        install.result()
    assert meanwhile == ["networkpolicy.networking.k8s.io/hooked-leadsman-topics", "job.batch/hooked-leadsman-topics"]
    assert not cluster.kubectl("get", "networkpolicies,jobs", *topics).stdout
    assert "hooked-leadsman-detector" in cluster.kubectl("get", names, "-n", NAMESPACE, "-o", "name").stdout
    cluster.helm("uninstall", "hooked")
