"""An audit policy (audit.k8s.io Policy) and what the API server does with it: pure, for `leadsman coverage`.

Mirrors k8s.io/apiserver v0.37.2: pkg/audit/policy/checker.go (which rule matches a request, and what follows),
pkg/apis/audit/validation (what a policy may say) and pkg/audit/policy/reader.go (unknown fields only warn).
Field reference: https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Policy
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
# v1beta1 is what AWS publishes and servers before 1.24 read; its policy has the same fields
API_VERSIONS = ("audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class BadPolicy(ValueError):
    """The API server would refuse to start with this policy; the text is the reason."""


class GroupResources(msgspec.Struct, frozen=True, rename="camel"):
    """Resources of one API group; none: all of it."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class Match(msgspec.Struct, frozen=True, rename="camel"):
    """What a rule matches: all of what it names."""

    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")


class PolicyRule(Match, frozen=True, rename="camel", kw_only=True):
    """One rule of a policy."""

    level: str
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """A policy. The first rule that matches a request decides; without one it is not logged."""

    rules: tuple[PolicyRule, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a policy looks at in a request (authorizer.Attributes). `user` is None where authentication failed.

    A request has either a resource, or a `path` and no resource.
    """

    verb: str
    user: str | None = ""
    groups: tuple[str, ...] = ()
    api_group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """How a request is audited. `rule` is the number of the rule that matched, from 1; 0 where none did."""

    level: str
    omit_stages: frozenset[str]
    omit_managed_fields: bool
    rule: int


def parse_policy(text: str) -> tuple[Policy, list[str]]:
    """A policy from YAML or JSON, and what is wrong with it but does not stop the server. Raises BadPolicy."""
    try:
        document = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise BadPolicy(str(error).replace("\n", " ")) from None
    return policy_of(document)


def policy_of(document: Any) -> tuple[Policy, list[str]]:
    """The same from a decoded document."""
    if not isinstance(document, dict) or document.get("kind") != "Policy":
        raise BadPolicy("not an audit policy: kind is not Policy")
    if document.get("apiVersion") not in API_VERSIONS:
        raise BadPolicy(f"apiVersion is none of {', '.join(API_VERSIONS)}")
    clean = _without_nulls({k: v for k, v in document.items() if k not in {"apiVersion", "kind", "metadata"}})
    warnings = _unknown(clean, Policy, "")
    try:
        policy = msgspec.convert(clean, Policy)
    except msgspec.ValidationError as error:
        raise BadPolicy(str(error)) from None
    if not policy.rules:
        raise BadPolicy("a policy without rules")
    _check(policy)
    return policy, warnings


def evaluate(policy: Policy, asked: Attributes) -> AuditConfig:
    """The level and stages that the first matching rule gives a request."""
    for number, rule in enumerate(policy.rules, 1):
        if matches(rule, asked):
            omit = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
            return AuditConfig(rule.level, frozenset(policy.omit_stages + rule.omit_stages), omit, number)
    return AuditConfig("None", frozenset(policy.omit_stages), policy.omit_managed_fields, 0)


def matches(rule: Match, asked: Attributes) -> bool:
    """Whether a rule matches a request."""
    if rule.users and (asked.user is None or asked.user not in rule.users):
        return False
    if rule.user_groups and (asked.user is None or not set(rule.user_groups) & set(asked.groups)):
        return False
    if rule.verbs and asked.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return _matches_resource(rule, asked)
    if rule.non_resource_urls:
        return not asked.resource and any(_path_matches(asked.path, spec) for spec in rule.non_resource_urls)
    return True


def _matches_resource(rule: Match, asked: Attributes) -> bool:
    if not asked.resource:
        return False
    if rule.namespaces and asked.namespace not in rule.namespaces:  # cluster-scoped: ""
        return False
    return not rule.resources or any(_in_group(found, asked) for found in rule.resources)


def _in_group(found: GroupResources, asked: Attributes) -> bool:
    if found.group not in {asked.api_group, "*"}:
        return False
    if not found.resources:
        return True
    if found.resource_names and asked.name not in found.resource_names:
        return False
    return any(_resource_matches(spec, asked) for spec in found.resources)


def _resource_matches(spec: str, asked: Attributes) -> bool:
    combined = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    if spec in {combined, "*"}:
        return True
    if asked.subresource and spec.startswith("*/") and spec.removeprefix("*/") == asked.subresource:
        return True
    # as the server has it: pods/* matches pods itself too
    return spec.endswith("/*") and spec.removesuffix("/*") == asked.resource


def _path_matches(path: str, spec: str) -> bool:
    return spec in {"*", path} or (spec.endswith("*") and path.startswith(spec.rstrip("*")))


def _check(policy: Policy) -> None:
    _check_stages(policy.omit_stages, "omitStages")
    for index, rule in enumerate(policy.rules):
        at = f"rules[{index}]"
        if rule.level not in LEVELS:
            raise BadPolicy(f"{at}.level is one of {', '.join(LEVELS)}, not {rule.level!r}")
        _check_stages(rule.omit_stages, f"{at}.omitStages")
        for url in rule.non_resource_urls:
            if url != "*" and not url.startswith("/"):
                raise BadPolicy(f"{at}.nonResourceURLs: {url!r} does not begin with /")
            if "*" in url[:-1]:
                raise BadPolicy(f"{at}.nonResourceURLs: {url!r} has a * that is not its last character")
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            raise BadPolicy(f"{at}: resources or namespaces together with nonResourceURLs")
        for found in rule.resources:
            if found.group not in {"", "*"} and not _SUBDOMAIN.fullmatch(found.group):
                raise BadPolicy(f"{at}.resources: {found.group!r} is no API group (a group has no version)")
            if found.resource_names and not found.resources:
                raise BadPolicy(f"{at}.resources: resourceNames without resources")


def _check_stages(stages: tuple[str, ...], at: str) -> None:
    if wrong := [s for s in stages if s not in STAGES]:
        raise BadPolicy(f"{at}: no such stage: {', '.join(wrong)}")


def _without_nulls(value: Any) -> Any:
    """YAML's `users:` with nothing behind it is null, which the server takes for absent."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _unknown(document: Any, form: type[msgspec.Struct], at: str) -> list[str]:
    """Fields that the server warns about and ignores: what they were meant to do does not happen."""
    if not isinstance(document, dict):
        return []
    fields = {f.encode_name: f for f in msgspec.structs.fields(form)}
    out = [f"{at}{key}: no such field, the API server ignores it" for key in document if key not in fields]
    below: dict[str, type[msgspec.Struct]] = {"rules": PolicyRule, "resources": GroupResources}
    for key, found in document.items():
        # in GroupResources, resources is a list of names
        if key in below and isinstance(found, list) and form is not GroupResources:
            for index, item in enumerate(found):
                out += _unknown(item, below[key], f"{at}{key}[{index}].")
    return out
