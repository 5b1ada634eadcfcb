"""The format of a record by its looks, for files: on the raw topics a header says it."""

from __future__ import annotations

import re

from leadsman_normalizer.sources.aks_tables import is_row
from leadsman_normalizer.sources.cloudtrail import DIGEST
from leadsman_normalizer.sources.eks_components import KLOG

_HEAD_BYTES = 512
_GUARDDUTY = re.compile(rb'"serviceName"\s*:\s*"guardduty"')
# how the API server begins a line: whatever names its body holds, it is native
SERVER_LINE = b'{"kind":"Event","apiVersion":"audit.k8s.io/'
# vendors' examples lack apiVersion and auditID; two of these are no coincidence
_NATIVE = (b'"verb"', b'"objectRef"', b'"requestURI"', b'"sourceIPs"')


def detect(value: bytes) -> str:
    """The format of a record by its field names; empty where it is none we know.

    A cut record keeps the field names at its beginning, so this does not parse.
    """
    if value.startswith(SERVER_LINE):
        return "k8s-audit"
    if b'"protoPayload"' in value or (b'"logName"' in value and b'"insertId"' in value):
        return "gke-logentry"
    if b'"auditID"' in value:
        return "k8s-audit"
    if found := _sensor(value):
        return found
    if is_row(value):
        return "aks-audit"
    if (b'"eventSource"' in value and b'"eventName"' in value) or DIGEST in value:
        return "cloudtrail"
    if b'"operationName"' in value or b'"log_s"' in value:
        return "aks-audit" if b'"log"' in value or b'"log_s"' in value else "azure-activity"
    if b'"properties"' in value and b'"log"' in value and b'"verb"' not in value:
        return "aks-audit"  # cut down to its category; the event itself is text, its field names escaped
    if b"audit.k8s.io" in value or sum(name in value for name in _NATIVE) > 1:
        return "k8s-audit"
    if b"/authenticate" in value and (b'"msg"' in value or b"msg=" in value):
        return "eks-authenticator"
    if value[:1] in b"IWEF" and KLOG.match(value[:_HEAD_BYTES].decode("utf-8", "replace")):
        return "eks-unknown"
    return ""


def _sensor(value: bytes) -> str:
    """Which sensor a record is of: Falco's alert, GuardDuty's finding, Security Command Center's notification."""
    if b'"output_fields"' in value and b'"rule"' in value and b'"priority"' in value:
        return "falco"
    if b'"GuardDuty Finding"' in value or _GUARDDUTY.search(value) is not None:
        return "guardduty"
    if b'"notificationConfigName"' in value or (b'"findingClass"' in value and b'"category"' in value):
        return "scc"
    return ""
