"""CertificateSigningRequests: who a certificate would be, for which signer, and who approves it (DETECTIONS K15)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple

from leadsman_common.events import Actor, CsrFacts
from leadsman_normalizer.facts.values import Tree, mapping, mappings, number, text, texts
from leadsman_normalizer.lenient import note

MAX_REQUEST_CHARS = 64 * 1024
MAX_NAMES = 50
_PEM = re.compile(r"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END")
_SEQUENCE, _SET, _OID, _INTEGER = 0x30, 0x31, 0x06, 0x02
_ENCODINGS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
_CN, _O = b"\x55\x04\x03", b"\x55\x04\x0a"  # 2.5.4.3, 2.5.4.10


class Subject(NamedTuple):
    """The names of a request's subject that Kubernetes reads: CN is the user, each O a group."""

    cn: str = ""
    organizations: tuple[str, ...] = ()


def csr_facts(name: str, subresource: str, body: Tree, actor: Actor, why: list[str]) -> CsrFacts:
    """A request's facts; `approved_by` is the actor of an approval that says Approved."""
    spec = mapping(body, "spec", why)
    subject = Subject()
    if request := text(spec, "request", why):
        try:
            subject = subject_of(request)
        except ValueError as error:
            note(why, f"spec.request: {error}")
    conditions = [text(c, "type", why) for c in mappings(mapping(body, "status", why), "conditions", why)[:MAX_NAMES]]
    approved = subresource == "approval" and "Approved" in conditions
    return {
        "name": name,
        "signer": text(spec, "signerName", why),
        "usages": texts(spec, "usages", why)[:MAX_NAMES],
        "cn": subject.cn,
        "o": list(subject.organizations),
        "requestor": text(spec, "username", why),
        "approved_by": actor["name"] if approved else "",
        "conditions": conditions,
        "expiration_seconds": number(spec, "expirationSeconds", why) or 0,
    }


def subject_of(request: str) -> Subject:
    """The subject of spec.request: base64 of a PEM of a PKCS #10 request (RFC 2986). Raises ValueError."""
    if len(request) > MAX_REQUEST_CHARS:
        raise ValueError("too large for a certificate request")
    try:
        pem = base64.b64decode(request, validate=True).decode("ascii")
        found = _PEM.search(pem)
        if found is None:
            raise ValueError("no PEM of a certificate request")
        der = base64.b64decode("".join(found[1].split()), validate=True)
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"malformed: {error}") from error
    whole, _ = _read(der, 0, _SEQUENCE)
    info, _ = _read(whole, 0, _SEQUENCE)
    _, at = _read(info, 0, _INTEGER)
    names, _ = _read(info, at, _SEQUENCE)
    return _subject(names)


def _subject(names: bytes) -> Subject:
    """A Name: a sequence of sets of pairs of a type and a value."""
    common, at = "", 0
    organizations: list[str] = []
    while at < len(names):
        group, at = _read(names, at, _SET)
        inner = 0
        while inner < len(group):
            pair, inner = _read(group, inner, _SEQUENCE)
            kind, value_at = _read(pair, 0, _OID)
            if kind not in (_CN, _O):
                continue
            if value_at >= len(pair) or pair[value_at] not in _ENCODINGS:
                raise ValueError("a name in no known encoding")
            value, _ = _read(pair, value_at, pair[value_at])
            plain = value.decode(_ENCODINGS[pair[value_at]], "replace")
            if kind == _CN:
                common = plain  # the last one, as Go's pkix.Name.FillFromRDNSequence takes it
            elif len(organizations) < MAX_NAMES:
                organizations.append(plain)
    return Subject(common, tuple(organizations))


def _read(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """The content of the DER element at `at`, which must have this tag, and the position after it."""
    if at + 2 > len(data) or data[at] != tag:
        raise ValueError("no certificate request")
    size, start = data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("no certificate request")
        size, start = int.from_bytes(data[start : start + count], "big"), start + count
    if start + size > len(data):
        raise ValueError("cut short")
    return data[start : start + size], start + size
