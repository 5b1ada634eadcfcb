"""CloudTrail: one record of AWS's API log (FORMATS 2.5). `Records[]` files are taken apart before.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html. Ours are the
calls about clusters, those by which service accounts get roles and roles get policies, those that make clusters
invisible, and the sensitive calls of rules/lists/sensitive-aws-calls.yml made with a role session's key; everything
else is dropped.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Actor, AuditEvent, Cloud, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of
from leadsman_normalizer.assemble import cluster, status_of
from leadsman_normalizer.calls import Call, assemble_call, outcome_of_error, parameters_text, tree_of
from leadsman_normalizer.facts.aws_calls import aws_facts, cluster_name
from leadsman_normalizer.facts.aws_grants import GRANTING
from leadsman_normalizer.facts.aws_policies import POD_IDENTITY
from leadsman_normalizer.lenient import NO_BODY, decode_whole
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "cloudtrail"
DIGEST: Final = b'"digestS3Object"'
_DOMAIN = ".amazonaws.com"
# every call of these is about a cluster or a pod
_ALWAYS = frozenset({"eks", "eks-auth"})
_LOGS = frozenset(
    {"DeleteLogGroup", "DeleteLogStream", "DeleteSubscriptionFilter", "PutSubscriptionFilter"}
    | {"PutRetentionPolicy", "DeleteRetentionPolicy"}
)
_SECURITY_GROUPS = frozenset({"AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules"})
_PROVIDERS = frozenset({"CreateOpenIDConnectProvider", "DeleteOpenIDConnectProvider"})
# an instance's role session is named after the instance; a node's calls come so
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}\Z")


class Issuer(msgspec.Struct, gc=False):
    """sessionContext.sessionIssuer: the role behind a session."""

    arn: str = ""


class Federation(msgspec.Struct, gc=False):
    """sessionContext.webIdFederationData: whose token the session was made with."""

    federatedProvider: str = ""


class SessionContext(msgspec.Struct, gc=False):
    """sessionContext."""

    sessionIssuer: Issuer | None = None
    webIdFederationData: Federation | None = None


class Identity(msgspec.Struct, gc=False):
    """userIdentity."""

    type: str = ""
    principalId: str = ""
    arn: str = ""
    accountId: str = ""
    accessKeyId: str = ""
    userName: str = ""
    invokedBy: str = ""
    identityProvider: str = ""
    sessionContext: SessionContext | None = None


class Record(msgspec.Struct, gc=False):
    """A CloudTrail record; parameters and answer left raw until it is known to be ours."""

    eventSource: str = ""
    eventName: str = ""
    eventID: str = ""
    eventTime: str = ""
    eventType: str = ""
    awsRegion: str = ""
    sourceIPAddress: str = ""
    userAgent: str = ""
    errorCode: str = ""
    errorMessage: str = ""
    recipientAccountId: str = ""
    userIdentity: Identity | None = None
    requestParameters: msgspec.Raw = NO_BODY
    responseElements: msgspec.Raw = NO_BODY


_NO_IDENTITY = Identity()


def normalize_cloudtrail(raw: RawEvent) -> AuditEvent | Dropped:
    """One record. Raises InvalidEvent where it is none."""
    reasons: list[str] = []
    record = decode_whole(Record, raw.value, reasons, "CloudTrail record")
    if not record.eventSource and DIGEST in raw.value:
        return Dropped("not ours: a digest of CloudTrail's files, which holds no call")
    if not record.eventSource or not record.eventName:
        raise InvalidEvent("a CloudTrail record without eventSource or eventName")
    if record.eventType == "AwsCloudTrailInsight":
        return Dropped("not ours: a CloudTrail Insight, which is no call")
    identity = record.userIdentity or _NO_IDENTITY
    service = record.eventSource.removesuffix(_DOMAIN)
    if not _may_be_ours(record, identity, service):
        return Dropped(f"not ours: {record.eventSource[:64]}")
    asked = tree_of(record.requestParameters, "requestParameters", reasons)
    answered = tree_of(record.responseElements, "responseElements", reasons)
    account = record.recipientAccountId or identity.accountId or raw.account
    facts = aws_facts(service, record.eventName, _caller(identity, account), asked, answered, reasons)
    if not _is_ours(record, identity, service, asked, facts):
        return Dropped(f"not ours: {record.eventSource[:64]}")
    in_cluster = cluster(
        "aws",
        account,
        record.awsRegion or raw.region,
        cluster_name(service, asked, answered) or raw.cluster,
    )
    user, actor, cloud = who(identity)
    cloud = {
        **cloud,
        "service": record.eventSource,
        "operation": record.eventName,
        "error": record.errorCode,
        "parameters": parameters_text(asked, reasons),
    }
    failed = bool(record.errorCode)
    return assemble_call(
        Call(
            raw=raw,
            format=raw.format or FORMAT,
            id=event_id(
                in_cluster["id"],
                record.eventID,
                record.eventTime,
                record.eventName,
                record.eventSource,
                user["username"],
            ),
            call_id=record.eventID,
            action=f"{service}:{record.eventName}",
            time=micros(record.eventTime),
            cluster=in_cluster,
            user=user,
            actor=actor,
            user_agent=record.userAgent,
            ip=record.sourceIPAddress,
            status=status_of(0, "Failure" if failed else "", record.errorCode, record.errorMessage),
            outcome=outcome_of_error(record.errorCode),
            cloud=cloud,
            facts=facts,
            failed=failed,
            reasons=reasons,
        )
    )


def who(identity: Identity) -> tuple[User, Actor, Cloud]:
    """The user, the actor and the cloud identity that a userIdentity is."""
    context = identity.sessionContext or SessionContext()
    issuer = context.sessionIssuer.arn if context.sessionIssuer else ""
    session = identity.arn.rpartition("/")[2] if ":assumed-role/" in identity.arn else ""
    name = identity.arn or identity.userName or identity.invokedBy
    user: User = {"username": name, "uid": identity.principalId, "groups": [], "extra": {}}
    actor = actor_of(user, None, "aws", refused=False)
    actor = {**actor, "class": _class(identity, session, actor["class"])}
    actor["unauthenticated"] = actor["class"] == "unauthenticated"
    cloud: Cloud = {
        "service": "",
        "operation": "",
        "principal": name,
        "canonical_arn": issuer,
        "session": session,
        "access_key_id": identity.accessKeyId,
        "principal_id": identity.principalId,
        "error": "",
        "parameters": "",
    }
    return user, actor, cloud


@cache
def sensitive_calls() -> frozenset[str]:
    """The calls of rules/lists/sensitive-aws-calls.yml, packaged with the normalizer; read at the first record."""
    name = "sensitive-aws-calls.yml"
    packaged = Path(__file__).parents[1] / "_lists" / name
    path = packaged if packaged.is_file() else Path(__file__).parents[5] / "rules" / "lists" / name
    return frozenset(yaml.safe_load(path.read_text(encoding="utf-8"))["values"])


def _class(identity: Identity, session: str, found: str) -> str:
    if identity.accountId == "ANONYMOUS_PRINCIPAL":
        return "unauthenticated"
    if identity.type == "AWSService" or ":assumed-role/AWSServiceRoleFor" in identity.arn:
        return "managed_cloud"
    if _INSTANCE.match(session):
        return "node"
    federation = identity.sessionContext.webIdFederationData if identity.sessionContext else None
    if federation is not None and "/oidc.eks." in federation.federatedProvider:
        return "service_account"  # a session of IRSA: a pod's, whose service account the record does not name
    return found


def _caller(identity: Identity, account: str) -> dict[str, str]:
    return {
        "name": identity.userName,
        "provider": identity.identityProvider,
        "invoked_by": identity.invokedBy,
        "account": account,
    }


def _may_be_ours(record: Record, identity: Identity, service: str) -> bool:
    """A look before anything is decoded: an account's log is nearly all not ours."""
    name = record.eventName
    if service in _ALWAYS or _is_sensitive(identity, service, name):
        return True
    match service:
        case "sts":
            return name == "AssumeRoleWithWebIdentity" or (name == "AssumeRole" and identity.invokedBy == POD_IDENTITY)
        case "iam":
            return name in _PROVIDERS or name in GRANTING or name == "CreateRole"
        case "logs":
            return name in _LOGS
        case "ec2":
            return name in _SECURITY_GROUPS
        case _:
            return False


def _is_ours(record: Record, identity: Identity, service: str, asked: dict[str, Any], facts: dict[str, Any]) -> bool:
    if _is_sensitive(identity, service, record.eventName):
        return True
    match service:
        case "sts":
            return bool(facts)
        case "iam":  # new roles that no pod may take, other providers' issuers
            return bool(facts)
        case "logs":
            return str(asked.get("logGroupName", "")).startswith("/aws/eks/")
        case _:
            return True


def _is_sensitive(identity: Identity, service: str, name: str) -> bool:
    session = identity.type == "AssumedRole" and identity.accessKeyId != ""
    return session and f"{service}:{name}" in sensitive_calls()
