"""Case files of `leadsman rules test`: what a rule must fire on and what it must leave alone, read and checked.

A file names one rule and lists cases. A case describes one request or several (described.py makes native events of
them, envelopes.py each cloud's records), or names files of records where a cloud differs from any description.
docs/writing-rules.md has the form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import yaml
from msgspec import UNSET, Meta, Struct, UnsetType

Cloud: TypeAlias = Literal["native", "eks", "gke", "aks"]
CLOUDS: tuple[Cloud, ...] = ("native", "eks", "gke", "aks")
USUAL: tuple[Cloud, ...] = ("native", "eks", "gke")
# a level is met exactly; `below-medium` is met by silence too
Expect: TypeAlias = Literal["none", "below-medium", "informational", "low", "medium", "high", "critical"]
Proof: TypeAlias = Literal["captured", "re-enveloped", "vendor", "hand-written"]
RECORDS = "records"  # the folder beside the case files that holds hand-written records
_Name: TypeAlias = Annotated[str, Meta(min_length=1)]


class CaseError(ValueError):
    """A case file that cannot be used; the text names file, line and reason."""


class User(Struct, frozen=True, forbid_unknown_fields=True):
    """A user as the API server saw it; absent groups are those that the server gives to such a name."""

    username: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] = {}
    uid: str = ""


class Owner(Struct, frozen=True, forbid_unknown_fields=True):
    """The controller that metadata.ownerReferences names."""

    kind: _Name
    name: _Name


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One request to the API server. docs/writing-rules.md says what each key means and what stands in for it."""

    verb: _Name
    resource: str = ""  # RESOURCE[.GROUP][/SUBRESOURCE]; none for a path
    path: str = ""  # a non-resource path, or what follows a subresource (nodes/proxy: run/NAMESPACE/POD/CONTAINER)
    version: str = "v1"
    namespace: str = ""
    name: str = ""
    user: str | User = "alice"
    as_: str | User | None = msgspec.field(name="as", default=None)
    query: str = ""
    body: dict[str, Any] | list[Any] | None = None
    response: dict[str, Any] | UnsetType | None = UNSET
    patch: Literal["merge", "strategic", "json", "apply"] = "strategic"
    code: int = 0
    reason: str | None = None
    decision: Literal["allow", "forbid"] = "allow"
    level: Literal["Metadata", "Request", "RequestResponse"] = "RequestResponse"
    dry_run: bool = False
    source_ip: str | list[str] = "198.51.100.10"
    user_agent: str = "kubectl/v1.37.2 (linux/amd64) kubernetes/0000000"
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    object_annotations: dict[str, str] = {}
    owner: Owner | None = None
    at: float | None = None  # seconds after the first request; 10 after the one before it
    cluster: str = ""  # another cluster than the case's own
    again: Annotated[int, Meta(ge=0)] = 0  # how many times more its record is delivered


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of thought about a rule."""

    name: _Name
    expect: Expect | dict[Cloud, Expect]
    request: Request | None = None
    requests: list[Request] = []
    records: dict[Cloud, str] = {}
    before: dict[Cloud, str] = {}  # records that arrive before the requests: what a cloud's API logs of calls to it
    after: dict[Cloud, str] = {}  # and those that arrive after them, as late as they come in life
    clouds: list[Cloud] | None = None
    proof: dict[Cloud, Proof] = {}
    also: dict[str, Expect] = {}  # other rule -> what it must give
    alerts: int | None = None  # how many alerts of the rule, where that is the point

    @property
    def steps(self) -> list[Request]:
        """The requests described, in order of arrival."""
        return [self.request] if self.request is not None else self.requests

    def on(self) -> tuple[Cloud, ...]:
        """The clouds it is run on."""
        if self.clouds is not None:
            return tuple(self.clouds)
        named: set[Cloud] = {*(USUAL if self.steps else ()), *self.records}
        if isinstance(self.expect, dict):
            named |= set(self.expect) if not self.steps else set()
        return tuple(c for c in CLOUDS if c in named)

    def wanted(self, cloud: Cloud) -> Expect:
        """What is expected on a cloud. Raises KeyError where the case does not say."""
        return self.expect[cloud] if isinstance(self.expect, dict) else self.expect

    def proof_on(self, cloud: Cloud) -> Proof:
        """Where its records on a cloud come from."""
        usual: Proof = "hand-written" if cloud == "native" or cloud in self.records else "re-enveloped"
        return self.proof.get(cloud, usual)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    rule: _Name
    cases: Annotated[list[Case], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of one rule, each with the line it begins on."""

    path: Path
    rule: str
    cases: tuple[Case, ...]
    lines: tuple[int, ...]

    def where(self, case: Case) -> str:
        """`file:line` of a case."""
        return f"{self.path}:{self.lines[self.cases.index(case)]}"


def case_files(folder: Path) -> list[Path]:
    """The files below a folder that could hold cases: *.yml and *.yaml, those of `records/` aside. Or the one file."""
    if folder.is_file():
        return [folder]
    found = sorted(p for p in folder.rglob("*.y*ml") if p.is_file())
    return [p for p in found if RECORDS not in p.relative_to(folder).parts]


def load_cases(path: Path) -> CaseFile:
    """Read and check one file. Raises CaseError."""
    text = path.read_text("utf-8", errors="replace")
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise CaseError(f"{path}:{mark.line + 1 if mark else 1}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise CaseError(f"{path}:1: a case file is a map with rule and cases")
    if doubled := _doubled(root):
        raise CaseError(f"{path}:{doubled[1]}: {doubled[0]} stands twice in one map")
    # keys x-... are there to hang YAML anchors on
    kept = {k: v for k, v in document.items() if not str(k).startswith("x-")}
    try:
        msgspec.json.encode(kept)
        found = msgspec.convert(kept, _File)
    except RecursionError:
        raise CaseError(f"{path}:1: an anchor that holds itself") from None
    except msgspec.ValidationError as error:
        raise CaseError(_invalid(path, root, error)) from error
    except (TypeError, ValueError) as error:  # a YAML type that JSON has not
        raise CaseError(f"{path}:1: {error}") from error
    lines = tuple(_line(root, f".cases[{index}]") for index in range(len(found.cases)))
    for case, line in zip(found.cases, lines, strict=True):
        if reason := "; ".join(_wrong(case, path.parent)):
            raise CaseError(f"{path}:{line}: {case.name}: {reason}")
    names = [case.name for case in found.cases]
    for name, line in zip(names, lines, strict=True):
        if names.count(name) > 1:
            raise CaseError(f"{path}:{line}: {name}: two cases have this name")
    return CaseFile(path, found.rule, tuple(found.cases), lines)


def _invalid(path: Path, root: Any, error: Exception) -> str:
    """What msgspec says of a value, with the line of it."""
    reason, _, at = str(error).partition(" - at `$")
    return f"{path}:{_line(root, at.rstrip('`'))}: {reason}{f' (at {at[:-1]})' if at else ''}"


def _wrong(case: Case, folder: Path) -> Iterator[str]:
    """What the types alone do not say."""
    if (case.request is not None) == bool(case.requests) and not case.records:
        yield "one of request, requests or records"
    if case.request is not None and case.requests:
        yield "request or requests, not both"
    if not case.on():
        yield "no cloud to run on"
    for cloud in case.on():
        if cloud not in case.records and not case.steps:
            yield f"nothing to run on {cloud}"
        if isinstance(case.expect, dict) and cloud not in case.expect:
            yield f"expect says nothing of {cloud}"
    if (case.before or case.after) and not case.steps:
        yield "before and after go with requests"
    for cloud, name in (*case.records.items(), *case.before.items(), *case.after.items()):
        if not (folder / RECORDS / name).is_file():
            yield f"{cloud}: no such file: {RECORDS}/{name}"
    for request in case.steps:
        yield from _wrong_request(request)


def _wrong_request(request: Request) -> Iterator[str]:
    if not request.resource and not request.path:
        yield "a request has a resource or a path"
    if isinstance(request.body, list) and request.verb != "patch":
        yield "a body that is a list is a JSON Patch: verb patch"
    if request.verb == "patch" and request.patch == "json" and not isinstance(request.body, list | None):
        yield "the body of a JSON Patch is a list"


def _doubled(node: Any) -> tuple[str, int] | None:
    """The first key that stands twice in one map, with its line; YAML would keep the last without a word."""
    waiting, seen = [node], set()
    while waiting:
        at = waiting.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in at.value:
                if key.value in keys and key.value != "<<":
                    return str(key.value), key.start_mark.line + 1
                keys.add(str(key.value))
                waiting.append(value)
        elif isinstance(at, yaml.SequenceNode):
            waiting += at.value
    return None


def _line(node: Any, path: str) -> int:
    """The line of a path such as `.cases[2].request`; of its nearest parent where YAML wrote it elsewhere."""
    steps: Sequence[tuple[str, str]] = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path)
    line = int(node.start_mark.line) + 1
    for key, index in steps:
        found = None
        if index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
            found = node.value[int(index)]
        elif isinstance(node, yaml.MappingNode):
            found = next((v for k, v in node.value if k.value == key), None)
        if found is None:
            break
        node, line = found, int(found.start_mark.line) + 1
    return line
