"""What the transport knew, to headers and back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadsman_common.raw import HEADER_NAMES, RawEvent, from_headers

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FULL = RawEvent(
    value=b"{}",
    format="eks-cloudwatch",
    cluster="shop",
    account="111122223333",
    region="eu-central-1",
    provider="aws",
    source_id="id-1",
    received_ms=1790000000000,
    log_stream="kube-apiserver-audit-0a1b",
)
CARRIED = ("value", "format", "cluster", "account", "region", "provider", "source_id", "received_ms", "log_stream")


@given(
    st.builds(
        RawEvent,
        value=st.binary(),
        format=TEXT,
        cluster=TEXT,
        account=TEXT,
        region=TEXT,
        provider=TEXT,
        source_id=TEXT,
        received_ms=st.integers(0, 10**14 - 1),
        log_stream=TEXT,
    )
)
def test_round_trip(event):
    back = from_headers(event.value, event.headers(), "raw.aws", 2, 7)
    assert back == msgspec.structs.replace(event, topic="raw.aws", partition=2, offset=7)


def test_every_header_is_carried():
    assert tuple(name for name, _ in FULL.headers()) == HEADER_NAMES
    back = from_headers(FULL.value, FULL.headers(), "t", 0, 0)
    assert all(getattr(back, field) == getattr(FULL, field) for field in CARRIED)


def test_absent_stays_absent():
    assert RawEvent(b"x").headers() == []
    assert from_headers(b"x", None, "t", 1, 2) == RawEvent(b"x", topic="t", partition=1, offset=2)


def test_headers_that_are_not_ours_are_passed_over():
    headers = [("traceparent", b"00"), ("format", None), ("cluster", b"caf\xc3\xa9 \xff"), ("dlq-reason", b"x")]
    assert from_headers(b"", headers, "", 0, 0) == RawEvent(b"", cluster="café \ufffd")


@pytest.mark.parametrize("text", [b"", b"-1", b"1.5", b"soon", b"1e9", b"9" * 18, "\u0663".encode(), b" 1"])
def test_a_malformed_time_is_no_time(text):
    assert from_headers(b"", [("received-ms", text)], "", 0, 0).received_ms == 0


def test_keys_spread_and_hold_still():
    keys = {RawEvent(b"", source_id=f"id-{n}").key() for n in range(1000)}
    assert len(keys) == 1000
    assert {len(key) for key in keys} == {8}
    assert RawEvent(b"a", source_id="x").key() == RawEvent(b"b", source_id="x", cluster="c").key()
    assert RawEvent(b"", source_id="\ud800").key()
