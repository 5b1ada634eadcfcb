"""GKE's resourceName and methodName as one objectRef and a verb (FORMATS 3.2, 3.3). One table of tests."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_VERSION = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]+)?\Z")
# groups of the API server whose .k8s.io GKE leaves out of method names, and, at times, of resource names
_SHORT = {
    "authorization.rbac": "rbac.authorization.k8s.io",
    "rbac.authorization": "rbac.authorization.k8s.io",
    "rbac": "rbac.authorization.k8s.io",
    **{
        name: f"{name}.k8s.io"
        for name in (
            "admissionregistration",
            "apiextensions",
            "apiregistration",
            "authentication",
            "authorization",
            "certificates",
            "coordination",
            "discovery",
            "events",
            "flowcontrol.apiserver",
            "internal.apiserver",
            "metrics",
            "networking",
            "node",
            "resource",
            "scheduling",
            "snapshot.storage",
            "storage",
            "storagemigration",
        )
    },
    "apiserver.flowcontrol": "flowcontrol.apiserver.k8s.io",
}
_METHOD = "io.k8s."
_PUBLIC = frozenset({"healthz", "livez", "readyz", "version"})


class Name(NamedTuple):
    """What a methodName and a resourceName say together. `path` is set for a non-resource request alone.

    `rest` is what follows a subresource: the kubelet's path behind nodes/N/proxy, without a slash in front.
    """

    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    path: str = ""


@lru_cache(maxsize=16384)
def parse_name(method: str, resource_name: str) -> Name:
    """Take `io.k8s.core.v1.pods.exec.create` and `core/v1/namespaces/ns/pods/p/exec` apart.

    The verb is the method's last part; all else comes from the resource name, where the method only tells a
    namespace's own name from a namespace that holds something. An entry without a resource name, as exports that pick
    fields leave it, still says by its method what kind of object it is about.
    """
    words = method.removeprefix(_METHOD).split(".")
    verb = words[-1]
    parts = resource_name.split("/")
    if not resource_name and (told := _told_by_method(words[:-1], verb)) is not None:
        return told
    if not _is_resource(method, words, parts):
        if len(words) == 1 and verb in _PUBLIC:  # io.k8s.readyz: the path stands where the verb does else
            return Name(verb="get", path="/" + (resource_name.lstrip("/") or verb))
        return Name(verb=verb, path="/" + resource_name.lstrip("/"))
    group, version = _group(parts[0]), parts[1]
    of_method = _resource_of(words)
    if parts[2] == "watch" and len(parts) > 3 and of_method != "watch":
        del parts[2]  # the paths of old clients: /api/v1/watch/namespaces/ns/secrets
    if (
        parts[2] == "namespaces"
        and len(parts) > 4
        and not (of_method == "namespaces" and parts[4] in ("finalize", "status"))
    ):
        namespace, resource, tail = parts[3], parts[4], parts[5:]
    elif parts[2] == "namespaces" and len(parts) > 3:
        # the API server, too, gives a namespace's own name as its namespace, but for its creation
        namespace, resource, tail = "" if verb == "create" else parts[3], "namespaces", parts[3:]
    else:
        namespace, resource, tail = "", parts[2], parts[3:]
    name = tail[0] if tail else ""
    subresource = tail[1] if len(tail) > 1 else ""
    rest = tail[2:]
    if rest and subresource in ("exec", "attach", "portforward") and rest == [name]:
        rest = []  # logs of 2020 repeat the pod's name: pods/P/exec/P
    return Name(verb, group, version, namespace, resource, name, subresource, "/".join(rest))


def _is_resource(method: str, words: list[str], parts: list[str]) -> bool:
    return (
        len(parts) >= 3
        and all(parts[:3])
        and _VERSION.match(parts[1]) is not None
        and (len(words) > 2 or not method.startswith(_METHOD))
    )


def _resource_of(words: list[str]) -> str:
    """The resource in a method's words: what follows the version."""
    for at, word in enumerate(words[:-1]):
        if _VERSION.match(word):
            return words[at + 1]
    return ""


def _told_by_method(words: list[str], verb: str) -> Name | None:
    """Group, version, resource and subresource out of a method's words alone; None where they tell no resource."""
    at = next((n for n, word in enumerate(words) if _VERSION.match(word)), len(words))
    if at + 1 >= len(words):
        return None
    group = ".".join(words[:at])
    if group not in _SHORT and len(words[:at]) > 1:
        group = ".".join(reversed(words[:at]))  # a custom resource's domain
    return Name(verb, _group(group), words[at], "", words[at + 1], "", ".".join(words[at + 2 :]))


def _group(text: str) -> str:
    if text == "core":
        return ""
    return _SHORT.get(text, text)
