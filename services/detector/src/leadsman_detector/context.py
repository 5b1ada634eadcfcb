"""What an alert tells of an object beside the facts that decided: what a person asks next (DETECTIONS, Evidence)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from leadsman_common.events import (
    AuditEvent,
    BindingFacts,
    CloudAccessFacts,
    CloudGrantFacts,
    CloudLinkFacts,
    ExecFacts,
    PolicyRuleFacts,
    RoleFacts,
    ServiceFacts,
)

Told = tuple[str, str]  # a field, a text
MAX_GRANTS = 20


def context_of(event: AuditEvent, decided: Iterable[tuple[str, object]]) -> Iterator[Told]:
    """The context of what `decided` (path and value of each leaf that held), for the facts that it speaks of."""
    facts = event["facts"]
    if facts is None:
        return
    pairs = set(decided)
    if facts["role"] is not None:
        yield from _role(facts["role"], pairs)
    if facts["binding"] is not None:
        yield from _binding(facts["binding"])
    if facts["service"] is not None:
        yield from _service(facts["service"])
    if facts["exec"] is not None:
        yield from _exec(facts["exec"])
    if facts["cloud_access"] is not None:
        yield from _access(facts["cloud_access"])
    if facts["cloud_link"] is not None:
        yield from _link(facts["cloud_link"])
    if facts["cloud_grant"] is not None:
        yield from _grants(facts["cloud_grant"])
    yield from _identity(event)


def _role(role: RoleFacts, decided: set[tuple[str, object]]) -> Iterator[Told]:
    """The PolicyRules that hold what decided, as they stand in the role."""
    grants = {value for path, value in decided if path == "facts.role.rules.grants"}
    classes = {value for path, value in decided if path == "facts.role.rules.classes"}
    for rule in role["rules"]:
        if grants.intersection(rule["grants"]) or classes.intersection(rule["classes"]):
            yield "facts.role.rules", _rule(rule)


def _rule(rule: PolicyRuleFacts) -> str:
    parts = {
        "verbs": rule["verbs"],
        "groups": rule["groups"],
        "resources": rule["resources"],
        "resource_names": rule["resource_names"],
        "non_resource_urls": rule["non_resource_urls"],
    }
    return " ".join(f"{key}={','.join(values)}" for key, values in parts.items() if values)


def _service(service: ServiceFacts) -> Iterator[Told]:
    for port in service["ports"]:
        node = f", node port {port['node']}" if port["node"] else ""
        yield "facts.service.ports", f"{port['port']}/{port['proto']} to {port['target'] or port['port']}{node}"
    for key, value in sorted(service["selector"].items()):
        yield "facts.service.selector", f"{key}={value}"
    for network in service["source_ranges"]:
        yield "facts.service.source_ranges", network


def _exec(opened: ExecFacts) -> Iterator[Told]:
    if opened["container"]:
        yield "facts.exec.container", opened["container"]
    asked = [name for name in ("stdin", "stdout", "stderr", "tty") if opened[name]]
    if asked:
        yield "facts.exec", " ".join(asked)


def _binding(bound: BindingFacts) -> Iterator[Told]:
    """Who is bound to what."""
    for subject in bound["subjects"]:
        name = "/".join(part for part in (subject["namespace"], subject["name"]) if part)
        yield "facts.binding.subjects", f"{subject['kind']} {name}"
    yield "facts.binding.role", f"{bound['role_kind']} {bound['role_name']}"


def _access(access: CloudAccessFacts) -> Iterator[Told]:
    """Who may enter from the cloud's side, and as what."""
    for field in ("policy", "scope", "principal_arn"):
        if access[field]:
            yield f"facts.cloud_access.{field}", access[field]
    for group in access["groups"]:
        yield "facts.cloud_access.groups", group
    for namespace in access["namespaces"]:
        yield "facts.cloud_access.namespaces", namespace


def _link(link: CloudLinkFacts) -> Iterator[Told]:
    """Which cloud identity is linked, and with which service accounts."""
    if link["identity"]:
        yield "facts.cloud_link.identity", link["identity"]
    for subject in link["subjects"]:
        yield "facts.cloud_link.subjects", subject


def _grants(found: CloudGrantFacts) -> Iterator[Told]:
    """Which cloud identity is given what, or trusts whom."""
    for grant in found["grants"][:MAX_GRANTS]:
        policy = grant["policy"] or grant["via"]
        scope = f" on {grant['scope']}" if grant["scope"] else ""
        yield "facts.cloud_grant.grants", f"{'-' if grant['removed'] else '+'}{policy}{scope}: {grant['identity']}"
        for principal in grant["principals"]:
            yield "facts.cloud_grant.grants.principals", principal


def _identity(event: AuditEvent) -> Iterator[Told]:
    """Whose a cloud identity is, and what it was given before."""
    known = cast("Mapping[str, Any]", event).get("known", {}).get("cloud_identity", {})
    for field in ("service_accounts", "clusters", "policies"):
        for value in known.get(field, ())[:MAX_GRANTS]:
            yield f"known.cloud_identity.{field}", value
