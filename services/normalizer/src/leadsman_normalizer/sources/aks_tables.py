"""Rows of AKSAudit and AKSAuditAdmin, Azure's tables with a column for each field of the event, as the event they were.

https://learn.microsoft.com/en-us/azure/azure-monitor/reference/tables/aksaudit. Queries, data exports to Event Hubs and
exports to storage give such rows; aks_audit.py takes the event on from here.
"""

from __future__ import annotations

import msgspec

from leadsman_normalizer.lenient import NO_BODY, decode_whole

# what stands in every row; its case is the table's
MARKS = (b'"AuditId"', b'"RequestUri"')
_COLUMNS = {
    "Level": "level",
    "AuditId": "auditID",
    "Stage": "stage",
    "RequestUri": "requestURI",
    "Verb": "verb",
    "User": "user",
    "ImpersonatedUser": "impersonatedUser",
    "SourceIps": "sourceIPs",
    "UserAgent": "userAgent",
    "ObjectRef": "objectRef",
    "ResponseStatus": "responseStatus",
    "RequestObject": "requestObject",
    "ResponseObject": "responseObject",
    "RequestReceivedTime": "requestReceivedTimestamp",
    "StageReceivedTime": "stageTimestamp",
    "Annotations": "annotations",
}
_DYNAMIC = frozenset(
    {"User", "ImpersonatedUser", "SourceIps", "ObjectRef", "ResponseStatus", "RequestObject", "ResponseObject"}
    | {"Annotations"}
)


class Row(msgspec.Struct, gc=False):
    """A row, as far as it is read. Columns of type dynamic hold the value itself or, in some exports, its JSON text."""

    Level: msgspec.Raw = NO_BODY
    AuditId: msgspec.Raw = NO_BODY
    Stage: msgspec.Raw = NO_BODY
    RequestUri: msgspec.Raw = NO_BODY
    Verb: msgspec.Raw = NO_BODY
    User: msgspec.Raw = NO_BODY
    ImpersonatedUser: msgspec.Raw = NO_BODY
    SourceIps: msgspec.Raw = NO_BODY
    UserAgent: msgspec.Raw = NO_BODY
    ObjectRef: msgspec.Raw = NO_BODY
    ResponseStatus: msgspec.Raw = NO_BODY
    RequestObject: msgspec.Raw = NO_BODY
    ResponseObject: msgspec.Raw = NO_BODY
    RequestReceivedTime: msgspec.Raw = NO_BODY
    StageReceivedTime: msgspec.Raw = NO_BODY
    Annotations: msgspec.Raw = NO_BODY
    resource_id: str = msgspec.field(name="_ResourceId", default="")
    TimeGenerated: str = ""


def is_row(value: bytes) -> bool:
    """Whether a record looks like a row of these tables."""
    return all(mark in value for mark in MARKS)


def event_of(row: Row) -> bytes:
    """The row as a native event, in the order in which the API server writes one."""
    fields = []
    for column, name in _COLUMNS.items():
        value = bytes(getattr(row, column))
        if column in _DYNAMIC:
            value = _value(value)
        if value and value != b"null":
            fields.append(b'"%s":%s' % (name.encode(), value))
    return b"{%s}" % b",".join(fields)


def read_row(value: bytes, reasons: list[str]) -> Row:
    """A row decoded. Raises InvalidEvent for what is none, a cut one too: columns come in any order."""
    return decode_whole(Row, value, reasons, "AKSAudit row")


def _value(data: bytes) -> bytes:
    """The JSON text in a text, else the value as it is."""
    if not data.startswith((b'"{', b'"[')):
        return data
    try:
        text = msgspec.json.decode(data, type=str).encode()
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return data
    return text
