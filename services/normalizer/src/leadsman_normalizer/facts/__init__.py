"""What the objects in a request say, typed, read once: everything that rules ask of bodies and queries.

One module a fact; this one chooses which. After the source has read the record, before the event is put together.
"""

from __future__ import annotations

from typing import NamedTuple

from leadsman_common.events import Actor, Facts, Flag, ObjectRef, PodFacts
from leadsman_normalizer.bodies import Bodies, body, choose
from leadsman_normalizer.facts import aws_auth, config_maps
from leadsman_normalizer.facts.accounts import service_account_facts, token_facts
from leadsman_normalizer.facts.bindings import binding_facts
from leadsman_normalizer.facts.certificates import csr_facts
from leadsman_normalizer.facts.commands import TOO_LONG, is_too_long
from leadsman_normalizer.facts.exec import STREAMS, exec_facts
from leadsman_normalizer.facts.ingress import ingress_facts
from leadsman_normalizer.facts.kinds import Kind, kind_of
from leadsman_normalizer.facts.mutations import injected_images, mutated_by
from leadsman_normalizer.facts.namespaces import namespace_facts
from leadsman_normalizer.facts.pod import custom_pod_facts, pod_facts
from leadsman_normalizer.facts.roles import role_facts
from leadsman_normalizer.facts.services import service_facts
from leadsman_normalizer.facts.touched import touched_by
from leadsman_normalizer.facts.violations import spec_of
from leadsman_normalizer.facts.volumes import persistent_volume
from leadsman_normalizer.facts.webhooks import webhook_facts
from leadsman_normalizer.lenient import note

VIOLATIONS = "pod-security.kubernetes.io/audit-violations"
FLAG_OF = {
    "pod": Flag.HAS_POD,
    "role": Flag.HAS_ROLE,
    "binding": Flag.HAS_BINDING,
    "service": Flag.HAS_SERVICE,
    "ingress": Flag.HAS_INGRESS,
    "exec": Flag.HAS_EXEC,
    "token": Flag.HAS_TOKEN,
    "service_account": Flag.HAS_SERVICE_ACCOUNT,
    "pv": Flag.HAS_PV,
    "csr": Flag.HAS_CSR,
    "webhook": Flag.HAS_WEBHOOK,
    "config_map": Flag.HAS_CONFIG_MAP,
    "cloud_access": Flag.HAS_CLOUD_ACCESS,
    "cloud_assume": Flag.HAS_CLOUD_ASSUME,
    "control_plane": Flag.HAS_CONTROL_PLANE,
    "cloud_link": Flag.HAS_CLOUD_LINK,
    "namespace": Flag.HAS_NAMESPACE,
    "signal": Flag.HAS_SIGNAL,
    "cloud_grant": Flag.HAS_CLOUD_GRANT,
}
_BITS = tuple((name, int(flag)) for name, flag in FLAG_OF.items())  # an IntFlag takes a microsecond for each |


class Asked(NamedTuple):
    """What facts are read from: one request and its bodies."""

    verb: str
    ref: ObjectRef
    uri: str
    gke_command: str
    request: bytes
    response: bytes
    code: int
    annotations: dict[str, str]
    actor: Actor
    provider: str = ""


class Read(NamedTuple):
    """Facts, what they were read from ("" where no body is read), and the decoded bodies for whoever carries them."""

    facts: Facts | None
    source: str
    bodies: Bodies | None


def read_facts(asked: Asked, reasons: list[str]) -> Read:
    """The facts of a request; what could not be read is noted in `reasons`."""
    ref = asked.ref
    if ref["subresource"]:
        # the API server logs no body of an exec; records that were taken apart elsewhere have one in the query's place
        told = asked.request and ref["subresource"] in STREAMS and "?" not in asked.uri
        options = body(asked.request, "requestObject", reasons) if told else None
        found = exec_facts(
            asked.verb,
            ref["resource"],
            ref["subresource"],
            ref["namespace"],
            ref["name"],
            asked.uri,
            asked.gke_command,
            options,
        )
        if found is not None:
            if is_too_long(found["argv"]):
                note(reasons, TOO_LONG)
            facts = empty()
            facts["exec"] = found
            return Read(facts, "", None)
    kind = kind_of(asked.verb, ref["apiGroup"], ref["resource"], ref["subresource"])
    if kind is None:
        return Read(None, "", None)
    if kind.fact == "token":
        return _token(asked, reasons)
    if kind.fact == "config_map" and not _is_aws_auth(asked):
        return _credentials(asked, kind)
    return _from_bodies(asked, kind, reasons)


def empty() -> Facts:
    """Facts without any."""
    return {
        "pod": None,
        "role": None,
        "binding": None,
        "service": None,
        "ingress": None,
        "exec": None,
        "token": None,
        "service_account": None,
        "pv": None,
        "touched": [],
        "csr": None,
        "webhook": None,
        "config_map": None,
        "cloud_access": None,
        "cloud_assume": None,
        "control_plane": None,
        "cloud_link": None,
        "namespace": None,
        "signal": None,
        "cloud_grant": None,
    }


def flags_of(facts: Facts) -> int:
    """The HAS_* bits of the facts that are there."""
    bits = 0
    for name, bit in _BITS:
        if facts[name] is not None:  # type: ignore[literal-required]
            bits |= bit
    return bits


def _from_bodies(asked: Asked, kind: Kind, reasons: list[str]) -> Read:
    ref = asked.ref
    bodies = choose(asked.verb, kind.kind, asked.request, asked.response, asked.code, reasons)
    facts = empty()
    if bodies.chosen is None:
        _no_body(asked, kind, facts, reasons)
    else:
        _fill(asked, kind, bodies, facts, reasons)
    violations = asked.annotations.get(VIOLATIONS, "")
    if violations and kind.fact == "pod":
        judged = facts["pod"] or _pod_by_violations(kind, violations, ref["name"])
        facts["pod"] = {**judged, "psa_violations": violations}
    pod = facts["pod"]
    if pod is not None:
        pod["mutated_by"] = mutated_by(asked.annotations)
        if asked.verb != "patch" and bodies.source == "response" and isinstance(bodies.request, dict):
            pod["injected_images"] = injected_images(kind.spec, bodies.request, pod)
    present = any(facts[name] is not None for name in FLAG_OF)  # type: ignore[literal-required]
    if not present:
        return Read(None, "" if kind.fact == "custom" else bodies.source, bodies)
    if bodies.fragment is not None:
        facts["touched"] = touched_by(kind, bodies.fragment, bodies.whole)
    else:
        facts["touched"] = [] if kind.fact == "pod" and _by_a_controller(asked) else ["*"]
    return Read(facts, bodies.source, bodies)


def _by_a_controller(asked: Asked) -> bool:
    """Whether a controller of the control plane writes an object again: its status, scale or revision, not its spec."""
    actor = asked.actor
    return (
        asked.verb == "update"
        and actor["class"] == "control_plane"
        and (actor["namespace"] == "kube-system" or actor["name"] == "system:kube-controller-manager")
    )


def _fill(asked: Asked, kind: Kind, bodies: Bodies, facts: Facts, why: list[str]) -> None:
    ref, body = asked.ref, bodies.chosen or {}
    name, namespace = ref["name"], ref["namespace"]
    match kind.fact:
        case "pod":
            facts["pod"] = pod_facts(kind.kind, kind.spec, body, name, why)
        case "custom":
            facts["pod"] = custom_pod_facts(body, name, why)
            if facts["pod"] is not None and not facts["pod"]["kind"]:
                facts["pod"]["kind"] = _kind_of(bodies, ref["resource"])
                if not facts["pod"]["owners"]:
                    facts["pod"]["owner_kind"] = facts["pod"]["kind"]
        case "role":
            facts["role"] = role_facts(kind.kind, name, namespace, body, why)
        case "binding":
            facts["binding"] = binding_facts(kind.kind, name, namespace, body, asked.actor, why)
        case "service":
            facts["service"] = service_facts(name, namespace, body, asked.provider, why)
        case "ingress":
            facts["ingress"] = ingress_facts(kind.kind, body, why)
        case "service_account":
            facts["service_account"] = service_account_facts(body, why)
        case "csr":
            facts["csr"] = csr_facts(name, ref["subresource"], body, asked.actor, why)
        case "webhook":
            facts["webhook"] = webhook_facts(kind.kind, name, body, why)
        case "namespace":
            facts["namespace"] = namespace_facts(body, why)
        case "config_map":
            facts["config_map"] = aws_auth.config_map_facts(body, why)
        case _:
            facts["pv"] = persistent_volume(body, why)


def _no_body(asked: Asked, kind: Kind, facts: Facts, reasons: list[str]) -> None:
    """No body in the log: the absence is told, since silence would look like harmlessness."""
    del facts
    if kind.fact != "custom":
        note(reasons, f"{asked.verb} {asked.ref['resource']}: the log holds no body")


def _pod_by_violations(kind: Kind, violations: str, name: str) -> PodFacts:
    """The facts of a pod without a body, as far as Pod Security's audit names them."""
    tree = spec_of(violations)
    for key in reversed(kind.spec):
        tree = {key: tree}
    return pod_facts(kind.kind, kind.spec, tree, name, [])


def _kind_of(bodies: Bodies, resource: str) -> str:
    for tree in (bodies.response, bodies.request):
        if isinstance(tree, dict) and isinstance(kind := tree.get("kind"), str) and kind and kind != "Status":
            return kind
    return resource


def _is_aws_auth(asked: Asked) -> bool:
    """Whether the ConfigMap is kube-system/aws-auth: a POST may have its name in the body alone."""
    ref = asked.ref
    if ref["namespace"] != aws_auth.NAMESPACE:
        return False
    return ref["name"] == aws_auth.NAME or (not ref["name"] and b'"aws-auth"' in asked.request[:4096])


def _credentials(asked: Asked, kind: Kind) -> Read:
    """A ConfigMap that holds credentials. Its bodies do not travel, and of most ConfigMaps nothing is to be told."""
    bodies = choose(asked.verb, kind.kind, asked.request, asked.response, asked.code, [])
    found = config_maps.credentials(bodies.chosen) if bodies.chosen is not None else []
    if not found:
        return Read(None, "", None)
    facts = empty()
    facts["config_map"] = {"roles": [], "users": [], "accounts": [], "credentials": found}
    facts["touched"] = ["*"] if bodies.fragment is None else ["config_map"] if "data" in bodies.fragment else []
    return Read(facts, bodies.source, None)


def _token(asked: Asked, reasons: list[str]) -> Read:
    bodies = choose(asked.verb, "TokenRequest", asked.request, b"", asked.code, reasons)
    facts = empty()
    ref = asked.ref
    facts["token"] = token_facts(ref["namespace"], ref["name"], bodies.chosen or {}, asked.annotations, reasons)
    facts["touched"] = ["*"]
    return Read(facts, bodies.source, None)


__all__ = ["Asked", "PodFacts", "Read", "empty", "flags_of", "read_facts"]
