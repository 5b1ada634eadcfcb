"""Rule files into the detector's own form: the only module that knows pySigma.

Files are Sigma YAML (https://sigmahq.io/sigma-specification/): rules and correlations. Lists of rules/lists/ take the
place of `%name%` in a value whose field has the modifier `expand`.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionIdentifier,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

from leadsman_common.alerts import LEVELS
from leadsman_detector.form import ANYWHERE, And, Correlation, Leaf, LevelStep, Modifier, Node, Not, Or, Problem, Rule
from leadsman_detector.requires import read_requires

READ_JOINS = ("role-use",)  # correlate.JOINS; a test holds the two together
LEADSMAN_KEYS = {"each", "changed", "anchor", "alert", "levels", "modifiers", "requires", "join", "blind_spots"}


class BadRule(ValueError):
    """A rule that cannot be used; the text is the reason."""


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """What was read: rules, correlations, what was wrong, and a digest of it all."""

    rules: tuple[Rule, ...]
    correlations: tuple[Correlation, ...]
    problems: tuple[Problem, ...] = ()
    digest: str = ""
    lists: dict[str, list[str]] = field(default_factory=dict)


def default_rules_dir() -> Path:
    """The rules packaged with the detector, or the repository's folder in an editable install."""
    packaged = Path(__file__).parent / "_rules"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "rules"


def read(folders: Sequence[Path]) -> RuleFiles:
    """Read every *.yml below the folders. One bad rule is a problem and does not stop the rest."""
    lists: dict[str, list[str]] = {}
    rules: dict[str, Rule] = {}
    correlations: dict[str, Correlation] = {}
    problems: list[Problem] = []
    digest = hashlib.sha256()
    documents: list[tuple[str, dict[str, Any]]] = []
    for name, text in _texts(folders):
        digest.update(f"{name}\x00{text}\x00".encode())
        try:
            found = [d for d in yaml.load_all(text, yaml.CSafeLoader) if d is not None]
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problems.append(Problem(name, "", str(error).replace("\n", " "), mark.line + 1 if mark else 0))
            continue
        for document in found:
            if not isinstance(document, dict):
                problems.append(Problem(name, "", "a rule is a map"))
            elif "values" in document and "detection" not in document:
                lists[Path(name).stem] = [str(v) for v in document["values"]]
            else:
                documents.append((name, document))
    for name, document in documents:
        label = str(document.get("name") or document.get("title") or "")
        try:
            if "correlation" in document:
                correlation = _correlation(document, name)
                _once(correlations, correlation.name, correlation)
            elif "detection" in document:
                rule = _rule(document, name, lists)
                _once(rules, rule.name, rule)
            else:
                problems.append(Problem(name, label, "neither a rule nor a correlation"))
        except (SigmaError, BadRule, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            problems.append(Problem(name, label, f"{error or type(error).__name__}"))
    for correlation in list(correlations.values()):
        missing = [r for r in correlation.rules if r not in rules and r not in correlations]
        if missing:
            problems.append(Problem(correlation.file, correlation.name, f"no such rule: {', '.join(missing)}"))
            del correlations[correlation.name]
    return RuleFiles(
        tuple(rules.values()), tuple(correlations.values()), tuple(problems), digest.hexdigest()[:16], lists
    )


def files_of(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """The rule files of folders, each with its name below its folder.

    Hidden ones are none: a mounted ConfigMap holds every file a second time, below `..data`.
    """
    found: list[tuple[str, Path]] = []
    for folder in folders:
        if folder.is_file():
            found.append((folder.name, folder))
            continue
        for path in sorted(p for p in folder.rglob("*.y*ml") if p.is_file()):
            name = path.relative_to(folder)
            if not any(part.startswith(".") for part in name.parts):
                found.append((str(name), path))
    return found


def _texts(folders: Sequence[Path]) -> Iterable[tuple[str, str]]:
    for name, path in files_of(folders):
        yield name, path.read_text("utf-8", errors="replace")


def _once(kept: dict[str, Any], name: str, item: Any) -> None:
    if name in kept:
        raise BadRule(f"the name {name} is taken by {kept[name].file}")
    kept[name] = item


def _own(document: dict[str, Any]) -> dict[str, Any]:
    own = document.get("leadsman") or {}
    if not isinstance(own, dict):
        raise BadRule("leadsman: is a map")
    if unknown := set(own) - LEADSMAN_KEYS:
        raise BadRule(f"leadsman: unknown {', '.join(sorted(unknown))}")
    blind_spots = own.get("blind_spots", [])
    if not isinstance(blind_spots, list) or not all(isinstance(text, str) for text in blind_spots):
        raise BadRule("leadsman: blind_spots is a list of texts")
    return own


def _rule(document: dict[str, Any], file: str, lists: dict[str, list[str]]) -> Rule:
    own = _own(document)
    detection = _expanded(document["detection"], lists)
    steps = own.get("levels") or []
    modifiers = own.get("modifiers") or []
    conditions = detection["condition"]
    main = conditions if isinstance(conditions, list) else [conditions]
    detection["condition"] = [*main, *(step["when"] for step in [*steps, *modifiers])]
    sigma = SigmaRule.from_dict({**document, "detection": detection})
    nodes = [_node(parsed.parsed) for parsed in sigma.detection.parsed_condition]
    condition = nodes[0] if len(main) == 1 else Or(tuple(nodes[: len(main)]))
    stepped = nodes[len(main) : len(main) + len(steps)]
    modified = nodes[len(main) + len(steps) :]
    return Rule(
        id=str(sigma.id),
        name=str(document.get("name") or Path(file).stem),
        title=sigma.title,
        level=_level(document.get("level", "medium")),
        condition=condition,
        file=file,
        tags=tuple(str(t) for t in document.get("tags") or ()),
        references=tuple(str(r) for r in document.get("references") or ()),
        levels=tuple(LevelStep(n, _level(s["level"])) for n, s in zip(stepped, steps, strict=True)),
        modifiers=tuple(Modifier(n, _by(m), str(m["why"])) for n, m in zip(modified, modifiers, strict=True)),
        each=str(own.get("each", "")),
        changed=bool(own.get("changed", False)),
        anchor="owner" if own.get("anchor") == "owner" else "request",
        alert=bool(own.get("alert", True)),
        requires=read_requires(own.get("requires"), lists),
    )


def _correlation(document: dict[str, Any], file: str) -> Correlation:
    own = _own(document)
    if own.get("join") not in READ_JOINS:
        raise BadRule(f"a correlation is evaluated by its leadsman.join only, one of: {', '.join(READ_JOINS)}")
    sigma = SigmaCorrelationRule.from_dict({k: v for k, v in document.items() if k != "leadsman"})
    return Correlation(
        id=str(sigma.id),
        name=str(document.get("name") or Path(file).stem),
        title=sigma.title,
        level=_level(document.get("level", "medium")),
        type=str(sigma.type.name).lower(),
        rules=tuple(str(r) for r in document["correlation"]["rules"]),
        timespan_s=int(sigma.timespan.seconds),
        file=file,
        group_by=tuple(sigma.group_by or ()),
        join=str(own.get("join", "")),
        tags=tuple(str(t) for t in document.get("tags") or ()),
        references=tuple(str(r) for r in document.get("references") or ()),
        requires=read_requires(own.get("requires"), {}, tuple(str(r) for r in document["correlation"]["rules"])),
    )


def _by(modifier: dict[str, Any]) -> int:
    by = modifier["by"]
    if not isinstance(by, int) or isinstance(by, bool) or by == 0:
        raise BadRule(f"leadsman.modifiers: by is a number of levels to add, not {by!r}")
    return by


def _level(level: Any) -> str:
    text = "informational" if level == "info" else str(level)
    if text not in LEVELS:
        raise BadRule(f"no such level: {level}")
    return text


def _expanded(detection: Any, lists: dict[str, list[str]]) -> dict[str, Any]:
    """The detection with lists put in the place of %name% where the field has the modifier `expand`."""
    if not isinstance(detection, dict) or "condition" not in detection:
        raise BadRule("detection: has no condition")

    def expand(value: Any) -> Any:
        if isinstance(value, list):
            return [expand(v) for v in value]
        if not isinstance(value, dict):
            return value
        out: dict[str, Any] = {}
        for name, given in value.items():
            if not isinstance(name, str) or "|expand" not in name:
                out[name] = expand(given)
                continue
            wanted: list[Any] = []
            for one in given if isinstance(given, list) else [given]:
                if str(one).startswith("%") and str(one).endswith("%"):
                    if one[1:-1] not in lists:
                        raise BadRule(f"no such list: {one}")
                    wanted += lists[one[1:-1]]
                else:
                    wanted.append(one)
            out[name.replace("|expand", "")] = wanted
        return out

    return {k: expand(v) for k, v in copy.deepcopy(detection).items()}


def _node(parsed: Any) -> Node:
    if isinstance(parsed, ConditionAND):
        return And(tuple(_node(a) for a in parsed.args))
    if isinstance(parsed, ConditionOR):
        return Or(tuple(_node(a) for a in parsed.args))
    if isinstance(parsed, ConditionNOT):
        return Not(_node(parsed.args[0]))
    if isinstance(parsed, ConditionValueExpression):
        return _keyword(_leaf(ANYWHERE, parsed.value, _clause(parsed)))
    if isinstance(parsed, ConditionFieldEqualsValueExpression):
        return _leaf(parsed.field, parsed.value, _clause(parsed))
    raise BadRule(f"condition not understood: {type(parsed).__name__}")


def _keyword(leaf: Node) -> Node:
    """A keyword stands anywhere within a text of the event."""
    if not isinstance(leaf, Leaf):
        return leaf
    if leaf.op == "equals":
        return replace(leaf, op="pattern", value=(None, str(leaf.value), None))
    if leaf.op == "pattern":
        inner = leaf.value[leaf.value[0] is None : len(leaf.value) - (leaf.value[-1] is None)]
        return replace(leaf, value=(None, *inner, None))
    if leaf.op == "regex":
        return leaf
    raise BadRule(f"a keyword is a text or a regular expression, not {leaf.op}")


def _clause(parsed: Any) -> str:
    """The name of the detection that a part of a condition stands in."""
    at = parsed
    while at is not None:
        if isinstance(at, ConditionIdentifier):
            return str(at.identifier)
        at = getattr(at, "parent", None)
    return ""


def _leaf(path: str, value: Any, clause: str) -> Node:
    if isinstance(value, SigmaBool):
        return Leaf(path, "equals", bool(value), clause)
    if isinstance(value, SigmaNumber):
        return Leaf(path, "equals", value.number, clause)
    if isinstance(value, SigmaNull):
        return Leaf(path, "null", None, clause)
    if isinstance(value, SigmaExists):
        return Leaf(path, "exists", bool(value), clause)
    if isinstance(value, SigmaRegularExpression):
        flags = "".join(sorted(f.name[0].lower() for f in value.flags))
        pattern = value.to_plain()
        return Leaf(path, "regex", f"(?{flags}){pattern}" if flags else pattern, clause)
    if isinstance(value, SigmaCIDRExpression):
        return Leaf(path, "cidr", value.cidr, clause)
    if isinstance(value, SigmaCompareExpression):
        return Leaf(path, "compare", (value.op.name.lower(), value.number.number), clause)
    if isinstance(value, SigmaFieldReference):
        return Leaf(path, "fieldref", value.field, clause)
    if isinstance(value, SigmaString):
        cased = isinstance(value, SigmaCasedString)
        if not value.contains_special():
            return Leaf(path, "equals", value.to_plain() if "\\" in str(value) else str(value), clause, cased)
        parts = tuple(
            None if p is SpecialChars.WILDCARD_MULTI else 1 if isinstance(p, SpecialChars) else str(p) for p in value.s
        )
        if parts == (None,):
            return Leaf(path, "exists", True, clause)
        return Leaf(path, "pattern", parts, clause, cased)
    raise BadRule(f"{path}: no way to compare with {type(value).__name__}")
