"""Sigma correlation documents into the detector's own form, parsed by pySigma.

https://sigmahq.io/sigma-specification/specification/sigma-correlation-rules-specification.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaCorrelationTimespan,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaError

from leadsman_detector.form import AllOf, AnyOf, Correlation, Expression, NoneOf

MAX_CHAINS = 64
VALUED = ("value_count", "value_sum", "value_avg", "value_percentile", "value_median")
NAME = re.compile(r"[A-Za-z_0-9][A-Za-z0-9_-]*")
_WORDS = ("and", "or", "not")
_KEYS = {"type", "rules", "timespan", "group-by", "aliases", "condition", "generate"}


class BadCorrelation(ValueError):
    """A correlation that cannot be used; `keys` lead to the place in the document."""

    def __init__(self, reason: str, *keys: str) -> None:
        super().__init__(reason)
        self.keys = keys


@dataclass(frozen=True, slots=True)
class Parsed:
    """The `correlation:` of a document. `rules` are as the document names them, by name or by id."""

    type: str
    rules: tuple[str, ...]
    timespan_s: int
    group_by: tuple[str, ...]
    aliases: dict[str, dict[str, str]]  # alias -> rule -> field
    op: str
    threshold: float
    fields: tuple[str, ...]  # whose values are counted or summed
    percentile: int
    expression: Expression | None
    generate: bool | None


def parse(data: Mapping[str, Any]) -> Parsed:
    """The correlation of a document. Raises BadCorrelation."""
    given = data.get("correlation")
    if not isinstance(given, dict):
        raise BadCorrelation("correlation: is a map", "correlation")
    if unknown := sorted(set(map(str, given)) - _KEYS):
        raise BadCorrelation(f"correlation: unknown {', '.join(unknown)}", "correlation", unknown[0])
    generate = given.get("generate")
    if generate is not None and not isinstance(generate, bool):
        raise BadCorrelation("correlation: generate is true or false", "correlation", "generate")
    text = given.get("condition")
    plain = {k: v for k, v in data.items() if k != "leadsman"}
    names: dict[str, str] = {}
    if isinstance(text, str):  # pySigma takes no name with a hyphen in it
        plain = {**plain, "correlation": {**given, "condition": _plain_names(text, names), "rules": []}}
    try:
        sigma = SigmaCorrelationRule.from_dict(plain)
    except SigmaError as error:
        raise BadCorrelation(str(error), "correlation") from error
    kind = sigma.type.name.lower()
    expression = None
    op, threshold, percentile = "gte", 0.0, 50
    fields: tuple[str, ...] = ()
    if isinstance(sigma.condition, SigmaExtendedCorrelationCondition):
        expression = _expression(sigma.condition.parsed, names)
    elif sigma.condition is not None:
        op, threshold = sigma.condition.op.name.lower(), sigma.condition.count
        fields = _texts(sigma.condition.fieldref)
        percentile = 50 if sigma.condition.percentile is None else sigma.condition.percentile
    rules = _texts(given.get("rules")) or tuple(named_in(expression))
    parsed = Parsed(
        type=kind,
        rules=rules,
        timespan_s=int(sigma.timespan.seconds),
        group_by=tuple(sigma.group_by or ()),
        aliases={a.alias: {r.reference: str(f) for r, f in a.mapping.items()} for a in sigma.aliases or ()},
        op=op,
        threshold=threshold,
        fields=fields,
        percentile=percentile,
        expression=expression,
        generate=generate,
    )
    _check(parsed)
    return parsed


def read_expression(text: str) -> Expression:
    """An extended condition, `a and (b or c)`, over names of rules. Raises BadCorrelation."""
    names: dict[str, str] = {}
    try:
        return _expression(SigmaExtendedCorrelationCondition(_plain_names(text, names)).parsed, names)
    except SigmaError as error:
        raise BadCorrelation(str(error)) from error


def named_in(expression: Expression | None) -> list[str]:
    """The rules that a condition names, in order, each once."""
    if expression is None:
        return []
    if isinstance(expression, str):
        return [expression]
    parts = (expression.part,) if isinstance(expression, NoneOf) else expression.parts
    return list(dict.fromkeys(name for part in parts for name in named_in(part)))


def is_monotone(expression: Expression | None) -> bool:
    """Whether more events can only make it hold: there is no `not` in it."""
    if expression is None or isinstance(expression, str):
        return True
    return not isinstance(expression, NoneOf) and all(map(is_monotone, expression.parts))


def is_closed(form: Correlation) -> bool:
    """Whether more events may make the condition false, so that a time must be over before it is judged."""
    if form.type in ("value_avg", "value_percentile", "value_median") or form.absence is not None:
        return True
    return form.op not in ("gte", "gt") or not is_monotone(form.condition)


def _check(parsed: Parsed) -> None:
    """What pySigma lets pass and nothing can be made of."""
    if not parsed.rules:
        raise BadCorrelation("correlation: names no rules", "correlation", "rules")
    if len(set(parsed.rules)) < len(parsed.rules):
        raise BadCorrelation("correlation: names a rule twice", "correlation", "rules")
    if parsed.type in VALUED and not parsed.fields:
        raise BadCorrelation(f"correlation: {parsed.type} says in condition.field what is counted", "correlation")
    if parsed.type not in VALUED and parsed.fields:
        raise BadCorrelation(f"correlation: {parsed.type} looks at no field", "correlation", "condition")
    if not 0 <= parsed.percentile <= 100:
        raise BadCorrelation("correlation: a percentile lies between 0 and 100", "correlation", "condition")
    if parsed.expression is not None and (odd := set(named_in(parsed.expression)) ^ set(parsed.rules)):
        reason = f"correlation: rules and condition name the same rules, but for {', '.join(sorted(odd))}"
        raise BadCorrelation(reason, "correlation", "condition")
    for alias, mapping in parsed.aliases.items():
        if missing := [r for r in parsed.rules if r not in mapping]:
            reason = f"correlation: the alias {alias} has no field for {', '.join(missing)}"
            raise BadCorrelation(reason, "correlation", "aliases")
        if unknown := [r for r in mapping if r not in parsed.rules]:
            reason = f"correlation: the alias {alias} names {', '.join(unknown)}"
            raise BadCorrelation(reason, "correlation", "aliases")
    if parsed.type.startswith("temporal") and parsed.expression is None and parsed.op not in ("gte", "gt"):
        raise BadCorrelation(f"correlation: {parsed.type} asks for at least some of its rules", "correlation")
    if parsed.type == "temporal_ordered" and not is_monotone(parsed.expression):
        raise BadCorrelation("correlation: in an order nothing can be left out by `not`", "correlation", "condition")


def chains_of(expression: Expression) -> list[tuple[str, ...]]:
    """The orders that a condition without `not` takes: `a and (b or c)` is a then b, or a then c."""
    if isinstance(expression, str):
        return [(expression,)]
    if isinstance(expression, AnyOf):
        return [chain for part in expression.parts for chain in chains_of(part)]
    chains: list[tuple[str, ...]] = [()]
    for part in expression.parts if isinstance(expression, AllOf) else ():
        chains = [(*chain, *more) for chain in chains for more in chains_of(part)]
        if len(chains) > MAX_CHAINS:
            raise BadCorrelation(f"correlation: more than {MAX_CHAINS} orders", "correlation", "condition")
    return chains


def seconds_of(given: Any, *keys: str) -> int:
    """The seconds of a timespan such as 15m. Raises BadCorrelation."""
    try:
        return int(SigmaCorrelationTimespan(str(given)).seconds)
    except SigmaError as error:
        raise BadCorrelation(str(error), *keys) from error


def _plain_names(text: str, names: dict[str, str]) -> str:
    """The condition with names that pySigma takes; `names` leads back."""
    known: dict[str, str] = {}

    def plain(found: re.Match[str]) -> str:
        word = found[0]
        if word in _WORDS:
            return word
        if word not in known:
            known[word] = f"r{len(known)}"
            names[known[word]] = word
        return known[word]

    return NAME.sub(plain, text)


def _expression(parsed: Any, names: Mapping[str, str]) -> Expression:
    if isinstance(parsed, SigmaRuleReference):
        return names[parsed.reference]
    parts = tuple(_expression(a, names) for a in parsed.args)
    if isinstance(parsed, CorrelationConditionAND):
        return AllOf(parts)
    if isinstance(parsed, CorrelationConditionOR):
        return AnyOf(parts)
    if isinstance(parsed, CorrelationConditionNOT):
        return NoneOf(parts[0])
    raise BadCorrelation(f"condition not understood: {type(parsed).__name__}", "correlation", "condition")


def _texts(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(str(one) for one in given)


def shape_of(*parts: object) -> str:
    """A short hash of what a correlation's state depends on: a changed one keeps nothing of its old shape."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
