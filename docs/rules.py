"""docs/rules.md: every rule, what it sees and what it does not, and where that is proven on each cloud.

Made of rules/ (rules, filters, lists), of the cases in tests/rules/ and of tests/golden/rules/proofs.json.
`.venv/bin/python docs/rules.py` writes the page; a test holds the page to what this makes.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from leadsman_cli.cases import CLOUDS, CaseFile
from leadsman_cli.judge_cases import judge, records_of
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_common.alerts import LEVELS, level_at_least
from leadsman_detector.compile import positive_leaves
from leadsman_detector.form import Rule
from leadsman_detector.match import RuleSet

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / "docs" / "rules.md"
RULES = REPO / "rules"
PROOFS = REPO / "tests" / "golden" / "rules" / "proofs.json"
Document = dict[str, Any]
CLOUD_NAMES = {"native": "self-managed", "eks": "EKS", "gke": "GKE", "aks": "AKS"}
KINDS = ("captured", "re-enveloped", "vendor", "hand-written")
MODIFIERS = {
    "contains": "contains", "startswith": "starts with", "endswith": "ends with", "re": "matches", "cidr": "is within",
    "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "fieldref": "is as the field",
}  # fmt: skip
# under the clouds' models of shared responsibility
RESPONSIBLE = {
    "you": "you; the setting is the customer's side of shared responsibility",
    "provider": "the provider; report it there",
}
MAX_VALUES = 6
MAX_TEXT = 60
INTRO = """\
Each rule is a file of [`rules/kubernetes/`](../rules/kubernetes), of [`rules/cloud/`](../rules/cloud), which look at
calls of the cloud's own API, or of [`rules/correlations/`](../rules/correlations).
[writing-rules.md](writing-rules.md) says how to write one, `leadsman coverage` what each can see under your audit
policy, `leadsman scan --explain RULE FILE` why it fired or did not.

Besides what each rule says of itself:

- A request that was refused or failed is an attempt. It is informational unless the rule says otherwise.
- A dry run stores nothing and raises nothing above informational, but for requests that act regardless (exec, attach,
  proxies, tokens).
- Rules that speak of objects look at change, not at state: an alert is raised when a dangerous property is new on an
  object, and raised again with a higher revision when a further one comes. What controllers make of an object belongs
  to its alert. In a cluster's first 24 hours in the stream, what stood there before is one informational report
  (`baseline`), not an alert each.
- A level of medium or more goes up by one where the actor is not authenticated (unless the rule is about that) or is a
  service account that comes from a public address; the alert says so.
- Every alert tells cluster, time, actor, source address, user agent, object, outcome with the authoriser's reason,
  audit id, where the record stands, the digest of the rules, and each field with the value that decided.
"""
UNSEEN = """\
Other tools have rules about what no audit log tells, or what one log cannot tell for everybody. Why there is none here:

- **Callers on lists of malicious addresses and Tor exits**: such lists change by the hour and none is ours to ship.
  With one of yours, `src_endpoint.ip|cidr|expand: '%our-list%'` is a rule (see [writing-rules.md](writing-rules.md)).
- **Users and namespaces that are not allowed**: who may come is known to you alone. `first_seen` tells who is new; a
  list of yours and `not` make it a rule.
- **ConfigMaps with credentials**: EKS and GKE log ConfigMaps without bodies, and so does deploy/audit-policy.yaml.
- **Events deleted, on EKS and GKE**: their audit policies leave events out; elsewhere events-deleted tells.
- **What is attached later to a role that service accounts take**: CloudTrail's records of that name no cluster;
  those that a pod's own session makes are in sensitive-cloud-calls.
- **A stream that falls silent**: silence is no event. `source-silent` of the normalizer tells of it
  ([clusters.md](clusters.md)), the metrics and `leadsman doctor`.
- **Requests to a kubelet's own port, to etcd or to a container runtime**: they do not pass by the API server.
- **What a process does in a container after it was entered**: the log ends with the command that opened the session.

And what is told by a rule of another name: dangerous capabilities by privileged-container; files copied out with
`kubectl cp` by dangerous-container-command; bindings of cluster-admin and of roles as strong as it by
privileged-cluster-role; roles that grant nodes/proxy by cluster-role-exec; volumes of a node's paths by
sensitive-volume, PersistentVolumes among them; custom resources with a pod template by every rule about pods.
"""
PARITY = """\
What each cell's proof is: **captured** are records as a cluster wrote them; **re-enveloped** are such records, or
records described in a case, in this cloud's envelope; **vendor** are samples of vendors' own tests; **hand-written**
are records or descriptions of ours. Cases that must fire and cases that must stay silent are run by `leadsman rules
test` on each cloud. A case whose cloud keeps back what the rule needs is counted as blind, never as passed; the rule's
blind spots name it.
"""


def page() -> str:
    """The whole page."""
    documents = [d for path in sorted(RULES.rglob("*.yml")) if path.parent.name != "lists" for d in _documents(path)]
    filters = [d for d in documents if "filter" in d]
    rules = [d for d in documents if "detection" in d or "correlation" in d]
    raising = [d for d in rules if (d.get("leadsman") or {}).get("alert", True)]
    feeding = [d for d in rules if d not in raising]
    loaded = load_rules(())
    cases = {file.rule: file for file in read_all(REPO / "tests" / "rules", loaded)[0]}
    proofs = json.loads(PROOFS.read_text())
    names = techniques()
    parts = [
        "# Rules",
        "<!-- made by docs/rules.py from rules/ and tests/rules/: do not edit -->",
        INTRO.strip(),
        "## On which cloud a rule is proven, and how",
        PARITY.strip(),
        _table(
            ("rule", *(CLOUD_NAMES[c] for c in CLOUDS)),
            [(f"[{d['name']}](#{d['name']})", *_cells(d["name"], cases, proofs)) for d in raising],
        ),
    ]
    for document in raising:
        file = cases.get(document["name"])
        parts += _rule(document, loaded, filters, names, _blind_by_cases(loaded, file) if file else [])
    parts += ["## Rules that only feed correlations", _table(("rule", "what it sees"), [_row(d) for d in feeding])]
    parts += ["## What audit logs cannot show", UNSEEN.strip()]
    return "\n\n".join(parts) + "\n"


def _documents(path: Path) -> Iterator[Document]:
    yield from (d for d in yaml.safe_load_all(path.read_text()) if d)


def techniques() -> dict[str, str]:
    """Names of techniques by id, out of the comments of the list."""
    lines = (RULES / "lists" / "attack-techniques.yml").read_text().splitlines()
    return dict(found.groups() for line in lines if (found := re.match(r"\s*- (T[\d.]+)  # (.+)", line)))


def _cells(slug: str, cases: dict[str, CaseFile], proofs: dict[str, dict[str, list[str]]]) -> list[str]:
    """Where the proof of a rule comes from, a cell a cloud."""
    found = []
    for cloud in CLOUDS:
        kinds = set(proofs.get(slug, {}).get(cloud, ()))
        every = cases[slug].cases if slug in cases else ()
        given = [(case, case.wanted(cloud)) for case in every if cloud in case.on()]
        loud = "medium" if any(_at_least(level, "medium") for _, level in given) else "informational"
        for case, wanted in given:
            if _at_least(wanted, loud):
                kinds.add(case.proof_on(cloud))
        found.append(", ".join(kind for kind in KINDS if kind in kinds) or "-")
    return found


def _at_least(wanted: str, level: str) -> bool:
    return wanted in LEVELS and level_at_least(wanted, level)


def _blind_by_cases(rules: RuleSet, file: CaseFile) -> list[str]:
    """What a cloud keeps back in cases that would fire elsewhere."""
    found: dict[str, None] = {}
    for case in file.cases:
        for cloud in case.on():
            if records_of(file, case, cloud).withheld:
                result = judge(rules, file, case, cloud)
                if result.status == "blind":
                    found |= dict.fromkeys(result.reasons)
    return sorted(found)


def _rule(
    document: Document, rules: RuleSet, filters: Sequence[Document], names: dict[str, str], blind: Sequence[str]
) -> list[str]:
    own = document.get("leadsman") or {}
    (path,) = RULES.rglob(f"{document['name']}.yml")
    file = str(path.relative_to(REPO))
    parts = [
        f"## {document['name']}",
        f"**{document['title']}.** {_line(document['description'])} ([{file}](../{file}))",
    ]
    parts.append("| level | where |\n|---|---|\n" + "\n".join(_levels(document, own)))
    if "detection" in document:
        parts.append(f"Fires where {_words(document['detection']['condition'])}.")
        parts.append(_detections(document["detection"], own))
        parts.append(_evidence(next(r.rule for r in rules.rules if r.rule.name == document["name"])))
    else:
        parts.append(_correlation(document))
    parts.append(_list("Exceptions", _exceptions(document, filters), "none ships with it."))
    parts.append(_list("Blind spots", [*own.get("blind_spots", ()), *blind], "none known."))
    parts.append(_list("False positives", document["falsepositives"], "none known."))
    if own.get("responsible"):
        parts.append(f"**Responsible:** {RESPONSIBLE[own['responsible']]}.")
    tags = [tag.removeprefix("attack.").upper() for tag in document["tags"] if re.match(r"attack\.t\d", tag)]
    links = [f"[{t} {names.get(t, '')}](https://attack.mitre.org/techniques/{t.replace('.', '/')}/)" for t in tags]
    parts.append(f"**ATT&CK:** {', '.join(links)}.")
    return parts


def _levels(document: Document, own: Document) -> Iterator[str]:
    for step in own.get("levels") or ():
        counted = [f"{step['count']} and more"] if "count" in step else []
        yield f"| {step['level']} | {', '.join([*counted, *([_words(step['when'])] if 'when' in step else [])])} |"
    yield f"| {document['level']} | {'else' if own.get('levels') else 'always'} |"
    for modifier in own.get("modifiers") or ():
        yield f"| {modifier['by']:+d} | {_words(modifier['when'])}: {modifier['why']} |"


def _words(condition: str | list[str]) -> str:
    """A Sigma condition with the names of its detections as words, in italics."""
    text = " or ".join(f"({c})" for c in condition) if isinstance(condition, list) else condition
    words = re.sub(r"\b(?!(?:and|or|not|of|all|them)\b)([a-zA-Z_][\w*]*)", r"*\1*", _line(text))
    return re.sub(r"\*([\w*]+?)\*(?=\W|$)", lambda m: f"*{m.group(1).replace('_', ' ')}*", words)


def _detections(detection: Document, own: Document) -> str:
    """Each detection by its name and what it asks."""
    each = f" (of one element of `{own['each']}`)" if own.get("each") else ""
    lines = [
        f"| {name.replace('_', ' ')} | {_asks(asked)} |" for name, asked in detection.items() if name != "condition"
    ]
    return f"| name | what it asks{each} |\n|---|---|\n" + "\n".join(lines)


def _asks(asked: Any) -> str:
    if isinstance(asked, list) and all(isinstance(one, dict) for one in asked):
        return "; or ".join(_asks(one) for one in asked)
    if isinstance(asked, dict):
        return ", and ".join(_ask(name, value) for name, value in asked.items())
    return f"anywhere {_values(asked)}"


def _ask(name: str, value: Any) -> str:
    path, *modifiers = name.split("|")
    verb = next((MODIFIERS[m] for m in modifiers if m in MODIFIERS), "is")
    joined = " and " if "all" in modifiers else " or "
    if value is None or ("exists" in modifiers and value is False):
        return f"`{path}` is absent"
    if "exists" in modifiers:
        return f"`{path}` is there"
    if "re" in modifiers and isinstance(value, list) and len(value) > 1:
        return f"`{path}` matches {'all' if 'all' in modifiers else 'one'} of {len(value)} expressions"
    return f"`{path}` {verb} {_values(value, joined)}"


def _values(value: Any, joined: str = " or ") -> str:
    values = value if isinstance(value, list) else [value]
    shown = [_code(v) for v in values[:MAX_VALUES]]
    more = f"{joined}{len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return joined.join(shown) + more


def _code(value: Any) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    if text.startswith("%") and text.endswith("%"):
        name = text.strip("%")
        return f"one of [{name}](../rules/lists/{name}.yml)"
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    text = text.replace("|", "\\|").replace("`", "'")
    return f"`{text}`" if text else "nothing"


def _evidence(rule: Rule) -> str:
    """The facts that the alert quotes: fields of leaves that no part of a condition turns round."""
    nodes = [rule.condition, *(step.when for step in rule.levels)]
    paths = dict.fromkeys(leaf.path for node in nodes for leaf in positive_leaves(node))
    told = [f"`{path}`" for path in paths if path.startswith(("facts.", "outcome.", "known.", "actor.", "requestURI"))]
    anchor = " One alert for each object." if rule.changed else ""
    if (repeats := rule.repeats) is not None:
        what = "requests" if repeats.when is None else "attempts"
        fields = ", ".join(f"`{path}`" for path in repeats.group_by)
        anchor = f" One alert for all {what} with the same {fields} within {repeats.timespan_s // 60} minutes, counted."
    if (regression := rule.regression) is not None:
        each = f" for each value of {', '.join(f'`{path}`' for path in regression.by)}" if regression.by else ""
        anchor = f" One alert for each time that what was secure is not any more{each}; it holds what made it so, too."
    return f"**Evidence:** {', '.join(told) or 'the request itself'}, where they decided.{anchor}"


def _correlation(document: Document) -> str:
    given = document["correlation"]
    within = f"within {given['timespan']}"
    if by := [f for f in given.get("group-by") or () if f != "cluster.id"]:
        within += f", by {', '.join(f'`{f}`' for f in by)}"
    condition = given.get("condition")
    counted = ", ".join(f"{k} {v}" for k, v in condition.items() if k != "field") if isinstance(condition, dict) else ""
    asked = condition["field"] if isinstance(condition, dict) and "field" in condition else []
    fields = " and ".join(f"`{one}`" for one in ([asked] if isinstance(asked, str) else asked))
    field = f" of {fields}" if fields else ""
    rules = [f"[{rule}](#{rule})" for rule in given.get("rules") or ()]
    if given["type"] == "temporal_ordered":
        joined = f"`{_line(condition)}`" if isinstance(condition, str) else ", then ".join(rules)
        return f"**Joins:** {joined}, in that order, {within}. Its evidence is one entry for each step."
    if given["type"] == "temporal":
        joined = f"`{condition}`" if isinstance(condition, str) else " and ".join(rules)
        return f"**Joins:** {joined} in any order, {within}."
    return f"**Counts:** {given['type']}{field} of {' and '.join(rules)}, {counted}, {within}."


def _exceptions(document: Document, filters: Sequence[Document]) -> list[str]:
    named = {document["name"], document["id"]}
    found = []
    for one in filters:
        rules = one["filter"].get("rules") or ()
        if not named & set([rules] if isinstance(rules, str) else rules):
            continue
        level = (one.get("leadsman") or {}).get("level")
        found.append(_line(one["title"]) + (f" (stays, at most {level})" if level else ""))
    return found


def _row(document: Document) -> tuple[str, str]:
    return f'<a id="{document["name"]}"></a>{document["name"]}', _line(document["description"])


def _list(title: str, items: Sequence[str], otherwise: str) -> str:
    unique = list(dict.fromkeys(line[:1].upper() + line[1:] for item in items if (line := _line(item))))
    return f"**{title}:**\n\n" + "\n".join(f"- {item}" for item in unique) if unique else f"**{title}:** {otherwise}"


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
