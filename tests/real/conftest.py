"""Tests against a real API server (`make test-real`): its folder of scripts is named by KUBE_HERE_TOOLS.

    def test_x(api_server):
        with api_server(policy_file) as server:
            server.kubectl("apply", "-f", "-", user="alice", send=manifest)
            lines = server.audit_lines()

Starting takes half a minute and more, and one runs at a time on a machine: do much between start and stop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("real")
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def api_server(local: Callable[[str], Any]) -> Callable[..., AbstractContextManager[Any]]:
    """Give deploy/local/kube_here.py's `running(policy)`: a context manager that gives an ApiServer."""
    kube_here = local("kube_here")
    try:
        kube_here.tools()
    except kube_here.KubeHereError as error:
        pytest.fail(str(error), pytrace=False)
    return kube_here.running
