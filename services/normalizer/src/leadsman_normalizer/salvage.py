"""What stands in front of the cut in a truncated record: its complete top-level fields.

The API server writes level, auditID, stage, requestURI, verb, user, sourceIPs and objectRef before the bodies, so
they survive a log store's size limit (FORMATS 2.1).
"""

from __future__ import annotations

import re

from leadsman_normalizer.lenient import STRING, STRUCTURE, ends_early

# the suffix that CloudWatch's tooling leaves at a cut (falcosecurity/plugins k8sauditeks.go)
_MARKER = re.compile(rb"\[Truncated\.\.\.\]\s*\Z")
_KEY = re.compile(rb'\s*[{,]\s*("(?:[^"\\]++|\\.)*+")\s*:\s*', re.DOTALL)
_PLAIN = re.compile(rb"[-+.0-9a-zA-Z]+(?=\s*[,}])")


def strip_marker(data: bytes) -> bytes:
    """`data` without the mark of a cut and the white space after it."""
    return _MARKER.sub(b"", data).rstrip(b" \t\r\n")


def complete_fields(data: bytes) -> bytes:
    """A JSON object of the top-level fields that stand complete in `data`, the beginning of a JSON object."""
    kept: list[bytes] = []
    at = 0
    while key := _KEY.match(data, at):
        end = _value_end(data, key.end())
        if end < 0:
            break
        kept.append(key.group(1) + b":" + data[key.end() : end])
        at = end
    return b"{" + b",".join(kept) + b"}"


def _value_end(data: bytes, at: int) -> int:
    """The position after the value that starts at `at`; -1 where it is cut off."""
    first = data[at : at + 1]
    if first == b'"':
        found = STRING.match(data, at)
        return found.end() if found else -1
    if first in (b"{", b"["):
        if ends_early(data[at:]):
            return -1
        depth = 0
        for token in STRUCTURE.finditer(data, at):
            if token["open"] is not None:
                return -1
            run = token.group()
            if run[0] in b"[{":
                depth += len(run)
            elif run[0] in b"]}":
                depth -= len(run)
                if depth <= 0:  # the run may close what is around the value as well
                    return token.end() + depth
        return -1
    found = _PLAIN.match(data, at)
    return found.end() if found else -1
