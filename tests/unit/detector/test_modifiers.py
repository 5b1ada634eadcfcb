"""Every modifier of Sigma, with a value that meets it and one that does not."""

from __future__ import annotations

import base64

import pytest
from sigma.modifiers import modifier_mapping
from test_rules import write

from leadsman_detector.match import load

NEEDLE = base64.b64encode(b"xx /bin/sh -i").decode()
WIDE = base64.b64encode("y/bin/sh".encode("utf-16le")).decode()
AGENT = "userAgent"


def agent(modifiers, value):
    return f"a: {{userAgent|{modifiers}: {value}}}\ncondition: a"


# modifier, detection, field, a value that meets it, one that does not
TABLE = [
    ("contains", agent("contains", "ube"), AGENT, "KUBectl", "kctl"),
    ("startswith", agent("startswith", "kube"), AGENT, "Kubectl", "a kubectl"),
    ("endswith", agent("endswith", "ctl"), AGENT, "kubeCTL", "kubectl x"),
    ("all", agent("contains|all", "[a, b]"), AGENT, "b a", "a"),
    ("all", agent("re|all", "[a+, b+]"), AGENT, "aab", "aa"),
    ("all", agent("all", "['*a*', '*b*']"), AGENT, "ba", "b"),
    ("cased", agent("cased", "Kube"), AGENT, "Kube", "kube"),
    ("cased", agent("contains|cased", "Kube"), AGENT, "a Kube", "a kube"),
    ("cased", agent("startswith|cased", "K?b"), AGENT, "Kube", "kube"),
    ("windash", agent("contains|windash", "' -c '"), AGENT, "sh /c x", "sh _c x"),
    ("re", agent("re", r"'^k.*l$'"), AGENT, "kubectl", "Kubectl"),
    ("re", agent("re", r"'a\.b\*'"), AGENT, "a.b*", "aab"),
    ("re", agent("re", r"'[a-c]{2}\\'"), AGENT, "ab\\", "ad\\"),
    ("i", agent("re|i", "'^K'"), AGENT, "kubectl", "a"),
    ("ignorecase", agent("re|ignorecase", "'^K'"), AGENT, "kubectl", "a"),
    ("m", agent("re|m", "'^b$'"), AGENT, "a\nb", "ab"),
    ("multiline", agent("re|multiline", "'^b$'"), AGENT, "a\nb\nc", "a b"),
    ("s", agent("re|s", "'a.b'"), AGENT, "a\nb", "ab"),
    ("dotall", agent("re|i|m|dotall", "'A.^b'"), AGENT, "a\nb", "ab"),
    ("base64", agent("base64|contains", "' /bin/sh'"), AGENT, "x " + base64.b64encode(b" /bin/sh").decode(), "/bin/sh"),
    ("base64offset", agent("base64offset|contains", "/bin/sh"), AGENT, f"echo {NEEDLE}", f"echo {NEEDLE.lower()}"),
    ("wide", agent("wide|base64offset|contains", "/bin/sh"), AGENT, WIDE, NEEDLE),
    ("utf16be", agent("utf16be|base64offset|contains", "/bin/sh"), AGENT,
     base64.b64encode("/bin/sh".encode("utf-16be")).decode(), NEEDLE),
    ("expand", agent("expand", "'%agents%'"), AGENT, "two", "three"),
    ("expand", agent("contains|expand", "['%agents%', four]"), AGENT, "x four", "five"),
    ("exists", agent("exists", "true"), AGENT, "x", ""),
    ("exists", agent("exists", "false"), AGENT, "", "x"),
    ("neq", agent("neq", "x"), AGENT, "y", "X"),
    ("neq", agent("contains|neq", "x"), AGENT, "", "axb"),
    ("neq", agent("neq", "[x, y]"), AGENT, "z", "y"),
    ("lt", "a: {responseStatus.code|lt: 400}\ncondition: a", "responseStatus.code", 399, 400),
    ("lte", "a: {responseStatus.code|lte: 400}\ncondition: a", "responseStatus.code", 400, 401),
    ("gt", "a: {responseStatus.code|gt: 400}\ncondition: a", "responseStatus.code", 401, 400),
    ("gte", "a: {responseStatus.code|gte: 400}\ncondition: a", "responseStatus.code", 400, 399),
    ("cidr", "a: {src_endpoint.ip|cidr: 10.0.0.0/8}\ncondition: a", "src_endpoint.ip", "10.255.0.1", "11.0.0.1"),
    ("cidr", "a: {src_endpoint.ip|cidr: 'fd00::/8'}\ncondition: a", "src_endpoint.ip", "fd12::1", "10.0.0.1"),
    ("cidr", "a: {src_endpoint.ip|cidr: [10.0.0.0/8, 192.0.2.0/24]}\ncondition: a", "src_endpoint.ip",
     "::ffff:192.0.2.9", "not an address"),
    ("fieldref", "a: {userAgent|fieldref: auditID}\ncondition: a", AGENT, "The-Audit-ID", "the-audit-id-2"),
    ("fieldref", "a: {userAgent|fieldref|startswith: auditID}\ncondition: a", AGENT, "the-audit-ID-2", "the-audit"),
    ("fieldref", "a: {userAgent|fieldref|endswith: auditID}\ncondition: a", AGENT, "a the-audit-id", "the-audit-id a"),
    ("fieldref", "a: {userAgent|fieldref|contains: auditID}\ncondition: a", AGENT, "a the-audit-id b", "the-audit"),
    ("fieldref", "a: {userAgent|fieldref|neq: auditID}\ncondition: a", AGENT, "another", "the-audit-id"),
    # no modifier at all
    ("", "a: {userAgent: 'k?be*'}\ncondition: a", AGENT, "kube", "kbe"),
    ("", "a: {userAgent: null}\ncondition: a", AGENT, "", "x"),
    ("", "a: {userAgent: ''}\ncondition: a", AGENT, "", "x"),
    ("", "a: {userAgent: '*'}\ncondition: a", AGENT, "x", ""),
    ("", "a: {userAgent: 'a\\?b'}\ncondition: a", AGENT, "a?b", "acb"),
    ("", "a: {userAgent: 'C:\\Windows\\*'}\ncondition: a", AGENT, r"c:\windows*", r"c:\windows\system32"),
    ("", "a: {userAgent: 'C:\\Windows\\\\*'}\ncondition: a", AGENT, r"c:\windows\system32", r"c:\windowsx"),
    ("", "a: [{userAgent: x}, {userAgent: y, verb: get}]\ncondition: a", AGENT, "y", "z"),
    ("", "a: [needle, 'ne?dle*']\ncondition: a", AGENT, "a NEEDLE b", "nedle"),
    ("", "a: {'|all': [one, two]}\ncondition: a", AGENT, "two, one", "one"),
    ("", "a: {'|re': 'n[ae]edle'}\ncondition: a", AGENT, "a needle", "nedle"),
    ("", "a: {'|expand': '%agents%'}\ncondition: a", AGENT, "says two", "says tw"),
    ("", "x1: {userAgent: x}\nx2: {verb: zz}\ncondition: 1 of x*", AGENT, "x", "y"),
    ("", "x1: {userAgent: x}\nx2: {verb: get}\ncondition: all of x*", AGENT, "x", "y"),
    ("", "x1: {userAgent: x}\nx2: {verb: get}\ncondition: all of them", AGENT, "x", "y"),
    ("", "x: {userAgent: x}\ny: {verb: zz}\ncondition: 1 of them", AGENT, "x", "y"),
    ("", "x: {userAgent: x}\ny: {verb: zz}\ncondition: not x and (not y or x)", AGENT, "y", "x"),
    ("", "x: {userAgent: x}\ny: {userAgent: y}\ncondition: [x, y]", AGENT, "y", "z"),
]  # fmt: skip


@pytest.mark.parametrize("case", TABLE, ids=[f"{n}: {row[0] or 'plain'}" for n, row in enumerate(TABLE)])
def test_modifier(tmp_path, make_event, case):
    _, detection, path, meets, misses = case
    (tmp_path / "agents.yml").write_text("values: [one, two]\n")
    write(tmp_path, "rule", detection)
    rules = load([tmp_path])
    assert rules.problems == ()
    head, _, last = path.partition(".")
    for value, fires in ((meets, True), (misses, False)):
        event = make_event(auditID="the-audit-id")
        event[head] = {**event[head], last: value} if last else value
        assert bool(rules.match(event, rules.rules)) is fires, value
        assert bool(rules.match(event)) is fires, value


# modifiers that make no sense here, and what is said of them
REFUSED = {
    **dict.fromkeys(("minute", "hour", "day", "week", "month", "year"), ("a: {{time|{}: 3}}", "parts of a time")),
    **dict.fromkeys(("wide", "utf16", "utf16be"), ("a: {{userAgent|{}: x}}", "within base64 only")),
    "re, wrong": ("a: {{userAgent|re: '('}}", "userAgent|re"),
    "lt of a text": ("a: {{userAgent|lt: x}}", "userAgent|lt"),
    "exists of a text": ("a: {{userAgent|exists: x}}", "userAgent|exists"),
    "nothing": ("a: {{userAgent|sounds_like: x}}", "sounds_like"),
    "cidr of no network": ("a: {{src_endpoint.ip|cidr: x}}", "src_endpoint.ip|cidr"),
    "contains of a number": ("a: {{responseStatus.code|contains: 4}}", "responseStatus.code|contains"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_modifier_that_makes_no_sense_is_a_problem_with_its_line(tmp_path, name):
    detection, says = REFUSED[name]
    write(tmp_path, "bad", f"fine: {{verb: get}}\n{detection.format(name)}\ncondition: fine and a")
    rules = load([tmp_path])
    (problem,) = rules.problems
    assert rules.rules == []
    assert says in problem.reason
    assert problem.line == 1 + (tmp_path / "bad.yml").read_text().splitlines().index(f"    {detection.format(name)}")


def test_every_modifier_has_a_row():
    assert set(modifier_mapping) - {row[0] for row in TABLE} - set(REFUSED) == set()
