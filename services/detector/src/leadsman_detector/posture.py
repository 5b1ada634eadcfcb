"""What is known of how a cluster is set up, for people to look at (`leadsman posture`): settings, flags, versions.

Each event that tells something of it leaves statements (statements.py), by setting. Nothing is judged here: rules with
`regression` say what is secure. Versions that components tell by their user agents all day are kept by who tells them,
for a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from leadsman_common.events import AuditEvent, ControlPlaneFacts, Flag, NamespaceFacts, WebhookFacts, parse_action
from leadsman_detector.state import DAY_MS, Put
from leadsman_detector.statements import Statement, Thing, heads, in_order, read, tells

OWNER = "posture"
COMPONENTS = "posture.components"
MAX_COMPONENTS = 5_000  # of a cluster; those seen last are kept
MAX_VALUE = 500
GONE = "deleted"
_FACTS = int(Flag.HAS_CONTROL_PLANE | Flag.HAS_NAMESPACE | Flag.HAS_WEBHOOK)
_ADMISSION = "admissionregistration.k8s.io"
_NAMED = {
    ("", "namespaces"): "pod-security",
    (_ADMISSION, "validatingwebhookconfigurations"): "validating-webhook",
    (_ADMISSION, "mutatingwebhookconfigurations"): "mutating-webhook",
    (_ADMISSION, "validatingadmissionpolicybindings"): "admission-policy-binding",
}
# what is one value of a call, by the name that it goes by here
_TRUTHS: Mapping[str, str] = {
    "endpoint_public": "endpoint.public",
    "endpoint_private": "endpoint.private",
    "authorized_networks": "endpoint.networks-limited",
    "legacy_abac": "authorization.legacy-abac",
    "rbac": "authorization.rbac",
    "basic_auth": "authentication.password",
    "client_certificate": "authentication.client-certificate",
    "anonymous_auth": "authentication.anonymous",
    "anonymous_bindings": "authorization.anonymous-bindings",
    "local_accounts": "authentication.local-accounts",
    "network_policy": "network-policy",
    "secrets_encrypted": "secrets-encryption",
    "shielded_nodes": "shielded-nodes",
}


class Told(msgspec.Struct, frozen=True):
    """Of an event what people ask: who, from where, by what."""

    by: str = ""
    action: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting: its value, since when, by whom; and what it was before."""

    name: str
    value: str
    since: int  # microseconds
    told: Told
    before: str = ""


@dataclass(frozen=True, slots=True)
class Component:
    """A component's version, who tells it (a node, or the component itself), and when last; microseconds."""

    name: str
    version: str
    who: str
    seen: int


def leaves(action: str, flags: int) -> bool:
    """Whether an event may tell something of a cluster's posture."""
    if flags & _FACTS:
        return True
    verb, resource, group, subresource, _ = parse_action(action)
    return (group, resource) in _NAMED and not subresource and verb in ("create", "update", "patch", "delete")


def is_chatty(action: str, flags: int) -> bool:
    """Whether events of this kind are requests by which components say all day that they live."""
    verb, resource, _, _, _ = parse_action(action)
    return bool(flags & Flag.HAS_CONTROL_PLANE) and resource in ("leases", "nodes") and bool(verb)


def is_component(event: AuditEvent) -> bool:
    """Whether a component tells its version by a request of its own."""
    facts = event["facts"]
    return bool(event["verb"]) and facts is not None and facts["control_plane"] is not None


def component_put(event: AuditEvent) -> Put:
    """The version that a component tells, by who tells it; the last stays."""
    facts = event["facts"]
    found = cast("ControlPlaneFacts", facts["control_plane"]) if facts else None
    name, version = (found["component"], found["version"]) if found else ("", "")
    cluster, at_ms, who = event["cluster"]["id"], event["time"] // 1000, event["actor"]["name"]
    member = msgspec.json.encode((name, version, who))
    key = f"{name}/{who}".encode("utf-8", "replace")
    return Put(COMPONENTS, cluster, at_ms, member, DAY_MS, MAX_COMPONENTS, f"{COMPONENTS}/all", "last", key)


def statements_of(event: AuditEvent) -> Iterator[tuple[Thing, Statement]]:
    """What an event says of settings."""
    if not tells(event):
        return
    component = event["facts"]["control_plane"] if event["facts"] else None
    by = event["actor"]["name"] or (component["component"] if component else "")
    told = msgspec.Raw(msgspec.json.encode(Told(by, event["action"], event["src_endpoint"]["ip"])))
    for name, value in _said(event):
        text = value if len(value) <= MAX_VALUE else value[: MAX_VALUE - 1] + "…"
        said = Statement(event["id"], event["time"], text, name, told)
        yield Thing(OWNER, name, event["cluster"]["id"]), said


def setting_of(members: Sequence[bytes]) -> Setting | None:
    """What members of a thing's series come to; None for none."""
    changes = heads(in_order(read(members)))
    if not changes:
        return None
    last = changes[-1]
    before = changes[-2].value if len(changes) > 1 else ""
    return Setting(last.thing, last.value, last.time, msgspec.json.decode(last.told, type=Told), before)


def component_of(at_ms: int, member: bytes) -> Component:
    """A member of the components' series."""
    name, version, who = msgspec.json.decode(member, type=tuple[str, str, str])
    return Component(name, version, who, at_ms * 1000)


def _said(event: AuditEvent) -> Iterator[tuple[str, str]]:
    """(setting, value) of an event."""
    facts, ref = event["facts"], event["objectRef"]
    kind = _NAMED.get((ref["apiGroup"], ref["resource"])) if ref["name"] and not ref["subresource"] else None
    if kind is not None and event["verb"] == "delete":
        yield f"{kind}/{ref['name']}", GONE
    elif kind == "admission-policy-binding":
        yield f"{kind}/{ref['name']}", "in force"
    elif facts is None:
        return
    elif kind is not None and facts["namespace"] is not None:
        if (value := _levels(event, facts["namespace"])) is not None:
            yield f"{kind}/{ref['name']}", value
    elif kind is not None and facts["webhook"] is not None:
        yield f"{kind}/{ref['name']}", _webhooks(facts["webhook"])
    elif facts["control_plane"] is not None:
        yield from _control_plane(event, facts["control_plane"])


def _levels(event: AuditEvent, found: NamespaceFacts) -> str | None:
    """A namespace's Pod Security levels; None where a patch does not say them."""
    named = {"enforce": found["enforce"], "audit": found["audit"], "warn": found["warn"]}
    levels = ", ".join(f"{mode} {level}" for mode, level in named.items() if level)
    if not levels and event["verb"] == "patch" and event["coverage"]["body"] != "response":
        return None
    return levels or "none"


def _webhooks(found: WebhookFacts) -> str:
    parts = [
        f"{c['name']} {c['failure_policy'] or 'Fail'} at {c['url'] or c['service'] or 'nobody'}"
        for c in found["configs"]
    ]
    return "; ".join(parts) or "no webhook"


def _control_plane(event: AuditEvent, found: ControlPlaneFacts) -> Iterator[tuple[str, str]]:
    cloud = event["cloud"]
    if cloud is None:
        yield from _started(found)
        return
    service = event["action"].partition(":")[0]
    at = f"{found['target']}/" if found["target"] else ""
    kind = "data-access" if service == "cloudresourcemanager" else "logging"
    if service == "ec2":  # networks of a security group that a call adds, not those that it has
        return
    for types, value in ((found["logging_types_on"], "on"), (found["logging_types_off"], "off")):
        for name in types:
            yield f"{kind}/{at}{name}", value
    if service == "logs" or (service == "logging" and found["logging_off"]):
        taken = found["logging_off"]
        if taken or found["retention_days"]:
            yield f"logs/{found['target']}", GONE if taken else f"kept {found['retention_days']} days"
        return
    values: Mapping[str, Any] = found
    for key, name in _TRUTHS.items():
        if values[key] is not None:
            yield name, "yes" if values[key] else "no"
    if found["cidrs"]:
        yield "endpoint.networks", ", ".join(sorted(found["cidrs"]))
    for name, text in (
        ("authentication.mode", found["auth_mode"]),
        ("version", found["version"]),
        ("release-channel", found["release_channel"]),
    ):
        if text:
            yield name, text


def _started(found: ControlPlaneFacts) -> Iterator[tuple[str, str]]:
    """What a component's start-up lines say."""
    for flag, value in found["flags"].items():
        yield f"flag/{found['component']}/{flag}", value or "(empty)"
    if found["version"]:
        yield f"version/{found['component']}", found["version"]
