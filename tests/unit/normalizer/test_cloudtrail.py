"""CloudTrail: which calls are ours, who made them, what came of them, and what they say of a cluster."""

import json
import urllib.parse

import pytest
import yaml

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_common.schemas import schemas_dir
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.sources.cloudtrail import sensitive_calls

ACCOUNT = "111122223333"
ALICE = {
    "type": "IAMUser",
    "arn": f"arn:aws:iam::{ACCOUNT}:user/alice",
    "principalId": "AIDAEXAMPLE",
    "accountId": ACCOUNT,
    "accessKeyId": "AKIAEXAMPLE",
    "userName": "alice",
}
OIDC = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"


def session(name, role="shop", **more):
    return {
        "type": "AssumedRole",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
        "principalId": f"AROAEXAMPLE:{name}",
        "accountId": ACCOUNT,
        "accessKeyId": "ASIAEXAMPLE",
        "sessionContext": {
            "sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{ACCOUNT}:role/{role}", "userName": role},
            **more,
        },
    }


def call(service, name, asked=None, answered=None, identity=None, **more):
    record = {
        "eventVersion": "1.09",
        "userIdentity": ALICE if identity is None else identity,
        "eventTime": "2026-11-23T10:00:00Z",
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2",
        "requestParameters": asked,
        "responseElements": answered,
        "eventID": "e-1",
        "recipientAccountId": ACCOUNT,
        **more,
    }
    return normalize(RawEvent(value=json.dumps(record).encode(), format="cloudtrail"))


# --- what every call has ----------------------------------------------------------------------------------------


def test_a_call_is_an_event_of_its_cluster():
    found = call("eks", "DescribeCluster", {"name": "harbour"})
    assert found["action"] == "eks:DescribeCluster"
    assert found["flags"] == int(Flag.CLOUD_CALL | Flag.EFFECTIVE)
    assert found["cluster"]["id"] == f"aws/{ACCOUNT}/eu-west-1/harbour"
    assert found["auditID"] == "e-1"
    assert found["time"] == 1795428000_000000
    assert (found["verb"], found["objectRef"]["resource"]) == ("", "")
    assert found["src_endpoint"] == {"ip": "203.0.113.7", "public": False}  # TEST-NET-3 is nobody's
    assert found["cloud"] == {
        "service": "eks.amazonaws.com",
        "operation": "DescribeCluster",
        "principal": ALICE["arn"],
        "canonical_arn": "",
        "session": "",
        "access_key_id": "AKIAEXAMPLE",
        "principal_id": "AIDAEXAMPLE",
        "error": "",
        "parameters": '{"name":"harbour"}',
    }
    assert (found["outcome"]["authz"], found["outcome"]["http"], found["outcome"]["effective"]) == ("allow", 0, True)


@pytest.mark.parametrize(
    ("error", "authz"),
    [
        ("AccessDenied", "forbid"),
        ("AccessDeniedException", "forbid"),
        ("Client.UnauthorizedOperation", "forbid"),
        ("ResourceNotFoundException", "none"),
        ("InvalidParameterException", "none"),
    ],
)
def test_an_error_code_is_the_outcome(error, authz):
    found = call("eks", "DeleteCluster", {"name": "harbour"}, errorCode=error, errorMessage="no: token=hunter2secret")
    assert found["outcome"]["authz"] == authz
    assert found["outcome"]["effective"] is False
    assert found["flags"] & Flag.FAILED
    assert bool(found["flags"] & Flag.FORBIDDEN) is (authz == "forbid")
    assert found["cloud"]["error"] == found["responseStatus"]["reason"] == error
    assert "hunter2secret" not in found["responseStatus"]["message"]


@pytest.mark.parametrize(
    ("identity", "name", "kind"),
    [
        (ALICE, ALICE["arn"], "human"),
        (session("bob"), f"arn:aws:sts::{ACCOUNT}:assumed-role/shop/bob", "human"),
        (session("i-0123456789abcdef0"), f"arn:aws:sts::{ACCOUNT}:assumed-role/shop/i-0123456789abcdef0", "node"),
        (
            session("x", webIdFederationData={"federatedProvider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{OIDC}"}),
            f"arn:aws:sts::{ACCOUNT}:assumed-role/shop/x",
            "service_account",
        ),
        (
            session("AmazonEKS", role="AWSServiceRoleForAmazonEKSNodegroup"),
            f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSServiceRoleForAmazonEKSNodegroup/AmazonEKS",
            "managed_cloud",
        ),
        ({"type": "AWSService", "invokedBy": "eks.amazonaws.com"}, "eks.amazonaws.com", "managed_cloud"),
        ({"type": "AWSAccount", "accountId": "ANONYMOUS_PRINCIPAL"}, "", "unauthenticated"),
        ({"type": "Root", "arn": f"arn:aws:iam::{ACCOUNT}:root"}, f"arn:aws:iam::{ACCOUNT}:root", "human"),
        ({}, "", "unknown"),
    ],
)
def test_who_called(identity, name, kind):
    found = call("eks", "ListClusters", identity=identity)
    assert (found["actor"]["name"], found["actor"]["class"]) == (name, kind)
    assert found["actor"]["unauthenticated"] is (kind == "unauthenticated")
    assert found["cloud"]["session"] == (name.rpartition("/")[2] if ":assumed-role/" in name else "")


def test_secrets_in_parameters_do_not_travel():
    asked = {"name": "harbour", "clientToken": "hunter2hunter2", "x": ["password=hunter2"], "token": "hunter2"}
    assert "hunter2" not in json.dumps(call("eks", "CreateAddon", asked))


def test_huge_parameters_are_left_out_and_said_so():
    found = call("eks", "CreateAddon", {"name": "harbour", "configurationValues": "x" * 100_000})
    assert found["cloud"]["parameters"] == ""
    assert found["coverage"]["reasons"] == ["parameters: too large to travel"]


# --- what is ours -----------------------------------------------------------------------------------------------

TRUST_OTHERS = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}}]})


@pytest.mark.parametrize(
    ("service", "name", "asked", "identity"),
    [
        ("s3", "GetObject", {}, ALICE),
        ("ec2", "RunInstances", {}, ALICE),  # sensitive, but with a user's own key
        ("s3", "HeadBucket", {}, session("x")),  # a session, but not sensitive
        ("sts", "AssumeRole", {"roleArn": "r"}, ALICE),
        ("sts", "AssumeRoleWithWebIdentity", {"roleArn": "r"}, {"type": "WebIdentityUser", "userName": "repo:a/b"}),
        ("iam", "CreateRole", {"assumeRolePolicyDocument": TRUST_OTHERS}, ALICE),
        ("iam", "AttachUserPolicy", {"userName": "bob", "policyArn": "p"}, ALICE),
        ("iam", "AttachRolePolicy", None, ALICE),
        ("iam", "CreateRole", {"assumeRolePolicyDocument": "{"}, ALICE),
        ("iam", "CreateOpenIDConnectProvider", {"url": "https://token.actions.githubusercontent.com"}, ALICE),
        ("logs", "DeleteLogGroup", {"logGroupName": "/aws/lambda/x"}, ALICE),
        ("logs", "CreateLogStream", {"logGroupName": "/aws/eks/harbour/cluster"}, ALICE),
    ],
)
def test_what_is_not_ours_is_dropped(service, name, asked, identity):
    assert call(service, name, asked, identity=identity) == Dropped(f"not ours: {service}.amazonaws.com")


def test_an_insight_is_no_call():
    assert call("eks", "ListClusters", eventType="AwsCloudTrailInsight") == Dropped(
        "not ours: a CloudTrail Insight, which is no call"
    )


def test_a_sensitive_call_with_a_sessions_key_is_ours():
    found = call("secretsmanager", "GetSecretValue", {"secretId": "db"}, identity=session("x"))
    assert found["action"] == "secretsmanager:GetSecretValue"
    assert found["cloud"]["access_key_id"] == "ASIAEXAMPLE"
    assert call("secretsmanager", "GetSecretValue", {"secretId": "db"}) == Dropped(
        "not ours: secretsmanager.amazonaws.com"
    )


def test_the_list_of_sensitive_calls_is_the_rules_own():
    path = schemas_dir().parent / "rules" / "lists" / "sensitive-aws-calls.yml"
    text = path.read_text(encoding="utf-8")
    assert sensitive_calls() == set(yaml.safe_load(text)["values"])
    assert len(yaml.safe_load(text)["values"]) == len(sensitive_calls()), "each value once"
    values = [line for line in text.splitlines() if line.strip().startswith("- ")]
    assert all("  # " in line for line in values), "each value carries its source"


# --- facts ------------------------------------------------------------------------------------------------------


def facts_of(found, name):
    assert {key for key, value in found["facts"].items() if value} == {name, "touched"}
    assert found["facts"]["touched"] == ["*"]
    return found["facts"][name]


def test_an_access_policy_with_an_encoded_principal():
    found = call(
        "eks",
        "AssociateAccessPolicy",
        {
            "name": "harbour",
            "principalArn": f"arn%3Aaws%3Aiam%3A%3A{ACCOUNT}%3Arole%2Fmallory",
            "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            "accessScope": {"type": "namespace", "namespaces": ["web"]},
        },
    )
    assert found["flags"] & Flag.HAS_CLOUD_ACCESS
    assert facts_of(found, "cloud_access") == {
        "principal_arn": f"arn:aws:iam::{ACCOUNT}:role/mallory",
        "policy": "AmazonEKSClusterAdminPolicy",
        "policy_arn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
        "scope": "namespace",
        "namespaces": ["web"],
        "groups": [],
        "username": "",
        "type": "",
    }


def test_an_access_entry_is_read_from_request_and_answer():
    principal = f"arn:aws:iam::{ACCOUNT}:role/mallory"
    entry = {"clusterName": "harbour", "type": "STANDARD", "principalArn": principal, "username": "mallory"}
    for asked in ({"name": "harbour", "principalArn": principal, "kubernetesGroups": ["ops"]}, None):
        found = call("eks", "CreateAccessEntry", asked, {"accessEntry": {**entry, "kubernetesGroups": ["ops"]}})
        facts = facts_of(found, "cloud_access")
        assert found["cluster"]["name"] == "harbour"
        assert (facts["principal_arn"], facts["groups"]) == (principal, ["ops"])
        assert (facts["type"], facts["username"]) == ("STANDARD", "mallory")


@pytest.mark.parametrize("name", ["CreatePodIdentityAssociation", "DeletePodIdentityAssociation"])
def test_a_pod_identity_association_is_a_link(name):
    stored = {"namespace": "shop", "serviceAccount": "cart", "roleArn": "arn:aws:iam::1:role/cart"}
    asked = {"clusterName": "harbour", **(stored if name.startswith("Create") else {"associationId": "a-1"})}
    facts = facts_of(call("eks", name, asked, {"association": stored}), "cloud_link")
    assert facts["identity"] == "arn:aws:iam::1:role/cart"
    assert facts["via"] == "pod_identity"
    whom = ["system:serviceaccount:shop:cart"]
    assert (facts["subjects"], facts["removed"]) == ((whom, []) if name.startswith("Create") else ([], whom))


def test_logging_and_endpoint_switched():
    asked = {
        "name": "harbour",
        "logging": {
            "clusterLogging": [{"types": ["api", "audit"], "enabled": False}, {"types": ["scheduler"], "enabled": True}]
        },
        "resourcesVpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["0.0.0.0/0"]},
        "accessConfig": {"authenticationMode": "API"},
    }
    facts = facts_of(call("eks", "UpdateClusterConfig", asked), "control_plane")
    assert facts["logging_types_off"] == ["api", "audit"]
    assert facts["logging_types_on"] == ["scheduler"]
    assert facts["logging_off"] is True
    assert (facts["endpoint_public"], facts["endpoint_private"]) == (True, None)
    assert (facts["cidrs"], facts["auth_mode"]) == (["0.0.0.0/0"], "API")


def test_irsa_takes_a_role():
    identity = {
        "type": "WebIdentityUser",
        "principalId": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{OIDC}:sts.amazonaws.com:system:serviceaccount:shop:cart",
        "userName": "system:serviceaccount:shop:cart",
        "identityProvider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{OIDC}",
    }
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/cart/s"
    answered = {
        "credentials": {"accessKeyId": "ASIANEW", "sessionToken": "hunter2"},
        "assumedRoleUser": {"arn": arn},
    }
    asked = {"roleArn": "arn:aws:iam::1:role/cart", "roleSessionName": "s"}
    found = call("sts", "AssumeRoleWithWebIdentity", asked, answered, identity)
    assert found["actor"]["class"] == "service_account"
    assert (found["actor"]["namespace"], found["actor"]["service_account"]) == ("shop", "cart")
    assert facts_of(found, "cloud_assume") == {
        "service_account": "system:serviceaccount:shop:cart",
        "role_arn": "arn:aws:iam::1:role/cart",
        "session_arn": arn,
        "issued_key": "ASIANEW",
        "issuer": OIDC,
        "source": "irsa",
        "pod": "",
        "pod_uid": "",
    }
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize("shape", ["a list", "by name", "principalTags"])
def test_pod_identity_takes_a_role(shape):
    tags = {
        "eks-cluster-name": "harbour",
        "kubernetes-namespace": "shop",
        "kubernetes-service-account": "cart",
        "kubernetes-pod-name": "cart-0",
        "kubernetes-pod-uid": "u-1",
    }
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    asked = {
        "a list": {"tags": [*listed, 5, {"key": ["x"], "value": 1}]},
        "by name": {"tags": tags},
        "principalTags": {"principalTags": tags},
    }[shape] | {"roleArn": "r"}
    identity = {"type": "AWSService", "invokedBy": "pods.eks.amazonaws.com"}
    found = call("sts", "AssumeRole", asked, {"credentials": {"accessKeyId": "ASIANEW"}}, identity)
    facts = facts_of(found, "cloud_assume")
    assert found["cluster"]["name"] == "harbour"
    assert (facts["service_account"], facts["pod"], facts["pod_uid"]) == (
        "system:serviceaccount:shop:cart",
        "cart-0",
        "u-1",
    )
    assert (facts["source"], facts["issued_key"]) == ("pod_identity", "ASIANEW")


def test_the_agents_call_names_cluster_and_node():
    asked = {"clusterName": "harbour", "token": "HIDDEN_DUE_TO_SECURITY_REASONS"}
    found = call("eks-auth", "AssumeRoleForPodIdentity", asked, identity=session("i-0123456789abcdef0"))
    assert found["cluster"]["name"] == "harbour"
    assert found["actor"]["class"] == "node"
    assert facts_of(found, "cloud_assume")["source"] == "pod_identity"


def trust(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def web_identity(condition=None, issuer=OIDC):
    principal = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRoleWithWebIdentity"}
    return {**statement, "Condition": condition} if condition else statement


SUB = {"StringEquals": {f"{OIDC}:sub": "system:serviceaccount:shop:cart", f"{OIDC}:aud": "sts.amazonaws.com"}}
LIKE = {"StringLike": {f"{OIDC}:sub": ["system:serviceaccount:web:*", "system:serviceaccount:*:x"]}}


@pytest.mark.parametrize(
    ("policy", "via", "subjects", "unbounded"),
    [
        (trust(web_identity(SUB)), "oidc_trust", ["system:serviceaccount:shop:cart"], False),
        (trust(web_identity(LIKE)), "oidc_trust", ["system:serviceaccount:web:*", "system:serviceaccount:*:x"], False),
        (trust(web_identity()), "oidc_trust", [], True),
        (trust(web_identity({"StringNotEquals": {f"{OIDC}:sub": "a"}})), "oidc_trust", [], True),
        (trust(web_identity(), web_identity(SUB)), "oidc_trust", ["system:serviceaccount:shop:cart"], True),
        (
            trust(
                {"Effect": "Allow", "Principal": {"Service": ["pods.eks.amazonaws.com"]}, "Action": "sts:AssumeRole"}
            ),
            "pod_identity",
            [],
            False,
        ),
        (
            trust(
                web_identity(
                    {"StringEquals": {"oidc.example.com:sub": "system:serviceaccount:a:b"}}, "oidc.example.com"
                )
            ),
            "oidc_trust",
            ["system:serviceaccount:a:b"],
            False,
        ),
    ],
)
@pytest.mark.parametrize("name", ["UpdateAssumeRolePolicy", "CreateRole"])
def test_a_trust_policy_is_a_link(name, policy, via, subjects, unbounded):
    key = "policyDocument" if name == "UpdateAssumeRolePolicy" else "assumeRolePolicyDocument"
    facts = call("iam", name, {"roleName": "cart", key: policy})["facts"]
    link, grant = facts["cloud_link"], facts["cloud_grant"]
    assert (link["via"], link["subjects"], link["unbounded"]) == (via, subjects, unbounded)
    assert link["identity"] == "cart"
    # nobody else may take it
    assert grant is None or [(g["principals"], g["classes"]) for g in grant["grants"]] == [([], [])]


GIVEN = "arn:aws:iam::aws:policy/AdministratorAccess"


@pytest.mark.parametrize(
    ("name", "asked", "via", "policy", "removed"),
    [
        ("AttachRolePolicy", {"policyArn": GIVEN}, "attached", "AdministratorAccess", False),
        ("DetachRolePolicy", {"policyArn": GIVEN}, "attached", "AdministratorAccess", True),
        ("PutRolePolicy", {"policyName": "more", "policyDocument": "{}"}, "inline", "more", False),
        ("DeleteRolePolicy", {"policyName": "more"}, "inline", "more", True),
        ("PutRolePermissionsBoundary", {"permissionsBoundary": GIVEN}, "boundary", "AdministratorAccess", False),
        ("DeleteRolePermissionsBoundary", {}, "boundary", "", True),
        ("UpdateAssumeRolePolicy", {"policyDocument": TRUST_OTHERS}, "trust", "", False),
    ],
)
def test_what_a_role_is_given_and_loses(name, asked, via, policy, removed):
    found = call("iam", name, {"roleName": "cart", **asked})
    (grant,) = facts_of(found, "cloud_grant")["grants"]
    assert found["flags"] & Flag.HAS_CLOUD_GRANT
    assert (grant["identity"], grant["via"], grant["policy"], grant["removed"]) == ("cart", via, policy, removed)


@pytest.mark.parametrize(
    ("statement", "classes"),
    [
        ({"Action": "*", "Resource": "*"}, ["admin", "cluster", "iam", "secrets"]),
        ({"Action": "*:*", "Resource": ["*"]}, ["admin", "cluster", "iam", "secrets", "service"]),
        ({"Action": "*", "Resource": "arn:aws:s3:::shop/*"}, ["cluster", "iam"]),
        ({"NotAction": "s3:*", "Resource": "*"}, ["admin"]),
        ({"NotAction": ["iam:*", "organizations:*"], "Resource": "*"}, ["service"]),
        ({"Action": "iam:Attach*", "Resource": "arn:aws:iam::1:role/cart"}, ["iam"]),
        ({"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/node"}, []),
        ({"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/*"}, ["iam"]),
        ({"Action": "sts:AssumeRole", "Resource": "*"}, ["iam"]),
        ({"Action": "eks:CreateAccessEntry", "Resource": "*"}, ["cluster"]),
        ({"Action": "SecretsManager:Get*", "Resource": "*"}, ["secrets"]),
        ({"Action": "secretsmanager:GetSecretValue", "Resource": "arn:aws:secretsmanager:x:1:secret:a"}, []),
        ({"Action": ["s3:*"], "Resource": "*"}, ["service"]),
        ({"Action": ["s3:GetObject", 7, None], "Resource": 7}, []),
        ({"Effect": "Deny", "Action": "*", "Resource": "*"}, []),
    ],
)
def test_what_a_policy_lets_a_role_do(statement, classes):
    document = json.dumps({"Statement": {"Effect": "Allow", **statement}})
    for given in (document, urllib.parse.quote(document)):
        found = call("iam", "PutRolePolicy", {"roleName": "cart", "policyName": "more", "policyDocument": given})
        assert facts_of(found, "cloud_grant")["grants"][0]["classes"] == classes


@pytest.mark.parametrize("document", ["{", "[]", "7", '{"Statement": [7, {"Effect": 1}]}', "x" * 70_000])
def test_a_policy_that_cannot_be_read_is_no_error(document):
    for name in ("PutRolePolicy", "UpdateAssumeRolePolicy"):
        found = call("iam", name, {"roleName": "cart", "policyName": "more", "policyDocument": document})
        assert facts_of(found, "cloud_grant")["grants"][0]["classes"] == []


@pytest.mark.parametrize(
    ("principal", "classes"),
    [
        ("*", ["everybody"]),
        ({"AWS": ["*", f"arn:aws:iam::{ACCOUNT}:root"]}, ["account", "everybody"]),
        ({"AWS": ACCOUNT}, ["account"]),
        ({"AWS": "arn:aws:iam::444455556666:user/x"}, ["other_account"]),
        ({"AWS": "444455556666"}, ["other_account"]),
        ({"Service": ["ec2.amazonaws.com", "pods.eks.amazonaws.com"]}, ["service"]),
        ({"Federated": "cognito-identity.amazonaws.com"}, ["federated"]),
        ({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{OIDC}"}, []),
        ({}, []),
    ],
)
def test_whom_a_trust_policy_names_beside_pods(principal, classes):
    policy = json.dumps({"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})
    found = call("iam", "UpdateAssumeRolePolicy", {"roleName": "cart", "policyDocument": policy})
    assert found["facts"]["cloud_grant"]["grants"][0]["classes"] == classes


def test_an_oidc_provider_of_a_cluster_is_a_link():
    facts = facts_of(call("iam", "CreateOpenIDConnectProvider", {"url": f"https://{OIDC}"}), "cloud_link")
    assert (facts["via"], facts["issuer"]) == ("oidc_provider", OIDC)


@pytest.mark.parametrize(
    ("name", "more", "off", "days"),
    [
        ("DeleteLogGroup", {}, True, 0),
        ("DeleteSubscriptionFilter", {"filterName": "f"}, True, 0),
        ("PutSubscriptionFilter", {"filterName": "f"}, False, 0),
        ("PutRetentionPolicy", {"retentionInDays": 1}, False, 1),
    ],
)
def test_logs_taken_away(name, more, off, days):
    found = call("logs", name, {"logGroupName": "/aws/eks/harbour/cluster", **more})
    facts = facts_of(found, "control_plane")
    assert found["cluster"]["name"] == "harbour"
    assert (facts["target"], facts["logging_off"], facts["retention_days"]) == ("/aws/eks/harbour/cluster", off, days)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("AuthorizeSecurityGroupIngress", {"groupId": "sg-1", "cidrIp": "0.0.0.0/0", "ipPermissions": {}}),
        (
            "AuthorizeSecurityGroupIngress",
            {"groupId": "sg-1", "ipPermissions": {"items": [{"ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}}]}},
        ),
        (
            "ModifySecurityGroupRules",
            {
                "ModifySecurityGroupRulesRequest": {
                    "GroupId": "sg-1",
                    "SecurityGroupRule": {"SecurityGroupRule": {"CidrIpv4": "0.0.0.0/0"}},
                }
            },
        ),
    ],
)
def test_a_security_group_opened(name, asked):
    facts = facts_of(call("ec2", name, asked), "control_plane")
    assert (facts["target"], facts["cidrs"]) == ("sg-1", ["0.0.0.0/0"])


def test_the_clusters_own_security_group_names_it():
    asked = {"groupName": "eks-cluster-sg-my-harbour-123456", "cidrIp": "10.0.0.0/8"}
    assert call("ec2", "AuthorizeSecurityGroupIngress", asked)["cluster"]["name"] == "my-harbour"


# --- wrong shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["x", 5, ["x"], {"logging": "x"}, {"accessScope": [1]}, {"name": 7}, True])
@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("eks", "UpdateClusterConfig"),
        ("eks", "AssociateAccessPolicy"),
        ("eks", "CreatePodIdentityAssociation"),
        ("eks-auth", "AssumeRoleForPodIdentity"),
        ("ec2", "ModifySecurityGroupRules"),
    ],
)
def test_wrong_types_are_no_exception(service, name, wrong):
    assert call(service, name, wrong, wrong)["action"] == f"{service}:{name}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"eventSource":"eks.amazonaws.com"', "truncated CloudTrail record"),
        (b'{"eventVersion":"1.03","userIdentity":{"type":"Root"}}', "without eventSource"),
        (b"[]", "not a JSON object"),
        (b"x", "malformed JSON"),
    ],
)
def test_what_is_no_record_is_invalid(value, reason):
    with pytest.raises(InvalidEvent, match=reason):
        normalize(RawEvent(value=value, format="cloudtrail"))
