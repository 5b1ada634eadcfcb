"""Poison among good records: each in a dead letter with reason and offset, no alert lost; mended, each is handled once.

A third of the poison is good records under a format's name that does not exist, as a wrong setting of a collector makes
them: they are what can be mended. The rest can never be read.
"""

import collections
import itertools
import json
import random

import msgspec
import pytest

from leadsman_cli.__main__ import main
from leadsman_common.avro import audit_event_codec
from leadsman_common.raw import RawEvent

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

DEEP = (
    b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","requestObject":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}"
)
# each with what the reason in its letter says
GARBAGE = [
    (b"not json", "malformed JSON"),
    (b"", "malformed JSON"),
    (b"\xff\xfe\x00\x1b[2J", "malformed JSON"),
    (b"[1,2,3]", "not a JSON object"),
    (b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","ver', "truncated before"),
    (b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":7,"verb":[]}', ""),
    (DEEP, ""),
]
UNKNOWN = "eks-v9"


@pytest.fixture
def leadsman(stack, monkeypatch, capsys):
    """Give a function that runs a command on a pipeline's topics: its exit code and output."""

    def run(pipeline, *arguments):
        monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", stack.bootstrap)
        monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", pipeline.prefix)
        code = main(list(arguments))
        return code, capsys.readouterr().out

    return run


def garbage(count):
    """Records that nothing can read, all different."""
    for n, (value, _) in zip(range(count), itertools.cycle(GARBAGE), strict=False):
        yield RawEvent(value, "k8s-audit", "harbour", provider="aws", source_id=f"bad-{n}", received_ms=n + 1)


def among(good, poison):
    """All of both, evenly."""
    every = len(good) / len(poison)
    bad = iter(poison)
    for n, one in enumerate(good):
        yield one
        if (n + 1) // every > n // every:
            yield from itertools.islice(bad, 1)
    yield from bad


def sources(pipeline):
    """How often each raw record is on audit.events, by its place."""
    found = collections.Counter()
    for message in pipeline.read("audit.events"):
        source = audit_event_codec().decode(message.value())["source"]
        found[source["topic"], source["partition"], source["offset"]] += 1
    return found


@pytest.mark.parametrize(
    ("good", "bad"), [(2_000, 420), pytest.param(100_000, 21_000, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_poison_is_kept_and_mended_once(local, run_dir, stack, redis_url, mix, leadsman, good, bad):
    mislabelled = bad // 3
    samples = list(mix.samples(good + mislabelled, stories=0.2))
    raws = [mix.raw_of(sample, n) for n, sample in enumerate(samples)]
    every = len(raws) // mislabelled
    wrong = dict(itertools.islice(((n, raw) for n, raw in enumerate(raws) if n % every == 3), mislabelled))
    right = [raw for n, raw in enumerate(raws) if n not in wrong]
    poison = [*(msgspec.structs.replace(raw, format=UNKNOWN) for raw in wrong.values()), *garbage(bad - mislabelled)]
    random.Random(7).shuffle(poison)  # noqa: S311
    kit = local("pipeline")
    with kit.Pipeline(run_dir, kit.World(stack.bootstrap, redis_url)) as pipeline:
        names = ["normalizer", "detector"]
        pipeline.services.start_all(names)
        pipeline.produce_raw(among(right, poison))
        for name in names:
            pipeline.until(lambda of=name: not pipeline.lag(of), f"{name} done", 900, of=names)

        # each is a letter that says why and where; nothing else is
        letters = pipeline.read("raw.aws.dlq") + pipeline.read("raw.gcp.dlq")
        said = [{name: value.decode() for name, value in m.headers()} for m in letters]
        places = {(s["dlq-topic"], s["dlq-partition"], s["dlq-offset"]) for s in said}
        assert len(letters) == len(places) == bad
        reasons = collections.Counter(s["dlq-reason"].partition(":")[0] for s in said)
        assert reasons[f"unknown format '{UNKNOWN}'"] == mislabelled
        assert all(any(text in reason for reason in reasons) for _, text in GARBAGE)
        assert collections.Counter(m.value() for m in letters) == collections.Counter(raw.value for raw in poison)

        # every good one is an event, once, and each alert that needs no mislabelled one is there
        events = sources(pipeline)
        assert events.total() == len(right) == len(events)
        before = {alert["id"] for alert in pipeline.alerts()}

        # mended, twice: each once
        formats = {"raw.aws": "eks-audit", "raw.gcp": "gke-logentry"}
        sent = [
            leadsman(pipeline, "dlq", "redrive", "--topic", t, "--why", UNKNOWN, "--set-header", f"format={f}")
            for t, f in [*formats.items(), *formats.items()]
        ]
        assert [code for code, _ in sent] == [0] * 4
        counts = [int(out.split()[0]) for _, out in sent]
        assert sum(counts[:2]) == mislabelled
        assert counts[2:] == [0, 0]
        for name in names:
            pipeline.until(lambda of=name: not pipeline.lag(of), f"{name} done again", 900, of=names)
        events = sources(pipeline)
        assert events.total() == len(raws) == len(events)
        after = {alert["id"]: alert for alert in pipeline.alerts()}
        found = collections.Counter(alert["rule"]["name"] for alert in after.values() if mix.counted(alert))
        assert found == mix.expected(samples)
        assert before <= after.keys()
        assert len(before) > len(after) / 2
        code, out = leadsman(pipeline, "verify", "-o", "json")
        assert (code, json.loads(out)["findings"]) == (0, [])
