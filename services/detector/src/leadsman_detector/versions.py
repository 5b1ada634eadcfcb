"""Which versions of Kubernetes are supported, by a dated list, and which may run beside which (`leadsman posture`).

https://kubernetes.io/releases/version-skew-policy/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

LIST = "kubernetes-versions"
ANY = "k8s"
OLDER = {"kubelet": 3, "kube-proxy": 3}  # minor versions behind the API server; every other component may be one
OTHERS_OLDER = 1
_MINOR = re.compile(r"v?1\.(\d{1,3})(?:\D|\Z)")
# what is versioned with Kubernetes itself
_OWN = frozenset({"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"})


@dataclass(frozen=True, slots=True)
class Support:
    """Until when a minor version is supported, and for money until when."""

    until: date
    paid_until: date


def minor_of(version: str) -> int | None:
    """The minor of a version 1.x; None for what is none."""
    found = _MINOR.match(version)
    return int(found[1]) if found else None


def read_support(values: Iterable[str]) -> dict[tuple[str, int], Support]:
    """The list's values, `PROVIDER 1.x UNTIL [PAID-UNTIL]`, by provider and minor. Raises ValueError."""
    found = {}
    for value in values:
        provider, version, *days = value.split()
        minor, ends = minor_of(version), [date.fromisoformat(day) for day in days]
        if minor is None or len(ends) not in (1, 2):
            raise ValueError(f"no PROVIDER 1.x UNTIL [PAID-UNTIL]: {value}")
        found[provider, minor] = Support(ends[0], ends[-1])
    return found


def out_of_support(
    support: Mapping[tuple[str, int], Support], provider: str, version: str, today: date
) -> tuple[str, bool] | None:
    """What is to be said of a version's support, and whether it gets no fixes at all; None where all is well.

    A version older than all in the list has long been without.
    """
    minor = minor_of(version)
    if minor is None:
        return None
    own = provider if any(p == provider for p, _ in support) else ANY
    known = support.get((own, minor)) or support.get((ANY, minor))
    if known is None:
        oldest = min((m for _, m in support), default=0)
        return (f"{version} has long been out of support", True) if minor < oldest else None
    if today <= known.until:
        return None
    if today <= known.paid_until:
        return f"{version} is in extended support since {known.until}, until {known.paid_until}", False
    return f"{version} is out of support since {known.paid_until}", True


def is_own(component: str) -> bool:
    """Whether a component is versioned with Kubernetes itself."""
    return component in _OWN


def misfit(servers: Sequence[str], component: str, version: str) -> str:
    """Why a component goes with none of these API servers; empty where it does with one, or nothing is known."""
    if not any(minor_of(server) is not None for server in servers):
        return ""
    found = [next(skews([server], [(component, version)]), "") for server in servers]
    return found[-1] if all(found) else ""


def skews(server: Sequence[str], components: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Components (name, version) that may not run beside these API servers' versions."""
    minors = [minor for version in server if (minor := minor_of(version)) is not None]
    if not minors:
        return
    for name, version in sorted(set(components)):
        minor = minor_of(version)
        if name not in _OWN or minor is None:
            continue
        if minor > min(minors):
            yield f"{name} {version} is newer than the API server ({', '.join(sorted(server))})"
        elif max(minors) - minor > OLDER.get(name, OTHERS_OLDER):
            yield f"{name} {version} is too old for the API server ({', '.join(sorted(server))})"
