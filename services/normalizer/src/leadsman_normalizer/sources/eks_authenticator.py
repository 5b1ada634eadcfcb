"""EKS: the log of aws-iam-authenticator (stream authenticator-*), logfmt or JSON, one line a record (FORMATS 2.4).

Messages: kubernetes-sigs/aws-iam-authenticator pkg/server/server.go. Its `client` is a port of the control plane: where
the caller was is not here; the API server's log joins by ARN and access key.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent, Cloud, User, event_id
from leadsman_common.raw import RawEvent
from leadsman_normalizer.actor import actor_of
from leadsman_normalizer.assemble import cluster_of, status_of
from leadsman_normalizer.calls import Call, assemble_call, outcome_of
from leadsman_normalizer.lenient import Truncated, load
from leadsman_normalizer.result import Dropped
from leadsman_normalizer.timestamps import micros

FORMAT: Final = "eks-authenticator"
MAX_LINE_BYTES = 64 * 1024
_OPERATIONS = {"access granted": "AccessGranted", "access denied": "AccessDenied", "STS response": "STSResponse"}
# logrus quotes as Go's %q does; a key starts a word, else a long word would be tried from each of its letters
_PAIR = re.compile(r'(?<![\w.-])([A-Za-z_][\w.-]*)=(?:"((?:[^"\\]++|\\.)*+)"|(\S*))')


def normalize_authenticator(raw: RawEvent) -> AuditEvent | Dropped:
    """One line. Dropped where it tells of no authentication; raises InvalidEvent for a line cut inside a field."""
    reasons: list[str] = []
    fields = _fields(raw.value, reasons)
    operation = _OPERATIONS.get(fields.get("msg", ""))
    if operation is None:
        return Dropped("eks-authenticator: another line")
    granted, denied = operation == "AccessGranted", operation == "AccessDenied"
    cluster = cluster_of(raw, "aws")
    arn = fields.get("arn", "")
    user: User = {
        "username": fields.get("username", "") if granted else "",
        "uid": fields.get("uid", "") if granted else "",
        "groups": _words(fields.get("groups", "")) if granted else [],
        "extra": {},
    }
    cloud: Cloud = {
        "service": FORMAT,
        "operation": operation,
        "principal": arn,
        "canonical_arn": arn if granted else "",
        "session": fields.get("session", ""),
        "access_key_id": fields.get("accesskeyid", ""),
        "principal_id": fields.get("userid", ""),
        "error": "AccessDenied" if denied else "",
        "parameters": "",
    }
    actor = actor_of(user, None, "aws", refused=denied)
    error = fields.get("error", "")
    return assemble_call(
        Call(
            raw=raw,
            format=raw.format or FORMAT,
            # the line's own words: a delivery repeats them, another request has another port or second
            id=event_id(cluster["id"], "", fields.get("time", ""), operation, fields.get("client", ""), arn),
            action=f"{FORMAT}:{operation}",
            time=micros(fields.get("time", "")),
            cluster=cluster,
            actor=actor,
            outcome=outcome_of("forbid" if denied else "allow" if granted else "none", effective=not denied),
            user=user,
            status=status_of(0, "Failure" if denied else "", "", error),
            cloud=cloud,
            failed=denied,
            reasons=reasons,
        )
    )


def _fields(value: bytes, reasons: list[str]) -> dict[str, str]:
    """The line's fields; lists as the words that Go prints for them."""
    line = value[:MAX_LINE_BYTES].strip()
    if line.startswith(b"{"):
        try:
            tree = load(line, reasons)
        except Truncated as error:
            raise InvalidEvent(f"truncated authenticator line: {error}") from error
        return {key: _plain(found) for key, found in tree.items()} if isinstance(tree, dict) else {}
    text = line.decode("utf-8", "replace")
    if not text:
        raise InvalidEvent("an empty line")
    return {key: plain or _unquoted(quoted) for key, quoted, plain in _PAIR.findall(text)}


def _plain(found: Any) -> str:
    if isinstance(found, list):
        return f"[{' '.join(str(item) for item in found)}]"
    return found if isinstance(found, str) else "" if found is None else str(found)


def _unquoted(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:  # \x00 and the like, which Go has and JSON has not
        return re.sub(r"\\(.)", r"\1", text)


def _words(text: str) -> list[str]:
    return text.removeprefix("[").removesuffix("]").split()
