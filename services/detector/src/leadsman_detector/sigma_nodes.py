"""Sigma's detections and conditions into the detector's own nodes: the only module that knows pySigma."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionIdentifier,
    ConditionNOT,
    ConditionOR,
    ConditionSelector,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaError
from sigma.modifiers import SigmaBase64Modifier, SigmaBase64OffsetModifier
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaDetections, SigmaLogSource
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from leadsman_detector.form import ANYWHERE, And, Leaf, Node, Not, Or
from leadsman_detector.sigma_conditions import read_condition

__all__ = ["BadSigma", "SigmaError", "logsource_of", "nodes_of"]
LineOf = Callable[[str, str], int]  # (detection, field) -> the line in the file
_ENCODED = ("wide", "utf16", "utf16be")  # of use inside base64 only: a log holds no such text


class BadSigma(ValueError):
    """A detection that cannot be used; `keys` lead to the place in the document."""

    def __init__(self, reason: str, *keys: str) -> None:
        super().__init__(reason)
        self.keys = keys


def nodes_of(detection: dict[str, Any], conditions: list[str], line_of: LineOf) -> list[Node]:
    """The node of each condition over the detections. Raises BadSigma."""
    named = {name: given for name, given in detection.items() if name not in ("condition", "timeframe")}
    for name, given in named.items():
        _check_encoded(name, given)
    try:
        sigma = SigmaDetections.from_dict({**named, "condition": conditions})
        lines = cache(line_of)  # a field of a hundred values stands on one line
        node = cache(lambda name: _detection(name, sigma, lines))  # conditions name the same ones again and again
        chosen = cache(lambda pattern: _chosen(pattern, sigma))
        return [
            read_condition(str(one.condition), node, chosen) or _node(one.parsed, lines)
            for one in sigma.parsed_condition
        ]
    except (SigmaError, TypeError, AttributeError, ValueError) as error:
        for name, given in named.items():
            _check(name, given)
        if not isinstance(error, SigmaError):
            raise
        raise BadSigma(f"condition: {error}", "detection", "condition") from error


def _detection(name: str, sigma: SigmaDetections, line_of: LineOf) -> Node:
    """A detection by itself. Raises KeyError for one that is not there."""
    if name not in sigma.detections:
        raise KeyError(name)
    return _node(ConditionIdentifier([name]).postprocess(sigma), line_of)


def _chosen(pattern: str, sigma: SigmaDetections) -> list[str]:
    """The detections that `1 of PATTERN` speaks of."""
    return [found.identifier for found in ConditionSelector(["1", pattern]).resolve_referenced_detections(sigma)]


def logsource_of(given: Any) -> SigmaLogSource:
    """A logsource; `a in b` says whether a filter of b speaks of rules of a. Raises BadSigma."""
    try:
        return SigmaLogSource.from_dict(given or {})
    except (SigmaError, AttributeError) as error:
        raise BadSigma(f"logsource: {error}", "logsource") from error


def _check_encoded(name: str, given: Any) -> None:
    """Refuse what Sigma would take and nobody could mean."""
    for one in given if isinstance(given, list) else [given]:
        for key in one if isinstance(one, dict) else []:
            modifiers = str(key).split("|")[1:]
            if any(m in _ENCODED for m in modifiers) and not any(m.startswith("base64") for m in modifiers):
                raise BadSigma(f"{key}: encoded text is looked for within base64 only", "detection", name, key)


def _check(name: str, given: Any) -> None:
    """Read every field of a detection by itself, so that the one that is wrong can be named."""
    for one in given if isinstance(given, list) else [given]:
        for key in one if isinstance(one, dict) else []:
            try:
                SigmaDetection.from_definition({key: one[key]})
            except (SigmaError, TypeError, AttributeError, ValueError) as error:
                raise BadSigma(f"{key}: {error}", "detection", name, str(key)) from error
    try:
        SigmaDetection.from_definition(given)
    except (SigmaError, TypeError, AttributeError, ValueError) as error:
        raise BadSigma(f"{name}: {error}", "detection", name) from error


def _node(parsed: Any, line_of: LineOf) -> Node:
    # the usual first: pySigma's classes are abstract ones, which take long to ask
    if isinstance(parsed, ConditionFieldEqualsValueExpression):
        clause = _clause(parsed)
        line = line_of(clause, parsed.field)
        if isinstance(parsed.value, SigmaExpansion):
            return Or(tuple(_leaf(parsed.field, v, clause, line) for v in _spellings(parsed)))
        return _leaf(parsed.field, parsed.value, clause, line)
    if isinstance(parsed, ConditionAND):
        return And(tuple(_node(a, line_of) for a in parsed.args))
    if isinstance(parsed, ConditionOR):
        return Or(tuple(_node(a, line_of) for a in parsed.args))
    if isinstance(parsed, ConditionNOT):
        return Not(_node(parsed.args[0], line_of))
    if isinstance(parsed, ConditionValueExpression):
        clause = _clause(parsed)
        values = _spellings(parsed) if isinstance(parsed.value, SigmaExpansion) else [parsed.value]
        leaves = tuple(_keyword(_leaf(ANYWHERE, v, clause, line_of(clause, ""))) for v in values)
        return leaves[0] if len(leaves) == 1 else Or(leaves)
    raise BadSigma(f"condition not understood: {type(parsed).__name__}", "detection", "condition")


def _spellings(parsed: Any) -> list[Any]:
    """The texts that a modifier makes of one (windash, base64offset); letter case matters in base64."""
    item = parsed.parent
    while item is not None and not isinstance(item, SigmaDetectionItem):
        item = getattr(item, "parent", None)
    encoded = item is not None and any(m in (SigmaBase64Modifier, SigmaBase64OffsetModifier) for m in item.modifiers)
    return [SigmaCasedString.from_sigma_string(v) if encoded else v for v in parsed.value.values]


def _keyword(leaf: Leaf) -> Leaf:
    """A keyword stands anywhere within a text of the event."""
    if leaf.op == "equals" and not isinstance(leaf.value, bool):
        return replace(leaf, op="pattern", value=(None, str(leaf.value), None))
    if leaf.op == "pattern":
        inner = leaf.value[leaf.value[0] is None : len(leaf.value) - (leaf.value[-1] is None)]
        return replace(leaf, value=(None, *inner, None))
    if leaf.op == "regex":
        return leaf
    raise BadSigma("a keyword is a text or a regular expression", "detection", leaf.clause)


def _clause(parsed: Any) -> str:
    """The name of the detection that a part of a condition stands in."""
    at = parsed
    while at is not None:
        if isinstance(at, ConditionIdentifier):
            return str(at.identifier)
        at = getattr(at, "parent", None)
    return ""


def _leaf(path: str, value: Any, clause: str, line: int) -> Leaf:
    def leaf(op: Any, wanted: Any, *, cased: bool = False) -> Leaf:
        return Leaf(path, op, wanted, clause, cased, line)

    if isinstance(value, SigmaString):
        return _text(value, leaf)
    if isinstance(value, SigmaTimestampPart):
        raise BadSigma(f"{path}: parts of a time are not compared", "detection", clause, path)
    if isinstance(value, SigmaBool):
        return leaf("equals", bool(value))
    if isinstance(value, SigmaNumber):
        return leaf("equals", value.number)
    if isinstance(value, SigmaNull):
        return leaf("null", None)
    if isinstance(value, SigmaExists):
        return leaf("exists", bool(value))
    if isinstance(value, SigmaRegularExpression):
        flags = "".join(sorted(f.name[0].lower() for f in value.flags))
        pattern = value.regexp.to_plain()
        return leaf("regex", f"(?{flags.replace('d', 's')}){pattern}" if flags else pattern)
    if isinstance(value, SigmaCIDRExpression):
        return leaf("cidr", value.cidr)
    if isinstance(value, SigmaCompareExpression):
        return leaf("compare", (value.op.name.lower(), value.number.number))
    if isinstance(value, SigmaFieldReference):
        forms = {(False, False): "equals", (True, False): "startswith", (False, True): "endswith"}
        return leaf("fieldref", (value.field, forms.get((value.starts_with, value.ends_with), "contains")))
    raise BadSigma(f"{path}: no way to compare with {type(value).__name__}", "detection", clause, path)


def _text(value: SigmaString, leaf: Callable[..., Leaf]) -> Leaf:
    cased = isinstance(value, SigmaCasedString)
    parts = tuple(
        None if p is SpecialChars.WILDCARD_MULTI else 1 if isinstance(p, SpecialChars) else str(p) for p in value.s
    )
    if parts == (None,):
        return leaf("exists", True)
    if all(isinstance(p, str) for p in parts):
        return leaf("equals", "".join(map(str, parts)), cased=cased)
    return leaf("pattern", parts, cased=cased)
