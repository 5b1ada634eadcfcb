"""Every real record that we have: which give no event, and why. A person has read the list and agrees with each."""

import io
import json
from collections import Counter

from corpora_files import FORMATS, NO_LOGS, files

from leadsman_cli.readers import Identity, Unreadable, read
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped


def outcome_of(item):
    """What became of a record: "event", or why there is none."""
    if isinstance(item, Unreadable):
        return f"unreadable: {item.reason}", None
    try:
        event = normalize(item)
    except InvalidEvent as error:
        return f"dead letter: {error.reason}", None
    if isinstance(event, Dropped):
        return f"dropped: {event.reason}", None
    return "event", event


def test_every_record_is_an_event_or_has_a_reason(corpora, golden):
    codec = audit_event_codec()
    events: Counter[str] = Counter()
    others: Counter[tuple[str, str, str]] = Counter()
    kinds: Counter[tuple[str, str]] = Counter()
    for source_format, name, data in files(corpora):
        for item in read(name, io.BytesIO(data), FORMATS[source_format], Identity(), lambda _: None):
            what, event = outcome_of(item)
            if event is None:
                place = "kube-apiserver" if name.startswith("kube-apiserver/") else name
                others[source_format, place, what] += 1
                continue
            assert codec.decode(codec.encode(event)) == event
            events[source_format] += 1
            if not event["verb"]:
                kinds[source_format, event["action"]] += 1
    lines = ["# events", *(f"{count:6} {kind}" for kind, count in sorted(events.items()))]
    lines += ["", "# events that are no requests to a cluster"]
    lines += [f"{count:6} {kind} | {action}" for (kind, action), count in sorted(kinds.items())]
    lines += ["", "# no event"]
    lines += [f"{count:6} {kind} | {place} | {what}" for (kind, place, what), count in sorted(others.items())]
    golden("corpora.txt", "\n".join(lines) + "\n")


def test_every_format_of_the_index_is_read(corpora):
    found = {entry["format"] for entry in json.loads((corpora / "index.json").read_bytes())}
    assert found - NO_LOGS <= FORMATS.keys()


def test_formats_are_known_by_their_looks(corpora):
    """The same records give events, whether or not the format is given."""
    differing = set()
    for source_format, name, data in files(corpora):
        if FORMATS[source_format] == "auto" or name.startswith("kube-apiserver/"):
            continue
        found = [
            [outcome_of(item)[0] == "event" for item in read(name, io.BytesIO(data), how, Identity(), lambda _: None)]
            for how in ("auto", FORMATS[source_format])
        ]
        if found[0] != found[1]:
            differing.add(name)
    assert not differing
