"""The project's own records of the twelve rules: the same event on every cloud."""

import pytest
from records import RAW_OF, SLUGS, record

from leadsman_common.avro import audit_event_codec
from leadsman_common.events import Flag
from leadsman_normalizer.normalize import normalize

# what GKE does not log of a stream
UNLOGGED = ("stdin", "stdout", "stderr", "tty", "container", "interactive")


def same(event):
    facts = event["facts"]
    if facts and facts["exec"]:
        facts = {**facts, "exec": {k: v for k, v in facts["exec"].items() if k not in UNLOGGED}}
    ref = {k: v for k, v in event["objectRef"].items() if k not in ("uid", "resourceVersion")}
    return {
        "action": event["action"],
        "flags": event["flags"],
        "class": event["actor"]["class"],
        "unauthenticated": event["actor"]["unauthenticated"],
        "name": event["actor"]["name"],
        "effective": event["outcome"]["effective"],
        "authz": event["outcome"]["authz"],
        "role": event["outcome"]["role"],
        "dryRun": event["dryRun"],
        "ref": ref,
        "facts": facts,
        "body": event["coverage"]["body"],
        "ip": event["src_endpoint"],
    }


def test_there_is_a_set_for_each_rule():
    assert len(SLUGS) == 12


@pytest.mark.parametrize("slug", SLUGS)
def test_the_same_on_every_cloud(slug):
    events = {cloud: normalize(record(slug, cloud)) for cloud in RAW_OF}
    assert same(events["eks"]) == same(events["native"])
    assert same(events["gke"]) == same(events["native"])
    assert same(events["aks"]) == same(events["native"])
    for event in events.values():
        assert event["outcome"]["effective"]
        assert event["flags"] & Flag.EFFECTIVE
        assert audit_event_codec().decode(audit_event_codec().encode(event)) == event
    assert len({event["id"] for event in events.values()}) == 4
