"""What an event's routing fields (`action` and the flags) say of a rule before the event is decoded (DESIGN 3).

From them many fields are known, whole groups of facts are known to be absent, and the rest is unknown. A rule's gate is
what is left of its condition when everything unknown is taken out: rules that share a gate share a route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leadsman_common.events import Flag, parse_action
from leadsman_detector.compare import test_of
from leadsman_detector.form import And, Leaf, Node, Not, Or

Known = Mapping[str, list[Any]]
ALL_FLAGS = (1 << 63) - 1
_FACT_FLAGS = {
    "facts.pod": Flag.HAS_POD,
    "facts.role": Flag.HAS_ROLE,
    "facts.binding": Flag.HAS_BINDING,
    "facts.service": Flag.HAS_SERVICE,
    "facts.exec": Flag.HAS_EXEC,
    "facts.ingress": Flag.HAS_INGRESS,
    "facts.token": Flag.HAS_TOKEN,
    "facts.pv": Flag.HAS_PV,
    "facts.service_account": Flag.HAS_SERVICE_ACCOUNT,
    "facts.csr": Flag.HAS_CSR,
    "facts.webhook": Flag.HAS_WEBHOOK,
    "facts.config_map": Flag.HAS_CONFIG_MAP,
    "facts.cloud_access": Flag.HAS_CLOUD_ACCESS,
    "facts.cloud_assume": Flag.HAS_CLOUD_ASSUME,
    "facts.control_plane": Flag.HAS_CONTROL_PLANE,
    "facts.cloud_link": Flag.HAS_CLOUD_LINK,
    "facts.namespace": Flag.HAS_NAMESPACE,
    "facts.signal": Flag.HAS_SIGNAL,
    "facts.cloud_grant": Flag.HAS_CLOUD_GRANT,
}
_BOOL_FLAGS = {
    "actor.unauthenticated": Flag.UNAUTHENTICATED,
    "actor.impersonating": Flag.IMPERSONATING,
    "outcome.effective": Flag.EFFECTIVE,
    "dryRun": Flag.DRY_RUN,
    "coverage.truncated": Flag.TRUNCATED,
}
# the classes of actors that have a bit; people have none, nor have unknown ones
_CLASS_FLAGS = {
    "service_account": Flag.SERVICE_ACCOUNT,
    "node": Flag.NODE,
    "control_plane": Flag.CONTROL_PLANE,
    "managed_cloud": Flag.MANAGED_CLOUD,
}
_ACTION_FIELDS = ("verb", "objectRef.resource", "objectRef.apiGroup", "objectRef.subresource")
ROUTED = {"action", "actor.class", "cloud.operation", *_ACTION_FIELDS, *_BOOL_FLAGS}
GATED = {*ROUTED, "cloud.service"}  # of a request to a cluster it is known, of a call to the cloud it is not
ALWAYS = And(())  # the gate of a rule of which routing tells nothing


def known_fields(action: str, flags: int, known: int = ALL_FLAGS) -> dict[str, list[Any]]:
    """What `action` and `flags` say of an event's fields. `known` masks the flag bits that can be trusted."""
    verb, resource, group, subresource, operation = parse_action(action)
    fields: dict[str, list[Any]] = {"action": [action]}
    if not operation:  # a cloud call's verb and object are not in its action
        for path, value in zip(_ACTION_FIELDS, (verb, resource, group, subresource), strict=True):
            fields[path] = [value] if value else []
    if operation or known & Flag.CLOUD_CALL:
        call = operation.partition(":")[2] if not known & flags & Flag.HAS_SIGNAL else ""
        fields["cloud.operation"] = [call] if call else []
        if not operation:  # a request, whose cloud is the identity behind its user
            fields["cloud.service"] = []
    for path, bit in _BOOL_FLAGS.items():
        if known & bit:
            fields[path] = [bool(flags & bit)]
    for name, bit in _CLASS_FLAGS.items():
        if known & flags & bit:
            fields["actor.class"] = [name]
    for path, bit in _FACT_FLAGS.items():
        if known & bit and not flags & bit:
            fields[path] = []
    return fields


def has_no_facts(known: Known) -> bool:
    """Whether an event of which this is known has none of the facts."""
    return all(path in known for path in _FACT_FLAGS)


def known_values(path: str, known: Known) -> list[Any] | None:
    """The values of a field as far as routing tells: None where it does not. A missing fact empties all below it."""
    if path in known:
        return known[path]
    if path.startswith("facts."):
        return known.get(".".join(path.split(".", 2)[:2]))
    return None


def gate_of(node: Node) -> Node:
    """The part of a condition that routing may decide: where it says no, the condition cannot hold."""
    return _canonical(_gate(node, wanted=True))


def is_open(gate: Node, known: Known) -> bool:
    """Whether a gate lets through events of which this is known."""
    return _partial(gate, known) is not False


def is_met(node: Node, known: Known) -> bool:
    """Whether all events of which this is known meet a condition."""
    return _partial(node, known) is True


def _gate(node: Node, *, wanted: bool) -> Node:
    """What must be so for `node` to be `wanted`, in routed fields only; ALWAYS where they cannot tell."""
    if isinstance(node, Not):
        return _gate(node.part, wanted=not wanted)
    if isinstance(node, And | Or):
        parts = [_gate(p, wanted=wanted) for p in node.parts]
        if isinstance(node, And) is wanted:
            return And(tuple(p for p in parts if p != ALWAYS))
        return ALWAYS if ALWAYS in parts else Or(tuple(parts))
    plain = Leaf(node.path, node.op, node.value, cased=node.cased)
    if node.path in GATED and node.op != "fieldref":
        return plain if wanted else Not(plain)
    fact = ".".join(node.path.split(".", 2)[:2])
    if fact in _FACT_FLAGS and (node.op != "fieldref" and test_of(node)([])) is not wanted:
        return Leaf(fact, "exists", True)
    return ALWAYS


def _canonical(node: Node) -> Node:
    """The same condition in one spelling: nested parts flattened, in order, none twice."""
    if not isinstance(node, And | Or):
        return node
    kind = type(node)
    parts: list[Node] = []
    for part in map(_canonical, node.parts):
        parts += part.parts if isinstance(part, kind) else [part]
    if len(unique := {repr(p): p for p in parts}) == 1:
        return parts[0]
    return kind(tuple(unique[key] for key in sorted(unique)))


def _partial(node: Node, known: Known) -> bool | None:
    """Kleene's logic over what is known: True, False, or None for unknown."""
    if isinstance(node, And | Or):
        return _partial_all(node.parts, known, decides=isinstance(node, Or))
    if isinstance(node, Not):
        value = _partial(node.part, known)
        return None if value is None else not value
    values = known_values(node.path, known)
    return None if values is None else test_of(node)(values)


def _partial_all(parts: Sequence[Node], known: Known, *, decides: bool) -> bool | None:
    unknown = False
    for part in parts:
        value = _partial(part, known)
        if value is decides:
            return decides
        unknown = unknown or value is None
    return None if unknown else not decides
