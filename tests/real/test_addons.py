"""Everyday add-ons against a real API server: installed, upgraded, applied again by people, CI and a GitOps controller.

Nothing at medium or above but what tests/fixtures/addons/left.yml argues for; `--golden-write` keeps the log for CI.
"""

from __future__ import annotations

import json
import subprocess
import time

import addons
import injector
import pytest
import recordings

SETTLE_S = 20
GITOPS = ("argocd", "argocd-application-controller")


def apply(server, version, *more, user="admin", check=True):
    """`kubectl apply` of every add-on at this version."""
    names = [x for folder in addons.folders() for x in ("-f", str(folder / version))]
    command = [str(server.home / "bin" / "kubectl"), "--kubeconfig", str(server.kubeconfig(user)), "apply", *more]
    done = subprocess.run([*command, *names], capture_output=True, text=True, timeout=300, check=False)
    assert not check or not done.returncode, done.stderr[-3000:]


@pytest.fixture(scope="module")
def log(api_server):
    """The audit log of three weeks of add-ons, in two minutes."""
    with api_server(addons.HERE / "policy.yaml") as server, injector.injecting(server.home / "pki") as hooks:
        server.kubectl("create", "clusterrolebinding", "ci-installs", "--clusterrole=cluster-admin", "--group=ci")
        for hook in hooks:
            server.kubectl("apply", "-f", "-", send=json.dumps(hook))
        start = server.audit_size()
        apply(server, "v1", check=False)  # custom objects come before their definitions are served
        apply(server, "v1")
        time.sleep(SETTLE_S)
        apply(server, "v2", user="ci-deployer")
        token = server.kubectl("create", "token", GITOPS[1], "-n", GITOPS[0]).strip()
        for _ in range(2):
            gitops = ("--server-side", "--field-manager=argocd-controller", "--force-conflicts", f"--token={token}")
            apply(server, "v2", *gitops, user="anon")
        for _ in range(2):
            apply(server, "v2", user="ci-deployer")
        time.sleep(SETTLE_S)
        return server.audit_events(start)


def test_add_ons_raise_nothing(log, request, capsys):
    if request.config.getoption("--golden-write"):
        recordings.store(addons.RECORDED, log)
    found = recordings.scanned(json.dumps(e).encode() for e in log)
    with capsys.disabled():
        say = request.config.get_terminal_writer().line
        say(f"\n{len(log)} events of {len(addons.folders())} add-ons: {addons.counted(found)}")
    actors = {e["user"]["username"] for e in log}
    assert {"kubernetes-admin", "ci-deployer", f"system:serviceaccount:{':'.join(GITOPS)}"} <= actors
    assert addons.loud(found) == addons.left()
