"""What a patch itself sets, whichever kind of patch says it."""

import pytest
from records import event_of, facts_of, native

from leadsman_normalizer.jsonpatch import fragment_of

IMAGE = {
    "pod.containers.image",
    "pod.containers.image_raw",
    "pod.containers.image_host",
    "pod.containers.image_repo",
    "pod.containers.image_suffix",
    "pod.containers.image_name",
    "pod.containers.tag",
    "pod.containers.digest",
}
T = "/spec/template/spec"


def spec(inner):
    return {"spec": {"template": {"spec": inner}}}


MERGES = {
    "label": ({"metadata": {"labels": {"a": "b"}}}, set()),
    "template annotation (rollout restart)": ({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}, set()),
    "status": ({"status": {"replicas": 3}}, set()),
    "replicas": ({"spec": {"replicas": 3}}, {"pod.replicas"}),
    "hostNetwork": (spec({"hostNetwork": True}), {"pod.host_network"}),
    "hostNetwork removed": (spec({"hostNetwork": None}), {"pod.host_network"}),
    "set image": (
        spec({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "image": "x"}]}),
        {"pod.containers.name", *IMAGE},
    ),
    "privileged": (
        spec({"initContainers": [{"securityContext": {"privileged": True}}]}),
        {"pod.containers.privileged"},
    ),
    "capabilities": (
        spec({"containers": [{"securityContext": {"capabilities": {"add": ["ALL"]}}}]}),
        {"pod.containers.caps_add"},
    ),
    "command": (spec({"containers": [{"command": ["x"]}]}), {"pod.containers.command", "pod.containers.command_text"}),
    "hook": (
        spec({"containers": [{"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}]}),
        {"pod.containers.hooks", "pod.containers.command_text"},
    ),
    "host path": (
        spec({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        {
            "pod.volumes.name",
            "pod.volumes.host_path",
            "pod.volumes.host_path_raw",
            "pod.volumes.tier",
            "pod.volumes.relation",
            "pod.volumes.matched",
            "pod.volumes.socket",
            "pod.volumes.type",
        },
    ),
    "container deleted": (
        spec({"containers": [{"$patch": "delete", "name": "a"}]}),
        {"pod.containers", "pod.containers.name"},
    ),
    "resources only": (spec({"containers": [{"name": "a", "resources": {"limits": {}}}]}), {"pod.containers.name"}),
}


@pytest.mark.parametrize(("patch", "touched"), MERGES.values(), ids=MERGES.keys())
def test_merge_patches(patch, touched):
    assert set(facts_of("patch", "deployments", patch, group="apps")["touched"]) == touched


JSON_PATCHES = {
    "image": ([{"op": "replace", "path": f"{T}/containers/0/image", "value": "kannix/monero-miner"}], IMAGE),
    "container added": (
        [{"op": "add", "path": f"{T}/containers/-", "value": {"image": "x"}}],
        {"pod.containers", *IMAGE},
    ),
    "containers replaced": (
        [{"op": "replace", "path": f"{T}/containers", "value": [{"image": "x"}]}],
        {"pod.containers", *IMAGE},
    ),
    "spec replaced": ([{"op": "replace", "path": T, "value": {"hostPID": True}}], {"pod", "pod.host_pid"}),
    "above the spec": (
        [{"op": "replace", "path": "/spec", "value": spec({"hostPID": True})["spec"]}],
        {"pod", "pod.host_pid"},
    ),
    "below a leaf": (
        [{"op": "add", "path": f"{T}/containers/1/securityContext/capabilities/add/-", "value": "SYS_ADMIN"}],
        {"pod.containers.caps_add"},
    ),
    "security context": (
        [{"op": "add", "path": f"{T}/containers/0/securityContext", "value": {"privileged": True}}],
        {
            "pod.containers.privileged",
            "pod.containers.allow_priv_esc",
            "pod.containers.run_as_user",
            "pod.containers.caps_add",
            "pod.containers.caps_drop",
            "pod.containers.proc_mount",
            "pod.containers.seccomp",
            "pod.containers.apparmor",
            "pod.containers.host_process",
        },
    ),
    "removed": ([{"op": "remove", "path": f"{T}/hostNetwork"}], {"pod.host_network"}),
    "test alone": ([{"op": "test", "path": f"{T}/hostNetwork", "value": True}], set()),
    "label": ([{"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}], set()),
    "nonsense": (["x", {"op": "add"}, {"op": "add", "path": 3}, {"op": "?", "path": "/spec"}], set()),
}


@pytest.mark.parametrize(("patch", "touched"), JSON_PATCHES.values(), ids=JSON_PATCHES.keys())
def test_json_patches(patch, touched):
    assert set(facts_of("patch", "deployments", patch, group="apps")["touched"]) == touched


def test_a_json_patch_gives_the_facts_it_sets():
    patch = [
        {"op": "add", "path": f"{T}/hostNetwork", "value": True},
        {"op": "replace", "path": f"{T}/containers/0/image", "value": "kannix/monero-miner"},
        {"op": "add", "path": f"{T}/containers/0/securityContext", "value": {"privileged": True}},
        {"op": "add", "path": f"{T}/volumes/-", "value": {"name": "h", "hostPath": {"path": "/"}}},
        {"op": "add", "path": f"{T}/volumes/-", "value": {"name": "e", "emptyDir": {}}},
    ]
    pod = facts_of("patch", "deployments", patch, group="apps")["pod"]
    assert pod["host_network"]
    assert [(c["image_suffix"], c["privileged"]) for c in pod["containers"]] == [("kannix/monero-miner", True)]
    assert [v["host_path"] for v in pod["volumes"]] == ["/", ""]


def test_fragment_of_follows_a_patch_into_what_it_added():
    tree, whole = fragment_of(
        [
            {"op": "add", "path": "/a", "value": [{"b": 1}]},
            {"op": "replace", "path": "/a/0/b", "value": 2},
            {"op": "move", "from": "/x", "path": "/y"},
            {"op": "remove", "path": "/z/0"},
        ]
    )
    assert tree == {"a": [{"b": 2}], "y": None, "z": []}
    assert whole == {("a",), ("a", "#", "b"), ("x",), ("y",), ("z", "#")}


OTHERS = {
    "rules": ("clusterroles", "rbac.authorization.k8s.io", {"rules": []}, ["role.rules"]),
    "aggregation": (
        "clusterroles",
        "rbac.authorization.k8s.io",
        {"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}},
        ["role.aggregate_to"],
    ),
    "subjects": (
        "rolebindings",
        "rbac.authorization.k8s.io",
        {"subjects": []},
        ["binding.anonymous", "binding.members", "binding.self", "binding.subjects"],
    ),
    "type": ("services", "", {"spec": {"type": "NodePort"}}, ["service.exposure", "service.type"]),
    "external ips": (
        "services",
        "",
        {"spec": {"externalIPs": ["1.2.3.4"]}},
        ["service.exposure", "service.external_ips"],
    ),
    "internal": (
        "services",
        "",
        {"metadata": {"annotations": {"networking.gke.io/load-balancer-type": None}}},
        ["service.exposure", "service.internal", "service.source_ranges"],
    ),
    "label of a service": ("services", "", {"metadata": {"labels": {"a": "b"}}}, []),
    "hosts": (
        "ingresses",
        "networking.k8s.io",
        {"spec": {"rules": [{"host": "a"}]}},
        ["ingress.hosts", "ingress.sensitive_targets"],
    ),
    "role arn": (
        "serviceaccounts",
        "",
        {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "x"}}},
        ["service_account.role_arn"],
    ),
    "volume's path": (
        "persistentvolumes",
        "",
        {"spec": {"hostPath": {"type": "Directory"}}},
        ["pv.volume.host_path_type"],
    ),
}


@pytest.mark.parametrize(("resource", "group", "patch", "touched"), OTHERS.values(), ids=OTHERS.keys())
def test_other_objects(resource, group, patch, touched):
    assert facts_of("patch", resource, patch, group=group)["touched"] == touched


def test_a_custom_resources_patch():
    patch = {"spec": {"template": {"spec": {"hostNetwork": True, "containers": [{"name": "a", "image": "x"}]}}}}
    facts = facts_of("patch", "rollouts", patch, group="argoproj.io")
    assert {"pod.host_network", *IMAGE} <= set(facts["touched"])


def test_an_apply_that_creates_brings_the_whole_object():
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"hostNetwork": True}}
    stored = {**body, "metadata": {"name": "x", "uid": "u"}}
    given = native("patch", "pods", requestObject=body, responseObject=stored)
    assert event_of(given)["facts"]["touched"] == ["pod.host_network"]
    assert event_of({**given, "responseStatus": {"code": 201}})["facts"]["touched"] == ["*"]


def test_a_patch_whose_body_is_not_logged_touches_nothing():
    stored = {"kind": "Pod", "metadata": {}, "spec": {"hostNetwork": True}}
    event = event_of(native("patch", "pods", responseObject=stored))
    assert event["facts"]["pod"]["host_network"]
    assert event["facts"]["touched"] == []


def test_a_json_patch_copies_what_it_parked_elsewhere():
    ops = [
        {"op": "add", "path": "/metadata/annotations", "value": {"x": "kannix/monero-miner"}},
        {"op": "copy", "from": "/metadata/annotations/x", "path": "/spec/containers/0/image"},
        {"op": "copy", "from": "/metadata/nowhere/99999999999999999999", "path": "/spec/nodeName"},
    ]
    tree = fragment_of(ops).tree
    assert tree["spec"]["containers"] == [{"image": "kannix/monero-miner"}]
    assert tree["spec"]["nodeName"] is None


def test_a_json_patch_that_copies_an_object_into_itself_stays_small():
    ops = [{"op": "add", "path": "/spec/a", "value": {"b": "c"}}]
    ops += [{"op": "copy", "from": "/spec", "path": f"/spec/{n}x"} for n in range(100)]
    assert len(str(fragment_of(ops).tree)) < 5000
