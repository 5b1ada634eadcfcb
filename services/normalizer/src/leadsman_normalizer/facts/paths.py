"""Host paths: one spelling, and how sensitive they are (DETECTIONS R11 b)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_HIGH = [
    "/proc",
    "/dev",
    "/etc",
    "/root",
    "/home",
    "/boot",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",  # the loader lies here; a link to /usr/lib64 on most nodes
    "/run/docker.sock",
    "/run/containerd",
    "/run/crio",
    "/run/cri-dockerd.sock",
    "/run/k3s",
    "/run/podman",
    "/run/docker",
    "/run/dockershim.sock",
    "/run/k0s",
    "/var/snap/microk8s/common/run",
    "/var/lib/kubelet",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/etcd",
    "/var/lib/rancher",
    "/var/lib/kubernetes",
    "/var/lib/cloud",
    "/etc/kubernetes",
    "/etc/cni",
    "/etc/rancher",
    "/etc/ssh",
    "/opt/cni",
    "/var/spool/cron",
    "/sys/fs/cgroup",
    "/sys/kernel",
]
_MEDIUM = [
    "/sys",
    "/var/log",
    "/lib/modules",
    "/run/systemd",  # whoever may speak to it starts what he likes on the node
    "/run/dbus",
]
_MEDIUM_ITSELF = ["/srv", "/mnt", "/opt"]  # below them is everyone's own data
_SENSITIVE = {
    **dict.fromkeys(_HIGH, "high"),
    **dict.fromkeys((*_MEDIUM, *_MEDIUM_ITSELF), "medium"),
    "/": "high",
}
# below these lie the volumes of pods, each for its own: k3s puts its local PersistentVolumes there
_VOLUMES = ("/var/lib/rancher/k3s/storage",)
_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/dockershim.sock",
    "/run/k0s/containerd.sock",
)
# read by many ordinary pods, and of no use to whoever reads them; the second list only as long as nobody may write
_HARMLESS = frozenset({"/etc/localtime", "/etc/timezone", "/etc/machine-id", "/etc/os-release", "/usr/share/zoneinfo"})
_HARMLESS_TO_READ = (
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/lib/os-release",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
)
# Windows nodes, without the drive and in lower case: https://kubernetes.io/docs/concepts/windows/intro/
_WINDOWS = (
    "/",
    "/windows",
    "/users",
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/var/run",
    "/programdata",
    "/program files",
    "/k",
)
_PIPES = ("//./pipe/docker_engine", "//./pipe/containerd-containerd", "//./pipe")
MAX_PATH = 4096


class Verdict(NamedTuple):
    """What a host path is: normalised, how sensitive, by which sensitive path, and whether a runtime's socket."""

    path: str
    tier: str
    relation: str
    matched: str
    socket: bool


@lru_cache(maxsize=4096)
def normalise(path: str) -> str:
    """One spelling: //, . and .. resolved, no trailing slash, /var/run as /run. A Windows path stays as it is."""
    path = path[:MAX_PATH]
    if not path or _is_windows(path):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    if parts[:2] == ["var", "run"]:
        parts = parts[1:]
    return "/" + "/".join(parts)


@lru_cache(maxsize=4096)
def judge(raw: str) -> Verdict:
    """The verdict on a host path as written.

    The most specific relation decides: equal, then descendant of the longest sensitive path, then ancestor.
    """
    path = normalise(raw)
    if _is_windows(path):
        return _judge_windows(path)
    socket = any(path == s or _below(s, path) for s in _SOCKETS)
    if path in _HARMLESS or any(_below(path, s) for s in _VOLUMES):
        return Verdict(path, "low", "", "", socket=False)
    if path in _SENSITIVE:
        return Verdict(path, _SENSITIVE[path], "equal", path, socket)
    above = [s for s in _SENSITIVE if s != "/" and s not in _MEDIUM_ITSELF and _below(path, s)]
    if above:
        matched = max(above, key=len)
        if path.startswith("/etc/cron"):
            matched = "/etc/cron*"
        return Verdict(path, _SENSITIVE.get(matched, "high"), "descendant", matched, socket)
    below = [s for s in _SENSITIVE if _below(s, path)]
    if below:
        matched = min(below, key=lambda s: (_SENSITIVE[s], s))  # "high" sorts before "medium"
        return Verdict(path, _SENSITIVE[matched], "ancestor", matched, socket)
    return Verdict(path, "low", "", "", socket)


def harmless_to_read(path: str) -> bool:
    """Whether a normalised path tells nothing worth hiding where every mount of it is read-only."""
    return any(path == s or _below(path, s) for s in _HARMLESS_TO_READ)


def _is_windows(path: str) -> bool:
    return path[1:3] in (":\\", ":/") or path[1:] == ":" or path.startswith(("\\\\", "\\"))


def _judge_windows(path: str) -> Verdict:
    """A path of a Windows node: its drive is dropped, letter case and the kind of slash do not matter there."""
    plain = path.replace("\\", "/").lower()
    if plain.startswith("//"):
        pipe = next((p for p in _PIPES if plain.rstrip("/") == p), "")
        return Verdict(path, "high" if pipe else "low", "equal" if pipe else "", pipe, bool(pipe))
    plain = normalise("/" + plain[2:])
    found = max((s for s in _WINDOWS if plain == s or (s != "/" and _below(plain, s))), key=len, default="")
    if found:
        return Verdict(path, "high", "equal" if plain == found else "descendant", found, socket=False)
    return Verdict(path, "low", "", "", socket=False)


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder if folder.endswith("/") else folder + "/")
