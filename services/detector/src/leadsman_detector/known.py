"""What earlier events told, for rules that ask: the fields `known.*` of an event.

Each kind of knowledge is kept under the names of what it is about (a pod, a subject of bindings, a role, a credential,
a service account, a cloud identity, an object): an event leaves facts there, a later one that a rule looks at asks for
them before the rule decides. Only what a loaded rule asks for is kept or read. An event that has asked is itself
remembered for a while, so that a fact that comes late has it looked at again: what is known is a function of the set
of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import msgspec

from leadsman_common.alerts import level_at_least
from leadsman_common.events import AuditEvent, Flag, parse_action
from leadsman_detector import cloud_identities, members
from leadsman_detector.cloud_identities import SERVICE_ACCOUNT
from leadsman_detector.history import object_key
from leadsman_detector.match import Match
from leadsman_detector.state import Put, Range

DAY_US = 86_400_000_000
TTL_MS = 30 * 24 * 60 * 60 * 1000
LONG_TTL_MS = 400 * 24 * 60 * 60 * 1000  # of what is so until it is taken back, and is said once
BEGINNING_MS = -(1 << 53)
LATE_MS = 2 * 60 * 60 * 1000  # how late a fact may come, and events that asked are looked at again
ASKED_TTL_MS = 4 * LATE_MS
MAX_FACTS = 32  # of one thing; the latest are kept
MAX_ASKED = 64  # events that are remembered as having asked about one thing
MAX_PLACES = 256  # addresses of one actor or credential, each once a day; the latest are kept
MAX_KEYS = 48  # things that one event asks about: a person's groups may be many
MAX_BYTES = 64 * 1024  # of an event that is remembered; beyond it goes without its bodies
_REACHING = frozenset({"exec", "attach", "portforward", "ephemeralcontainers", "proxy"})
_WRITES = ("create", "update", "patch")
_RBAC = "rbac.authorization.k8s.io"

Fact: TypeAlias = dict[str, Any]  # what one event told: id, t (milliseconds), by (the actor), and the kind's own keys
Told: TypeAlias = Iterator[tuple[str, dict[str, Any]]]  # the thing it is about, the kind's own keys


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of knowledge. `leaves` says by action and flags whether an event may tell something.

    `finds`: what it is told are the rules that found something on what was written. `again`: many events tell the same
    again and again, so of one `id` that a fact names only the earliest is kept. `place`: what the state calls the
    cluster that a thing is of.
    """

    name: str
    leaves: Callable[[str, int], bool]
    told: Callable[[AuditEvent, Sequence[Match]], Told]
    about: Callable[[AuditEvent], list[str]]  # the things that an event asks about
    known: Callable[[AuditEvent, list[Fact]], dict[str, Any]]  # what the facts come to
    finds: bool = False
    again: bool = False
    place: Callable[[AuditEvent, str], str] = lambda event, _thing: event["cluster"]["id"]
    ttl_ms: int = TTL_MS
    cap: int = MAX_FACTS


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that asked, as it is remembered."""

    topic: str
    partition: int
    offset: int
    event: bytes


@dataclass(slots=True)
class Question:
    """What an event asks: by kind the ranges to be read."""

    ranges: dict[str, list[Range]] = field(default_factory=dict)


NOTHING = Question()


def kinds_of(paths: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds that these fields (`known.KIND.*`) ask for."""
    named = {path.split(".")[1] for path in paths}
    return tuple(kind for kind in KINDS if kind.name in named)


def puts(event: AuditEvent, kinds: Sequence[Kind], matches: Sequence[Match]) -> list[Put]:
    """The facts that an event leaves: only what took effect tells something."""
    if not event["outcome"]["effective"] or event["dryRun"]:
        return []
    found: list[Put] = []
    at = event["time"] // 1000
    head = {"id": event["id"], "t": at, "by": event["actor"]["name"]}
    for kind in kinds:
        for thing, more in kind.told(event, matches):
            group = _group(kind, thing)
            fact = {"t": at, **more} if "id" in more else {**head, **more}
            name, series, place = fact["id"].encode(), f"{group}/told", kind.place(event, thing)
            keep: Literal["earliest", "latest"] = "earliest" if kind.again else "latest"
            member = msgspec.json.encode(fact)
            found.append(Put(series, place, at, member, kind.ttl_ms, kind.cap, group, keep, name))
    return found


def question(event: AuditEvent, kinds: Sequence[Kind]) -> Question:
    """What to ask for an event: the facts up to its time."""
    found = Question()
    for kind in kinds:
        for thing in kind.about(event)[:MAX_KEYS]:
            group = _group(kind, thing)
            span = Range(f"{group}/told", kind.place(event, thing), BEGINNING_MS, event["time"] // 1000, group)
            found.ranges.setdefault(kind.name, []).append(span)
    return found


def asked(event: AuditEvent, question: Question, waiting: bytes) -> list[Put]:
    """Remember an event as having asked."""
    at, name = event["time"] // 1000, event["id"].encode()
    return [
        Put(f"{span.group}/asked", span.cluster, at, waiting, ASKED_TTL_MS, MAX_ASKED, span.group, name=name)
        for spans in question.ranges.values()
        for span in spans
    ]


def late_for(put: Put) -> Range:
    """What to read for a fact that is put: the events that asked and are later than it."""
    return Range(f"{put.group}/asked", put.cluster, put.time_ms, put.time_ms + LATE_MS, put.group)


def answered(event: AuditEvent, facts: Mapping[str, Sequence[bytes]]) -> AuditEvent:
    """The event with what is known; without any fact it stays as it is."""
    known: dict[str, Any] = {}
    for name, found in facts.items():
        read = {f["id"]: f for f in members.read_all(_FACT, found) if _usable(f)}
        used = [f for f in read.values() if f["id"] != event["id"]]
        if used and (told := _BY_NAME[name].known(event, sorted(used, key=lambda f: (f["t"], f["id"])))):
            known[name] = told
    return cast("AuditEvent", {**event, "known": known}) if known else event


def encode_waiting(waiting: Waiting) -> bytes:
    """As the state keeps it."""
    return msgspec.msgpack.encode((waiting.topic, waiting.partition, waiting.offset, waiting.event))


def read_waiting(found: Sequence[bytes]) -> list[Waiting]:
    """The events that asked."""
    read = []
    for member in found:
        try:
            read.append(Waiting(*msgspec.msgpack.decode(member, type=tuple[str, int, int, bytes])))
        except msgspec.MsgspecError:
            continue
    return read


def _usable(fact: Fact) -> bool:
    return isinstance(fact.get("id"), str) and isinstance(fact.get("t"), int)


def _group(kind: Kind, thing: str) -> str:
    return f"known/{kind.name}:{thing}"


def _age_s(event: AuditEvent, fact: Fact) -> int:
    return (event["time"] // 1000 - int(fact["t"])) // 1000


def _same(event: AuditEvent, fact: Fact) -> bool:
    return bool(fact.get("by")) and fact.get("by") == event["actor"]["name"]


def _union(facts: Iterable[Fact], key: str) -> list[str]:
    """The texts of all the facts, each once."""
    return list(dict.fromkeys(str(text) for fact in facts for text in fact.get(key) or ()))


# --- pods -------------------------------------------------------------------------------------------------------


def _pod_leaves(action: str, _flags: int) -> bool:
    verb, resource, group, subresource, _ = parse_action(action)
    if resource != "pods" or group:
        return False
    return (verb == "create" and not subresource) or (
        verb in ("update", "patch") and subresource == "ephemeralcontainers"
    )


def _pod_told(event: AuditEvent, matches: Sequence[Match]) -> Told:
    """Pods that matter: privileged, on the host, waiting on stdin, found by a rule; and ephemeral containers."""
    facts, ref = event["facts"], event["objectRef"]
    pod = facts["pod"] if facts else None
    if pod is None or not ref["name"] or not _pod_leaves(event["action"], 0):
        return
    made = not ref["subresource"]
    host = pod["host_network"] or pod["host_pid"] or pod["host_ipc"]
    more = {
        "made": made,
        "privileged": any(c["privileged"] or c["host_process"] for c in pod["containers"]),
        "host": host or any(v["tier"] in ("high", "medium") for v in pod["volumes"]),
        "stdin": pod["stdin"],
        "ephemeral": [] if made else [c["name"] for c in pod["containers"] if c["list"] == "ephemeral"],
        "findings": _findings(matches),
    }
    if any(value for key, value in more.items() if key != "made"):
        yield f"{ref['namespace']}/{ref['name']}", more


def _pod_about(event: AuditEvent) -> list[str]:
    """The pod that a request reaches into, through the API server or the kubelet, or that it is about."""
    ref, facts = event["objectRef"], event["facts"]
    opened = facts["exec"] if facts else None
    if opened is not None and opened["pod"]:
        return [f"{opened['namespace']}/{opened['pod']}"]
    reaching = ref["subresource"] in _REACHING or (ref["resource"] == "pods" and not ref["apiGroup"])
    return [f"{ref['namespace']}/{ref['name']}"] if reaching and ref["name"] else []


def _pod_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    opened = event["facts"]["exec"] if event["facts"] else None
    made = next((f for f in reversed(facts) if f.get("made")), None)
    pod: dict[str, Any] = {
        "privileged": any(f.get("privileged") for f in facts),
        "host": any(f.get("host") for f in facts),
        "ephemeral": opened is not None and opened["container"] in _union(facts, "ephemeral"),
        "findings": _union(facts, "findings"),
    }
    if made is not None:
        pod["stdin"] = bool(made.get("stdin"))
        pod["created_by_same_actor"] = made.get("by") == event["actor"]["name"]
        pod["age_s"] = _age_s(event, made)
    return pod


# --- who is bound to what -----------------------------------------------------------------------------------------


def _binding_leaves(action: str, _flags: int) -> bool:
    verb, resource, group, subresource, _ = parse_action(action)
    return (
        group == _RBAC and resource in ("rolebindings", "clusterrolebindings") and verb in _WRITES and not subresource
    )


def _binding_told(event: AuditEvent, _matches: Sequence[Match]) -> Told:
    """A binding, under each of its subjects."""
    facts = event["facts"]
    bound = facts["binding"] if facts else None
    if bound is None or not bound["role_name"] or not _binding_leaves(event["action"], 0):
        return
    more = {
        "binding": bound["name"],
        "namespace": bound["namespace"],
        "role": bound["role_name"],
        "role_kind": bound["role_kind"],
        "self": bound["self"],
    }
    for subject in bound["subjects"]:
        yield _subject(subject["kind"], subject["namespace"], subject["name"]), {**more, "subject": subject["kind"]}


def _subject(kind: str, namespace: str, name: str) -> str:
    return f"{kind}:{namespace}/{name}" if kind == "ServiceAccount" else f"{kind}:{name}"


def _actor_about(event: AuditEvent) -> list[str]:
    """The actor as a subject of bindings: its name, its service account and its groups."""
    actor = event["actor"]
    found = [_subject("User", "", actor["name"])] if actor["name"] else []
    if actor["class"] == "service_account":
        found.append(_subject("ServiceAccount", actor["namespace"], actor["service_account"]))
    return found + [_subject("Group", "", group) for group in actor["groups"]]


def _actor_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    bindings = [
        {
            "binding": str(f.get("binding", "")),
            "namespace": str(f.get("namespace", "")),
            "role": str(f.get("role", "")),
            "role_kind": str(f.get("role_kind", "")),
            "subject_kind": str(f.get("subject", "")),
            "age_s": _age_s(event, f),
            "by": str(f.get("by", "")),
            "by_self": _same(event, f),
        }
        for f in facts
    ]
    return {"bindings": bindings, "bound_roles": list(dict.fromkeys(b["role"] for b in bindings))}


# --- roles --------------------------------------------------------------------------------------------------------


def _role_leaves(action: str, _flags: int) -> bool:
    verb, resource, group, subresource, _ = parse_action(action)
    return group == _RBAC and resource in ("roles", "clusterroles") and verb in _WRITES and not subresource


def _role_told(event: AuditEvent, _matches: Sequence[Match]) -> Told:
    facts = event["facts"]
    role = facts["role"] if facts else None
    if role is None or not role["name"] or not _role_leaves(event["action"], 0):
        return
    more = {
        "made": event["verb"] == "create",
        "classes": sorted({c for rule in role["rules"] for c in rule["classes"]}),
        "grants": sorted({g for rule in role["rules"] for g in rule["grants"]}),
    }
    yield _role(role["kind"], role["namespace"], role["name"]), more


def _role(kind: str, namespace: str, name: str) -> str:
    return f"{kind}:{namespace if kind == 'Role' else ''}/{name}"


def _role_about(event: AuditEvent) -> list[str]:
    """The role that a binding names, that a write is about, or that the authoriser says allowed the request."""
    facts, outcome, ref = event["facts"], event["outcome"], event["objectRef"]
    bound = facts["binding"] if facts else None
    if bound is not None:
        return [_role(bound["role_kind"], bound["namespace"], bound["role_name"])]
    if ref["apiGroup"] == _RBAC and ref["resource"] in ("roles", "clusterroles"):
        return [_role("Role" if ref["resource"] == "roles" else "ClusterRole", ref["namespace"], ref["name"])]
    if outcome["role"]:
        return [_role(outcome["role_kind"], outcome["binding_namespace"] or ref["namespace"], outcome["role"])]
    return []


def _role_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    last = facts[-1]
    return {
        # of all its versions: narrowed, bound and widened again it is not hidden, and no late one takes it back
        "classes": _union(facts, "classes"),
        "grants": _union(facts, "grants"),
        "age_s": _age_s(event, last),
        "new": any(f.get("made") for f in facts),
        "by": str(last.get("by", "")),
        "by_same_actor": any(_same(event, f) for f in facts),
    }


# --- credentials --------------------------------------------------------------------------------------------------


def _credential_leaves(action: str, _flags: int) -> bool:
    return action == "create serviceaccounts/token"


def _credential_told(event: AuditEvent, _matches: Sequence[Match]) -> Told:
    token = event["facts"]["token"] if event["facts"] else None
    if token is not None and token["issued_credential_id"]:
        ref = event["objectRef"]
        account = f"{SERVICE_ACCOUNT}{ref['namespace']}:{token['service_account'] or ref['name']}"
        more = {
            "for": account,
            "ip": event["src_endpoint"]["ip"],
            "class": event["actor"]["class"],
            "audiences": token["audiences"],
        }
        yield token["issued_credential_id"], more


def _credential_about(event: AuditEvent) -> list[str]:
    return [event["actor"]["credential_id"]] if event["actor"]["credential_id"] else []


def _credential_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    first = facts[0]
    return {
        "minted_by": str(first.get("by", "")),
        "minted_by_class": str(first.get("class", "")),
        "minted_for": str(first.get("for", "")),
        "minted_from": str(first.get("ip", "")),
        "audiences": _union([first], "audiences"),
        "same_address": first.get("ip") == event["src_endpoint"]["ip"],
        "age_s": _age_s(event, first),
    }


# --- who was seen from where --------------------------------------------------------------------------------------


def _seen_leaves(_action: str, _flags: int) -> bool:
    return True


def _seen_told(event: AuditEvent, _matches: Sequence[Match]) -> Told:
    """The address, for the actor and for the credential; it names the day, so that a day has one of each."""
    if ip := event["src_endpoint"]["ip"]:
        for thing in _seen_about(event):
            yield thing, {"id": f"{event['time'] // DAY_US}|{ip}", "of": thing.partition(":")[0], "ip": ip}


def _seen_about(event: AuditEvent) -> list[str]:
    actor = event["actor"]
    found = [f"actor:{actor['name']}"] if actor["name"] else []
    return found + ([f"credential:{actor['credential_id']}"] if actor["credential_id"] else [])


def _seen_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    """What was before the event itself, which tells the state of its own address too."""
    known: dict[str, Any] = {}
    for of in ("actor", "credential"):
        before = [f for f in facts if f.get("of") == of and f["t"] < event["time"] // 1000]
        if before:
            known[f"{of}_addresses"] = list(dict.fromkeys(str(f.get("ip", "")) for f in before))
            known[f"{of}_here"] = event["src_endpoint"]["ip"] in known[f"{of}_addresses"]
    return known


# --- service accounts and the cloud -------------------------------------------------------------------------------


def _account_leaves(action: str, flags: int) -> bool:
    verb, resource, group, subresource, operation = parse_action(action)
    if operation:
        return bool(flags & Flag.HAS_CLOUD_LINK)
    return resource == "serviceaccounts" and not group and not subresource and verb in _WRITES


def _account_told(event: AuditEvent, _matches: Sequence[Match]) -> Told:
    """The cloud identities of a service account: by its annotations, or linked from the cloud's side."""
    facts, ref = event["facts"], event["objectRef"]
    if facts is None:
        return
    account, link = facts["service_account"], facts["cloud_link"]
    if account is not None and ref["name"]:
        roles = [account["role_arn"], account["gcp_service_account"], account["azure_client_id"]]
        if any(roles):
            yield f"{ref['namespace']}/{ref['name']}", {"roles": [r for r in roles if r], "via": "annotation"}
    if link is not None and link["identity"]:
        for subject in link["subjects"]:
            namespace, _, name = subject.removeprefix(SERVICE_ACCOUNT).partition(":")
            if name:
                yield f"{namespace}/{name}", {"roles": [link["identity"]], "via": link["via"]}


def _account_about(event: AuditEvent) -> list[str]:
    """The service account of the request: the actor's, the pod's, the token's, or that which takes a cloud identity."""
    facts, ref, actor = event["facts"], event["objectRef"], event["actor"]
    assume = facts["cloud_assume"] if facts else None
    if assume is not None and assume["service_account"]:
        namespace, _, name = assume["service_account"].removeprefix(SERVICE_ACCOUNT).partition(":")
        return [f"{namespace}/{name}"]
    if ref["resource"] == "serviceaccounts" and ref["name"]:
        return [f"{ref['namespace']}/{ref['name']}"]
    pod = facts["pod"] if facts else None
    if pod is not None:
        return [f"{ref['namespace']}/{pod['service_account'] or 'default'}"]
    if actor["class"] == "service_account":
        return [f"{actor['namespace']}/{actor['service_account']}"]
    return []


def _account_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    return {
        "cloud_roles": _union(facts, "roles"),
        "via": str(facts[-1].get("via", "")),
        "by": str(facts[-1].get("by", "")),
        "age_s": _age_s(event, facts[-1]),
    }


# --- objects with findings ----------------------------------------------------------------------------------------


def _object_leaves(_action: str, _flags: int) -> bool:
    return False  # findings are of events that some rule looks at anyway


def _object_told(event: AuditEvent, matches: Sequence[Match]) -> Told:
    """What rules found on an object, under its own name and that of its owner."""
    ref, found = event["objectRef"], _findings(matches)
    if not found or not ref["name"] or ref["subresource"] or event["verb"] not in _WRITES:
        return
    more = {"findings": found, "made": event["verb"] == "create"}
    names = [_object(ref["resource"], ref["namespace"], ref["name"])]
    key = object_key(event)
    if key is not None and key.child:
        names.append(_object(key.resource, key.namespace, key.name))
    for name in names:
        yield name, more


def _object(resource: str, namespace: str, name: str) -> str:
    return f"{resource}:{namespace}/{name}"


def _object_about(event: AuditEvent) -> list[str]:
    ref = event["objectRef"]
    return [_object(ref["resource"], ref["namespace"], ref["name"])] if ref["name"] else []


def _object_known(event: AuditEvent, facts: list[Fact]) -> dict[str, Any]:
    first = facts[0]
    return {
        "findings": _union(facts, "findings"),
        "age_s": _age_s(event, first),
        "by": str(first.get("by", "")),
        "by_same_actor": any(_same(event, f) for f in facts),
        "new": bool(first.get("made")),
    }


def _findings(matches: Sequence[Match]) -> list[str]:
    """The rules of which an alert of medium or more would be raised."""
    return sorted(
        {
            m.rule.name
            for m in matches
            if m.rule.alert and not m.shadow and not m.attempt and level_at_least(m.level, "medium")
        }
    )


KINDS: tuple[Kind, ...] = (
    Kind("pod", _pod_leaves, _pod_told, _pod_about, _pod_known, finds=True),
    Kind("actor", _binding_leaves, _binding_told, _actor_about, _actor_known),
    Kind("role", _role_leaves, _role_told, _role_about, _role_known),
    Kind("credential", _credential_leaves, _credential_told, _credential_about, _credential_known),
    Kind("seen", _seen_leaves, _seen_told, _seen_about, _seen_known, again=True, cap=MAX_PLACES),
    Kind("service_account", _account_leaves, _account_told, _account_about, _account_known),
    Kind(
        "cloud_identity",
        cloud_identities.leaves,
        cloud_identities.told,
        cloud_identities.about,
        cloud_identities.known,
        place=cloud_identities.account_of,
        again=True,
        ttl_ms=LONG_TTL_MS,
        cap=4 * MAX_FACTS,
    ),
    Kind("object", _object_leaves, _object_told, _object_about, _object_known, finds=True),
)
_BY_NAME = {kind.name: kind for kind in KINDS}
_FACT: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(dict[str, Any])
