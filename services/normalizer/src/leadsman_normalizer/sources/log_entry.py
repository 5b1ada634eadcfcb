"""Google's LogEntry that holds an AuditLog, as far as it is read: the input of gke_audit.py and gcp_calls.py.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry and
https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog
"""

from __future__ import annotations

import msgspec

from leadsman_normalizer.lenient import NO_BODY


class Delegation(msgspec.Struct, gc=False):
    """An item of serviceAccountDelegationInfo: who stood behind the principal."""

    principalSubject: str = ""


class Authentication(msgspec.Struct, gc=False):
    """authenticationInfo."""

    principalEmail: str = ""
    principalSubject: str = ""
    authoritySelector: str = ""
    serviceAccountDelegationInfo: list[Delegation] = []


class Authorization(msgspec.Struct, gc=False):
    """An item of authorizationInfo; granted false is left out of the JSON."""

    granted: bool = False
    resource: str = ""


class RequestMetadata(msgspec.Struct, gc=False):
    """requestMetadata."""

    callerIp: str = ""
    callerIP: str = ""
    callerSuppliedUserAgent: str = ""


class RpcStatus(msgspec.Struct, gc=False):
    """google.rpc.Status; {} and absent are OK."""

    code: int = 0
    message: str = ""


class Payload(msgspec.Struct, gc=False):
    """google.cloud.audit.AuditLog; bodies left raw."""

    serviceName: str = ""
    methodName: str = ""
    resourceName: str = ""
    authenticationInfo: Authentication | None = None
    authorizationInfo: list[Authorization] | None = None
    requestMetadata: RequestMetadata | None = None
    request: msgspec.Raw = NO_BODY
    response: msgspec.Raw = NO_BODY
    serviceData: msgspec.Raw = NO_BODY
    metadata: msgspec.Raw = NO_BODY
    status: RpcStatus | None = None


class Operation(msgspec.Struct, gc=False):
    """LogEntryOperation."""

    id: str = ""
    first: bool = False
    last: bool = False


class Resource(msgspec.Struct, gc=False):
    """MonitoredResource."""

    type: str = ""
    labels: dict[str, str] = {}


class LogEntry(msgspec.Struct, gc=False):
    """A LogEntry."""

    insertId: str = ""
    logName: str = ""
    timestamp: str = ""
    receiveTimestamp: str = ""
    labels: dict[str, str] = {}
    operation: Operation | None = None
    resource: Resource | None = None
    protoPayload: Payload | None = None


# what stands for an absent part
NO_OPERATION = Operation()
NO_RESOURCE = Resource()
NO_AUTHENTICATION = Authentication()
NO_METADATA = RequestMetadata()
NO_RPC = RpcStatus()
