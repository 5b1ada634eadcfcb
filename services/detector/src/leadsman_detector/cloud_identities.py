"""What is known of a cloud identity: which service accounts may take it, and what was given to it (`known.py`).

An identity is a role of an account of AWS, or a service account of Google Cloud: not a thing of one cluster, so that
what calls of the account and requests to clusters say of it meets. A link is told by the trust of a role, by an
association, by a ServiceAccount's annotation, and by each use: a service account that takes an identity is linked
with it, whenever that came to be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from leadsman_common.events import AuditEvent, Facts, Flag, parse_action

MAX_TEXTS = 200
_CALLS = int(Flag.HAS_CLOUD_LINK | Flag.HAS_CLOUD_ASSUME | Flag.HAS_CLOUD_GRANT)
SERVICE_ACCOUNT = "system:serviceaccount:"
_ROLE = ":role/"
_WRITES = ("create", "update", "patch")


def leaves(action: str, flags: int) -> bool:
    """Whether an event may tell something of an identity."""
    verb, resource, group, subresource, operation = parse_action(action)
    if operation:
        return bool(flags & _CALLS)
    written = resource == "serviceaccounts" and not group and not subresource and verb in _WRITES
    return written and bool(flags & Flag.HAS_SERVICE_ACCOUNT)


def account_of(_event: AuditEvent, thing: str) -> str:
    """Where the state keeps what is known of an identity: under its account, since it is no cluster's."""
    return f"account:{thing.rpartition('/')[0]}"


def told(event: AuditEvent, _matches: Sequence[object]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an event says of each identity, in one fact."""
    facts = event["facts"]
    if facts is None:
        return
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for identity, said in _said(event, facts):
        if thing := thing_of(event, identity):
            for key, value in said.items():
                found[thing].setdefault(key, []).extend(value)
    cluster = event["cluster"]["id"] if event["cluster"]["name"] else ""
    for thing, said in found.items():
        yield thing, {"who": thing, "cluster": cluster, **{key: value[:MAX_TEXTS] for key, value in said.items()}}
    assume = facts["cloud_assume"]
    if assume is not None and assume["service_account"] and (thing := thing_of(event, assume["role_arn"])):
        account = assume["service_account"]
        # said again all day: the state keeps the earliest of each
        same = f"{cluster}/{account}"
        via = "oidc_trust" if assume["source"] == "irsa" else assume["source"]
        yield thing, {"who": thing, "cluster": cluster, "links": [[account, via]], "id": same}


def about(event: AuditEvent) -> list[str]:
    """The identities that an event links or gives something to."""
    facts = event["facts"]
    if facts is None:
        return []
    return _each(thing for identity, _ in _said(event, facts) if (thing := thing_of(event, identity)))


def known(event: AuditEvent, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What facts, in order, come to: the links and the policies that still are, and those that ever were."""
    links: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
    policies: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(dict)
    was_linked: set[str] = set()
    had: dict[str, list[str]] = {}
    for fact in facts:
        who = str(fact.get("who", ""))
        if fact.get("trust"):  # a trust policy is written whole
            links[who] = {key: f for key, f in links[who].items() if key[1] != "oidc_trust"}
        for account, via in fact.get("links", ()):
            was_linked.add(who)
            links[who].setdefault((account, via), fact)
        for account, via in fact.get("unlinks", ()):
            links[who].pop((account, via), None)
        for policy, via, classes, removed in fact.get("policies", ()):
            if removed:
                policies[who].pop((policy, via), None)
            else:
                had.setdefault(policy, []).extend(classes)
                policies[who][policy, via] = classes
    standing = [(key, fact) for held in links.values() for key, fact in held.items()]
    held = [(policy, classes) for given in policies.values() for (policy, _), classes in given.items()]
    if not was_linked and not had:
        return {}
    named = _named(event)
    first = min((fact for _, fact in standing), key=lambda f: (f["t"], f["id"]), default=None)
    return {
        "linked": [identity for identity in named if links.get(thing_of(event, identity))],
        "was_linked": [identity for identity in named if thing_of(event, identity) in was_linked],
        "service_accounts": _each(account for (account, _), _ in standing),
        "clusters": _each(cluster for _, fact in standing if (cluster := str(fact.get("cluster", "")))),
        "via": _each(via for (_, via), _ in standing),
        "policies": _each(policy for policy, _ in held),
        "classes": _each(one for _, classes in held for one in classes),
        "had_policies": _each(iter(had)),
        "had_classes": _each(one for classes in had.values() for one in classes),
        **({"by": str(first.get("by", "")), "age_s": (event["time"] // 1000 - first["t"]) // 1000} if first else {}),
    }


def thing_of(event: AuditEvent, identity: str) -> str:
    """What an identity goes by, PROVIDER/ACCOUNT/NAME, in whatever spelling; empty where it is none.

    A role's name is the only one in its account, whatever its path.
    """
    if "@" in identity:
        project = identity.rpartition("@")[2].removesuffix(".iam.gserviceaccount.com")
        return f"gcp/{project}/{identity.rpartition('/')[2].lower()}"
    if _ROLE in identity:
        account, name = identity.split(":")[4], identity.rpartition("/")[2]
    else:
        is_role = event["cluster"]["provider"] == "aws" and identity and ":" not in identity
        account, name = event["cluster"]["account"], identity if is_role else ""
    return f"aws/{account}/{name}" if account and name else ""


def _named(event: AuditEvent) -> list[str]:
    facts = event["facts"]
    return _each(identity for identity, _ in _said(event, facts)) if facts is not None else []


def _said(event: AuditEvent, facts: Facts) -> Iterator[tuple[str, dict[str, Any]]]:
    """(identity, what is said of it) of an event."""
    yield from _linked(event, facts)
    yield from _granted(facts)


def _linked(event: AuditEvent, facts: Facts) -> Iterator[tuple[str, dict[str, Any]]]:
    """The service accounts that an identity is linked with, or no longer."""
    account, link, ref = facts["service_account"], facts["cloud_link"], event["objectRef"]
    if account is not None and ref["name"]:
        name = f"{SERVICE_ACCOUNT}{ref['namespace']}:{ref['name']}"
        for identity in (account["role_arn"], account["gcp_service_account"]):
            if identity:
                yield identity, {"links": [[name, "annotation"]]}
    if link is not None and link["identity"]:
        via = link["via"]
        subjects = link["subjects"] or (["*"] if link["unbounded"] else [])
        links, gone = ([[subject, via] for subject in found] for found in (subjects, link["removed"]))
        if links or gone:
            yield link["identity"], {"links": links, "unlinks": gone}


def _granted(facts: Facts) -> Iterator[tuple[str, dict[str, Any]]]:
    """The policies that an identity is given or loses, or that its trust is written anew."""
    grant = facts["cloud_grant"]
    for given in grant["grants"] if grant is not None else ():
        if given["identity"].startswith(SERVICE_ACCOUNT):
            continue
        if given["via"] == "trust":
            yield given["identity"], {} if given["policy"] else {"trust": [True]}
        elif given["via"] == "boundary":
            yield given["identity"], {}
        else:
            policy = [given["policy"], f"{given['via']}:{given['scope']}", given["classes"], given["removed"]]
            yield given["identity"], {"policies": [policy]}


def _each(found: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(found))[:MAX_TEXTS]
