"""What of the Helm chart and the alert rules can be held without helm; tests/real/test_chart.py renders it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from leadsman_common import metrics  # noqa: F401 - registers them
from leadsman_detector.config import Settings as Detector
from leadsman_normalizer.config import Settings as Normalizer
from leadsman_notifier.config import Settings as Notifier
from leadsman_notifier.stream import group_id

REPO = Path(__file__).parents[2]
CHART = REPO / "deploy" / "helm" / "leadsman"
RULES = REPO / "deploy" / "prometheus" / "leadsman.rules.yaml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
ALERT_TESTS = (REPO / "deploy" / "prometheus" / "tests" / "leadsman_test.yaml").read_text()


def load_generate():
    spec = importlib.util.spec_from_file_location("generate", REPO / "deploy" / "helm" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generate()


@pytest.mark.parametrize(("path", "text"), generate.made().items(), ids=lambda x: getattr(x, "name", ""))
def test_what_is_made_is_up_to_date(path, text):
    assert path.read_text() == text, "run deploy/helm/generate.py"


def test_the_chart_knows_every_service():
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    known = re.search(r'define "leadsman.services" -}}(.*?){{- end }}', helpers, re.DOTALL)[1]
    assert yaml.safe_load(known) == {generate.section_of(name): name for name in generate.CLASSES}
    listeners = re.search(r'define "leadsman.listeners" -}}(.*?){{- end }}', helpers, re.DOTALL)[1]
    assert sorted(yaml.safe_load(listeners)) == generate.LISTENERS


def test_every_value_is_documented():
    assert generate.undocumented((CHART / "values.yaml").read_text()) == []
    assert generate.undocumented("# -- of a\na: 1\nb:\n  c: 2\n  # -- of d\n  d: 3\n# -- of e\ne:\n  f: 4\n") == ["b.c"]


def test_a_comment_runs_on_to_the_value():
    text = "# not of a\n\n# -- one\n# two\na:\n  # -- three\n  b: [1]\nc: 2\n"
    assert list(generate.documented(text)) == [("a", "one two", {"b": [1]}), ("a.b", "three", [1])]


def test_secret_settings_are_files_and_no_values():
    """Every secret setting is one that the chart mounts: the client's options, Redis' URL, or the sinks'."""
    for section in generate.SETTINGS:
        assert not {*generate.settings_of(section, secret=True)} & {*generate.settings_of(section, secret=False)}
        keys = generate.settings_of(section, secret=True)
        assert keys == {
            "notifier": ["slack_url", "webhook_hmac_key", "webhook_token", "webhook_url"],
            "ingestAws": ["firehose_access_keys"],
            "ingestAzure": ["eventhubs_connection", "eventhubs_options"],
            "ingestKafka": ["source_options"],
        }.get(section, [])


def test_autoscaling_asks_for_the_groups_that_the_services_are_in():
    text = (CHART / "templates" / "autoscaling.yaml").read_text()
    asked = set(re.findall(r'"(leadsman-[a-z-]+)%?', text))
    notifier = Notifier()
    groups = {
        Detector().group,
        Normalizer().group_id,
        *(group_id(notifier, sink) for sink in ("webhook", "slack", "stdout")),
    }
    spelt = {f"leadsman-notifier-{sink}" for sink in re.findall(r'list "(webhook)" "(slack)"', text)[0]}
    assert (asked - {"leadsman-notifier-"}) | spelt == groups


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_names_metrics_that_exist(name):
    known = {family.name for family in REGISTRY.collect()}
    for used in re.findall(r"\bleadsman_\w+", ALERTS[name]["expr"]):
        assert re.sub(r"_(total|bucket|sum|count|info)$", "", used) in known


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_what_to_do(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert {*rule["annotations"]} == {"summary", "description"}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_firing_and_quiet(name):
    assert f"alertname: {name}}}" in ALERT_TESTS
    assert f'labels: \'ALERTS{{alertname="{name}",alertstate="firing"' in ALERT_TESTS
