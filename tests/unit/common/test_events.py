"""How an action is spelled and taken apart, and the id of an event."""

import pytest

from leadsman_common.events import Action, action_of, event_id, is_public, parse_action

ACTIONS = [
    (("create", "pods", "", "exec"), "create pods/exec"),
    (("patch", "deployments", "apps", ""), "patch deployments.apps"),
    (("update", "deployments", "apps", "scale"), "update deployments.apps/scale"),
    (("create", "clusterroles", "rbac.authorization.k8s.io", ""), "create clusterroles.rbac.authorization.k8s.io"),
    (("get", "", "", ""), "get /"),
]


@pytest.mark.parametrize(("parts", "text"), ACTIONS)
def test_actions_there_and_back(parts, text):
    assert action_of(*parts) == text
    assert parse_action(text) == Action(*parts)


@pytest.mark.parametrize("text", ["eks:AssociateAccessPolicy", "container:CreateCluster", ""])
def test_a_cloud_call_is_an_operation(text):
    assert parse_action(text) == Action(operation=text)


def test_an_event_id_is_the_same_for_every_stage_and_differs_by_every_part():
    parts = ("c", "audit-1", "2026-01-01T00:00:00.000000Z", "create", "/api/v1", "alice")
    ids = {event_id(*parts)} | {event_id(*parts[:n], parts[n] + "x", *parts[n + 1 :]) for n in range(6)}
    assert len(ids) == 7
    assert event_id(*parts) == event_id(*parts)
    # a client that chooses another's auditID does not hide behind it
    assert event_id(*parts) != event_id(*parts[:5], "eve")
    assert event_id("\ud800", "", "", "", "", "")


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("", False),
        ("AWS Internal", False),
        ("8.8.8.8:443", False),
    ],
)
def test_is_public(ip, public):
    assert is_public(ip) is public
