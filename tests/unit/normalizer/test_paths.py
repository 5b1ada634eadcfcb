"""Host paths: one spelling, tiers and relations of DETECTIONS R11 (b)."""

import pytest

from leadsman_normalizer.facts.paths import judge, normalise


@pytest.mark.parametrize(
    ("raw", "path", "tier", "relation", "matched", "socket"),
    [
        ("/", "/", "high", "equal", "/", True),
        ("//", "/", "high", "equal", "/", True),
        ("/etc/", "/etc", "high", "equal", "/etc", False),
        ("//etc", "/etc", "high", "equal", "/etc", False),
        ("/./etc/../etc", "/etc", "high", "equal", "/etc", False),
        ("/etc/passwd", "/etc/passwd", "high", "descendant", "/etc", False),
        ("/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/ca.key", "high", "descendant", "/etc/kubernetes", False),
        ("/etc/cron.d", "/etc/cron.d", "high", "descendant", "/etc/cron*", False),
        ("/var", "/var", "high", "ancestor", "/var/lib/cloud", False),
        ("/var/lib", "/var/lib", "high", "ancestor", "/var/lib/cloud", False),
        ("/run", "/run", "high", "ancestor", "/run/containerd", True),
        ("/var/run", "/run", "high", "ancestor", "/run/containerd", True),
        ("/var/run/docker.sock", "/run/docker.sock", "high", "equal", "/run/docker.sock", True),
        ("/run/containerd", "/run/containerd", "high", "equal", "/run/containerd", True),
        (
            "/run/containerd/containerd.sock",
            "/run/containerd/containerd.sock",
            "high",
            "descendant",
            "/run/containerd",
            True,
        ),
        ("/run/crio/crio.sock", "/run/crio/crio.sock", "high", "descendant", "/run/crio", True),
        ("/sys", "/sys", "medium", "equal", "/sys", False),
        ("/sys/fs", "/sys/fs", "medium", "descendant", "/sys", False),
        ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu", "high", "descendant", "/sys/fs/cgroup", False),
        ("/lib/modules", "/lib/modules", "medium", "equal", "/lib/modules", False),
        ("/lib/x", "/lib/x", "high", "descendant", "/lib", False),
        ("/var/log/pods", "/var/log/pods", "medium", "descendant", "/var/log", False),
        ("/opt", "/opt", "medium", "equal", "/opt", False),
        ("/opt/cni/bin", "/opt/cni/bin", "high", "descendant", "/opt/cni", False),
        ("/opt/app", "/opt/app", "low", "", "", False),
        ("/mnt", "/mnt", "medium", "equal", "/mnt", False),
        ("/mnt/disks/1", "/mnt/disks/1", "low", "", "", False),
        ("/data", "/data", "low", "", "", False),
        ("/etcd-backup", "/etcd-backup", "low", "", "", False),
        ("/procfoo", "/procfoo", "low", "", "", False),
        ("/varnish", "/varnish", "low", "", "", False),
        ("/var/runner", "/var/runner", "low", "", "", False),
        ("/opt/cni-plugins", "/opt/cni-plugins", "low", "", "", False),
        (
            "/var/lib/rancher/k3s/storage/pvc-1_shop_data",
            "/var/lib/rancher/k3s/storage/pvc-1_shop_data",
            "low",
            "",
            "",
            False,
        ),
        ("/var/lib/rancher/k3s", "/var/lib/rancher/k3s", "high", "descendant", "/var/lib/rancher", False),
        ("/run/systemd/private", "/run/systemd/private", "medium", "descendant", "/run/systemd", False),
        ("/run/docker", "/run/docker", "high", "equal", "/run/docker", True),
        ("/lib64", "/lib64", "high", "equal", "/lib64", False),
        ("etc", "/etc", "high", "equal", "/etc", False),
        ("/etc/localtime", "/etc/localtime", "low", "", "", False),
        ("/etc/localtime/x", "/etc/localtime/x", "high", "descendant", "/etc", False),
        ("/etc/ssl/certs", "/etc/ssl/certs", "high", "descendant", "/etc", False),
        ("C:\\data", "C:\\data", "low", "", "", False),
        ("C:\\", "C:\\", "high", "equal", "/", False),
        ("c:/", "c:/", "high", "equal", "/", False),
        ("C:\\var\\lib\\Kubelet\\pki", "C:\\var\\lib\\Kubelet\\pki", "high", "descendant", "/var/lib/kubelet", False),
        ("\\\\.\\pipe\\docker_engine", "\\\\.\\pipe\\docker_engine", "high", "equal", "//./pipe/docker_engine", True),
    ],
)
def test_judge(raw, path, tier, relation, matched, socket):
    assert judge(raw) == (path, tier, relation, matched, socket)


def test_normalise_is_idempotent_and_bounded():
    assert normalise("/../../etc") == "/etc"
    assert len(normalise("/" + "a" * 100_000)) <= 4096
    for raw in ("/var/run/x", "/a//b/", "", "relative/x", "C:\\x"):
        assert normalise(normalise(raw)) == normalise(raw)
