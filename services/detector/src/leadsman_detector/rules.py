"""Rule folders into the detector's own form: rules, filters, correlations, and what is wrong with them.

Files are Sigma YAML (https://sigmahq.io/sigma-specification/). Lists of rules/lists/ take the place of `%name%` in a
value whose field has the modifier `expand`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

from leadsman_common.alerts import LEVELS
from leadsman_common.clusters import NO_CLUSTERS, Clusters
from leadsman_detector.documents import Document, documents_of, files_of
from leadsman_detector.form import (
    Absence,
    Acknowledged,
    And,
    Correlation,
    Expression,
    Filter,
    FirstSeen,
    LevelStep,
    Modifier,
    Node,
    NoneOf,
    Not,
    Or,
    Problem,
    RaisedBy,
    Regression,
    Repeats,
    Rule,
    Silence,
    Suppression,
    Where,
)
from leadsman_detector.layers import Layers
from leadsman_detector.overlays import OVERLAY, BadOverlay, filtering, narrowed, read_patch, where_of
from leadsman_detector.requires import read_requires
from leadsman_detector.sigma_correlations import (
    Parsed,
    chains_of,
    is_monotone,
    named_in,
    parse,
    read_expression,
    seconds_of,
)
from leadsman_detector.sigma_nodes import BadSigma, SigmaError, logsource_of, nodes_of

READ_JOINS = ("role-use",)  # correlate.JOINS; a test holds the two together
LEADSMAN_KEYS = {
    "each", "changed", "anchor", "alert", "levels", "modifiers", "repeats", "requires", "blind_spots", "first_seen",
    "responsible", "regression", "silence", "shadow", "versions",
}  # fmt: skip
REGRESSION_KEYS = {"secure", "by", "secure-by"}
REPEATS_KEYS = {"group-by", "timespan", "when"}
CORRELATION_KEYS = {
    "join", "alert", "anchor", "incident", "scope", "attempts", "levels", "absence", "requires", "blind_spots",
    "shadow",
}  # fmt: skip
SILENCE_KEYS = {"least", "times", "learning"}
FIRST_SEEN = "first_seen"
FIRST_SEEN_KEYS = ("fields", "window", "learning", "again", "every")
SCOPES = ("cluster", "account", "all")
USUAL_INCIDENT_S = 3600
MAX_DEPTH = 8  # of correlations of correlations
FILTER_KEYS = {"every", "level", "suppress"}
SUPPRESS_KEYS = {"owner", "reason", "expires"}
ACKNOWLEDGED_KEYS = {"fingerprint", "by", "reason", "expires", "rule", "what"}
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
    acknowledged: tuple[Acknowledged, ...] = ()


SHIPPED = "shipped"


def folder_of(name: str) -> Path:
    """A folder as settings and options name it; the word `shipped` is the rules that come with Leadsman."""
    return default_rules_dir() if name == SHIPPED else Path(name)


def default_rules_dir() -> Path:
    """The rules packaged with the detector, or the repository's folder in an editable install."""
    packaged = Path(__file__).parent / "_rules"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "rules"


def read(folders: Sequence[Path], clusters: Clusters = NO_CLUSTERS) -> RuleFiles:
    """Read every *.yml below the folders, each over those before it; `clusters` tells which are a tenant's.

    One bad rule is a problem and does not stop the rest.
    """
    reader = _Reader()
    digest = hashlib.sha256()
    for folder in folders:
        if (where := reader.begin(folder, clusters)) is None:
            continue
        if reader.layers.number or where is not True:  # where one folder ends and another begins makes a difference
            digest.update(f"\x01{where!r}".encode())
        for name, path in files_of([folder]):
            if name in OVERLAY:
                continue
            text = path.read_text("utf-8", errors="replace")
            digest.update(f"{name}\x00{text}\x00".encode())
            for document in documents_of(name, text, origin_of(folder, name), reader.layers.number):
                reader.take(document)
    return reader.done(digest.hexdigest()[:16])


def origin_of(folder: Path, file: str) -> str:
    """A file as alerts name it: below the last name of its folder, wherever that is mounted."""
    if folder.is_file():
        return file
    return f"{'rules' if folder == default_rules_dir() else folder.resolve().name}/{file}"


class _Reader:
    """Documents sorted by what they are, then made into forms: a rule may name a list that comes after it."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._lists: dict[str, list[str]] = {}
        self._lists_before: set[str] = set()  # of earlier folders
        self._acknowledged: list[Acknowledged] = []
        self.layers = Layers()

    def begin(self, folder: Path, clusters: Clusters) -> Where | None:
        """Begin a folder: where it holds; None where that cannot be told, and it is left out."""
        file = f"{folder.name}/{OVERLAY[0]}"
        try:
            where = where_of(folder, clusters)
        except BadOverlay as error:
            self._problems.append(Problem(file, "", str(error)))
            return None
        if where is False:
            reason = "no cluster of the registry is of these tenants: it holds nowhere"
            self._problems.append(Problem(file, "", reason, fatal=False))
        self.layers.begin(where)
        self._lists_before = set(self._lists)
        return where

    def take(self, document: Document | Problem) -> None:
        if isinstance(document, Problem):
            self._problems.append(document)
        elif "correlation" in document.data:
            self._lay(self.layers.correlations, document)
        elif "filter" in document.data:
            self._lay(self.layers.filters, document)
        elif "detection" in document.data:
            self._lay(self.layers.rules, document)
        elif isinstance(document.data.get("values"), list):
            self._list(document)
        elif "patch" in document.data:
            self._patch(document)
        elif "acknowledged" in document.data:
            self._acknowledge(document)
        else:
            self._problem(document, "neither a rule, a filter, a correlation, a list, a patch nor what is acknowledged")

    def done(self, digest: str) -> RuleFiles:
        layers = self.layers
        rules = self._made(layers.rules, lambda d: replace(_rule(d, self._lists), enabled=layers.where(d)))
        filters = self._made(
            [d for d in layers.filters if layers.where(d) is not False],
            lambda d: filtering(_filter(d, self._lists, layers.rules, layers.correlations), layers.where(d)),
        )
        ids = {item.id: item.name for item in rules.values()}
        ids |= {str(d.data.get("id")).lower(): d.name for d in layers.correlations}
        correlations = self._made(layers.correlations, lambda d: replace(_correlation(d, ids), enabled=layers.where(d)))
        both = [*layers.rules, *layers.correlations]
        there = {d.name for d in both} | {str(d.data.get("id")) for d in both}
        for document in layers.filters:
            for name in _unknown(document, there):
                self._problem(document, f"no such rule: {name}", "filter", "rules")
        self._tie(rules, correlations)
        self._silence(rules, correlations)
        _name_authors(rules, correlations)
        for document, name in layers.apply(rules, correlations):
            self._problem(document, f"no such rule: {name}", "patch", "rules")
        rules = {name: narrowed(rule) for name, rule in rules.items()}
        return RuleFiles(
            tuple(rules.values()),
            tuple(correlations.values()),
            tuple(self._problems),
            digest,
            self._lists,
            tuple(filters.values()),
            tuple(self._acknowledged),
        )

    def _lay(self, kept: list[Document], document: Document) -> None:
        try:
            self.layers.lay(kept, document)
        except BadOverlay as error:
            self._problem(document, str(error), "name")

    def _list(self, document: Document) -> None:
        name = Path(document.file).stem
        if self.layers.here is not True and name in self._lists_before:
            self._problem(document, f"the list {name} is of an earlier folder: a folder for some clusters changes none")
            return
        self._lists[name] = [str(v) for v in document.data["values"]]

    def _patch(self, document: Document) -> None:
        try:
            self.layers.patch(document, read_patch(document.data, self.layers.here, document.origin))
        except BadOverlay as error:
            self._problem(document, str(error), "patch")

    def _acknowledge(self, document: Document) -> None:
        given = document.data["acknowledged"]
        for one in given if isinstance(given, list) else [given]:
            try:
                self._acknowledged.append(_acknowledged(one))
            except _BAD as error:
                self._problem(document, f"{error}", *getattr(error, "keys", ()))

    def _tie(self, rules: dict[str, Rule], correlations: dict[str, Correlation]) -> None:
        """Take away the correlations that name what is not there, themselves, or too long a chain of others."""
        left = -1
        while left != len(correlations):
            left = len(correlations)
            depths = _depths(correlations)
            for document in self.layers.correlations:
                correlation = correlations.get(document.name)
                if correlation is None:
                    continue
                if missing := [r for r in correlation.rules if r not in rules and r not in correlations]:
                    self._problem(document, f"no such rule: {', '.join(missing)}", "correlation", "rules")
                    del correlations[document.name]
                elif regressing := [r for r in correlation.rules if r in rules and rules[r].regression]:
                    reason = f"a rule of regression feeds no correlation: {', '.join(regressing)}"
                    self._problem(document, reason, "correlation", "rules")
                    del correlations[document.name]
                elif document.name not in depths:
                    self._problem(document, "a chain of correlations that leads back to itself", "correlation", "rules")
                    del correlations[document.name]
                elif depths[document.name] > MAX_DEPTH:
                    reason = f"a chain of more than {MAX_DEPTH} correlations"
                    self._problem(document, reason, "correlation", "rules")
                    del correlations[document.name]

    def _silence(self, rules: dict[str, Rule], correlations: dict[str, Correlation]) -> None:
        """Sigma's `generate: false`: what a correlation is made of raises no alert of its own.

        Where the correlation does not say, that goes for the rules of its own file, which stand there for its sake. A
        rule that says `leadsman.alert` itself decides for itself.
        """
        documents = {d.name: d for d in (*self.layers.rules, *self.layers.correlations)}
        for correlation in list(correlations.values()):
            own = documents[correlation.name]
            generate = own.data["correlation"].get("generate")
            for name in correlation.rules:
                said = documents[name].data.get("leadsman") or {}
                same = documents[name].layer == own.layer
                if not same and self.layers.where(own) is not True:
                    continue  # other clusters are told of it
                same = same and documents[name].file == own.file
                if "alert" in said or generate is True or (generate is None and not same):
                    continue
                if name in rules:
                    rules[name] = replace(rules[name], alert=False)
                else:
                    correlations[name] = replace(correlations[name], alert=False)

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
    repeats = _repeats(own)
    regression = _regression(own)
    conditions = detection["condition"]
    main = conditions if isinstance(conditions, list) else [conditions]
    nodes = nodes_of(
        detection,
        [
            *main,
            *(step["when"] for step in [*steps, *modifiers] if step["when"] != FIRST_SEEN),
            *([repeats["when"]] if "when" in repeats else []),
            *([regression["secure"]] if regression else []),
        ],
        lambda clause, path: document.line("detection", clause, path),
    )
    stepped = nodes[len(main) : len(main) + len(steps)]
    modified = nodes[len(main) + len(steps) :][: len(modifiers)]
    condition = nodes[0] if len(main) == 1 else Or(tuple(nodes[: len(main)]))
    regresses = _regresses(regression, condition, nodes.pop()) if regression else None
    return Rule(
        id=_id(document),
        name=document.name,
        title=str(data["title"]),
        level=_level(data.get("level", "medium"), "level"),
        condition=Or((condition, regresses.secure)) if regresses else condition,
        file=document.file,
        tags=_texts(data.get("tags")),
        references=_texts(data.get("references")),
        levels=tuple(
            LevelStep(n, _level(s["level"], "leadsman", "levels")) for n, s in zip(stepped, steps, strict=True)
        ),
        modifiers=_modifiers(modifiers, modified),
        each=str(own.get("each", "")),
        changed=bool(own.get("changed", False)),
        anchor="owner" if own.get("anchor") == "owner" else "request",
        repeats=Repeats(
            _texts(repeats["group-by"]),
            seconds_of(repeats["timespan"], "leadsman", "repeats"),
            nodes[-1] if "when" in repeats else None,
        )
        if repeats
        else None,
        alert=bool(own.get("alert", True)),
        first_seen=_first_seen(own["first_seen"]) if "first_seen" in own else None,
        regression=regresses,
        silence=_silence(own) if "silence" in own else None,
        versions=_versions(own) if "versions" in own else "",
        requires=read_requires(own.get("requires"), lists),
        author=_author(data),
        license=str(data.get("license") or ""),
        shadow=_truth(own, "shadow"),
        origin=document.origin,
        line=document.first_line,
    )


def _modifiers(given: Sequence[dict[str, Any]], nodes: Iterable[Node]) -> tuple[Modifier, ...]:
    """Modifiers with their conditions; `when: first_seen` has none in the detection."""
    left = iter(nodes)
    return tuple(
        Modifier(
            _first_seen({k: v for k, v in m.items() if k in FIRST_SEEN_KEYS})
            if m["when"] == FIRST_SEEN
            else next(left),
            _by(m),
            str(m["why"]),
        )
        for m in given
    )


def _first_seen(given: Any) -> FirstSeen:
    if not isinstance(given, dict) or not set(given) <= set(FIRST_SEEN_KEYS):
        raise BadRule(f"leadsman.first_seen: says {', '.join(FIRST_SEEN_KEYS)}", "leadsman", "first_seen")
    fields = given.get("fields", ["actor.name", "objectRef.resource"])
    if not isinstance(fields, list) or not fields:
        raise BadRule("leadsman.first_seen: fields is a list of fields", "leadsman", "first_seen", "fields")
    if "every" in given:
        if set(given) != {"fields", "every"}:
            raise BadRule("leadsman.first_seen: every goes with fields alone", "leadsman", "first_seen", "every")
        every_s = seconds_of(given["every"], "leadsman", "first_seen", "every")
        return FirstSeen(_texts(fields), every_s, 0, every_s=every_s)
    window_s, learning_s = (
        0 if str(given.get(key)) == "0" else seconds_of(given.get(key, "14d"), "leadsman", "first_seen", key)
        for key in ("window", "learning")
    )
    if window_s < 60:
        raise BadRule("leadsman.first_seen: a window of a minute or more", "leadsman", "first_seen", "window")
    again = given.get("again", False)
    if not isinstance(again, bool):
        raise BadRule("leadsman.first_seen: again is true or false", "leadsman", "first_seen", "again")
    return FirstSeen(_texts(fields), window_s, learning_s, again)


def _silence(own: dict[str, Any]) -> Silence:
    given = own["silence"]
    if not isinstance(given, dict) or set(given) != SILENCE_KEYS:
        raise BadRule("leadsman.silence: says least, times and learning", "leadsman", "silence")
    if clash := [key for key in ("changed", "first_seen", "repeats", "modifiers", "each") if key in own]:
        raise BadRule(f"leadsman.silence: does not go with {clash[0]}", "leadsman", "silence")
    times = given["times"]
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise BadRule("leadsman.silence: times is a number", "leadsman", "silence", "times")
    least_s, learning_s = (seconds_of(given[key], "leadsman", "silence", key) for key in ("least", "learning"))
    return Silence(least_s, times, learning_s)


def _versions(own: dict[str, Any]) -> Literal["skew", "support"]:
    given = own["versions"]
    if given not in ("skew", "support"):
        raise BadRule("leadsman.versions: is skew or support", "leadsman", "versions")
    if "first_seen" not in own:
        raise BadRule("leadsman.versions: needs first_seen, since they are told all day", "leadsman", "versions")
    if clash := [key for key in ("changed", "repeats", "regression", "silence", "each") if key in own]:
        raise BadRule(f"leadsman.versions: does not go with {clash[0]}", "leadsman", "versions")
    return cast("Literal['skew', 'support']", given)


def _filter(
    document: Document, lists: dict[str, list[str]], rules: Sequence[Document], correlations: Sequence[Document]
) -> Filter:
    """A filter, with the names of the rules and correlations it speaks of. Raises BadRule."""
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
    named_correlations = _named_by(_references(document) or [], correlations)
    if named_correlations and "suppress" not in own:
        raise BadRule(f"{named_correlations[0]}: a filter can suppress a correlation, no more", "filter", "rules")
    return Filter(
        name=str(data.get("name") or data.get("title") or document.name),
        condition=node,
        rules=_spoken_of(document, rules),
        every=str(own.get("every", "")),
        level=_level(own["level"], "leadsman", "level") if "level" in own else "",
        file=document.file,
        line=document.first_line,
        suppress=_suppression(own) if "suppress" in own else None,
        correlations=named_correlations,
    )


def _suppression(own: dict[str, Any]) -> Suppression:
    given = own["suppress"]
    if "level" in own:
        raise BadRule("leadsman: suppress or level, not both", "leadsman", "level")
    if not isinstance(given, dict) or set(given) != SUPPRESS_KEYS:
        raise BadRule(f"leadsman.suppress: says {', '.join(sorted(SUPPRESS_KEYS))}", "leadsman", "suppress")
    for key in ("owner", "reason"):
        if not isinstance(given[key], str) or not given[key].strip():
            raise BadRule(f"leadsman.suppress: {key} is a text", "leadsman", "suppress", key)
    return Suppression(
        given["owner"].strip(), given["reason"].strip(), _end_of(given["expires"], "leadsman", "suppress", "expires")
    )


def _acknowledged(given: Any) -> Acknowledged:
    if not isinstance(given, dict) or not {"fingerprint", "by", "reason"} <= set(given) <= ACKNOWLEDGED_KEYS:
        raise BadRule("acknowledged: each says fingerprint, by and reason", "acknowledged")
    for key in ("fingerprint", "by", "reason"):
        if not isinstance(given[key], str) or not given[key].strip():
            raise BadRule(f"acknowledged: {key} is a text", "acknowledged", key)
    until = _end_of(given["expires"], "acknowledged", "expires") if "expires" in given else 0
    return Acknowledged(given["fingerprint"].strip(), given["by"].strip(), given["reason"].strip(), until)


def _end_of(expires: Any, *keys: str) -> int:
    """The end of a day, in UTC, or the very time; microseconds since the epoch."""
    if isinstance(expires, str):
        try:
            expires = datetime.fromisoformat(expires) if "T" in expires else date.fromisoformat(expires)
        except ValueError:
            expires = None
    if isinstance(expires, datetime):
        at = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    elif isinstance(expires, date):
        at = datetime.combine(expires + timedelta(days=1), time(), UTC)
    else:
        raise BadRule(f"{'.'.join(keys[:-1])}: expires is a date, 2027-01-31, or a time", *keys)
    return int(at.timestamp() * 1_000_000)


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


def _spoken_of(document: Document, rules: Sequence[Document]) -> tuple[str, ...]:
    """The rules that a filter speaks of, by name: those it names, or all of its logsource."""
    wanted = _references(document)
    if wanted is not None:
        return _named_by(wanted, rules)
    logsource = logsource_of(document.data.get("logsource"))
    return tuple(rule.name for rule in rules if logsource_of(rule.data.get("logsource")) in logsource)


def _named_by(wanted: Sequence[str], documents: Sequence[Document]) -> tuple[str, ...]:
    """Those of the rules or correlations that a filter names by their name or their id."""
    return tuple(d.name for d in documents if d.name in wanted or str(d.data.get("id")) in wanted)


def _unknown(document: Document, there: set[str]) -> list[str]:
    """The rules that a filter names and nobody has; a rule that is there and cannot be used is told of elsewhere."""
    try:
        wanted = _references(document) or []
    except BadRule:
        return []
    return [name for name in wanted if name not in there]


def _correlation(document: Document, ids: Mapping[str, str]) -> Correlation:
    """A correlation; `ids` leads from the ids of rules to their names. Raises BadRule and BadCorrelation."""
    data, own = document.data, _own(document, CORRELATION_KEYS)
    parsed = parse(data)
    rules = tuple(ids.get(r.lower(), r) for r in parsed.rules)
    join = str(own.get("join", ""))
    if join and join not in READ_JOINS:
        raise BadRule(f"leadsman.join is one of: {', '.join(READ_JOINS)}", "leadsman", "join")
    if join == "role-use" and len(rules) != 3:
        raise BadRule("role-use joins three rules: role, binding, use", "correlation", "rules")
    return Correlation(
        id=_id(document),
        name=document.name,
        title=str(data["title"]),
        level=_level(data.get("level", "medium"), "level"),
        type=parsed.type,
        rules=rules,
        timespan_s=parsed.timespan_s,
        file=document.file,
        group_by=parsed.group_by,
        join=join,
        tags=_texts(data.get("tags")),
        references=_texts(data.get("references")),
        requires=read_requires(own.get("requires"), {}, rules),
        aliases={a: {ids.get(r.lower(), r): f for r, f in m.items()} for a, m in parsed.aliases.items()},
        op=parsed.op,
        threshold=parsed.threshold,
        fields=parsed.fields,
        percentile=parsed.percentile,
        condition=_ordered(parsed, ids),
        incident_s=_incident(own, parsed),
        anchor=_one_of_rules(own, "anchor", rules),
        scope=_scope(own),
        attempts=_attempts(own, rules),
        levels=_raised_by(own, rules),
        absence=_absence(own, rules),
        alert=bool(own.get("alert", True)),
        author=_author(data),
        license=str(data.get("license") or ""),
        shadow=_truth(own, "shadow"),
        origin=document.origin,
        line=document.first_line,
    )


def _ordered(parsed: Parsed, ids: Mapping[str, str]) -> Expression | None:
    if parsed.expression is not None and parsed.type == "temporal_ordered":
        chains_of(parsed.expression)  # refuses too many
    return _named(parsed.expression, ids)


def _named(expression: Expression | None, ids: Mapping[str, str]) -> Expression | None:
    """The condition with names in place of ids."""
    if expression is None or isinstance(expression, str):
        return ids.get(expression.lower(), expression) if expression else None
    if isinstance(expression, NoneOf):
        return NoneOf(_named(expression.part, ids) or "")
    return type(expression)(tuple(_named(part, ids) or "" for part in expression.parts))


def _incident(own: dict[str, Any], parsed: Parsed) -> int:
    """The seconds of an incident: a multiple of the timespan, so that a window's cell lies in one."""
    if "incident" in own and "anchor" in own:
        raise BadRule("leadsman: incident or anchor, not both", "leadsman", "incident")
    wanted = seconds_of(own["incident"], "leadsman", "incident") if "incident" in own else USUAL_INCIDENT_S
    return parsed.timespan_s * max(1, -(-wanted // parsed.timespan_s))


def _one_of_rules(own: dict[str, Any], key: str, rules: Sequence[str]) -> str:
    given = str(own.get(key) or "")
    if given and given not in rules:
        raise BadRule(f"leadsman.{key}: {given} is none of the rules of this correlation", "leadsman", key)
    return given


def _scope(own: dict[str, Any]) -> str:
    given = str(own.get("scope", "cluster"))
    if given not in SCOPES:
        raise BadRule(f"leadsman.scope is one of {', '.join(SCOPES)}", "leadsman", "scope")
    return given


def _attempts(own: dict[str, Any], rules: Sequence[str]) -> tuple[str, ...]:
    given = own.get("attempts", False)
    if isinstance(given, bool):
        return tuple(rules) if given else ()
    if not isinstance(given, list) or not set(map(str, given)) <= set(rules):
        raise BadRule("leadsman.attempts is true, or names rules of this correlation", "leadsman", "attempts")
    return tuple(map(str, given))


def _raised_by(own: dict[str, Any], rules: Sequence[str]) -> tuple[RaisedBy, ...]:
    """`leadsman.levels` of a correlation: each step has a level and `when` (of its rules) or `count`."""
    steps: list[RaisedBy] = []
    for step in own.get("levels") or []:
        if not isinstance(step, dict) or not set(step) <= {"level", "when", "count"} or len(step) < 2:
            raise BadRule("leadsman.levels: a step has a level, and when or count", "leadsman", "levels")
        when = read_expression(str(step["when"])) if "when" in step else None
        if unknown := [n for n in named_in(when) if n not in rules]:
            raise BadRule(f"leadsman.levels: {', '.join(unknown)} is none of its rules", "leadsman", "levels")
        if not is_monotone(when):
            raise BadRule("leadsman.levels: a level that goes down again with `not`", "leadsman", "levels")
        count = step.get("count", 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise BadRule("leadsman.levels: count is a number", "leadsman", "levels")
        steps.append(RaisedBy(_level(step["level"], "leadsman", "levels"), when, count))
    return tuple(steps)


def _absence(own: dict[str, Any], rules: Sequence[str]) -> Absence | None:
    given = own.get("absence")
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) != {"after", "rules", "within"}:
        raise BadRule("leadsman.absence: says after, rules and within", "leadsman", "absence")
    missing = _texts(given["rules"])
    after = str(given["after"])
    if not missing or not {after, *missing} <= set(rules) or after in missing:
        raise BadRule("leadsman.absence: after and rules are rules of this correlation", "leadsman", "absence")
    return Absence(after, missing, seconds_of(given["within"], "leadsman", "absence", "within"))


def _depths(correlations: Mapping[str, Correlation]) -> dict[str, int]:
    """How many correlations stand on one another, by name; those in a ring are left out."""
    depths: dict[str, int] = {}
    while True:
        ready = {
            name: 1 + max((depths.get(r, 0) for r in c.rules if r in correlations), default=0)
            for name, c in correlations.items()
            if name not in depths and all(r in depths or r not in correlations for r in c.rules)
        }
        if not ready:
            return depths
        depths |= ready


def _name_authors(rules: Mapping[str, Rule], correlations: dict[str, Correlation]) -> None:
    """Have a correlation name the authors of its rules beside its own: what it finds are matches of theirs."""
    for name in sorted(correlations, key=_depths(correlations).__getitem__):  # those below come first
        own = correlations[name]
        below = [(correlations.get(rule) or rules[rule]).author for rule in own.rules]
        authors = [one.strip() for line in (own.author, *below) for one in line.split(",")]
        correlations[name] = replace(own, author=", ".join(dict.fromkeys(filter(None, authors))))


def _id(document: Document) -> str:
    """A rule's UUID; one without goes by its name."""
    given = str(document.data.get("id") or "")
    if not given:
        return document.name
    try:
        return str(UUID(given))
    except ValueError as error:
        raise BadRule(f"id: not a UUID: {given}", "id") from error


def _author(data: Mapping[str, Any]) -> str:
    """The line as it stands; some write a list."""
    given = data.get("author")
    return ", ".join(map(str, given)) if isinstance(given, list) else str(given or "")


def _truth(own: Mapping[str, Any], key: str) -> bool:
    given = own.get(key, False)
    if not isinstance(given, bool):
        raise BadRule(f"leadsman.{key}: is true or false", "leadsman", key)
    return given


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in given or ())


def _repeats(own: dict[str, Any]) -> dict[str, Any]:
    given = own.get("repeats")
    if given is None:
        return {}
    if not isinstance(given, dict) or not {"group-by", "timespan"} <= set(given) <= REPEATS_KEYS:
        raise BadRule("leadsman.repeats: a map of group-by, timespan and, if need be, when", "leadsman", "repeats")
    if not isinstance(given["group-by"], list) or not given["group-by"]:
        raise BadRule("leadsman.repeats: group-by is a list of fields", "leadsman", "repeats", "group-by")
    if own.get("changed") or own.get("anchor") == "owner":
        raise BadRule("leadsman.repeats: a rule of objects has one alert for each as it is", "leadsman", "repeats")
    return given


def _regression(own: dict[str, Any]) -> dict[str, Any]:
    given = own.get("regression")
    if given is None:
        return {}
    if not isinstance(given, dict) or "secure" not in given or not set(given) <= REGRESSION_KEYS:
        reason = "leadsman.regression: a map of secure and, if need be, by and secure-by"
        raise BadRule(reason, "leadsman", "regression")
    for key in ("by", "secure-by"):
        if not isinstance(given.get(key, []), list):
            raise BadRule(f"leadsman.regression: {key} is a list of fields", "leadsman", "regression", key)
    if beside := sorted({"each", "changed", "anchor", "repeats", "first_seen"} & set(own)):
        raise BadRule(f"leadsman.regression: does not go with {', '.join(beside)}", "leadsman", "regression")
    if not own.get("alert", True):
        raise BadRule("leadsman.regression: feeds no correlation", "leadsman", "regression")
    return given


def _regresses(given: dict[str, Any], insecure: Node, secure: Node) -> Regression:
    by = _texts(given.get("by"))
    secure_by = _texts(given.get("secure-by")) or by
    if len(by) != len(secure_by):
        raise BadRule("leadsman.regression: by and secure-by have as many fields", "leadsman", "regression", "by")
    return Regression(insecure, secure, by, secure_by)


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
