"""Which body the facts are read from (DETECTIONS 1.5): the stored object, the object sent, or a patch's fragment."""

from __future__ import annotations

from typing import Any, NamedTuple

from leadsman_common.errors import InvalidEvent
from leadsman_normalizer.jsonpatch import fragment_of
from leadsman_normalizer.lenient import Truncated, load, note

NOTHING: frozenset[tuple[str, ...]] = frozenset()
# what stands in the body's place: https://learn.microsoft.com/en-us/azure/azure-monitor/reference/tables/aksaudit
_TOO_LARGE_FOR_AKS = "skipped-too-big-size-object"


class Bodies(NamedTuple):
    """The decoded bodies, and what was chosen.

    `source` is response, request, patch or none; `chosen` the object or fragment to read facts from; `fragment` what
    the request set, or null where it brought the whole object; `whole` the paths a JSON Patch replaced as a whole.
    """

    source: str
    chosen: dict[str, Any] | None
    request: Any
    response: Any
    fragment: dict[str, Any] | None
    whole: frozenset[tuple[str, ...]]


def choose(verb: str, kind: str, request: bytes, response: bytes, code: int, reasons: list[str]) -> Bodies:
    """Decode both bodies and choose. `kind` is what the response must be; empty accepts any but a Status."""
    sent, stored = body(request, "requestObject", reasons), body(response, "responseObject", reasons)
    full = stored if _is_object(stored, kind) else None
    fragment: dict[str, Any] | None = None
    whole = NOTHING
    if verb == "patch":
        if isinstance(sent, list):
            fragment, whole = fragment_of(sent)
        elif isinstance(sent, dict):
            fragment = sent
    if full is not None:
        source, chosen = "response", full
    elif verb == "patch":
        source, chosen = ("patch", fragment) if fragment is not None else ("none", None)
    else:
        source, chosen = ("request", sent) if isinstance(sent, dict) else ("none", None)
    if verb == "patch" and code == 201 and isinstance(sent, dict):
        fragment = None  # a server-side apply that created the object: it brought all of it
    elif verb == "patch" and fragment is None:
        fragment = {}
    return Bodies(source, chosen, sent, stored, fragment, whole)


def body(data: bytes, name: str, reasons: list[str]) -> Any:
    """A body decoded, or null with a reason."""
    if not data or data == b"null":
        return None
    why: list[str] = []
    try:
        found = load(data, why)
    except (InvalidEvent, Truncated) as error:
        why.append(str(error))
        found = None
    if found is not None and not isinstance(found, dict | list):
        why.append("left out, too large for AKS" if found == _TOO_LARGE_FOR_AKS else "neither object nor list")
        found = None
    for reason in why:
        note(reasons, f"{name}: {reason}")
    return found


def _is_object(found: Any, kind: str) -> bool:
    """A full object of the right kind: not the Status of a failure. GKE leaves kind out at times but has metadata."""
    if not isinstance(found, dict):
        return False
    said = found.get("kind")
    if said is None:
        marked = str(found.get("@type", ""))
        return isinstance(found.get("metadata"), dict) and not marked.endswith(".Status")
    return bool(said == kind if kind else said != "Status")
