"""Fifty hostile strings in every place of an alert, through every channel: nothing of them is live."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import chains
import documented
import pytest
from hostile import STRINGS, hidden, mentions, poisoned
from slack_sdk.models.blocks import Block

from leadsman_notifier.channels import (
    CHANNELS,
    alertmanager,
    apprise,
    falcosidekick,
    jira,
    mail,
    pagerduty,
    slack,
    stdout,
    syslog,
    teams,
    webhook,
)
from leadsman_notifier.message import Count, digest, single
from leadsman_notifier.story import tell

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def texts(value):
    """Every string of a JSON value, keys too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *texts(item))]
    return []


def messages(make_alert, text):
    bad = poisoned(make_alert(), text)
    counts = [Count("high", text, text, 3)]
    return [single(bad), digest("c", [("a", 1)], counts, [bad], "storm")]


# what each channel sends: the strings that its receiver shows
SHOWN = {
    "alertmanager": lambda m, s: texts(alertmanager.render(m, s, NOW, 1)),
    "apprise": lambda _, s: list(apprise.render(s)),
    "falcosidekick": lambda m, s: texts(falcosidekick.render(m, s)),
    "file": lambda m, s: [stdout.render(m, s, "json"), stdout.render(m, s, "line")],
    "jira": lambda m, s: texts(jira.render(m, s)),
    "mail": lambda m, s: parts_of(mail.render(m, s, "leadsman@example.com", ("soc@example.com",))),
    "pagerduty": lambda m, s: texts(pagerduty.render(m, s, "key")),
    "slack": lambda _, s: [re.sub(r"<https://[!-;=?-{}~]+\|[\w ]+>", "", t) for t in texts(slack.render(s))],
    "stdout": lambda m, s: [stdout.render(m, s, "line")],
    "syslog": lambda m, s: [syslog.render(m, s, 13, "host").decode()],
    "teams": lambda _, s: [r["text"] for r in runs(teams.render(s))],
    "webhook": lambda m, _: [webhook.render(m).decode()],
}
# channels whose readers make mentions, links or markup of plain text
RICH = {"apprise", "jira", "slack", "teams"}


class Shown(HTMLParser):
    """What a mail reader shows of HTML, and the elements that it has."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert all(name in {"align", "valign", "cellpadding", "href"} for name, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)


def parts_of(message):
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    reader = Shown()
    reader.feed(html.get_content())
    drawn = [
        part.get_content().decode() for part in message.iter_attachments() if part.get_filename() == "timeline.svg"
    ]
    assert reader.tags <= {"html", "body", "h3", "table", "tr", "th", "td", "p", "a", "code"}
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Leadsman-Key",
        "MIME-Version", "Content-Type",
    }  # fmt: skip
    raw = message.as_bytes()
    head = raw.split(b"\n\n", 1)[0]
    assert not re.search(rb"(?im)^(bcc|cc):", head)
    texts_drawn = [t for svg in drawn for t in ET.fromstring(svg).itertext()]  # noqa: S314 - ours
    return [plain.get_content(), *reader.text, str(message["Subject"]), *texts_drawn]


def runs(payload):
    card = payload["attachments"][0]["content"]
    assert {b["type"] for b in card["body"]} == {"RichTextBlock"}
    return [run for block in card["body"] for run in block["inlines"]]


def test_every_channel_is_here():
    assert set(SHOWN) == set(CHANNELS)
    assert len(STRINGS) == len(set(STRINGS)) == 50


@pytest.mark.parametrize("text", STRINGS, ids=range(len(STRINGS)))
@pytest.mark.parametrize("channel", SHOWN)
def test_nothing_is_live(make_alert, channel, text):
    for message in messages(make_alert, text):
        story = tell(message, {})
        shown = SHOWN[channel](message, story)
        assert shown
        for part in shown:
            assert not hidden(part.replace("\n", "")), part
            if channel in RICH:
                assert not mentions(part)
            if channel in {"apprise", "jira", "teams"}:  # Slack knows neither Markdown's links nor, verbatim, bare ones
                assert not re.search(r"\]\(|!\[|<\w", part)
                linked = re.findall(r"\w+://\S+", part)
                assert all(url.startswith("https://") and "evil" not in url for url in linked)
        if channel in {"stdout", "syslog", "file", "webhook"}:
            assert all("\n" not in part for part in shown)


def test_the_strings_are_live_where_nothing_is_done():
    raw = "\n".join(STRINGS)
    assert hidden(raw.replace("\n", ""))
    assert len(mentions(raw)) > 10


RENDER = {
    "pagerduty": lambda m, s: pagerduty.render(m, s, "k" * 32),
    "jira": jira.render,
    "teams": lambda _, s: teams.render(s),
    "slack": lambda _, s: slack.render(s),
}
WIDE = "\U00010400" * 20_000  # twelve bytes of JSON a character


def sent(make_alert, text):
    """An alert, and a digest as large as they come, of that text or of the example's own."""
    alert = make_alert() if text is None else poisoned(make_alert(), text)
    counts = [Count("high", text or f"rule-{n}", text or "k", 3) for n in range(60)]
    for message in (single(alert), digest("c", [("a", 1)], counts, [alert] * 20, "storm")):
        yield message, tell(message, {})


@pytest.mark.parametrize("text", [None, *STRINGS, WIDE, ""], ids=lambda t: "plain" if t is None else None)
@pytest.mark.parametrize("channel", documented.SCHEMAS)
def test_the_payload_is_what_the_service_documents(make_alert, channel, text):
    for message, story in sent(make_alert, text):
        payload = RENDER[channel](message, story)
        documented.SCHEMAS[channel].validate(payload)
        assert len(json.dumps(payload)) < documented.MOST_BYTES.get(channel, 10**6)
        if channel == "jira":
            assert sum(len(k) + len(v) for k, v in payload["details"].items()) <= 8000


@pytest.mark.parametrize("text", [None, *STRINGS, WIDE, ""], ids=lambda t: "plain" if t is None else None)
def test_slacks_own_models_take_the_blocks(make_alert, text):
    for _, story in sent(make_alert, text):
        blocks = slack.render(story)["blocks"]
        parsed = Block.parse_all(blocks)
        assert len(parsed) == len(blocks)
        for block in parsed:
            block.validate_json()


@pytest.mark.parametrize("text", [None, *STRINGS, WIDE, ""], ids=lambda t: "plain" if t is None else None)
def test_falcosidekick_takes_the_event(make_alert, text):
    for message, story in sent(make_alert, text):
        event = documented.falco_event(json.dumps(falcosidekick.render(message, story)).encode())
        assert event["source"] == "k8s_audit"


@pytest.mark.parametrize("time", [0, 1, 1_790_000_000_000_000, 10**20, -(10**18)])
def test_a_time_that_no_clock_shows_is_left_out(make_alert, time):
    for message, story in sent(lambda: make_alert(time=time), None):
        documented.falco_event(json.dumps(falcosidekick.render(message, story)).encode())
        documented.SCHEMAS["pagerduty"].validate(RENDER["pagerduty"](message, story))
        for one in alertmanager.render(message, story, NOW, 1):
            assert one.get("startsAt", "1Z").endswith("Z")
        assert re.match(rb"<\d+>1 (-|[\d-]{10}T\S+Z) host ", syslog.render(message, story, 13, "host"))


@pytest.mark.parametrize(
    "change",
    [
        {"priority": "High"},
        {"priority": 5},
        {"rule": ""},
        {"time": "99999us"},
        {"time": ""},
        {"time": "0001-01-01T00:00:00.000000Z"},
        {"output_fields": {}},
        {"output_fields": []},
        {"output_fields": {"k8s.ns.name": 1}},
        {"tags": "a"},
        {"tags": [1]},
        {"hostname": {}},
    ],
    ids=str,
)
def test_falcosidekick_would_refuse(make_alert, change):
    message = single(make_alert())
    event = {**falcosidekick.render(message, tell(message, {})), **change}
    with pytest.raises(documented.NotTaken):
        documented.falco_event(json.dumps(event).encode())


def test_a_mail_brings_the_timeline_of_a_chain(make_alert):
    for evidence, count in ((chains.three()["evidence"], 1), (chains.three()["evidence"][:1], 0)):
        message = single(make_alert(evidence=evidence))
        made = mail.render(message, tell(message, {}), "a@b.example", ("c@d.example",))
        kinds = [part.get_content_type() for part in made.walk()]
        assert kinds.count("image/svg+xml") == count


def test_the_keys_that_receivers_know_an_alert_by(make_alert):
    low, high = single(make_alert(id="a", level="low")), single(make_alert(id="a", level="high"), "low")
    for render, field in ((RENDER["pagerduty"], "dedup_key"), (RENDER["jira"], "alias")):
        assert {render(m, tell(m, {}))[field] for m in (low, high)} == {"a"}
    made = [mail.render(m, tell(m, {}), "a@b.example", ("c@d.example",))["Message-ID"] for m in (low, high, high)]
    assert made[0] != made[1] == made[2]
    assert dict(tell(high, {}).fields)["Level"].startswith("high (was low)")


@pytest.mark.parametrize(
    ("level", "pd", "priority", "falco"),
    [
        ("critical", "critical", "P1", "Critical"),
        ("high", "error", "P2", "Error"),
        ("medium", "warning", "P3", "Warning"),
        ("low", "info", "P4", "Notice"),
        ("informational", "info", "P5", "Informational"),
        ("unheard-of", "critical", "P1", "Critical"),
    ],
)
def test_levels(make_alert, level, pd, priority, falco):
    message = single(make_alert(level=level))
    story = tell(message, {})
    assert pagerduty.render(message, story, "k")["payload"]["severity"] == pd
    assert jira.render(message, story)["priority"] == priority
    assert falcosidekick.render(message, story)["priority"] == falco


def test_a_digests_counts_add_up_in_every_channel(make_alert):
    counts = [Count("low", f"rule-{n}", "k", n) for n in range(1, 60)]
    message = digest("c", [("a", 1)], counts, [make_alert()], "storm")
    story = tell(message, {})
    assert message.total == 1770
    assert sum(int(line.split()[0]) for line in story.counts) == 1770
    assert json.loads(webhook.render(message))["count"] == 1770
    assert sum(c["count"] for c in json.loads(webhook.render(message))["counts"]) == 1770
    for channel, show in SHOWN.items():
        assert any("1770" in part for part in show(message, story)), channel
