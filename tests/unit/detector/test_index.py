"""Random rules over random events: closures, gates and the index agree with a plain second reading."""

from __future__ import annotations

import copy
import json

import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_records import defaults

from leadsman_common.events import Flag, action_of
from leadsman_detector import literals
from leadsman_detector.compare import compile_regex
from leadsman_detector.form import And, Leaf, Not, Or, Rule
from leadsman_detector.match import RuleSet
from leadsman_detector.rules import RuleFiles

TEXTS = st.text(alphabet="abK\u017fk.\u212aé-", max_size=5)
EACH = "facts.pod.containers"
TEXT_PATHS = (
    "userAgent",
    "verb",
    "objectRef.resource",
    "user.groups",
    "annotations.a.b/c",
    "requestObject.a.b",
    f"{EACH}.name",
    f"{EACH}.image_repo",
    "*",
)
NUMBER_PATHS = ("responseStatus.code", "requestObject.n")
BOOL_PATHS = ("dryRun", "outcome.effective", "actor.unauthenticated", f"{EACH}.privileged", "requestObject.t")
VERBS = ("get", "create", "a")
RESOURCES = ("pods", "secrets", "b")


@st.composite
def patterns(draw):
    parts = draw(st.lists(st.one_of(st.none(), st.just(1), TEXTS.filter(bool)), min_size=1, max_size=4))
    merged = [p for n, p in enumerate(parts) if not (isinstance(p, str) and n and isinstance(parts[n - 1], str))]
    return (*merged, None) if all(isinstance(p, str) for p in merged) else tuple(merged)


ATOM = st.one_of(
    st.sampled_from(["a", "b", "k", "K", r"\.", "ab", "[ab]", "[^a]", ".", "(?:a|bk)", "(ab|ak|b)", "(?i:kab)"]),
    TEXTS.filter(bool).map(lambda t: t.replace(".", r"\.")),
)
REGEXES = st.builds(
    lambda flags, start, atoms, end: flags + start + "".join(atoms) + end,
    st.sampled_from(["", "(?i)"]),
    st.sampled_from(["", "^"]),
    st.lists(
        st.builds(lambda a, n: f"(?:{a}){n}", ATOM, st.sampled_from(["", "", "", "+", "*", "?", "{2}", "{0,2}"])),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["", "$"]),
)
VALUES = st.one_of(TEXTS.filter(bool), st.sampled_from(VERBS + RESOURCES))
ADDRESSES = st.sampled_from(["10.0.0.1", "10.9.0.1", "192.168.1.1", "fd00::1", "x", ""])
NETWORKS = st.sampled_from(["10.0.0.0/8", "10.0.0.0/16", "10.0.0.1/32", "0.0.0.0/0", "fd00::/8", "::/0"])
NUMBERS = st.sampled_from([0, 1, 2, 403, 1.0, 2.5])
TEXT_PATH = st.sampled_from(TEXT_PATHS)
ANY_PATH = st.sampled_from([p for p in (*TEXT_PATHS, *NUMBER_PATHS, *BOOL_PATHS) if p != "*"])
LEAVES = st.one_of(
    st.builds(lambda p, v, c: Leaf(p, "equals", v, cased=c), TEXT_PATH, VALUES, st.booleans()),
    st.builds(lambda p, v, c: Leaf(p, "pattern", v, cased=c), TEXT_PATH, patterns(), st.booleans()),
    st.builds(lambda p, v: Leaf(p, "regex", v), TEXT_PATH, REGEXES),
    st.builds(lambda v: Leaf("src_endpoint.ip", "cidr", v), NETWORKS),
    st.builds(lambda p, v: Leaf(p, "equals", v), ANY_PATH, st.one_of(NUMBERS, st.booleans(), st.just(""))),
    st.builds(
        lambda p, o, v: Leaf(p, "compare", (o, v)), ANY_PATH, st.sampled_from(["lt", "lte", "gt", "gte"]), NUMBERS
    ),
    st.builds(lambda p, v: Leaf(p, "exists", v), ANY_PATH, st.booleans()),
    st.builds(lambda p: Leaf(p, "null", None), ANY_PATH),
    st.builds(
        lambda p, q, f: Leaf(p, "fieldref", (q, f)),
        ANY_PATH,
        ANY_PATH,
        st.sampled_from(["equals", "startswith", "endswith", "contains"]),
    ),
    st.builds(lambda v: Leaf("verb", "equals", v), st.sampled_from(VERBS)),
    st.builds(lambda v: Leaf("objectRef.resource", "equals", v), st.sampled_from(RESOURCES)),
)


def combined(parts):
    some = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(some.map(And), some.map(Or), parts.map(Not))


NODES = st.recursive(LEAVES, combined, max_leaves=8)
RULES = st.lists(st.tuples(NODES, st.sampled_from(["", EACH])), min_size=1, max_size=6)


@st.composite
def events(draw):
    containers = [
        defaults("ContainerFacts", name=draw(TEXTS), image_repo=draw(TEXTS), privileged=draw(st.booleans()))
        for _ in range(draw(st.integers(0, 2)))
    ]
    verb, resource = draw(st.sampled_from(VERBS)), draw(st.sampled_from(RESOURCES))
    pod, dry, effective, anonymous = (draw(st.booleans()) for _ in range(4))
    flags = Flag(0)
    for is_set, bit in (
        (pod, Flag.HAS_POD),
        (dry, Flag.DRY_RUN),
        (effective, Flag.EFFECTIVE),
        (anonymous, Flag.UNAUTHENTICATED),
    ):
        flags |= bit if is_set else Flag(0)
    body = {"a": draw(st.one_of(st.just({"b": draw(TEXTS)}), TEXTS)), "n": draw(NUMBERS), "t": draw(st.booleans())}
    return defaults(
        "AuditEvent",
        action=action_of(verb, resource, "", ""),
        flags=int(flags),
        verb=verb,
        objectRef=defaults("ObjectRef", resource=resource),
        userAgent=draw(TEXTS),
        user=defaults("User", groups=draw(st.lists(TEXTS, max_size=2))),
        annotations=draw(st.one_of(st.just({}), TEXTS.map(lambda t: {"a.b/c": t}))),
        requestObject=draw(st.sampled_from(["", json.dumps(body)])),
        responseStatus=defaults("ResponseStatus", code=draw(st.sampled_from([0, 1, 2, 403]))),
        src_endpoint=defaults("Endpoint", ip=draw(ADDRESSES)),
        dryRun=dry,
        outcome=defaults("Outcome", effective=effective),
        actor=defaults("Actor", unauthenticated=anonymous),
        facts=defaults("Facts", pod=defaults("PodFacts", containers=containers)) if pod else None,
    )


def rule_set(drawn):
    rules = [
        Rule(id=str(n), name=str(n), title="", level="high", condition=node, each=each)
        for n, (node, each) in enumerate(drawn)
    ]
    made = RuleSet(RuleFiles(tuple(rules), ()))
    assert [p for p in made.problems if p.fatal] == []
    return made


def expected(rules, event):
    """The names of the rules that hold by the plain reading."""
    facts = event["facts"]
    containers = facts["pod"]["containers"] if facts else []
    return {
        compiled.rule.name
        for compiled in rules.rules
        if any(
            reference.holds(compiled.rule.condition, event, compiled.rule.each, element)
            for element in ((containers or [{}]) if compiled.rule.each else [None])
        )
    }


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(RULES, st.lists(events(), min_size=1, max_size=4))
def test_closures_and_index_agree_with_a_plain_reading(drawn, some):
    rules = rule_set(drawn)
    for event in some * 2:  # the second time out of what was remembered
        tried = {c.rule.name for c in rules.rules if holds(c, event)}
        assert tried == expected(rules, event)
        found = {c.rule.name for c in rules.candidates(event["action"], event["flags"]).find(event)}
        assert tried <= found
        blind = rules.candidates(event["action"], event["flags"], 0)
        assert tried <= {c.rule.name for c in blind}
        assert tried <= {c.rule.name for c in blind.find(event)}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(RULES, st.lists(events(), min_size=1, max_size=4))
def test_what_held_agrees_with_a_plain_reading(drawn, some):
    for compiled in rule_set(drawn).rules:
        each, condition = compiled.rule.each, compiled.condition
        for event in some * 2:
            for element in elements(compiled, event):
                if condition.holds(event, element):
                    told = [(found.leaf, found.value) for found in condition.explain(event, element)]
                    assert told == reference.explain(compiled.rule.condition, event, each, element)


def elements(compiled, event):
    containers = event["facts"]["pod"]["containers"] if event["facts"] else []
    return (containers or [{}]) if compiled.rule.each else [None]


def holds(compiled, event):
    return any(compiled.condition.holds(event, e) for e in elements(compiled, event))


@settings(max_examples=200, deadline=None)
@given(REGEXES, TEXTS)
def test_every_match_of_a_regex_holds_one_of_its_literals(pattern, text):
    wanted = literals.of_regex(pattern)
    if wanted and compile_regex(pattern, True).search(text) is not None:
        assert any(literal in literals.fold(text) for literal in wanted)


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        (r"evil-agent/\d+", ("evil-agent/",)),
        (r"(?i)XMRig|minerd", ("xmrig", "minerd")),
        (r"^/bin/(ba)?sh$", ("/bin/",)),
        (r"ab[cd]", ("abc", "abd")),
        (r"(xmrig){2}", ("xmrig",)),
        (r"(xmrig)?", ()),
        (r"^[0-9a-f]{40}$", ()),
        (r"[[:alpha:]]xyz", ()),
        (r"\Qa.b\E", ()),
    ],
)
def test_literals_of_a_regex(pattern, wanted):
    assert literals.of_regex(pattern) == wanted


def many(count, leaf):
    return rule_set([(leaf(n), "") for n in range(count)])


SHAPES = {
    "exact": lambda n: Leaf("actor.name", "equals", f"mallory-{n}"),
    "contains": lambda n: Leaf("userAgent", "pattern", (None, f"evil-{n}/", None)),
    "startswith": lambda n: Leaf("requestURI", "pattern", (f"/evil/{n}/", None)),
    "endswith": lambda n: Leaf("requestURI", "pattern", (None, f"/evil-{n}")),
    "regex": lambda n: Leaf("userAgent", "regex", rf"^evil-{n}/\d+"),
    "keyword": lambda n: Leaf("*", "pattern", (None, f"needle-{n}-", None)),
    "cidr": lambda n: Leaf("src_endpoint.ip", "cidr", f"203.{n // 256}.{n % 256}.0/24"),
    "number": lambda n: Leaf("responseStatus.code", "compare", ("gt", 600 + n)),
    "fact": lambda n: Leaf("facts.pod.containers.image_repo", "equals", f"evil/{n}"),
    "any of": lambda n: Or((Leaf("actor.name", "equals", f"a{n}"), Leaf("userAgent", "pattern", (f"b{n}-", None)))),
    "and not": lambda n: And((Leaf("actor.name", "equals", f"a{n}"), Not(Leaf("userAgent", "equals", "x")))),
    "label, body": lambda n: Leaf("requestObject.metadata.labels.app", "equals", f"evil-{n}"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_is_tried_on_every_event(make_event, shape):
    rules = many(300, SHAPES[shape])
    event = make_event(userAgent="kubectl/v1.37", requestURI="/api/v1/pods", requestObject='{"metadata":{"labels":{}}}')
    event["src_endpoint"]["ip"] = "198.51.100.7"
    event["responseStatus"]["code"] = 200
    assert rules.candidates(event["action"], event["flags"]).find(event) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_of_many_the_one_that_matches_is_found(make_event, record, shape):
    rules = many(300, SHAPES[shape])
    event = make_event(
        "create",
        actor="mallory-17" if shape == "exact" else "a17",
        userAgent="evil-17/3 b17-needle-17-",
        requestURI="/evil/17/evil-17",
        requestObject='{"metadata":{"labels":{"app":"evil-17"}}}',
        facts={"pod": record("PodFacts", containers=[record("ContainerFacts", image_repo="evil/17")])},
    )
    event = copy.deepcopy(event)
    event["src_endpoint"]["ip"] = "203.0.17.9"
    event["responseStatus"]["code"] = 618
    names = [m.rule.name for m in rules.match(event)]
    assert "17" in names
    assert len(names) == (18 if shape == "number" else 1)
