"""Image references by the Docker reference grammar, so that spellings of one image compare equal (DETECTIONS 1.10).

https://github.com/distribution/reference/blob/main/reference.go; docker.io and library/ are filled in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
# Other names of a registry that nobody but its owner can publish under, so they need no configuration: Google's own
# cache of Docker Hub, Docker's alias in Amazon's public registry, and projects of Google and of Kubernetes, whose ids
# are unique. A pull-through prefix in an account or project of anyone's own is no proof: clusters.yaml names those.
_SAME = (
    (re.compile(r"mirror\.gcr\.io/"), "docker.io/"),
    (re.compile(r"public\.ecr\.aws/docker/library/"), "docker.io/library/"),
    (re.compile(r"k8s\.gcr\.io/"), "registry.k8s.io/"),
    (re.compile(r"(?:(?:us|eu|asia)\.)?gcr\.io/(?:google[-_]containers|k8s-artifacts-prod)/"), "registry.k8s.io/"),
    (re.compile(r"[a-z0-9-]+-docker\.pkg\.dev/k8s-artifacts-prod/images/"), "registry.k8s.io/"),
    (re.compile(r"(?:(?:us|eu|asia)\.)?gcr\.io/gke-release/"), "gke.gcr.io/"),
    (re.compile(r"[a-z0-9-]+-(?:artifactregistry\.gcr\.io|docker\.pkg\.dev)/gke-release/gke-release/"), "gke.gcr.io/"),
)


class Image(NamedTuple):
    """An image taken apart. `suffix` is the last two segments of the repository, `name` the last one."""

    host: str
    repo: str
    suffix: str
    name: str
    tag: str
    digest: str


NONE = Image("", "", "", "", "", "")


@lru_cache(maxsize=8192)
def parse_image(reference: str) -> Image:
    """Take `registry/repository:tag@digest` apart. Anything goes in; what is no reference comes out as best it can."""
    rest = reference.strip()
    if not rest:
        return NONE
    rest, _, digest = rest.partition("@")
    head, slash, tail = rest.partition("/")
    host = ""
    if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
        host, rest = head.lower(), tail
    last = rest.rfind("/")
    colon = rest.find(":", last + 1)
    repo, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
    repo = repo.strip("/").lower()
    if not host or host in _DOCKER_HUB:
        host = "docker.io"
        if repo and "/" not in repo:
            repo = f"library/{repo}"
    else:
        host, repo = _own_name(host, repo)
    segments = [part for part in repo.split("/") if part]
    return Image(host, repo, "/".join(segments[-2:]), segments[-1] if segments else "", tag, digest)


def _own_name(host: str, repo: str) -> tuple[str, str]:
    """Host and repository under the name that the registry's owner uses."""
    full = f"{host}/{repo}"
    for pattern, name in _SAME:
        if found := pattern.match(full):
            host, _, repo = (name + full[found.end() :]).partition("/")
            break
    return host, repo if host != "docker.io" or not repo or "/" in repo else f"library/{repo}"
