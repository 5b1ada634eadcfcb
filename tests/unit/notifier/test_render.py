"""Text for people: tables, and hostile strings in every place where an attacker can put one."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadsman_common import visible
from leadsman_notifier import render
from leadsman_notifier.channels import slack, stdout, webhook
from leadsman_notifier.message import single
from leadsman_notifier.story import tell

HOSTILE = {
    "ansi": "\x1b[2J\x1b[31mroot\x07",
    "newline": "alice\r\n2026-01-01T00:00:00Z CRITICAL forged",
    "bidi": "\u202egnp.exe\u2066\u2069",
    "zero-width": "ad\u200bmin\ufeff\u2060",
    "tags": "x\U000e0041\U000e007f",
    "filler": "\u3164\u2800\uffa0",
    "line-separator": "a\u2028b\u2029c\x85d",
    "c1": "\x9b31m",
    "channel": "<!channel> <!here|here> <!subteam^S1> <@U012AB3CD> <#C024BE7LR>",
    "at": "@here @channel (@everyone) x@HERE,@all",
    "link": "<https://evil.example|click> https://evil.example",
    "entities": "&lt;!channel&gt; &amp;",
    "markup": "*b* _i_ ~s~ `code` ```block``` > quote",
    "html": "<script>alert(1)</script>",
    "fields": 'x" id=forged level="low',
    "long": "A" * 20_000,
    "long-hostile": "<!channel>" * 2_000,
    "surrogate": "\ud800 \udfff",
}


def poisoned(make_alert, text):
    """The example with `text` wherever a string can stand, but for the level."""

    def poison(value):
        if isinstance(value, str):
            return text
        if isinstance(value, list):
            return [poison(item) for item in value] * 2
        return {key: poison(item) for key, item in value.items()} if isinstance(value, dict) else value

    alert = poison(make_alert())
    return {**alert, "level": "high", "attempt": True, "evidence": alert["evidence"] * 4}


def hidden(text):
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}}


def texts_of(payload):
    """Every string that Slack shows."""
    if isinstance(payload, str):
        return [payload]
    if isinstance(payload, list):
        return [text for item in payload for text in texts_of(item)]
    return [
        text
        for key, item in payload.items()
        if key != "type" and isinstance(item, str | list | dict)
        for text in texts_of(item)
    ]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("plain", 10, "plain"),
        ("0123456789", 10, "0123456789"),
        ("0123456789a", 10, "012345678…"),
        ("Zoë 東京", 10, "Zoë 東京"),
        ("a\u00a0b\u3000c", 10, "a b c"),
        ("a\x1b", 10, "a\\x1b"),
        ("a\u202eb", 10, "a\\u202eb"),
        ("abcdefgh\x1b", 10, "abcdefgh…"),
        ("abcdefghi\x1b", 10, "abcdefghi…"),
        ("", 10, ""),
    ],
)
def test_clean(text, limit, expected):
    assert visible.clean(text, limit) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a & b", "a &amp; b"),
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U012AB3CD>", "&lt;\uff20U012AB3CD&gt;"),
        ("@here", "\uff20here"),
        ("see @Channel!", "see \uff20Channel!"),
        ("x@everyone", "x\uff20everyone"),
        ("alice@example.com", "alice@example.com"),
        ("svc@all.example.com", "svc\uff20all.example.com"),
        ("&lt;!here&gt;", "&amp;lt;!here&amp;gt;"),
        ("<" * 200, "&lt;" * 74 + "…"),
    ],
)
def test_slack_text(text, expected):
    assert render.slack_text(text) == expected


@given(st.text(max_size=400), st.integers(8, 120))
def test_slack_text_is_inert_and_never_longer_than_its_limit(text, limit):
    shown = render.slack_text(text, limit)
    assert len(shown) <= limit
    assert not hidden(shown)
    assert "<" not in shown
    assert ">" not in shown
    assert not re.search(r"&(?!(amp|lt|gt);)", shown)
    assert not re.search(r"@(here|channel|everyone)\b", shown, re.IGNORECASE)


def links_out(text):
    """Slack text without the links of our own making, which must be plain https."""
    found = re.findall(r"<(https://[!-;=?-{}~]+)\\|[A-Z][A-Za-z ]*>", text)
    return re.sub(r"<https://[!-;=?-{}~]+\\|[A-Z][A-Za-z ]*>", "", text), found


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_slack_is_inert_and_within_its_limits(make_alert, text):
    payload = slack.render(tell(single(poisoned(make_alert, text)), {}))
    shown = texts_of(payload)
    assert shown
    for part in shown:
        plain, _ = links_out(part)
        assert not hidden(plain.replace("\n", ""))
        assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", plain)
        assert not re.search(r"(^|\W)@|@(here|channel|everyone|all)\b", plain, re.IGNORECASE)
    header, fields, *rest = payload["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert len(fields["fields"]) <= 10
    assert all(len(field["text"]) <= 2000 for field in fields["fields"])
    assert all(len(block["text"]["text"]) <= 3000 for block in rest if block["type"] == "section")
    assert all(len(block["elements"]) <= 10 for block in rest if block["type"] == "context")
    assert len(payload["blocks"]) <= 50
    assert len(payload["text"]) <= 4000
    # whatever an alert says stands in one code span on one line: an even number of backticks, none by the attacker
    for field in fields["fields"]:
        label, value = field["text"].split("\n")
        assert re.fullmatch(r"\*[A-Z][a-z]+\*", label)
        assert re.fullmatch(r"`[^`]*`", value)
    evidence = rest[0]
    for line in evidence["text"]["text"].split("\n")[1:]:
        assert re.fullmatch(r"• `[^`]*`|and \d+ more", line)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("form", ["line", "json"])
def test_stdout_is_one_line_without_controls(make_alert, text, form):
    message = single(poisoned(make_alert, text))
    line = stdout.render(message, tell(message, {}), form)
    assert not hidden(line)
    if form == "json":
        assert line.isascii()
        assert json.loads(line)["actor"]["name"] == text
    else:
        assert len(line) < 3000


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_webhook_body_is_ascii_json_that_holds_the_text_as_it_is(make_alert, text):
    body = webhook.render(single(poisoned(make_alert, text)))
    assert body.isascii()
    assert not hidden(body.decode())
    assert json.loads(body)["evidence"][0]["user_agent"] == text


def test_a_value_cannot_pass_for_a_field(make_alert):
    line = render.one_line(make_alert(actor__name='eve" id=forged x="'))
    assert 'actor="eve\\" id=forged x=\\""' in line
    assert line.endswith(f"id={make_alert()['id']}")


def test_one_line(make_alert):
    assert render.one_line(make_alert()) == (
        "2026-09-21T14:33:54.567890Z CRITICAL privileged-container "
        'title="Privileged container shell in shop/debug" cluster=aws/111122223333/eu-central-1/shop '
        f'actor=alice@example.com object="pods shop/debug" author=Leadsman id={make_alert()["id"]}'
    )


def test_slack_message(make_alert):
    alert = make_alert()
    payload = slack.render(tell(single(alert), {}))
    assert payload["text"] == render.slack_text(render.one_line(alert), 3000)
    assert payload["mrkdwn"] is False
    assert payload["blocks"][0]["text"] == {
        "type": "plain_text",
        "emoji": False,
        "text": "CRITICAL: Privileged container shell in shop/debug",
    }
    assert [field["text"] for field in payload["blocks"][1]["fields"]][:6] == [
        "*Rule*\n`privileged-container`",
        "*Level*\n`critical: +1 it mounts / of the node`",
        "*Cluster*\n`aws/111122223333/eu-central-1/shop`",
        "*Actor*\n`alice@example.com`",
        "*Object*\n`pods shop/debug`",
        "*Time*\n`2026-09-21T14:33:54.567890Z`",
    ]
    evidence = payload["blocks"][2]["text"]["text"]
    assert evidence.startswith("*Evidence*\n• `2026-09-21T14:33:54.567890Z alice@example.com created pods shop/debug [")
    advice = payload["blocks"][3]["text"]["text"]
    assert advice.startswith("*Why it matters*\nThe container is root on its node")
    assert "*Check first*\n• Is it a node agent" in advice


def test_slack_says_how_much_evidence_is_left_out(make_alert):
    alert = make_alert()
    alert["evidence"] *= 12
    shown = slack.render(tell(single(alert), {}))["blocks"][2]["text"]["text"]
    assert shown.endswith("\nand 2 more")
    assert shown.count("\n• ") == 10


def test_slack_leaves_out_what_is_absent(make_alert):
    alert = make_alert(evidence=[], tags=[], actor__name="", time=0)
    payload = slack.render(tell(single(alert), {}))
    assert not any("*Evidence*" in text for text in texts_of(payload))
    assert not any("Actor" in f["text"] or "Time" in f["text"] for f in payload["blocks"][1]["fields"])


def test_a_chain_is_told_in_order_with_its_end(make_alert):
    alert = make_alert(joins=["reason"])
    alert["evidence"] = [{**alert["evidence"][0], "summary": f"step {n}"} for n in range(30)]
    story = tell(single(alert), {})
    assert [step.text for step in story.timeline] == [f"step {n}" for n in [*range(8), 28, 29]]
    assert (story.left_out, story.joins) == (20, "reason")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ({"resource": "pods", "namespace": "a", "name": "b", "subresource": "exec"}, "pods/exec a/b"),
        ({"resource": "deployments", "apiGroup": "apps", "namespace": "a", "name": "b"}, "deployments.apps a/b"),
        ({"resource": "nodes", "name": "n", "subresource": "proxy"}, "nodes/proxy n"),
        ({"resource": "secrets", "namespace": "a"}, "secrets a"),
        ({}, ""),
    ],
)
def test_object_text(make_alert, ref, expected):
    empty = dict.fromkeys(make_alert()["objectRef"], "")
    assert render.object_text({**empty, **ref}) == expected


def test_an_impersonator_is_named(make_alert):
    actor = {**make_alert()["actor"], "name": "system:admin", "authenticated": "eve", "impersonating": True}
    assert render.actor_text(actor) == "system:admin (impersonated by eve)"
