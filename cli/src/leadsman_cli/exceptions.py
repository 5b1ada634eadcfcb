"""From an alert to the exception that silences it: a Sigma filter of who, where and what, never of one of them. Pure.

The tuple (DETECTIONS 1.9): cluster, namespace, actor, image or name of the object. All but the actor are chosen by
whoever makes the request, so an alert of nobody, or of a component that writes for everybody, is not excepted by them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from leadsman_common.alerts import Alert
from leadsman_common.events import AuditEvent, PodFacts
from leadsman_common.visible import clean

LONGEST = timedelta(days=366)
NOBODY = frozenset({"", "unauthenticated", "failed_auth", "unknown"})
COMPONENTS = frozenset({"control_plane", "node", "managed_cloud"})
CONTAINERS = "facts.pod.containers"
_SPACE = uuid.UUID("c1f3e0a2-54b7-4d2e-8a77-0d7c5f1a9b62")
Clause = dict[str, Any]


class TooWide(ValueError):
    """An exception that would take away more than the alert; the text says why, and what to do."""


def check_end(expires: date, today: date) -> None:
    """Raise ValueError for an end that is none."""
    if expires < today:
        raise ValueError(f"{expires} is over: an exception that has expired silences nothing")
    if expires > today + LONGEST:
        raise ValueError(f"{expires} is more than a year away: nobody remembers by then why; say it anew in time")


def filter_of(
    alert: Alert, events: Sequence[AuditEvent], *, chain: bool, reason: str, owner: str, expires: date, today: date
) -> dict[str, Any]:
    """The filter's document; `events` are those of the alert that are still to be had, in order. Raises TooWide.

    `chain`: the alert is a correlation's, which is suppressed where all of its events are what the filter means.
    """
    clauses = _of_chain(alert, events) if chain else _of_event(alert, events[-1] if events else None)
    own = {"owner": owner, "reason": reason, "expires": expires}
    return {
        "title": f"{alert['rule']['name']}: {what_of(alert)}",
        "name": name_of(alert),
        "id": str(uuid.uuid5(_SPACE, alert["id"])),
        "description": f"Written by leadsman except, of the alert {alert['id']}.",
        "author": owner,
        "date": today,
        "logsource": {"product": "kubernetes", "service": "audit"},
        "filter": {"rules": [alert["rule"]["name"]], **clauses, "condition": f"not ({' and '.join(clauses)})"},
        "leadsman": {**({"every": CONTAINERS} if "image" in clauses else {}), "suppress": own},
    }


def name_of(alert: Alert) -> str:
    """The name of the filter, and of its files."""
    return f"except-{alert['rule']['name']}-{alert['id'].removeprefix('local-')[:8]}"


def what_of(alert: Alert) -> str:
    """Whose doing it was, and where, for people."""
    ref = alert["objectRef"]
    where = f" in {ref['namespace']}" if ref["namespace"] else ""
    return clean(f"{alert['actor']['name'] or 'nobody'}{where} of {alert['cluster']['name'] or 'any cluster'}")


def _of_event(alert: Alert, event: AuditEvent | None) -> dict[str, Clause]:
    actor, ref, cluster = alert["actor"], alert["objectRef"], alert["cluster"]["name"]
    if actor["class"] in NOBODY or actor["unauthenticated"] or not actor["name"]:
        raise TooWide(
            "nobody is authenticated in it: whoever comes without credentials would be excepted, from anywhere. "
            "Close the way in, or except the path for all in a filter of your own"
        )
    who = {"actor.name|cased": _plain(actor["name"])}
    place: Clause = {"cluster.name|cased": _plain(cluster)} if cluster else {}
    if ref["namespace"]:
        place["objectRef.namespace|cased"] = _plain(ref["namespace"])
    what: Clause = {}
    if ref["resource"]:
        what["objectRef.resource"] = _plain(ref["resource"])
        if ref["subresource"]:
            what["objectRef.subresource"] = _plain(ref["subresource"])
    facts = event["facts"] if event is not None else None
    pod = facts["pod"] if facts is not None else None
    images = _images(pod) if pod is not None else []
    if not images and ref["name"] and (not ref["namespace"] or actor["class"] in COMPONENTS):
        what["objectRef.name|cased"] = _plain(ref["name"])
    if actor["class"] in COMPONENTS and not images and "objectRef.name|cased" not in what:
        raise TooWide(
            f"{clean(actor['name'])} acts for everybody, and nothing else tells this apart: except what the object's "
            "owner does, or write a filter of its image"
        )
    if not place and not images and "objectRef.name|cased" not in what:
        raise TooWide(
            "the actor is all that is known of it, and it would be excepted everywhere: have the scan say --cluster"
        )
    found = {"who": who, "place": place, "what": what, "image": images}
    return {name: clause for name, clause in found.items() if clause}  # type: ignore[misc]  # an image is a list


def _of_chain(alert: Alert, events: Sequence[AuditEvent]) -> dict[str, Clause]:
    chain = alert["evidence"]
    if any(item["actor_class"] in NOBODY or not item["actor"] for item in chain):
        raise TooWide("nobody is authenticated in a part of it: whoever comes without credentials would be excepted")
    if all(item["actor_class"] in COMPONENTS for item in chain):
        raise TooWide("all of it is done by components, which act for everybody")
    cluster = alert["cluster"]["name"]
    if not cluster:
        raise TooWide("the actors are all that is known of it: have the scan say --cluster")
    who = {"actor.name|cased": sorted({_plain(item["actor"]) for item in chain})}
    place: Clause = {"cluster.name|cased": _plain(cluster)}
    namespaces = sorted({_plain(event["objectRef"]["namespace"]) for event in events})
    if namespaces and all(namespaces) and len({e["id"] for e in events}) == len({i["event_id"] for i in chain}):
        place["objectRef.namespace|cased"] = namespaces
    return {"who": who, "place": place}


def _images(pod: PodFacts) -> list[Clause]:
    """Registry and repository of each container, together."""
    pairs = {(c["image_host"], c["image_repo"]) for c in pod["containers"] if c["image_repo"]}
    return [
        {f"{CONTAINERS}.image_host": _plain(host), f"{CONTAINERS}.image_repo": _plain(repo)}
        for host, repo in sorted(pairs)
    ]


def _plain(text: str) -> str:
    """A value that Sigma takes as it stands: `*`, `?` and the backslash before them mean themselves."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
