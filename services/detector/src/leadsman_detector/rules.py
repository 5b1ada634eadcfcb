"""Rule folders into the detector's own form: rules, filters, correlations, and what is wrong with them.

Files are Sigma YAML (https://sigmahq.io/sigma-specification/). Lists of rules/lists/ take the place of `%name%` in a
value whose field has the modifier `expand`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from leadsman_common.alerts import LEVELS
from leadsman_detector.documents import Document, documents_of, files_of
from leadsman_detector.form import And, Correlation, Filter, LevelStep, Modifier, Node, Not, Or, Problem, Rule
from leadsman_detector.requires import read_requires
from leadsman_detector.sigma_nodes import BadSigma, SigmaCorrelationRule, SigmaError, logsource_of, nodes_of

READ_JOINS = ("role-use",)  # correlate.JOINS; a test holds the two together
LEADSMAN_KEYS = {"each", "changed", "anchor", "alert", "levels", "modifiers", "requires", "join", "blind_spots"}
FILTER_KEYS = {"every", "level"}
_BAD = (SigmaError, KeyError, TypeError, ValueError, AttributeError, RecursionError)


class BadRule(ValueError):
    """A rule that cannot be used; the text is the reason, `keys` lead to the place in its document."""

    def __init__(self, reason: str, *keys: Any) -> None:
        super().__init__(reason)
        self.keys = keys


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """What was read: rules, correlations, filters, what was wrong, and a digest of it all."""

    rules: tuple[Rule, ...]
    correlations: tuple[Correlation, ...]
    problems: tuple[Problem, ...] = ()
    digest: str = ""
    lists: dict[str, list[str]] = field(default_factory=dict)
    filters: tuple[Filter, ...] = ()


def default_rules_dir() -> Path:
    """The rules packaged with the detector, or the repository's folder in an editable install."""
    packaged = Path(__file__).parent / "_rules"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "rules"


def read(folders: Sequence[Path]) -> RuleFiles:
    """Read every *.yml below the folders. One bad rule is a problem and does not stop the rest."""
    reader = _Reader()
    digest = hashlib.sha256()
    for name, path in files_of(folders):
        text = path.read_text("utf-8", errors="replace")
        digest.update(f"{name}\x00{text}\x00".encode())
        for document in documents_of(name, text):
            reader.take(document)
    return reader.done(digest.hexdigest()[:16])


class _Reader:
    """Documents sorted by what they are, then made into forms: a rule may name a list that comes after it."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._lists: dict[str, list[str]] = {}
        self._rules: list[Document] = []
        self._filters: list[Document] = []
        self._correlations: list[Document] = []

    def take(self, document: Document | Problem) -> None:
        if isinstance(document, Problem):
            self._problems.append(document)
        elif "correlation" in document.data:
            self._correlations.append(document)
        elif "filter" in document.data:
            self._filters.append(document)
        elif "detection" in document.data:
            self._rules.append(document)
        elif isinstance(document.data.get("values"), list):
            self._lists[Path(document.file).stem] = [str(v) for v in document.data["values"]]
        else:
            self._problem(document, "neither a rule, a filter, a correlation nor a list")

    def done(self, digest: str) -> RuleFiles:
        rules = self._made(self._rules, lambda d: _rule(d, self._lists))
        filters = self._made(self._filters, lambda d: _filter(d, self._lists, self._rules))
        correlations = self._made(self._correlations, _correlation)
        for document in self._filters:
            for name in _unknown(document, self._rules):
                self._problem(document, f"no such rule: {name}", "filter", "rules")
        for document in self._correlations:
            correlation = correlations.get(document.name)
            names = correlation.rules if correlation else ()
            if missing := [r for r in names if r not in rules and r not in correlations]:
                self._problem(document, f"no such rule: {', '.join(missing)}", "correlation", "rules")
                del correlations[document.name]
        return RuleFiles(
            tuple(rules.values()),
            tuple(correlations.values()),
            tuple(self._problems),
            digest,
            self._lists,
            tuple(filters.values()),
        )

    def _made(self, documents: Iterable[Document], make: Callable[[Document], Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        ids: dict[str, Any] = {}
        for document in documents:
            try:
                item = make(document)
                if item.name in made:
                    raise BadRule(f"the name {item.name} is taken by {made[item.name].file}", "name")
                given = getattr(item, "id", item.name)
                if given in ids:
                    raise BadRule(f"the id {given} is taken by {ids[given].file}", "id")
                made[item.name] = ids[given] = item
            except _BAD as error:
                reason = f"says no {error}" if isinstance(error, KeyError) else f"{error or type(error).__name__}"
                self._problem(document, reason, *getattr(error, "keys", ()))
        return made

    def _problem(self, document: Document, reason: str, *keys: Any) -> None:
        self._problems.append(Problem(document.file, document.label, reason, document.line(*keys)))


def _own(document: Document, allowed: set[str]) -> dict[str, Any]:
    own = document.data.get("leadsman") or {}
    if not isinstance(own, dict):
        raise BadRule("leadsman: is a map", "leadsman")
    if unknown := sorted(set(own) - allowed):
        raise BadRule(f"leadsman: unknown {', '.join(unknown)}", "leadsman", unknown[0])
    return own


def _rule(document: Document, lists: dict[str, list[str]]) -> Rule:
    data, own = document.data, _own(document, LEADSMAN_KEYS)
    detection = _expanded(data["detection"], lists, "detection")
    logsource_of(data["logsource"])
    steps = own.get("levels") or []
    modifiers = own.get("modifiers") or []
    conditions = detection["condition"]
    main = conditions if isinstance(conditions, list) else [conditions]
    nodes = nodes_of(
        detection,
        [*main, *(step["when"] for step in [*steps, *modifiers])],
        lambda clause, path: document.line("detection", clause, path),
    )
    stepped = nodes[len(main) : len(main) + len(steps)]
    modified = nodes[len(main) + len(steps) :]
    return Rule(
        id=_id(document),
        name=document.name,
        title=str(data["title"]),
        level=_level(data.get("level", "medium"), "level"),
        condition=nodes[0] if len(main) == 1 else Or(tuple(nodes[: len(main)])),
        file=document.file,
        tags=_texts(data.get("tags")),
        references=_texts(data.get("references")),
        levels=tuple(
            LevelStep(n, _level(s["level"], "leadsman", "levels")) for n, s in zip(stepped, steps, strict=True)
        ),
        modifiers=tuple(Modifier(n, _by(m), str(m["why"])) for n, m in zip(modified, modifiers, strict=True)),
        each=str(own.get("each", "")),
        changed=bool(own.get("changed", False)),
        anchor="owner" if own.get("anchor") == "owner" else "request",
        alert=bool(own.get("alert", True)),
        requires=read_requires(own.get("requires"), lists),
        line=document.first_line,
    )


def _filter(document: Document, lists: dict[str, list[str]], rules: Sequence[Document]) -> Filter:
    """A filter, with the names of the rules it speaks of. Raises BadRule."""
    data, own = document.data, _own(document, FILTER_KEYS)
    given = data["filter"]
    detection = _expanded(given, lists, "filter")
    if not isinstance(detection["condition"], str):
        raise BadRule("filter: has one condition", "filter", "condition")
    named = {k: v for k, v in detection.items() if k != "rules"}
    try:
        (node,) = nodes_of(named, [named["condition"]], lambda clause, path: document.line("filter", clause, path))
    except BadSigma as error:
        raise BadRule(str(error), "filter", *error.keys[1:]) from error
    if not _takes_away(node):
        raise BadRule("a filter says what stays: its condition is `not ...`", "filter", "condition")
    return Filter(
        name=str(data.get("name") or data.get("title") or document.name),
        condition=node,
        rules=tuple(rule.name for rule in rules if _speaks_of(document, rule)),
        every=str(own.get("every", "")),
        level=_level(own["level"], "leadsman", "level") if "level" in own else "",
        file=document.file,
        line=document.first_line,
    )


def _takes_away(node: Node) -> bool:
    """Whether a filter's condition only takes events away: whatever it asks for stands under a `not`."""
    return isinstance(node, Not) or (isinstance(node, And | Or) and all(map(_takes_away, node.parts)))


def _references(document: Document) -> list[str] | None:
    """The rules that a filter names; None where it speaks of any."""
    given = document.data["filter"].get("rules") if isinstance(document.data["filter"], dict) else ()
    if given is None or given == []:
        raise BadRule("filter: names no rules; `any` is for all", "filter")
    if isinstance(given, str):
        return None if given.lower() == "any" else [given]
    if not isinstance(given, list | tuple):
        raise BadRule("filter: rules are names or ids", "filter", "rules")
    return [str(one) for one in given]


def _speaks_of(document: Document, rule: Document) -> bool:
    wanted = _references(document)
    if wanted is not None:
        return rule.name in wanted or str(rule.data.get("id")) in wanted
    return logsource_of(rule.data.get("logsource")) in logsource_of(document.data.get("logsource"))


def _unknown(document: Document, rules: Sequence[Document]) -> list[str]:
    """The rules that a filter names and nobody has; a rule that is there and cannot be used is told of elsewhere."""
    try:
        wanted = _references(document) or []
    except BadRule:
        return []
    there = {rule.name for rule in rules} | {str(rule.data.get("id")) for rule in rules}
    return [name for name in wanted if name not in there]


def _correlation(document: Document) -> Correlation:
    data, own = document.data, _own(document, LEADSMAN_KEYS)
    if own.get("join") not in READ_JOINS:
        raise BadRule(
            f"a correlation is evaluated by its leadsman.join only, one of: {', '.join(READ_JOINS)}", "correlation"
        )
    sigma = SigmaCorrelationRule.from_dict({k: v for k, v in data.items() if k != "leadsman"})
    rules = _texts(data["correlation"]["rules"])
    if len(rules) != 3:
        raise BadRule("role-use joins three rules: role, binding, use", "correlation", "rules")
    return Correlation(
        id=_id(document),
        name=document.name,
        title=sigma.title,
        level=_level(data.get("level", "medium"), "level"),
        type=str(sigma.type.name).lower(),
        rules=rules,
        timespan_s=int(sigma.timespan.seconds),
        file=document.file,
        group_by=tuple(sigma.group_by or ()),
        join=str(own.get("join", "")),
        tags=_texts(data.get("tags")),
        references=_texts(data.get("references")),
        requires=read_requires(own.get("requires"), {}, rules),
    )


def _id(document: Document) -> str:
    """A rule's UUID; one without goes by its name."""
    given = str(document.data.get("id") or "")
    if not given:
        return document.name
    try:
        return str(UUID(given))
    except ValueError as error:
        raise BadRule(f"id: not a UUID: {given}", "id") from error


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in given or ())


def _by(modifier: dict[str, Any]) -> int:
    by = modifier["by"]
    if not isinstance(by, int) or isinstance(by, bool) or by == 0:
        raise BadRule(f"leadsman.modifiers: by is a number of levels to add, not {by!r}", "leadsman", "modifiers", "by")
    return by


def _level(level: Any, *keys: str) -> str:
    text = "informational" if level == "info" else str(level)
    if text not in LEVELS:
        raise BadRule(f"no such level: {level}", *keys)
    return text


def _expanded(detection: Any, lists: dict[str, list[str]], key: str) -> dict[str, Any]:
    """The detection with lists put in the place of %name% where the field has the modifier `expand`."""
    if not isinstance(detection, dict) or "condition" not in detection:
        raise BadRule(f"{key}: has no condition", key)
    return {name: _expand(given, lists, (key, name)) for name, given in detection.items()}


def _expand(value: Any, lists: dict[str, list[str]], keys: tuple[Any, ...]) -> Any:
    if isinstance(value, list):
        return [_expand(v, lists, keys) for v in value]
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for name, given in value.items():
        plain, wanted = str(name), given
        if "expand" in plain.split("|")[1:]:
            plain = "|".join(part for part in plain.split("|") if part != "expand")
            wanted = [
                v for one in (given if isinstance(given, list) else [given]) for v in _listed(one, lists, (*keys, name))
            ]
        if plain in out:
            raise BadRule(f"{plain}: the same field twice", *keys, name)
        out[plain] = wanted
    return out


def _listed(value: Any, lists: dict[str, list[str]], keys: tuple[Any, ...]) -> list[Any]:
    text = str(value)
    if not (text.startswith("%") and text.endswith("%")):
        return [value]
    if text[1:-1] not in lists:
        raise BadRule(f"no such list: {text}", *keys)
    return list(lists[text[1:-1]])
