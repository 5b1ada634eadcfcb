"""Results as JUnit XML, which CI systems read (https://github.com/testmoapp/junitxml): a suite a rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

from leadsman_cli.judge_cases import Result
from leadsman_cli.output import clean


def write_junit(path: Path, results: Sequence[Result], errors: Sequence[str]) -> None:
    """Write the file; case files that could not be read are errors of a suite of their own."""
    root = Element("testsuites", name="leadsman rules test")
    for rule in dict.fromkeys(result.file.rule for result in results):
        of_rule = [r for r in results if r.file.rule == rule]
        counts = {
            "tests": len(of_rule),
            "failures": sum(r.status == "failed" for r in of_rule),
            "skipped": sum(r.status == "blind" for r in of_rule),
            "errors": 0,
        }
        suite = SubElement(root, "testsuite", {"name": rule, **{k: str(v) for k, v in counts.items()}})
        for result in of_rule:
            _case(suite, result)
    if errors:
        count = str(len(errors))
        suite = SubElement(root, "testsuite", {"name": "case files", "tests": count, "errors": count, "failures": "0"})
        for error in errors:
            case = SubElement(suite, "testcase", classname="case files", name=clean(error.partition(": ")[0]))
            SubElement(case, "error", message=clean(error))
    ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _case(suite: Element, result: Result) -> None:
    where, _, line = result.file.where(result.case).rpartition(":")
    element = SubElement(
        suite,
        "testcase",
        classname=result.file.rule,
        name=clean(f"{result.case.name} [{result.cloud}]"),
        file=where,
        line=line,
        time=f"{result.took_s:.4f}",
    )
    if result.status == "failed":
        SubElement(element, "failure", message=clean("; ".join(result.reasons)))
    elif result.status == "blind":
        SubElement(element, "skipped", message=clean("; ".join(result.reasons)))
