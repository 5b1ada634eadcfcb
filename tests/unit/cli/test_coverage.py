"""What a rule can see under a policy: can fire, degraded, blind; for tables, for tools, for the ATT&CK Navigator."""

import json
from pathlib import Path

import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.attack_layer import layer
from leadsman_cli.audit_policy import Match, policy_of
from leadsman_cli.audited import Audit, Route
from leadsman_cli.coverage import Coverage, cover
from leadsman_cli.named_policies import named_policy, names
from leadsman_detector.form import And, Correlation, Requirement, Rule

SPECS = Requirement("pod specs", verbs=("create", "patch"), resources=("pods", "deployments.apps"), level="Request")
WHOLE = Requirement("the whole object", "detail", ("patch",), ("pods",), level="RequestResponse")
CUSTOM = Requirement("custom resources", "aside", ("create",), ("workflows.argoproj.io",), level="Request")
NOTED = Requirement("annotations", "fallback", ("create",), ("pods",))
EXEC = Requirement("exec", verbs=("create", "get"), resources=("pods/exec",))
ANONYMOUS = Requirement("reads", verbs=("list",), resources=("secrets",), user="unauthenticated")
PATHS = Requirement("discovery", verbs=("get",), paths=("/api",))
ALL = {"level": "RequestResponse"}
EVERYWHERE = {"level": "Metadata"}

# rules of the policy, requirements, status, words of the reasons
JUDGED = {
    "all is logged": ([ALL], [SPECS, WHOLE, CUSTOM, NOTED, EXEC], "can fire", []),
    "nothing is logged": (
        [{"level": "None"}],
        [SPECS],
        "blind",
        ["pod specs: create, patch of pods, deployments.apps not logged (rule 1)"],
    ),
    "no rule matches": ([{"level": "Request", "verbs": ["get"]}], [SPECS], "blind", ["(no rule matches)"]),
    "a level too low": ([EVERYWHERE], [SPECS], "blind", ["logged at Metadata (rule 1), Request needed"]),
    "a level too low, and something else serves": (
        [EVERYWHERE],
        [SPECS, NOTED],
        "degraded",
        ["Request needed", "left is only: annotations"],
    ),
    "what serves is not logged either": ([{"level": "None"}], [SPECS, NOTED], "blind", ["not logged"]),
    "one of two ways to see": ([EVERYWHERE], [SPECS, EXEC], "degraded", ["pod specs: create, patch of"]),
    "one verb of a way to see": (
        [{"level": "None", "verbs": ["patch"]}, ALL],
        [SPECS],
        "degraded",
        ["pod specs: patch of pods, deployments.apps not logged (rule 1)"],
    ),
    "a detail": (
        [{"level": "Request"}],
        [SPECS, WHOLE],
        "degraded",
        ["the whole object: patch of pods logged at Request"],
    ),
    "an aside is told and no more": (
        [{"level": "Metadata", "resources": [{"group": "argoproj.io"}]}, ALL],
        [SPECS, CUSTOM],
        "can fire",
        [],
    ),
    "the end of a short request is omitted": (
        [{**ALL, "omitStages": ["ResponseComplete"]}],
        [SPECS],
        "blind",
        ["stage ResponseComplete omitted (rule 1)"],
    ),
    "the end of a long one is omitted, and not needed": (
        [{**ALL, "omitStages": ["ResponseComplete"]}],
        [EXEC],
        "can fire",
        [],
    ),
    "the start of a long one is omitted": (
        [{**ALL, "omitStages": ["ResponseStarted"]}],
        [EXEC],
        "degraded",
        ["told only when it ends"],
    ),
    "the start of a short one is omitted, and never was": (
        [{**ALL, "omitStages": ["ResponseStarted"]}],
        [SPECS],
        "can fire",
        [],
    ),
    "the request alone": (
        [{**ALL, "omitStages": ["ResponseStarted", "ResponseComplete"]}],
        [EXEC],
        "blind",
        ["stage ResponseComplete and ResponseStarted omitted"],
    ),
    "only without credentials": (
        [{"level": "None", "userGroups": ["system:unauthenticated"]}, ALL],
        [ANONYMOUS],
        "blind",
        ["list of secrets not logged (rule 1)"],
    ),
    "not without credentials": ([{"level": "None", "users": ["system:anonymous"]}, ALL], [SPECS], "can fire", []),
    "only with credentials": (
        [{"level": "None", "userGroups": ["system:authenticated"]}, ALL],
        [ANONYMOUS],
        "can fire",
        [],
    ),
    "a user is left out": (
        [{"level": "None", "users": ["jenkins"]}, ALL],
        [SPECS],
        "degraded",
        ["user jenkins: create, patch of pods, deployments.apps not logged (rule 1)"],
    ),
    "a group is left out": ([{"level": "None", "userGroups": ["ops"]}, ALL], [SPECS], "degraded", ["group ops: "]),
    "service accounts are left out": (
        [{"level": "None", "userGroups": ["system:serviceaccounts"]}, ALL],
        [SPECS],
        "degraded",
        ["service accounts: "],
    ),
    "a namespace is left out": (
        [{"level": "None", "namespaces": ["dev"]}, ALL],
        [SPECS],
        "degraded",
        ["in namespace dev: "],
    ),
    "a name is left out, for what has it in its URL": (
        [{"level": "None", "resources": [{"resources": ["pods"], "resourceNames": ["noisy"]}]}, ALL],
        [SPECS],
        "degraded",
        ["named noisy: patch of pods not logged"],
    ),
    "the control plane is left out": (
        [{"level": "None", "users": ["system:kube-scheduler"]}, ALL],
        [SPECS],
        "can fire",
        [],
    ),
    "a user and a namespace together": (
        [{"level": "None", "users": ["bob"], "namespaces": ["dev"]}, ALL],
        [SPECS],
        "degraded",
        ["user bob in namespace dev: "],
    ),
    "only one namespace is seen": (
        [{**ALL, "namespaces": ["prod"]}],
        [SPECS],
        "degraded",
        ["not logged (no rule matches)", "seen all the same: in namespace prod: create, patch of pods"],
    ),
    "paths": ([{"level": "None", "nonResourceURLs": ["/api*"]}, ALL], [PATHS], "blind", ["get of /api not logged"]),
    "a rule that does not say": ([ALL], [], "unknown", ["does not say"]),
}


def audit(rules, **fields):
    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}
    return Audit(policy_of(document)[0], **fields)


def rule(name, *requires, tags=()):
    return Rule("", name, name, "high", And(()), requires=requires, tags=tags)


@pytest.mark.parametrize(("rules", "requires", "status", "words"), JUDGED.values(), ids=JUDGED)
def test_a_rule_is_judged(rules, requires, status, words):
    (found,) = cover([rule("r", *requires)], [], audit(rules))
    assert found.status == status
    told = "\n".join(found.why)
    assert [w for w in words if w not in told] == [], told
    assert bool(found.why) == bool(words)


def test_an_aside_and_the_control_plane_are_notes():
    policy = [
        {"level": "None", "userGroups": ["system:nodes"], "verbs": ["patch"]},
        {"level": "Metadata", "resources": [{"group": "argoproj.io"}]},
        ALL,
    ]
    (found,) = cover([rule("r", SPECS, CUSTOM)], [], audit(policy))
    assert found.notes == (
        "custom resources: create of workflows.argoproj.io logged at Metadata (rule 2), Request needed",
        "group system:nodes: patch of pods, deployments.apps not logged (rule 1)",
    )


def test_a_log_that_is_off_hides_what_goes_there():
    routes = (Route("admin", Match(verbs=("create",))), Route("data", Match()))
    (on,) = cover([rule("r", EXEC)], [], audit([ALL], routes=routes))
    (off,) = cover([rule("r", EXEC)], [], audit([ALL], routes=routes, off=frozenset({"data"})))
    assert (on.status, off.status) == ("can fire", "degraded")
    assert off.why == ("exec: get of pods/exec go to the log data, which is off",)


PARTS = {
    "all can fire": ([ALL], (), "can fire"),
    "one is degraded": ([{"level": "None", "verbs": ["patch"]}, ALL], (), "degraded"),
    "one is blind": ([EVERYWHERE], (), "blind"),
    "one is blind and but a detail": ([EVERYWHERE], (Requirement("why", "detail", rule="specs"),), "degraded"),
}


@pytest.mark.parametrize(("rules", "requires", "status"), PARTS.values(), ids=PARTS)
def test_a_correlation_takes_the_worst_of_its_parts(rules, requires, status):
    story = Correlation("", "story", "story", "high", "temporal", ("specs", "exec"), 60, requires=requires)
    above = Correlation("", "above", "above", "high", "temporal", ("story",), 60)
    found = {c.name: c for c in cover([rule("specs", SPECS), rule("exec", EXEC)], [above, story], audit(rules))}
    assert found["story"].status == status
    assert found["above"].status == status
    if status != "can fire":
        assert found["story"].why[0].startswith("specs is ")


def test_a_layer_scores_a_technique_by_its_best_rule():
    found = [
        Coverage("a", "a", "high", "can fire", tags=("attack.t1611", "attack.execution")),
        Coverage("b", "b", "high", "blind", tags=("attack.t1611", "attack.t1552.001")),
        Coverage("c", "c", "high", "degraded", tags=("attack.T1610",)),
        Coverage("d", "d", "informational", "can fire", tags=("attack.t1609",), alert=False),
    ]
    made = layer(found, "somewhere")
    assert made["versions"]["layer"] == "4.5"
    assert made["domain"] == "enterprise-attack"
    assert [(t["techniqueID"], t["score"]) for t in made["techniques"]] == [
        ("T1552.001", 0),
        ("T1610", 50),
        ("T1611", 100),
    ]
    assert made["techniques"][2]["comment"] == "a: can fire; b: blind"
    assert made["gradient"]["minValue"] < made["gradient"]["maxValue"]


# --- the command ----------------------------------------------------------------------------------------------


def statuses(capfd, policy):
    assert main(["coverage", "--policy", str(policy), "-o", "jsonl"]) == 0
    return {line["rule"]: line["status"] for line in map(json.loads, capfd.readouterr().out.splitlines())}


@pytest.mark.parametrize("name", names())
def test_a_named_policy_has_a_source_and_a_day(name):
    policy = named_policy(name)
    assert policy.sources
    assert policy.read >= "2026-11-23"
    assert policy.title


BODIES = {"aws-auth-changed", "dns-config-changed", "ingress-without-tls", "service-exposed"}
# what needs reads that are not logged: some rules see less without them, some nothing
READS = {
    "account-refused", "anonymous-foothold", "anonymous-then-action", "arc-secret-access",
    "dangerous-container-command", "dangerous-object-removed", "dangerous-pod-entered", "exec-by-new-role",
    "kinds-refused", "kubelet-reached", "pod-attach", "pod-entered", "pod-exec", "port-forwarded",
    "privileged-impersonation", "refusal-burst", "refused-then-allowed", "request-refused", "sensitive-action",
    "system-account-from-outside", "unauthenticated-exec", "unauthenticated-request-allowed",
}  # fmt: skip
ONLY_READS = {
    "account-listed", "addresses-tried", "kinds-listed", "kinds-tried", "many-kinds-listed", "permission-trial",
    "places-tried", "rbac-listed", "recon-sweep", "secret-harvest", "secret-read",
    "secrets-listed",
}  # fmt: skip
# what looks at any use of something, reads among them
USES = {
    "account-logging-off-then-action", "account-token-used", "account-used", "address-first-used",
    "anonymous-binding-used", "certificate-first-used", "certificate-used", "cloud-masters-first-used",
    "cloud-pivot", "cloud-principal-first-used", "cluster-access-used", "command-then-role-taken",
    "credential-at-addresses", "credential-in-two-places", "credential-used-inside", "credential-used-outside",
    "dormant-then-action", "identity-returned", "impersonated-then-action", "kubelet-by-new-role",
    "kubelet-commanded", "logging-off-then-action", "minted-token-used", "name-first-used",
    "opened-then-anonymous", "pod-token-used-inside", "pod-token-used-outside", "self-bound-then-used",
    "service-account-outside", "signal-guardduty-actor-acts", "signal-in-entered-pod", "signal-scc-actor-acts",
    "signal-then-pod-acts", "silent-then-action", "system-certificate-first-used", "system-name-first-used",
}  # fmt: skip
# who aws-auth lets in stands in its body, and only EKS logs that: no other cluster has such a ConfigMap
AWS_AUTH = {"aws-auth-access-used", "aws-auth-role-mapped", "aws-auth-user-mapped"}
# requests for events are not logged
EVENTS = {"dangerous-then-events-deleted", "events-deleted", "events-removed"}
BY_CLOUD: dict[str, tuple[set[str], set[str]]] = {  # degraded, blind
    "eks": ({"ingress-without-tls", "service-exposed"} | AWS_AUTH, EVENTS),
    "gke": (BODIES | READS | USES, ONLY_READS | AWS_AUTH | {"secret-read-by-tool"} | EVENTS),
    "gke-data-access": (BODIES, AWS_AUTH | EVENTS),
    "aks": (BODIES, AWS_AUTH | EVENTS),
    "aks-admin": (
        BODIES | READS | USES | {"command-in-pod", "secret-read-by-tool"},
        ONLY_READS | AWS_AUTH | EVENTS,
    ),
}


def test_every_named_policy_is_looked_at():
    assert set(BY_CLOUD) == set(names())


@pytest.mark.parametrize("name", BY_CLOUD)
def test_what_each_cloud_hides_by_default(capfd, name):
    found = statuses(capfd, name)
    degraded, blind = ({rule for rule, status in found.items() if status == s} for s in ("degraded", "blind"))
    assert (degraded, blind) == BY_CLOUD[name]
    assert set(found.values()) <= {"can fire", "degraded", "blind"}


def test_under_the_policy_of_the_corpora_every_rule_can_fire(capfd, corpora):
    found = statuses(capfd, corpora / "kube-apiserver" / "audit-policy.yaml")
    assert set(found.values()) == {"can fire"}


def test_the_table_says_why_and_what_helps(capfd):
    assert main(["coverage", "--policy", "gke"]) == 0
    out = capfd.readouterr().out
    assert "get of pods/attach, nodes/proxy go to the log Data Access, which is off" in " ".join(out.split())
    assert "Enable the Data Access audit logs" in out


def test_a_layer_is_written(capfd, tmp_path):
    assert main(["coverage", "--policy", "eks", "--attack-layer", str(tmp_path / "layer.json")]) == 0
    made = json.loads((tmp_path / "layer.json").read_text())
    assert {"T1611", "T1609"} <= {t["techniqueID"] for t in made["techniques"]}
    assert "service-exposed" in capfd.readouterr().out


@pytest.mark.parametrize("content", [None, "kind: Event\n", "{"], ids=["no file", "another kind", "no yaml"])
def test_what_is_no_policy_is_a_usage_error(capfd, tmp_path, content):
    file = tmp_path / "policy.yaml"
    if content is not None:
        file.write_text(content)
    assert main(["coverage", "--policy", str(file)]) == 1
    assert "policy" in capfd.readouterr().err


def test_under_the_policy_that_the_documentation_gives_every_rule_can_fire(capfd, tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "coverage.md").read_text()
    (tmp_path / "policy.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    found = statuses(capfd, tmp_path / "policy.yaml")
    assert {rule for rule, status in found.items() if status != "can fire"} == AWS_AUTH
