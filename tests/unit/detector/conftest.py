"""Audit events out of the schema's defaults and what a test says of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leadsman_common.events import AuditEvent, Flag, action_of, event_id

sys.path.append(str(Path(__file__).parent))  # the tests' folder is no package (importmode=importlib)
from schema_records import defaults

MakeEvent = Callable[..., AuditEvent]


@pytest.fixture
def record() -> Callable[..., Any]:
    return defaults


@pytest.fixture
def make_event() -> MakeEvent:
    def make(
        verb: str = "get",
        resource: str = "pods",
        *,
        group: str = "",
        sub: str = "",
        namespace: str = "shop",
        name: str = "web",
        actor: str = "bob",
        actor_class: str = "human",
        groups: tuple[str, ...] = (),
        at_s: float = 1_700_000_000,
        cluster: str = "aws/111122223333/eu-west-1/prod",
        effective: bool = True,
        facts: dict[str, Any] | None = None,
        outcome: dict[str, Any] | None = None,
        **fields: Any,
    ) -> AuditEvent:
        flags = Flag.EFFECTIVE if effective else Flag.FAILED
        for key, bit in (
            ("pod", Flag.HAS_POD), ("role", Flag.HAS_ROLE), ("binding", Flag.HAS_BINDING), ("exec", Flag.HAS_EXEC),
        ):  # fmt: skip
            if facts and facts.get(key):
                flags |= bit
        touched = ["*"] if verb in {"create", "update"} else []
        event: AuditEvent = defaults(
            "AuditEvent",
            action=action_of(verb, resource, group, sub),
            flags=int(flags),
            id=event_id(cluster, "audit", str(at_s), verb, f"{resource}/{name}/{sub}", actor),
            time=int(at_s * 1_000_000),
            verb=verb,
            objectRef=defaults(
                "ObjectRef", resource=resource, apiGroup=group, subresource=sub, namespace=namespace, name=name
            ),
            cluster=defaults("Cluster", id=cluster, name=cluster.rpartition("/")[2]),
            actor=defaults("Actor", **{"name": actor, "class": actor_class, "groups": list(groups)}),
            outcome=defaults("Outcome", effective=effective, authz="allow", http=200, **(outcome or {})),
            facts=defaults("Facts", **{"touched": touched, **facts}) if facts else None,
            **fields,
        )
        return event

    return make
