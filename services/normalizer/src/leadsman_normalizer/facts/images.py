"""Image references by the Docker reference grammar, so that spellings of one image compare equal (DETECTIONS 1.10).

https://github.com/distribution/reference/blob/main/reference.go; docker.io and library/ are filled in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


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
    segments = [part for part in repo.split("/") if part]
    return Image(host, repo, "/".join(segments[-2:]), segments[-1] if segments else "", tag, digest)
