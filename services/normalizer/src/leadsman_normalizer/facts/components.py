"""Which component of the control plane runs at which version, as its user agent says: `kubelet/v1.34.1 (linux/amd64)`.

Only where the actor is known to be the control plane, a node or the cloud: anybody can write a user agent. And only on
the requests by which components say that they live (leases, node objects), not on each of the thousands they make.
"""

from __future__ import annotations

import re
from functools import lru_cache

from leadsman_common.events import ControlPlaneFacts
from leadsman_normalizer.facts.control_plane import control_plane

_RESOURCES = frozenset({("coordination.k8s.io", "leases"), ("", "nodes")})
_VERBS = frozenset({"create", "update", "patch"})
_TRUSTED = frozenset({"control_plane", "node", "managed_cloud"})
# client-go's default agent: name/version (platform) commit
_AGENT = re.compile(r"([a-z][a-z0-9-]{1,62})/(v?\d+\.\d[0-9A-Za-z.+-]{0,62})(?: |$)")


def tells_version(verb: str, group: str, resource: str) -> bool:
    """Whether a request of this kind is one by which components say that they live."""
    return verb in _VERBS and (group, resource) in _RESOURCES


def component(actor_class: str, user_agent: str) -> ControlPlaneFacts | None:
    """The component and version of a trusted actor's user agent; None where it says none."""
    return _of_agent(user_agent) if actor_class in _TRUSTED else None


@lru_cache(maxsize=4096)
def _of_agent(user_agent: str) -> ControlPlaneFacts | None:
    found = _AGENT.match(user_agent)
    return control_plane(component=found[1], version=found[2]) if found else None
