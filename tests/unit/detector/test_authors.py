"""Who wrote a rule, and its licence, stay with whatever it finds, as the Detection Rule License asks."""

from __future__ import annotations

import pytest
from test_suppression import alerts_of, entered, found, pod

from leadsman_cli.page import page
from leadsman_common.alerts import to_json
from leadsman_common.avro import alert_codec
from leadsman_common.ocsf import to_ocsf
from leadsman_detector.match import load
from leadsman_notifier.channels import falcosidekick, pagerduty, syslog
from leadsman_notifier.message import Count, Message, single
from leadsman_notifier.story import tell

# as SigmaHQ writes its rules: no name, so that the file's holds
SIGMAHQ = """\
title: Privileged Container Deployed
id: c5cd1b20-36bb-488d-8c05-486be3d0cb97
status: test
description: Detects the creation of a "privileged" container.
references:
    - https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
author: {author}
license: DRL-1.1
date: 2024-03-26
logsource: {{category: application, product: kubernetes, service: audit}}
detection:
    selection: {{verb: create, objectRef.resource: pods}}
    condition: selection
level: low
"""
ENTERED = """\
title: entered
name: entered
author: Bob Example
logsource: {product: kubernetes}
level: low
detection: {a: {objectRef.subresource: exec}, condition: a}
"""
CHAIN = """\
title: chain
name: chain
author: Carol Example, Bob Example
level: high
correlation:
    type: temporal
    rules: [c5cd1b20-36bb-488d-8c05-486be3d0cb97, entered]
    group-by: [objectRef.namespace]
    timespan: 1h
"""
ABOVE = """\
title: above
name: above
level: high
correlation: {type: event_count, rules: [chain], group-by: [objectRef.namespace], timespan: 1h, condition: {gte: 1}}
"""


@pytest.fixture
def folder(tmp_path):
    def with_author(author="Leo Tsaousis (@laripping)"):
        (tmp_path / "kubernetes_audit_privileged.yml").write_text(SIGMAHQ.format(author=author))
        for name, text in (("entered", ENTERED), ("chain", CHAIN), ("above", ABOVE)):
            (tmp_path / f"{name}.yml").write_text(text)
        loaded = load([tmp_path])
        assert loaded.problems == ()
        return loaded

    return with_author


@pytest.mark.parametrize(
    ("given", "author"),
    [
        ("Leo Tsaousis (@laripping)", "Leo Tsaousis (@laripping)"),
        ("'A, B'", "A, B"),
        ("[A, B]", "A, B"),
        ("''", ""),
    ],
)
def test_of_a_rule(folder, given, author):
    (alert,) = alerts_of(found(folder(given), pod()), "kubernetes_audit_privileged")
    rule = alert["rule"]
    assert (rule["author"], rule["license"]) == (author, "DRL-1.1")
    assert rule["origin"].endswith("/kubernetes_audit_privileged.yml")
    assert alert_codec().decode(alert_codec().encode(alert))["rule"] == rule


@pytest.mark.parametrize("slug", ["chain", "above"])
def test_a_correlation_names_those_of_its_rules(folder, slug):
    (alert,) = alerts_of(found(folder(), pod(), entered()), slug)
    assert alert["rule"]["author"] == "Carol Example, Bob Example, Leo Tsaousis (@laripping)"


def test_nothing_that_is_written_of_it_drops_it(folder):
    (alert,) = alerts_of(found(folder("Eve Example"), pod()), "kubernetes_audit_privileged")
    message = single(alert)
    story = tell(message, {})
    digest = Message("k", (alert,), (Count("low", alert["rule"]["name"], "prod", 7),))
    written = {
        "json": str(to_json(alert)),
        "html": "".join(page([alert])),
        "ocsf": str(to_ocsf(alert, "1")),
        "line": story.line,
        "fields": str(story.fields),
        "syslog": syslog.render(message, story, 13, "h").decode(),
        "falcosidekick": str(falcosidekick.render(message, story)["output_fields"]),
        "pagerduty": str(pagerduty.render(message, story, "r")),
        "digest": str(tell(digest, {}).examples),
    }
    assert [name for name, text in written.items() if "Eve Example" not in text] == []
