"""A case on a cloud through the production path (readers, then Scanner), and whether it came out as expected."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from leadsman_cli.cases import RECORDS, Case, CaseFile, Cloud, Expect
from leadsman_cli.described import runs_of
from leadsman_cli.envelopes import CLUSTER, ENVELOPES, REGION, Enveloped
from leadsman_cli.readers import Identity, read
from leadsman_cli.scan import Scanned, Scanner
from leadsman_common.alerts import level_at_least, level_rank
from leadsman_detector.match import RuleSet

# blind: the cloud keeps back what the rule needs, and the rule was silent
Status: TypeAlias = Literal["passed", "failed", "blind"]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case on one cloud. `reasons` says why it failed, or what the cloud keeps back."""

    file: CaseFile
    case: Case
    cloud: Cloud
    status: Status
    got: str  # the highest level of the rule's alerts, or none
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    took_s: float = 0.0


def arrivals_of(file: CaseFile, case: Case, cloud: Cloud) -> list[tuple[str, Enveloped]]:
    """What arrives in a case, in order: the cluster that it comes from, and the bytes as the cloud's log has them.

    A file by hand, or made from the description; beside that, what the cloud's own API logged.
    """
    if cloud in case.records:
        return [(CLUSTER, Enveloped(_file(file, case.records[cloud])))]
    found = []
    for cluster, events in runs_of(f"{file.rule}/{case.name}", case.steps):
        found.append((cluster or CLUSTER, ENVELOPES[cloud](events, cluster or CLUSTER)))
    if cloud in case.before:
        found.insert(0, (CLUSTER, Enveloped(_file(file, case.before[cloud]))))
    if cloud in case.after:
        found.append((CLUSTER, Enveloped(_file(file, case.after[cloud]))))
    return found


def _file(file: CaseFile, name: str) -> bytes:
    return (file.path.parent / RECORDS / name).read_bytes()


def records_of(file: CaseFile, case: Case, cloud: Cloud) -> Enveloped:
    """The same as one."""
    found = [enveloped for _, enveloped in arrivals_of(file, case, cloud)]
    withheld = dict.fromkeys(w for e in found for w in e.withheld)
    return Enveloped(
        b"".join(e.data for e in found), tuple(withheld), tuple(dict.fromkeys(n for e in found for n in e.notes))
    )


def scanned(rules: RuleSet, file: CaseFile, case: Case, cloud: Cloud) -> tuple[Scanned, Enveloped]:
    """All that a scan of the case's records finds."""
    scanner = Scanner(rules)
    name = f"{file.path.name}: {case.name} ({cloud})"
    for cluster, enveloped in arrivals_of(file, case, cloud):
        # what the transport knows: EKS's log names no region, and calls of the cloud's API do
        identity = Identity(cluster=cluster) if cloud == "native" else Identity(region=REGION if cloud == "eks" else "")
        scanner.take(read(name, io.BytesIO(enveloped.data), "auto", identity, lambda _size: None))
    scanner.finish()
    return scanner.found, records_of(file, case, cloud)


def judge(rules: RuleSet, file: CaseFile, case: Case, cloud: Cloud) -> Result:
    """Run one case on one cloud."""
    began = time.perf_counter()
    found, enveloped = scanned(rules, file, case, cloud)
    got = level_of(found, file.rule)
    reasons = list(_unmet(file, case, cloud, found))
    status: Status = "failed" if reasons else "passed"
    if reasons and enveloped.withheld and got == "none" and not found.bad:
        whole, _ = scanned(rules, file, case, "native")  # where nothing is kept back
        if list(_unmet(file, case, cloud, whole)):
            reasons.append("and so it is with all that the cloud keeps back")
        else:
            status, reasons = "blind", list(enveloped.withheld)
    took_s = time.perf_counter() - began
    notes = enveloped.notes + (enveloped.withheld if status == "passed" else ())
    return Result(file, case, cloud, status, got, tuple(reasons), notes, took_s)


def judge_all(rules: RuleSet, files: Sequence[CaseFile], only_cloud: str = "") -> Iterator[Result]:
    """Every case of the files on each of its clouds, or on the one named."""
    for file in files:
        for case in file.cases:
            for cloud in case.on():
                if only_cloud in ("", cloud):
                    yield judge(rules, file, case, cloud)


def level_of(found: Scanned, rule: str) -> str:
    """The highest level among a rule's alerts that people are told of, or `none`."""
    levels = [a["level"] for a in found.alerts.values() if a["rule"]["name"] == rule and not a.get("suppressed")]
    return max(levels, key=level_rank, default="none")


def _unmet(file: CaseFile, case: Case, cloud: Cloud, found: Scanned) -> Iterator[str]:
    for bad in found.bad:
        yield f"not read: line {bad.line}: {bad.reason}"
    for rule, wanted in ((file.rule, case.wanted(cloud)), *case.also.items()):
        got = level_of(found, rule)
        if not meets(got, wanted):
            what = "" if rule == file.rule else f"{rule}: "
            dropped = ", ".join(found.dropped)
            yield f"{what}expected {wanted}, got {got}" + (f" (dropped: {dropped})" if dropped else "")
    if case.alerts is not None:
        count = sum(a["rule"]["name"] == file.rule for a in found.alerts.values())
        if count != case.alerts:
            yield f"expected {case.alerts} alerts, got {count}"


def meets(got: str, wanted: Expect) -> bool:
    """Whether a level is what a case expects."""
    if wanted == "below-medium":
        return got == "none" or not level_at_least(got, "medium")
    return got == wanted
