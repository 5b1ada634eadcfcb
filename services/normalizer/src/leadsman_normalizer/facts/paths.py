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
    "/run/docker.sock",
    "/run/containerd",
    "/run/crio",
    "/run/cri-dockerd.sock",
    "/run/k3s",
    "/run/podman",
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
_MEDIUM = ["/sys", "/var/log", "/lib/modules"]
_MEDIUM_ITSELF = ["/srv", "/mnt", "/opt"]  # below them is everyone's own data
_SENSITIVE = {
    **dict.fromkeys(_HIGH, "high"),
    **dict.fromkeys((*_MEDIUM, *_MEDIUM_ITSELF), "medium"),
    "/": "high",
}
_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
)
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
    """One spelling: //, . and .. resolved, no trailing slash, /var/run as /run."""
    path = path[:MAX_PATH]
    if not path.startswith("/"):
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
    socket = any(path == s or _below(s, path) for s in _SOCKETS)
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


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder if folder.endswith("/") else folder + "/")
