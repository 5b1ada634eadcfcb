"""Which clusters GKE itself knows, in the projects that LEADSMAN_GKE_INVENTORY names.

https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters/list. The location
`-` means all of them.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import google.auth
import msgspec
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession

from leadsman_common.inventory import Ask
from leadsman_common.sightings import ListedCluster
from leadsman_ingest_gcp.config import Settings

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 30


class _Cluster(msgspec.Struct):
    name: str
    location: str
    createTime: datetime | None = None


class _Answer(msgspec.Struct):
    clusters: list[_Cluster] = []
    missingZones: list[str] = []


class Incomplete(Exception):
    """Some zones did not answer: what they hold is not known."""


def scopes(settings: Settings) -> dict[str, Ask]:
    """What to ask, by scope."""
    return {f"gcp/{project}": partial(_list, settings.gke_endpoint, project) for project in settings.gke_inventory}


def _list(endpoint: str, project: str) -> list[ListedCluster]:
    url = f"{endpoint.rstrip('/')}/v1/projects/{quote(project, safe=':')}/locations/-/clusters"
    answer = _session(endpoint).get(url, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    found = msgspec.json.decode(answer.content, type=_Answer)
    if found.missingZones:
        raise Incomplete(f"no answer of {', '.join(found.missingZones[:20])}")
    return [
        ListedCluster(one.location, one.name, int(one.createTime.timestamp() * 1000) if one.createTime else 0)
        for one in found.clusters
    ]


def _session(endpoint: str) -> Any:
    if endpoint.startswith("http://"):  # a stand-in on this machine, which is told no secret
        return AuthorizedSession(AnonymousCredentials())  # type: ignore[no-untyped-call]
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
