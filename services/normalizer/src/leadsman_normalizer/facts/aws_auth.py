"""The aws-auth ConfigMap: which IAM identities may enter an EKS cluster, and as whom (DETECTIONS K11).

https://docs.aws.amazon.com/eks/latest/userguide/auth-configmap.html: data.mapRoles, mapUsers and mapAccounts, each YAML
inside a string that anyone who may write the ConfigMap chose. It is parsed within bounds.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from leadsman_common.events import ConfigMapFacts, IamMapping
from leadsman_normalizer.facts.values import Tree, mapping, text, texts
from leadsman_normalizer.lenient import note

NAME: Final = "aws-auth"
NAMESPACE: Final = "kube-system"
MAX_YAML_CHARS = 128 * 1024
MAX_YAML_DEPTH = 8
MAX_MAPPINGS = 2000


def config_map_facts(body: Tree, why: list[str]) -> ConfigMapFacts:
    """The mappings; a fragment of a patch gives those of the keys that it sets."""
    data = mapping(body, "data", why)
    accounts = _items(text(data, "mapAccounts", why), "mapAccounts", why)
    return {
        "roles": _mappings(data, "mapRoles", "rolearn", why),
        "users": _mappings(data, "mapUsers", "userarn", why),
        "accounts": [str(account) for account in accounts if isinstance(account, str | int)],
        "credentials": [],
    }


def _mappings(data: Tree, key: str, arn: str, why: list[str]) -> list[IamMapping]:
    found = [item for item in _items(text(data, key, why), key, why) if isinstance(item, dict)]
    return [
        {
            "arn": text(item, arn, why),
            "username": text(item, "username", why),
            "groups": texts(item, "groups", why),
        }
        for item in found
    ]


def _items(document: str, key: str, why: list[str]) -> list[Any]:
    """The list that a YAML text is; [] with a reason where it is none, or goes beyond the bounds."""
    if not document.strip():
        return []
    try:
        _within_bounds(document)
        found = yaml.load(document, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        note(why, f"{key}: {_said(error)}")
        return []
    if found is None:
        return []
    if not isinstance(found, list):
        note(why, f"{key}: no list")
        return []
    return found[:MAX_MAPPINGS]


def _said(error: Exception) -> str:
    text = str(error)
    if "nesting depth" in text:  # libyaml's own bound, which PyYAML has from 6.0.4 on: it reads ahead of ours
        return "nested too deep"
    return text.splitlines()[0] if text else "malformed YAML"


def _within_bounds(document: str) -> None:
    """Raise ValueError for what only an attacker writes: huge, deep, or aliases (they multiply when walked)."""
    if len(document) > MAX_YAML_CHARS:
        raise ValueError("too large to parse")
    depth = 0
    for event in yaml.parse(document, yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("YAML aliases are not read")  # noqa: TRY004 - the document is wrong, not its type
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_YAML_DEPTH:
            raise ValueError("nested too deep")
