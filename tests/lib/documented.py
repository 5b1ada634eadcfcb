"""What services document of the requests that channels send them, as JSON schemas written from their documents.

Each names where that stands and what was read on 28 November 2026. Beyond what a document says, only what we send is
let through, so that a field of another name is found.
"""

import json
from datetime import datetime

import jsonschema

STRING = {"type": "string"}


def text_of(most):
    return {"type": "string", "minLength": 1, "maxLength": most}


def object_of(required, **properties):
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def list_of(items, most, least=0):
    return {"type": "array", "minItems": least, "maxItems": most, "items": items}


# https://developer.pagerduty.com/docs/send-alert-event and /docs/events-api-v2-overview, of which the text is kept in
# github.com/PagerDuty/developer-docs, docs/events-API-v2/01-Overview.md and 02-Trigger-Events.md, at 1da9f6a2: which
# fields must be there, 32 characters of a routing key, 255 of a dedup key, 1024 of a summary, the four severities,
# what a link is; and 512 KB for the whole.
PAGERDUTY = object_of(
    ["routing_key", "event_action", "payload"],
    routing_key={"type": "string", "minLength": 32, "maxLength": 32},
    event_action={"enum": ["trigger", "acknowledge", "resolve"]},
    dedup_key=text_of(255),
    client=STRING,
    client_url=STRING,
    images=list_of(object_of(["src"], src=STRING, href=STRING, alt=STRING), 100),
    links=list_of(object_of(["href"], href={"type": "string", "pattern": "^https://"}, text=STRING), 100),
    payload=object_of(
        ["summary", "source", "severity"],
        summary=text_of(1024),
        source={"type": "string", "minLength": 1},
        severity={"enum": ["critical", "error", "warning", "info"]},
        timestamp={"type": "string", "pattern": r"^[\d-]{10}T[\d:]{8}(\.\d+)?(Z|[+-]\d\d:?\d\d)$"},
        component=STRING,
        group=STRING,
        **{"class": STRING},
        custom_details={"type": "object"},
    ),
)

# https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v1/api-group-integration-events/ (POST
# /jsm/ops/integration/v2/alerts, Authorization: GenieKey): the fields and the priorities. How long they may be stands
# where that API comes from, https://docs.opsgenie.com/docs/alerts-and-alert-fields and .../alert-api: 130 characters of
# a message, 512 of alias and entity, 15,000 of a description, 100 of source and user, 20 tags of 50, 10 actions of 50;
# and 8,000 in all details together.
_WHO = {"type": "object", "required": ["type"], "properties": {"type": STRING, "id": STRING}}
JIRA = object_of(
    ["message"],
    message=text_of(130),
    alias=text_of(512),
    description=text_of(15_000),
    responders=list_of(_WHO, 50),
    visibleTo=list_of(_WHO, 50),
    actions=list_of(text_of(50), 10),
    tags=list_of(text_of(50), 20),
    details={"type": "object", "additionalProperties": STRING},
    entity=text_of(512),
    source=text_of(100),
    priority={"enum": ["P1", "P2", "P3", "P4", "P5"]},
    user=text_of(100),
    note=text_of(25_000),
)

# https://adaptivecards.io/schemas/adaptive-card.json: of schemas/1.4.0/adaptive-card.json in
# github.com/microsoft/AdaptiveCards at 644d933e (5 February 2026) the parts AdaptiveCard, RichTextBlock, TextRun and
# Action.OpenUrl, whose enumerations are FontSize and FontWeight. The frame around it and 28 KB for the whole stand in
# https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using.
_RUN = object_of(
    ["type", "text"],
    type={"const": "TextRun"},
    text={"type": "string", "minLength": 1},  # the schema lets an empty one through, and Teams shows a gap
    size={"enum": ["default", "small", "medium", "large", "extraLarge", "Default", "Small", "Medium", "Large"]},
    weight={"enum": ["default", "lighter", "bolder", "Default", "Lighter", "Bolder"]},
)
TEAMS = object_of(
    ["type", "attachments"],
    type={"const": "message"},
    attachments=list_of(
        object_of(
            ["contentType", "content"],
            contentType={"const": "application/vnd.microsoft.card.adaptive"},
            contentUrl={"type": ["string", "null"]},
            content=object_of(
                ["type", "version", "body"],
                **{"$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"}},
                type={"const": "AdaptiveCard"},
                version={"enum": ["1.0", "1.1", "1.2", "1.3", "1.4"]},
                body=list_of(
                    object_of(["type", "inlines"], type={"const": "RichTextBlock"}, inlines=list_of(_RUN, 100, 1)),
                    1000,
                    1,
                ),
                actions=list_of(
                    object_of(["type", "url"], type={"const": "Action.OpenUrl"}, title=text_of(1000), url=STRING), 6
                ),
            ),
        ),
        1,
        1,
    ),
)

# https://docs.slack.dev/reference/block-kit/blocks: header-block (150 characters of plain text), section-block (3000 of
# text or 10 fields of 2000), context-block (10 elements); .../composition-objects/text-object (1 to 3000 characters,
# verbatim for mrkdwn alone, emoji for plain_text alone); 50 blocks in a message. Slack's own models, which
# test_hostile.py asks too, know the same limits.
_MRKDWN = object_of(["type", "text"], type={"const": "mrkdwn"}, text=text_of(3000), verbatim={"type": "boolean"})
_PLAIN = object_of(["type", "text"], type={"const": "plain_text"}, text=text_of(150), emoji={"type": "boolean"})
_FIELD = {**_MRKDWN, "properties": {**_MRKDWN["properties"], "text": text_of(2000)}}
SLACK = object_of(
    ["text"],
    text=text_of(4000),
    mrkdwn={"type": "boolean"},
    link_names={"type": "boolean"},
    unfurl_links={"type": "boolean"},
    unfurl_media={"type": "boolean"},
    blocks=list_of(
        {
            "oneOf": [
                object_of(["type", "text"], type={"const": "header"}, text=_PLAIN),
                object_of(["type", "text"], type={"const": "section"}, text=_MRKDWN),
                object_of(["type", "fields"], type={"const": "section"}, fields=list_of(_FIELD, 10, 1)),
                object_of(["type", "elements"], type={"const": "context"}, elements=list_of(_MRKDWN, 10, 1)),
            ]
        },
        50,
        1,
    ),
)

SCHEMAS = {
    name: jsonschema.Draft202012Validator(schema)
    for name, schema in {"pagerduty": PAGERDUTY, "jira": JIRA, "teams": TEAMS, "slack": SLACK}.items()
}
MOST_BYTES = {"pagerduty": 512 * 1024, "teams": 28 * 1024}

# --- falcosidekick ---------------------------------------------------------------------------------------------------

PRIORITIES = (
    "debug", "info", "informational", "notice", "warning", "error", "critical", "alert", "emergency",
)  # fmt: skip


class NotTaken(Exception):
    """falcosidekick answers 400: `Please send a valid request body`."""


def falco_event(body):
    """A request's body as falcosidekick takes it, or NotTaken.

    Written from github.com/falcosecurity/falcosidekick at 8807ab7b (17 August 2026): types/types.go (FalcoPayload and
    its Check), types/priority.go, handlers.go (newFalcoPayload, whose assertions of text would end the request).
    """
    try:
        event = json.loads(body.decode())
    except ValueError as error:
        raise NotTaken("no JSON") from error
    texts = {"uuid": str, "output": str, "rule": str, "source": str, "hostname": str, "priority": str, "time": str}
    for name, kind in {**texts, "tags": list, "output_fields": dict}.items():
        if not isinstance(event.get(name), kind | None):  # Go's decoder takes null for what is absent
            raise NotTaken(f"{name} is no {kind.__name__}")
    if not all(isinstance(tag, str) for tag in event.get("tags") or []):
        raise NotTaken("a tag is no text")
    if (event.get("priority") or "").lower() not in PRIORITIES:
        raise NotTaken("priority")
    try:  # time.Time of Go: RFC 3339
        at = datetime.strptime(event.get("time") or "", "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError as error:
        raise NotTaken("time") from error
    if not event.get("rule") or at.year == 1 or not event.get("output_fields"):
        raise NotTaken("a field that must be there is empty")
    for name in ("k8s.ns.name", "k8s.pod.name"):
        if not isinstance(event["output_fields"].get(name), str | None):
            raise NotTaken(f"{name} is no text")
    return {**event, "priority": event["priority"].lower(), "tags": sorted(event.get("tags") or [])}
