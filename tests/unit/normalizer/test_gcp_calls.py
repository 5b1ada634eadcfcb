"""Google Cloud beside k8s.io: ClusterManager, Workload Identity, sinks; and the system's own and refused entries."""

import json

import pytest

from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.facts.gcp_calls import service_account_of_member
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

CLUSTER = "projects/dock/locations/europe-west1/clusters/harbour"
POOL = "dock.svc.id.goog"
CLUSTER_LABELS = {"project_id": "dock", "location": "europe-west1", "cluster_name": "harbour"}


def call(service, method, name=CLUSTER, request=None, labels=CLUSTER_LABELS, log="activity", **more):
    payload = {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": f"{service}.googleapis.com" if "." not in service else service,
        "methodName": method,
        "resourceName": name,
        "authenticationInfo": {"principalEmail": "mallory@example.com"},
        "requestMetadata": {"callerIp": "8.8.8.8", "callerSuppliedUserAgent": "gcloud"},
        "status": {},
    }
    entry = {
        "insertId": "i-1",
        "logName": f"projects/dock/logs/cloudaudit.googleapis.com%2F{log}",
        "timestamp": "2026-11-23T10:00:00Z",
        "receiveTimestamp": "2026-11-23T10:00:01Z",
        "resource": {"type": "gke_cluster", "labels": labels},
    }
    entry |= {key: more.pop(key) for key in ("operation",) if key in more}
    if request is not None:
        payload["request"] = request
    payload |= more
    entry["protoPayload"] = {key: value for key, value in payload.items() if value is not None}
    return normalize(RawEvent(value=json.dumps(entry).encode(), format="gke-logentry"))


def facts_of(found, name):
    assert {key for key, value in found["facts"].items() if value} == {name, "touched"}
    return found["facts"][name]


# --- ClusterManager ---------------------------------------------------------------------------------------------

MANAGER = "google.container.v1.ClusterManager."


def test_a_cluster_call_is_an_event_of_its_cluster():
    found = call("container", f"{MANAGER}SetLegacyAbac", request={"name": CLUSTER, "enabled": True})
    assert found["action"] == "container:google.container.v1.ClusterManager.SetLegacyAbac"
    assert found["cluster"]["id"] == "gcp/dock/europe-west1/harbour"
    assert (found["actor"]["name"], found["actor"]["class"]) == ("mallory@example.com", "human")
    assert found["src_endpoint"] == {"ip": "8.8.8.8", "public": True}
    assert found["flags"] == int(Flag.CLOUD_CALL | Flag.EFFECTIVE | Flag.HAS_CONTROL_PLANE)
    assert found["cloud"]["service"] == "container.googleapis.com"
    assert (found["time"], found["loggedTime"]) == (1795428000_000000, 1795428001_000000)
    assert facts_of(found, "control_plane")["legacy_abac"] is True


@pytest.mark.parametrize("name", [CLUSTER, f"{CLUSTER}/nodePools/default", CLUSTER.replace("locations", "zones")])
def test_the_cluster_is_in_the_resource_name_too(name):
    found = call("container", f"{MANAGER}DeleteNodePool", name, labels={})
    assert found["cluster"]["id"] == "gcp/dock/europe-west1/harbour"
    assert found["facts"] is None


@pytest.mark.parametrize(
    ("method", "request_body", "facts"),
    [
        ("SetLegacyAbac", {}, {"legacy_abac": False}),  # false is left out of the JSON
        ("SetLoggingService", {"loggingService": "none"}, {"logging_off": True, "logging_types_off": ["all"]}),
        (
            "SetLoggingService",
            {"loggingService": "logging.googleapis.com/kubernetes"},
            {"logging_off": False, "logging_types_on": ["logging.googleapis.com/kubernetes"]},
        ),
        ("UpdateMaster", {"masterVersion": "1.33"}, {"version": "1.33"}),
        (
            "UpdateCluster",
            {"update": {"desiredMasterAuthorizedNetworksConfig": {"cidrBlocks": [{"cidrBlock": "0.0.0.0/0"}]}}},
            {"cidrs": ["0.0.0.0/0"], "authorized_networks": False},
        ),
        (
            "UpdateCluster",
            {"update": {"desiredMasterAuthorizedNetworksConfig": {}}},  # {enabled: false}: anyone may reach it
            {"cidrs": [], "authorized_networks": False},
        ),
        (
            "UpdateCluster",
            {
                "update": {
                    "desiredControlPlaneEndpointsConfig": {
                        "ipEndpointsConfig": {
                            "enabled": True,
                            "enablePublicEndpoint": True,
                            "authorizedNetworksConfig": {"enabled": True, "cidrBlocks": [{"cidrBlock": "10.0.0.0/8"}]},
                        }
                    }
                }
            },
            {"endpoint_public": True, "authorized_networks": True, "cidrs": ["10.0.0.0/8"]},
        ),
        (
            "UpdateCluster",
            {"update": {"desiredAnonymousAuthenticationConfig": {"mode": "ENABLED"}}},
            {"anonymous_auth": True, "anonymous_bindings": None, "authorized_networks": None},
        ),
        (
            "UpdateCluster",
            {"update": {"desiredRbacBindingConfig": {"enableInsecureBindingSystemUnauthenticated": True}}},
            {"anonymous_auth": None, "anonymous_bindings": True},
        ),
        ("SetMasterAuth", {"action": "SET_PASSWORD", "update": {}}, {"basic_auth": True, "client_certificate": None}),
        ("SetMasterAuth", {"action": "SET_USERNAME", "update": {"username": ""}}, {"basic_auth": False}),
        (
            "SetMasterAuth",
            {"update": {"username": "admin", "clientCertificateConfig": {"issueClientCertificate": True}}},
            {"basic_auth": True, "client_certificate": True},
        ),
        ("SetNetworkPolicy", {"networkPolicy": {"provider": "CALICO"}}, {"network_policy": False}),
        ("SetNetworkPolicy", {"networkPolicy": {"enabled": True}}, {"network_policy": True}),
        (
            "CreateCluster",
            {
                "cluster": {
                    "masterAuth": {"clientCertificateConfig": {}},
                    "networkPolicy": {"enabled": True},
                    "anonymousAuthenticationConfig": {"mode": "LIMITED"},
                }
            },
            {"basic_auth": False, "client_certificate": False, "network_policy": True, "anonymous_auth": False},
        ),
        ("CreateCluster", {"cluster": {}}, {"basic_auth": None, "client_certificate": None, "network_policy": None}),
        (
            "UpdateCluster",
            {"update": {"desiredPrivateClusterConfig": {"enablePrivateEndpoint": False}}},
            {"endpoint_public": True, "endpoint_private": False},
        ),
        (
            "CreateCluster",
            {"cluster": {"legacyAbac": {"enabled": True}, "initialClusterVersion": "1.33"}},
            {"legacy_abac": True, "version": "1.33"},
        ),
        (
            "CreateCluster",
            {"cluster": {"loggingConfig": {"componentConfig": {"enableComponents": ["APISERVER"]}}}},
            {"logging_types_on": ["APISERVER"], "legacy_abac": None},
        ),
    ],
)
def test_what_a_cluster_call_sets(method, request_body, facts):
    told = facts_of(call("container", MANAGER + method, request=request_body), "control_plane")
    assert {key: told[key] for key in facts} == facts


def test_a_password_set_does_not_travel():
    request = {"name": CLUSTER, "action": "SET_PASSWORD", "update": {"username": "admin", "password": "hunter2"}}
    assert "hunter2" not in json.dumps(call("container", f"{MANAGER}SetMasterAuth", request=request))


def test_a_long_running_call_is_one_event():
    start = call("container", f"{MANAGER}UpdateCluster", operation={"id": "op-1", "first": True})
    end = {"operation": {"id": "op-1", "last": True}, "authenticationInfo": None}
    assert start["auditID"] == "op-1"
    assert call("container", f"{MANAGER}UpdateCluster", **end) == Dropped(
        "the end of a long-running operation, whose start is an event"
    )
    named_end = call("container", f"{MANAGER}UpdateCluster", operation={"id": "op-1", "last": True})
    assert named_end["id"] == start["id"], "where the end has a caller, both are one event"


@pytest.mark.parametrize(
    ("status", "granted", "authz", "http"),
    [
        ({"code": 7, "message": "no"}, [{}], "forbid", 403),
        ({"code": 6, "message": "exists"}, [{"granted": True}], "allow", 409),
        ({}, [{"granted": True}], "allow", 200),
    ],
)
def test_the_outcome_of_a_call(status, granted, authz, http):
    found = call("container", f"{MANAGER}CreateCluster", status=status, authorizationInfo=granted)
    assert (found["outcome"]["authz"], found["outcome"]["http"]) == (authz, http)
    assert found["outcome"]["effective"] is (http == 200)
    assert bool(found["flags"] & Flag.FAILED) is (http != 200)
    assert found["cloud"]["error"] == (str(status["code"]) if status else "")


# --- Workload Identity --------------------------------------------------------------------------------------------

MEMBER = f"serviceAccount:{POOL}[shop/cart]"
SUBJECT = (
    f"principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/{POOL}/subject/ns/shop/sa/cart"
)
SET = f"principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/{POOL}/"
CART = "system:serviceaccount:shop:cart"


@pytest.mark.parametrize(
    ("member", "account", "pool"),
    [
        (MEMBER, CART, POOL),
        (SUBJECT, CART, POOL),
        (f"{SET}namespace/shop", "system:serviceaccount:shop:*", POOL),
        (f"{SET}kubernetes.cluster/https://container.googleapis.com/v1/{CLUSTER}", "", POOL),
        ("serviceAccount:build@dock.iam.gserviceaccount.com", "", ""),
        ("user:alice@example.com", "", ""),
        ("principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github/subject/x", "", ""),
        (f"serviceAccount:{POOL}[shop]", "", ""),
        ("x" * 100_000, "", ""),
    ],
)
def test_members_of_a_policy(member, account, pool):
    assert service_account_of_member(member) == (account, pool)


def set_policy(service="iam", method="google.iam.admin.v1.SetIAMPolicy", deltas=None, policy=None, **more):
    labels = {"project_id": "dock", "email_id": "deployer@dock.iam.gserviceaccount.com"}
    if deltas is not None:
        more["serviceData"] = {"policyDelta": deltas}
    request = {"policy": policy} if policy is not None else None
    return call(service, method, "projects/-/serviceAccounts/1", request, labels, **more)


def delta(action, member, role="roles/iam.workloadIdentityUser"):
    return {"action": action, "role": role, "member": member}


@pytest.mark.parametrize(
    ("given", "subjects", "removed", "unbounded"),
    [
        ({"deltas": {"bindingDeltas": [delta("ADD", MEMBER)]}}, [CART], [], False),
        ({"deltas": {"bindingDeltas": [delta("REMOVE", SUBJECT)]}}, [], [CART], False),
        ({"deltas": {"bindingDeltas": [delta("ADD", f"{SET}kubernetes.cluster/x")]}}, [], [], True),
        (
            {"policy": {"bindings": [{"role": "roles/iam.workloadIdentityUser", "members": [MEMBER, "user:a@b.c"]}]}},
            [CART],
            [],
            False,
        ),
    ],
)
def test_workload_identity_is_a_link(given, subjects, removed, unbounded):
    for method in ("google.iam.admin.v1.SetIAMPolicy", "google.iam.admin.v1.SetIamPolicy"):
        found = set_policy(method=method, **given)
        facts = facts_of(found, "cloud_link")
        assert found["action"] == f"iam:{method}"
        assert facts == {
            "via": "workload_identity",
            "identity": "deployer@dock.iam.gserviceaccount.com",
            "subjects": subjects,
            "removed": removed,
            "issuer": POOL,
            "unbounded": unbounded,
        }


@pytest.mark.parametrize(
    ("service", "given"),
    [
        ("iam", {"deltas": "x"}),
        ("iam", {"method": "google.iam.admin.v1.CreateServiceAccountKey"}),
        ("cloudresourcemanager", {"deltas": {"bindingDeltas": [delta("ADD", "user:a@b.c", "roles/owner")]}}),
        ("storage", {"method": "storage.setIamPermissions"}),
        ("logging", {"method": "google.logging.v2.ConfigServiceV2.ListSinks"}),
    ],
)
def test_what_is_not_ours_is_dropped(service, given):
    assert set_policy(service, **given) == Dropped(f"not ours: {service}.googleapis.com")


def test_a_role_given_to_a_kubernetes_service_account_in_a_project():
    deltas = {"bindingDeltas": [delta("ADD", SUBJECT, "roles/editor")]}
    facts = set_policy("cloudresourcemanager", "SetIamPolicy", deltas)["facts"]
    assert facts["cloud_link"]["subjects"] == [CART]
    assert [(g["identity"], g["policy"]) for g in facts["cloud_grant"]["grants"]] == [(CART, "roles/editor")]


DEPLOYER = "deployer@dock.iam.gserviceaccount.com"
ROBOT = f"serviceAccount:{DEPLOYER}"
OWNER, TOKENS = "roles/owner", "roles/iam.serviceAccountTokenCreator"


@pytest.mark.parametrize(
    ("service", "given", "grants"),
    [
        ("cloudresourcemanager", delta("ADD", ROBOT, OWNER), [(DEPLOYER, "binding", OWNER, [], [], False)]),
        ("cloudresourcemanager", delta("REMOVE", ROBOT, OWNER), [(DEPLOYER, "binding", OWNER, [], [], True)]),
        ("iam", delta("ADD", "user:a@b.c", TOKENS), [(DEPLOYER, "trust", TOKENS, ["user:a@b.c"], [], False)]),
        ("iam", delta("ADD", "allUsers", TOKENS), [(DEPLOYER, "trust", TOKENS, ["allUsers"], ["everybody"], False)]),
        ("iam", delta("ADD", MEMBER, TOKENS), [(CART, "binding", TOKENS, [], [], False)]),
    ],
)  # fmt: skip
def test_what_service_accounts_are_given_and_who_may_act_as_them(service, given, grants):
    facts = facts_of(set_policy(service, "SetIamPolicy", {"bindingDeltas": [given]}), "cloud_grant")
    keys = ("identity", "via", "policy", "principals", "classes", "removed")
    assert [tuple(g[key] for key in keys) for g in facts["grants"]] == grants


def test_a_whole_policy_without_a_delta_gives_nothing_new():
    whole = {"bindings": [{"role": OWNER, "members": [ROBOT]}]}
    assert set_policy("cloudresourcemanager", "SetIamPolicy", policy=whole) == Dropped(
        "not ours: cloudresourcemanager.googleapis.com"
    )


def test_a_kubernetes_service_account_takes_a_google_ones_token():
    found = call(
        "iamcredentials",
        "GenerateAccessToken",
        "projects/-/serviceAccounts/deployer@dock.iam.gserviceaccount.com",
        labels={"project_id": "dock"},
        authenticationInfo={"principalSubject": MEMBER},
    )
    facts = facts_of(found, "cloud_assume")
    assert (facts["service_account"], facts["source"]) == (CART, "workload_identity")
    assert facts["role_arn"] == "deployer@dock.iam.gserviceaccount.com"


# --- logs taken away ----------------------------------------------------------------------------------------------

CONFIG = "google.logging.v2.ConfigServiceV2."


@pytest.mark.parametrize(
    ("method", "request_body", "off", "target"),
    [
        (f"{CONFIG}DeleteSink", {"sinkName": "projects/dock/sinks/all"}, True, "projects/dock/sinks/all"),
        (f"{CONFIG}CreateSink", {"sink": {"name": "all"}}, False, "all"),
        (f"{CONFIG}UpdateSink", {"sinkName": "s", "sink": {"disabled": True}}, True, "s"),
        (f"{CONFIG}UpdateSink", {"sinkName": "s", "sink": {"exclusions": [{"name": "x"}]}}, True, "s"),
        (f"{CONFIG}UpdateSink", {"sinkName": "s", "sink": {"filter": "x"}}, False, "s"),
        (f"{CONFIG}CreateExclusion", {"exclusion": {"name": "hide"}}, True, "hide"),
        (f"{CONFIG}UpdateExclusion", {"name": "hide", "exclusion": {"disabled": True}}, False, "hide"),
        (f"{CONFIG}DeleteExclusion", {"name": "hide"}, False, "hide"),
        (f"{CONFIG}DeleteBucket", {"name": "b"}, True, "b"),
        ("google.logging.v2.LoggingServiceV2.DeleteLog", None, True, "projects/dock/logs/x"),
    ],
)
def test_sinks_and_exclusions(method, request_body, off, target):
    found = call("logging", method, "projects/dock/logs/x", request_body, {"project_id": "dock"})
    facts = facts_of(found, "control_plane")
    assert (facts["logging_off"], facts["target"]) == (off, target)
    assert found["cluster"] == {"id": "gcp/dock//", "name": "", "provider": "gcp", "account": "dock", "region": ""}


@pytest.mark.parametrize(
    ("change", "off", "on"),
    [
        ({"action": "REMOVE", "service": "k8s.io", "logType": "DATA_READ"}, ["k8s.io:DATA_READ"], []),
        ({"action": "ADD", "service": "k8s.io", "logType": "DATA_READ"}, [], ["k8s.io:DATA_READ"]),
        (
            {"action": "ADD", "service": "k8s.io", "logType": "DATA_READ", "exemptedMember": "user:a@b.c"},
            ["k8s.io:DATA_READ"],
            [],
        ),
    ],
)
def test_data_access_logs_switched(change, off, on):
    found = set_policy("cloudresourcemanager", "SetIamPolicy", {"auditConfigDeltas": [change]})
    facts = facts_of(found, "control_plane")
    assert (facts["logging_types_off"], facts["logging_types_on"], facts["logging_off"]) == (off, on, bool(off))


@pytest.mark.parametrize(
    ("policy", "off", "on"),
    [
        ({}, ["all"], []),
        ({"auditConfigs": [{"service": "k8s.io", "auditLogConfigs": [{"logType": "DATA_READ"}]}]}, [], ["DATA_READ"]),
        (
            {
                "auditConfigs": [
                    {
                        "service": "k8s.io",
                        "auditLogConfigs": [{"logType": "DATA_READ", "exemptedMembers": ["user:a@b.c"]}],
                    }
                ]
            },
            ["DATA_READ"],
            [],
        ),
    ],
)
def test_data_access_logs_by_the_whole_policy(policy, off, on):
    request = {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
    labels = {"project_id": "dock"}
    facts = facts_of(call("cloudresourcemanager", "SetIamPolicy", "projects/dock", request, labels), "control_plane")
    assert [name.removeprefix("k8s.io:") for name in facts["logging_types_off"]] == off
    assert facts["logging_types_on"] == [f"k8s.io:{name}" for name in on]
    assert facts["logging_off"] is bool(off)
    del request["updateMask"]
    assert call("cloudresourcemanager", "SetIamPolicy", "projects/dock", request, labels) == Dropped(
        "not ours: cloudresourcemanager.googleapis.com"
    )


# --- k8s.io: System Event, Policy Denied ----------------------------------------------------------------------------

POD = ("io.k8s.core.v1.pods.create", "core/v1/namespaces/shop/pods/x")


def test_a_system_event_without_a_caller_is_googles_own():
    found = call("k8s.io", *POD, log="system_event", authenticationInfo=None)
    assert (found["actor"]["name"], found["actor"]["class"]) == ("", "managed_cloud")
    assert not found["flags"] & Flag.UNAUTHENTICATED
    assert call("k8s.io", *POD, log="system_event")["actor"]["class"] == "human"


def test_elsewhere_no_caller_is_no_credentials():
    assert call("k8s.io", *POD, authenticationInfo=None)["actor"]["unauthenticated"] is True


@pytest.mark.parametrize("wrong", ["x", 5, {"principalEmail": ["a@b.c"]}, {"principalEmail": {"a": 1}}])
def test_a_caller_of_a_wrong_type_is_unknown_rather_than_without_credentials(wrong):
    found = call("k8s.io", *POD, authenticationInfo=wrong)
    assert (found["actor"]["class"], found["actor"]["unauthenticated"]) == ("unknown", False)
    assert found["user"]["username"] == ""
    assert any(reason.startswith("protoPayload.authenticationInfo") for reason in found["coverage"]["reasons"])


@pytest.mark.parametrize("key", ["callerIp", "callerIP"])
def test_the_callers_address_in_both_spellings(key):
    for service, method in (("container", f"{MANAGER}SetLegacyAbac"), ("k8s.io", POD[0])):
        assert call(service, method, requestMetadata={key: "8.8.4.4"})["src_endpoint"]["ip"] == "8.8.4.4"


@pytest.mark.parametrize("log", ["policy", "activity"])
@pytest.mark.parametrize("status", [{}, {"code": 7}])
def test_an_entry_of_policy_denied_is_refused(log, status):
    found = call("k8s.io", *POD, log=log, status=status, authorizationInfo=[{"granted": True}])
    refused = log == "policy" or bool(status)
    assert found["outcome"]["effective"] is not refused
    assert found["outcome"]["http"] == (403 if refused else 201)
    assert (found["outcome"]["authz"] == "forbid") is (log == "policy")


@pytest.mark.parametrize(
    "wrong", ["x", [], {"policy": "x"}, {"policy": {"bindings": ["x"]}}, {"update": 1}, {"sink": []}]
)
def test_wrong_types_are_no_exception(wrong):
    for service, method in (
        ("container", f"{MANAGER}UpdateCluster"),
        ("logging", f"{CONFIG}UpdateSink"),
        ("iam", "google.iam.admin.v1.SetIamPolicy"),
    ):
        assert call(service, method, request=wrong, serviceData=wrong) is not None
