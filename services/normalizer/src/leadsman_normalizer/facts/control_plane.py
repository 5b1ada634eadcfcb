"""Settings of a control plane and of its logs, as each cloud's calls and each component's lines give them."""

from __future__ import annotations

from typing import Any

from leadsman_common.events import ControlPlaneFacts


def control_plane(**told: Any) -> ControlPlaneFacts:
    """ControlPlaneFacts with what is told; all else absent."""
    facts: ControlPlaneFacts = {
        "component": "",
        "severity": "",
        "location": "",
        "message": "",
        "flags": {},
        "anonymous_auth": None,
        "authorization_modes": [],
        "audit_policy": "",
        "version": "",
        "logging_types_off": [],
        "logging_types_on": [],
        "logging_off": False,
        "target": "",
        "retention_days": 0,
        "endpoint_public": None,
        "endpoint_private": None,
        "cidrs": [],
        "auth_mode": "",
        "legacy_abac": None,
        "authorized_networks": None,
        "basic_auth": None,
        "client_certificate": None,
        "network_policy": None,
        "anonymous_bindings": None,
        "local_accounts": None,
        "rbac": None,
        "secrets_encrypted": None,
        "shielded_nodes": None,
        "release_channel": "",
    }
    unknown = told.keys() - facts.keys()
    if unknown:
        raise TypeError(f"no such facts: {sorted(unknown)}")
    facts.update(told)  # type: ignore[typeddict-item]
    return facts
