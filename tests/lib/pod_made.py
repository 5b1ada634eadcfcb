"""A rule for the tests of the detector as a process, and events that it meets."""

import copy

from leadsman_common.avro import audit_event_codec
from leadsman_common.events import Flag
from leadsman_common.schemas import load_avsc

RULE = """\
title: A pod was made
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad001
name: pod-made
status: test
level: high
logsource: {product: kubernetes, service: audit}
detection:
    made: {verb: create, objectRef.resource: pods}
    condition: made
"""


def event(name, verb="create", after_s=0):
    found = {f["name"]: copy.deepcopy(f.get("default")) for f in load_avsc("audit-event")["fields"]}
    found["objectRef"] |= {"resource": "pods", "namespace": "shop", "name": name}
    found["outcome"] |= {"effective": True}
    found["cluster"] |= {"id": "aws/111122223333/eu-west-1/prod"}
    found |= {"action": f"{verb} pods", "flags": int(Flag.EFFECTIVE), "id": name, "verb": verb}
    return audit_event_codec().encode({**found, "time": (1_700_000_000 + after_s) * 1_000_000})
