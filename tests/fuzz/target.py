"""One fuzz target: python tests/fuzz/target.py NAME [libFuzzer's options]. `run.py` runs them all, one after another.

NAME is a source of the SOURCES table, envelope-aws, envelope-gcp or avro. An input is wrong where it raises anything
but InvalidEvent, takes over a second of CPU, or lets the process grow by more than 64 MiB.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["leadsman_common", "leadsman_normalizer", "leadsman_ingest_aws"]):
    from leadsman_common.avro import alert_codec, audit_event_codec
    from leadsman_common.errors import InvalidEvent
    from leadsman_common.raw import RawEvent
    from leadsman_ingest_aws import envelope as envelope_aws
    from leadsman_ingest_gcp import envelope as envelope_gcp
    from leadsman_normalizer.head import peek
    from leadsman_normalizer.key import partition_key
    from leadsman_normalizer.normalize import normalize
    from leadsman_normalizer.sources import SOURCES

MAX_SECONDS = 1.0
MAX_GROWTH_KIB = 64 * 1024
# what a JSON text may hold in a value's place
_HOSTILE = (
    b"null",
    b"[]",
    b"{}",
    b"true",
    b"-1",
    b"1e400",
    b"9" * 400,
    b"123456789012345678901234567890",
    b'"\\ud800"',
    b'"\\udc00x"',
    b'"\xff\xfe"',
    b'""',
    b'"%00"',
    b'"a=$(x);--password y"',
    b"[" * 200 + b"]" * 200,
    b'{"a":' * 200 + b"1" + b"}" * 200,
    b'[null,1,"x",{},[[]]]',
    b'{"kind":"Pod","kind":1,"spec":[],"spec":{"containers":{}}}',
)
_VALUE = re.compile(rb'(?<=:)\s*(?:"(?:[^"\\]++|\\.)*+"|[-+.\w]+|\[|\{)', re.DOTALL)
_KEY = re.compile(rb'"(?:[^"\\]++|\\.)*+"(?=\s*:)', re.DOTALL)
_STATUS = Path("/proc/self/status")
_PEAK_RESET = Path("/proc/self/clear_refs")  # 5: VmHWM starts anew (proc_pid_clear_refs(5))
MAX_RUN = 256 * 1024
MAX_LOOKED = 8 * 1024  # a text of quotes costs its square


def source(name: str) -> Callable[[bytes], None]:
    """A record of this source, as the normalizer's loop treats it."""
    codec = audit_event_codec()

    def one(data: bytes) -> None:
        raw = RawEvent(data, format=name, provider="", received_ms=1_793_610_000_000)
        peek(raw)
        event = normalize(raw)
        if isinstance(event, dict):
            partition_key(event)
            codec.encode(event)

    return one


def split_aws(data: bytes) -> None:
    """A record of the Kinesis stream."""
    envelope_aws.split(data, region="eu-west-1", received_ms=1, max_plain_bytes=8 * 1024 * 1024)


def split_gcp(data: bytes) -> None:
    """A message of the subscription."""
    envelope_gcp.split(data, "1", 1)


def decode_avro(data: bytes) -> None:
    """A record of audit.events or of alerts; without a header of ours, the body behind one."""
    for codec in (audit_event_codec(), alert_codec()):
        for value in (data, codec.header + data):
            try:
                codec.decode(value)
            except InvalidEvent:
                continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    **{name: source(name) for name in SOURCES},
    "envelope-aws": split_aws,
    "envelope-gcp": split_gcp,
    "avro": decode_avro,
}


class Judge:
    """Runs a target and measures it; the figures are printed at the end of the run."""

    def __init__(self, target: Callable[[bytes], None]) -> None:
        self._target = target
        self.slowest = 0.0
        self.growth = 0

    def __call__(self, data: bytes) -> None:
        _PEAK_RESET.write_bytes(b"5")
        before, started = _memory_kib(b"VmRSS:"), time.process_time()
        with suppress(InvalidEvent):
            self._target(data)
        taken, grown = time.process_time() - started, _memory_kib(b"VmHWM:") - before
        if taken > self.slowest or grown > self.growth:
            self.slowest, self.growth = max(taken, self.slowest), max(grown, self.growth)
            sys.stderr.write(f"measured: slowest {self.slowest * 1000:.0f} ms, growth {self.growth} KiB\n")
        if taken > MAX_SECONDS:
            raise TimeoutError(f"{taken:.1f} s of CPU for {len(data)} bytes")
        if grown > MAX_GROWTH_KIB:
            raise MemoryError(f"{grown} KiB for {len(data)} bytes")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's own mutation, or one that knows JSON: a hostile value, a key twice, a long run of a piece."""
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    pick = dice.randrange(8)
    pattern = _VALUE if pick < 4 else _KEY
    spots = list(pattern.finditer(data[:MAX_LOOKED])) if pick < 6 else []
    if pick == 6 and data and dice.randrange(16) == 0:
        at = dice.randrange(len(data))
        piece = data[at : at + dice.randrange(1, 32)]
        times = dice.randrange(1, min(MAX_RUN, max_size) // len(piece) + 2)
        return (data[:at] + piece * times + data[at:])[:max_size]
    if not spots:
        return bytes(atheris.Mutate(data, max_size))
    spot = dice.choice(spots)
    value = dice.choice(_HOSTILE)
    if pick < 4:
        made = data[: spot.start()] + value + data[spot.end() :]
    elif pick == 4:
        made = data[: spot.start()] + spot.group() + b":" + value + b"," + data[spot.start() :]
    else:
        made = data[: spot.start()] + dice.choice(spots).group() + data[spot.end() :]
    return made[:max_size]


def _memory_kib(which: bytes) -> int:
    """A line of /proc/self/status: getrusage's peak is the parent's too, and is never reset."""
    return int(_STATUS.read_bytes().partition(which)[2].split(maxsplit=1)[0])


def main() -> None:
    """Fuzz as told by the arguments; libFuzzer ends the process."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, Judge(TARGETS[name]), custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
