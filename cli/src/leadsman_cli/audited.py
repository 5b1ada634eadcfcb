"""What reaches us of a request: the audit policy's verdict, then the log that the cloud puts the event in. Pure.

An event counts from the stage that the normalizer reads: ResponseComplete, or for requests that last (exec, attach,
port-forward, proxy, log, watch) already ResponseStarted. RequestReceived alone tells no outcome and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from leadsman_cli.audit_policy import LEVELS, Attributes, Match, Policy, evaluate, matches

# genericapiserver's longRunningRequestCheck, k8s.io/kubernetes pkg/controlplane/apiserver/config.go
LONG_VERBS = frozenset({"watch", "proxy"})
LONG_SUBRESOURCES = frozenset({"attach", "exec", "proxy", "log", "portforward"})
# of the resources that rules ask for; any other lives in a namespace
CLUSTER_SCOPED = frozenset(
    {
        "certificatesigningrequests",
        "clusterrolebindings",
        "clusterroles",
        "mutatingwebhookconfigurations",
        "namespaces",
        "nodes",
        "persistentvolumes",
        "validatingwebhookconfigurations",
    }
)
SOMEBODY = Attributes("", "somebody", ("system:authenticated",), namespace="a-namespace", name="a-name")
POD = replace(
    SOMEBODY,
    user="system:serviceaccount:a-namespace:an-account",
    groups=("system:serviceaccounts", "system:serviceaccounts:a-namespace", "system:authenticated"),
)
NOBODY = replace(SOMEBODY, user="system:anonymous", groups=("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Route:
    """The log that takes what matches; the first route that does takes it."""

    log: str
    match: Match


@dataclass(frozen=True, slots=True)
class Audit:
    """A policy, the logs its events are put in (none: all arrive), and the logs that are off."""

    policy: Policy
    routes: tuple[Route, ...] = ()
    off: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """What reaches us of one request. `lacking`: why that is not enough, empty where it is; `late`: only at its end."""

    lacking: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Special:
    """Requests that a rule of the policy singles out: who makes them, and how a person calls that."""

    asked: Attributes
    called: str
    control_plane: bool


def seen(audit: Audit, asked: Attributes, level: str) -> Seen:
    """Whether a request reaches us at this level or above."""
    config = evaluate(audit.policy, asked)
    by = f"rule {config.rule}" if config.rule else "no rule matches"
    if config.level == "None":
        return Seen(f"not logged ({by})")
    lasting = asked.verb in LONG_VERBS or asked.subresource in LONG_SUBRESOURCES
    stages = {"ResponseComplete", "ResponseStarted"} if lasting else {"ResponseComplete"}
    if not stages - config.omit_stages:
        return Seen(f"stage {' and '.join(sorted(stages))} omitted ({by})")
    for route in audit.routes:
        if matches(route.match, asked):
            if route.log in audit.off:
                return Seen(f"go to the log {route.log}, which is off")
            break
    if LEVELS.index(config.level) < LEVELS.index(level):
        return Seen(f"logged at {config.level} ({by}), {level} needed")
    return Seen(late=lasting and "ResponseStarted" in config.omit_stages)


def request(base: Attributes, verb: str, what: str) -> Attributes:
    """A request by `base` for RESOURCE[.GROUP][/SUBRESOURCE], or for a path (it begins with /)."""
    if what.startswith("/"):
        return replace(base, verb=verb, path=what, namespace="", name="")
    name, _, subresource = what.partition("/")
    plural, _, group = name.partition(".")
    # the name is in a created object, not in its URL; a list, too, has none
    named = verb not in {"create", "list", "watch", "deletecollection"} or subresource
    return replace(
        base,
        verb=verb,
        api_group=group,
        resource=plural,
        subresource=subresource,
        namespace="" if plural in CLUSTER_SCOPED else base.namespace,
        name=base.name if named else "",
    )


def specials(policy: Policy) -> Iterator[Special]:
    """Who and what the rules of a policy name: where a rule logs less for them, a policy that looks able has a hole."""
    found: dict[Attributes, Special] = {POD: Special(POD, "service accounts", control_plane=False)}
    for rule in policy.rules:
        for user, who in _callers(rule):
            for namespace in (*(n for n in rule.namespaces if n), ""):
                names = {name for group in rule.resources for name in group.resource_names} | {""}
                for name in sorted(names):
                    asked = replace(user, namespace=namespace or user.namespace, name=name or user.name)
                    words = [who, f"in namespace {namespace}" if namespace else "", f"named {name}" if name else ""]
                    called = " ".join(word for word in words if word)
                    if called:
                        found.setdefault(asked, Special(asked, called, control_plane=_control_plane(user)))
    yield from found.values()


def _callers(rule: Match) -> Iterator[tuple[Attributes, str]]:
    if not rule.users and not rule.user_groups:
        yield SOMEBODY, ""
    groups = tuple(g for g in rule.user_groups if g != "system:unauthenticated")
    for user in rule.users:
        if user != "system:anonymous":
            yield replace(SOMEBODY, user=user, groups=(*_groups_of(user), *groups)), f"user {user}"
    if not rule.users:
        for group in groups:
            yield replace(SOMEBODY, groups=(group, "system:authenticated")), f"group {group}"


def _groups_of(user: str) -> tuple[str, ...]:
    if user.startswith("system:serviceaccount:"):
        namespace = user.split(":")[2]
        return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    if user.startswith("system:node:"):
        return ("system:nodes", "system:authenticated")
    return ("system:authenticated",)


def _control_plane(caller: Attributes) -> bool:
    """Identities of the control plane and of nodes: policies leave them out for noise, and few attackers have them."""
    if "system:nodes" in caller.groups:
        return True
    user = caller.user or ""
    return user == "kubelet" or (user.startswith("system:") and not user.startswith("system:serviceaccount:"))
