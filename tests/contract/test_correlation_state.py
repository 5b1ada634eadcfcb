"""One table of cases for every CorrelationState, and what hypothesis thinks of: memory, Redis, a Redis Cluster of six.

What a Redis that lost data says is in test_state_guard.py.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from leadsman_detector.state import CLOCK, Claim, Done, Due, MemoryState, Put, Range, Timer, holders_of

HOUR = 3_600_000
T = 1_700_000_000_000  # as large as real times are


def put(time_ms, member, series="s", cluster="c", cap=100):
    return Put(series, cluster, T + time_ms, member, HOUR, cap)


def span(from_ms, to_ms, series="s", cluster="c"):
    return Range(series, cluster, T + from_ms, T + to_ms)


def claim(rank, holder, key="k", cluster="c"):
    return Claim(key, cluster, rank, holder, HOUR)


def told(rank, holder, order, text):
    return replace(claim(rank, holder), order=order, told=text)


def named(time_ms, name, member, keep="latest", cap=100):
    return Put("s", "c", T + time_ms, member, HOUR, cap, keep=keep, name=name)


def first(time_ms, name, cap=100):
    return named(time_ms, name, b"%s@%d" % (name, time_ms), "earliest", cap)


def last(time_ms, name, cap=100):
    return named(time_ms, name, b"%s@%d" % (name, time_ms), "last", cap)


def timer(due_ms, what, cluster="c", source="audit"):
    return Timer(T + due_ms, cluster, what, source)


def due(upto_ms, limit=10, cluster="c", source="audit"):
    return Due(cluster, source, T + upto_ms, limit)


SHARDS = 6
BINARY = [b"", b"\x00", b"\x00\xff\r\n", bytes(range(256)), "ü".encode()]

# each case: exchanges, each a list of (request, reply)
CASES = {
    "no request": [[]],
    "nothing there": [[(span(0, 10), [])]],
    "a put is read back": [[(put(5, b"a"), None)], [(span(0, 10), [b"a"])]],
    "adding again changes nothing": [
        [(put(5, b"a"), None), (put(5, b"a"), None)],
        [(put(5, b"a"), None), (span(0, 10), [b"a"])],
    ],
    "adding again at another time keeps the first": [
        [(put(5, b"a"), None)],
        [(put(50, b"a"), None), (span(0, 10), [b"a"]), (span(11, 99), [])],
    ],
    "of one name and time the member that sorts first": [
        [(named(5, b"a", b"y"), None), (named(5, b"a", b"x\0z"), None), (named(5, b"a", b"x\0zz"), None)],
        [(span(0, 10), [b"x\0z"])],
    ],
    "the first ones": [
        [(named(n, b"%d" % n, b"m%d" % n, "first", 2), None) for n in (3, 1, 2, 4)],
        [(span(0, 10), [b"m1", b"m2"])],
    ],
    "both ends": [
        [(named(n, b"%d" % n, b"m%d" % n, "ends", 4), None) for n in (3, 1, 6, 2, 4, 5)],
        [(span(0, 10), [b"m1", b"m2", b"m5", b"m6"])],
    ],
    "by time, then by name, whatever the order of arrival": [
        [(put(9, b"a"), None), (put(1, b"z"), None), (put(5, b"c"), None), (put(5, b"b"), None)],
        [(span(0, 10), [b"z", b"b", b"c", b"a"])],
    ],
    "both ends of a range are included": [
        [(put(n, bytes([n])), None) for n in range(5)],
        [(span(1, 3), [b"\x01", b"\x02", b"\x03"]), (span(2, 2), [b"\x02"]), (span(3, 1), [])],
    ],
    "puts take effect before any range, wherever they stand": [
        [(span(0, 10), [b"a", b"b"]), (put(1, b"a"), None), (span(0, 1), [b"a"]), (put(2, b"b"), None)],
    ],
    "the cap drops the oldest": [
        [(put(n, bytes([n]), cap=3), None) for n in (4, 1, 3, 2, 5)],
        [(span(0, 10), [b"\x03", b"\x04", b"\x05"])],
        [(put(1, b"\x01", cap=3), None), (span(0, 10), [b"\x03", b"\x04", b"\x05"])],
    ],
    "the cap drops by name where times are equal": [
        [(put(1, m, cap=2), None) for m in (b"c", b"a", b"b")],
        [(span(0, 10), [b"b", b"c"])],
    ],
    "members are any bytes": [
        [(put(n, member), None) for n, member in enumerate(BINARY)],
        [(span(0, 10), BINARY)],
    ],
    "series and clusters are apart": [
        [(put(1, b"a"), None), (put(1, b"b", series="t"), None), (put(1, b"c", cluster="d"), None)],
        [(span(0, 9), [b"a"]), (span(0, 9, series="t"), [b"b"]), (span(0, 9, cluster="d"), [b"c"])],
        [(span(0, 9, series="t", cluster="d"), [])],
    ],
    "names are any text, and none passes for another": [
        [
            (put(1, b"1", series="x", cluster=""), None),
            (put(1, b"2", series="x", cluster="a}:s:"), None),
            (put(1, b"3", series="}:s::s:x", cluster="a"), None),
            (put(1, b"4", series=":s:x", cluster="a}:s"), None),
            (put(1, b"5", series="x", cluster="a%7D:s:"), None),
            (put(1, b"6", series="\ud800 \n*", cluster="{b}"), None),
        ],
        [
            (span(0, 9, series="x", cluster=""), [b"1"]),
            (span(0, 9, series="x", cluster="a}:s:"), [b"2"]),
            (span(0, 9, series="}:s::s:x", cluster="a"), [b"3"]),
            (span(0, 9, series=":s:x", cluster="a}:s"), [b"4"]),
            (span(0, 9, series="x", cluster="a%7D:s:"), [b"5"]),
            (span(0, 9, series="\ud800 \n*", cluster="{b}"), [b"6"]),
        ],
    ],
    "of several names, one that was the first of those before": [
        [(claim(0, holders_of(["a", "b"])), True)],
        [(claim(0, "b"), False), (claim(0, holders_of(["c", "a"])), True), (claim(0, "ab"), False)],
        [(claim(0, holders_of(["b", "c"])), False), (claim(0, "a"), True)],
    ],
    "a claim of a free key, and of the same holder again": [
        [(claim(5, "h"), True)],
        [(claim(5, "h"), True), (claim(9, "h"), True)],
    ],
    "only a lower rank takes a key": [
        [(claim(5, "h"), True), (claim(5, "i"), False), (claim(6, "i"), False), (claim(4, "i"), True)],
        [(claim(5, "h"), False), (claim(4, "i"), True), (claim(4, "h"), False)],
    ],
    "the same holder with a higher rank leaves the lower": [
        [(claim(5, "h"), True), (claim(9, "h"), True), (claim(7, "i"), False)],
    ],
    "the same holder with a lower rank lowers it": [
        [(claim(5, "h"), True), (claim(2, "h"), True), (claim(3, "i"), False)],
    ],
    "ranks are times in microseconds, and may be negative": [
        [(claim(1_700_000_000_000_001, "h"), True), (claim(1_700_000_000_000_000, "i"), True)],
        [(claim(-1, "j"), True), (claim(0, "i"), False)],
    ],
    "of claims of one rank the order decides, then what is told": [
        [(told(5, "h", b"m", "x"), True), (told(5, "i", b"n", "y"), False), (told(5, "i", b"m", "x"), False)],
        [(told(5, "i", b"m", "y"), True), (told(5, "j", b"m\0", "z"), False), (told(5, "j", b"a\0b", "z"), True)],
    ],
    "a better claim that tells the same is kept, and raises nothing": [
        [(told(5, "h", b"", "x"), True), (told(3, "i", b"", "x"), False), (told(4, "j", b"", "y"), False)],
        [(told(5, "h", b"", "x"), True), (told(3, "j", b"", "y"), True), (told(3, "h", b"", "x"), True)],
    ],
    "claims of other keys and clusters are apart, and no series": [
        [(claim(5, "h"), True), (claim(6, "i", key="l"), True), (claim(6, "i", cluster="d"), True)],
        [(put(1, b"a", series="k"), None), (claim(6, "j"), False), (span(0, 9, series="k"), [b"a"])],
    ],
    "many clusters in one exchange": [
        [(put(1, b"%d" % n, cluster=f"c{n}"), None) for n in range(40)],
        [(span(0, 9, cluster=f"c{n}"), [b"%d" % n]) for n in range(40)],
    ],
    "of one name the first put stays": [
        [(named(5, b"a", b"one"), None), (named(5, b"a", b"two"), None), (named(3, b"b", b"two"), None)],
        [(span(0, 10), [b"two", b"one"]), (named(7, b"a", b"three"), None)],
    ],
    "of one name the earliest stays": [
        [(first(5, b"a"), None), (first(3, b"a"), None), (first(8, b"a"), None), (first(4, b"b"), None)],
        [(span(0, 10), [b"a@3", b"b@4"]), (span(3, 3), [b"a@3"]), (span(5, 10), [])],
        [(first(1, b"b"), None), (span(0, 10), [b"b@1", b"a@3"])],
    ],
    "of one name the last stays": [
        [(last(5, b"a"), None), (last(3, b"a"), None), (last(8, b"a"), None), (last(4, b"b"), None)],
        [(span(0, 10), [b"b@4", b"a@8"]), (span(5, 5), [])],
        [(last(9, b"b"), None), (span(0, 10), [b"a@8", b"b@9"])],
    ],
    "at the same time the one of a name that is there stays": [
        [(named(5, b"a", b"x", "last"), None), (named(5, b"a", b"y", "last"), None), (span(0, 9), [b"x"])],
    ],
    "the cap drops the oldest, name and all": [
        [(first(n, bytes([97 + n]), cap=2), None) for n in (3, 1, 2)],
        [(span(0, 10), [b"c@2", b"d@3"])],
        [(first(1, b"d", cap=2), None), (span(0, 10), [b"d@1", b"c@2"])],
        [(first(4, b"b", cap=2), None), (span(0, 10), [b"c@2", b"b@4"])],
        [(first(9, b"d", cap=2), None), (span(0, 10), [b"b@4", b"d@9"])],
    ],
    "groups are apart": [
        [(replace(put(1, b"a"), group="x/1"), None), (replace(put(2, b"b"), group="x/2"), None), (put(3, b"c"), None)],
        [
            (replace(span(0, 9), group="x/1"), [b"a"]),
            (replace(span(0, 9), group="x/2"), [b"b"]),
            (span(0, 9), [b"c"]),
            (replace(claim(5, "h"), group="x/1"), True),
            (replace(claim(6, "i"), group="x/2"), True),
            (claim(7, "j"), True),
        ],
        [(replace(claim(6, "i"), group="x/1"), False), (replace(claim(9, "i"), group="x/2"), True)],
    ],
    "timers are due in order, stay until they are done, and the earliest time stays": [
        [(timer(5, b"a"), None), (timer(3, b"b"), None), (timer(9, b"c"), None), (timer(4, b"a"), None)],
        [(due(2), []), (due(4), [b"b", b"a"]), (due(9), [b"b", b"a", b"c"]), (due(9, limit=2), [b"b", b"a"])],
        [(timer(50, b"c"), None), (due(9), [b"b", b"a", b"c"])],
        [(Done("c", "audit", b"b"), None), (due(9), [b"a", b"c"]), (Done("c", "audit", b"never"), None)],
    ],
    "timers of other clusters and sources are apart": [
        [(timer(1, b"a"), None), (timer(1, b"b", cluster="d"), None), (timer(1, b"c", source=CLOCK), None)],
        [(due(9), [b"a"]), (due(9, cluster="d"), [b"b"]), (due(9, source=CLOCK), [b"c"]), (due(9, source="x"), [])],
        [(Done("d", "audit", b"a"), None), (due(9), [b"a"])],
    ],
    "timers set and done in the exchange that asks": [
        [(due(9), [b"a"]), (timer(1, b"a"), None)],
        [(due(9), []), (Done("c", "audit", b"a"), None)],
    ],
}


@pytest.fixture(params=["memory", *(pytest.param(n, marks=pytest.mark.integration) for n in ("redis", "cluster"))])
def exchange(request):
    """Give what runs exchanges on a fresh state, one after the other, on one event loop."""
    if request.param == "memory":
        state = MemoryState()
        return lambda *exchanges: [state.exchange_now(e) for e in exchanges]
    url = request.getfixturevalue("redis_url" if request.param == "redis" else "cluster_url")
    return lambda *exchanges: on_redis(url, *exchanges, cluster=request.param == "cluster")


@pytest.fixture(scope="module")
def shards(local, run_dir):
    """Start a Redis Cluster of six shards: it refuses a script whose keys lie apart."""
    processes, redis_server = local("processes"), local("redis_server")
    bus = {}

    def start_on(port):
        # the bus' port is by default 10,000 above, where the kernel may have given it to some client
        bus[port] = str(processes.free_port())
        command = [
            redis_server.server(),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(run_dir),
        ]
        command += ["--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf"]
        command += ["--cluster-port", bus[port]]
        return processes.spawn(run_dir, f"redis-cluster-{port}", command, port=port, tie_to_parent=True)

    started = [processes.start_ready(run_dir, start_on, redis_server.answers, timeout_s=30) for _ in range(SHARDS)]
    clients = [redis.Redis(port=p.port, decode_responses=True) for p in started]
    for n, client in enumerate(clients):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 16384 * n // SHARDS, 16384 * (n + 1) // SHARDS - 1)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
    for client in clients[1:]:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", started[0].port, bus[started[0].port])
    deadline = time.monotonic() + 60
    while any(
        c.cluster("info")["cluster_state"] != "ok" or c.cluster("info")["cluster_known_nodes"] != str(SHARDS)
        for c in clients
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield clients, f"redis://127.0.0.1:{started[0].port}"
    for client in clients:
        client.close()
    processes.stop(run_dir, started, grace_s=2)


@pytest.fixture
def cluster_url(shards):
    clients, url = shards
    for client in clients:
        client.flushdb()
    return url


def on_redis(url, *exchanges, namespace="test:", cluster=False, between=lambda _n: None):
    """Run exchanges on one RedisState; `between` is called after each."""
    from leadsman_detector.state_redis import RedisState, connect

    async def run():
        state = RedisState(connect(url, cluster=cluster), namespace)
        replies = []
        try:
            for n, requests in enumerate(exchanges):
                replies.append(await state.exchange(requests))
                between(n)
        finally:
            await state.close()
        return replies

    return asyncio.run(run())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_state(exchange, case):
    requests = [[request for request, _ in step] for step in case]
    assert exchange(*requests) == [[reply for _, reply in step] for step in case]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_repeated_exchange_gives_the_same_answers(exchange, case):
    """What a crash after the exchange and before the commit does; nobody else came in between."""
    for step in case:
        requests = [request for request, _ in step]
        if any(isinstance(r, Claim) for r in requests):
            continue  # within one exchange a claim may take a key from another, which is order, not repetition
        first, again = exchange(requests, requests)
        assert again == first


@pytest.mark.integration
def test_namespaces_are_apart(redis_url):
    on_redis(redis_url, [put(1, b"a"), claim(1, "h")], namespace="live:")
    assert on_redis(redis_url, [span(0, 9), claim(2, "i")], namespace="replay:") == [[[], True]]
    with redis.Redis.from_url(redis_url) as client:
        assert sorted(client.keys()) == [
            b"{live%3A0}c:c::k",
            b"{live%3A0}s:c::s",
            b"{replay%3A0}c:c::k",
        ]


@pytest.mark.integration
def test_every_key_expires(redis_url):
    on_redis(
        redis_url,
        [put(1, b"a"), replace(claim(1, "h"), ttl_ms=9_000), span(0, 9, series="never put")],
        [replace(named(1, b"n", b"m"), series="n"), timer(1, b"t")],
    )
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.pttl(b"{test%3A0}c:c::k") <= 9_000
        for key in (b"s:c::s", b"s:c::n", b"s:c::n\x00m"):
            assert 0 < client.pttl(b"{test%3A0}" + key) <= HOUR
        assert len(client.keys()) == 6  # with the list of keys that hold timers
        assert all(client.pttl(key) > 0 for key in client.scan_iter())


@pytest.mark.integration
def test_one_evalsha_a_batch(redis_url):
    batch = [put(n, b"%d" % n, cluster=f"c{n % 2}") for n in range(100)] + [span(0, 200, cluster="c0"), claim(1, "h")]
    with redis.Redis.from_url(redis_url) as client:
        on_redis(redis_url, batch)  # loads the script
        client.config_resetstat()
        on_redis(redis_url, batch)
        stats = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in stats


@pytest.mark.integration
def test_groups_are_spread_over_the_shards(shards, cluster_url):
    puts = [replace(put(1, b"a"), group=f"x/{n}", series=f"s{n}") for n in range(200)]
    on_redis(cluster_url, puts, cluster=True)
    held = [len(client.keys()) for client in shards[0]]
    assert sum(held) == 200
    assert max(held) < 100, held


@pytest.mark.integration
def test_a_quota_drops_the_group_that_expires_first_and_counts_it(redis_url):
    from leadsman_common.metrics import STATE_GROUPS_EVICTED
    from leadsman_detector.state_redis import LONG_LIVED, RedisState, connect

    counted = STATE_GROUPS_EVICTED.labels("flood")
    before = counted._value.get()
    day = 24 * HOUR

    async def run():
        state = RedisState(connect(redis_url), "test:", groups=5)
        for n in range(12):
            name = replace(named(1, b"n", b"m"), series=f"flood{n}", group=f"flood/{n}", ttl_ms=HOUR + n * 1000)
            await state.exchange([name, replace(put(1, b"a"), series=f"calm{n % 3}", group=f"calm/{n % 3}")])
            await state.exchange([replace(put(1, b"a"), series=f"long{n}", group=f"long/{n}", ttl_ms=2 * day)])
        await state.close()

    asyncio.run(run())
    with redis.Redis.from_url(redis_url) as client:
        left = sorted(k.decode().rpartition(":")[2] for k in client.keys("*}s:*"))
    assert [k for k in left if k.startswith("flood")] == sorted(
        f"flood{n}{more}" for n in range(7, 12) for more in ("", "\0m")
    )
    assert [k for k in left if k.startswith("calm")] == ["calm0", "calm1", "calm2"]
    assert len([k for k in left if k.startswith("long")]) == min(12, 5 * LONG_LIVED)
    assert counted._value.get() - before == 7


# --- whatever hypothesis thinks of -----------------------------------------------------------------------------

_names = st.sampled_from([b"a", b"ab", b"b", b"c\0m", b"\xff"])
_times = st.integers(-3, 6)
_groups = st.sampled_from(["", "x/1", "x/2", "y:1"])
_keeps = {"some": "latest", "early": "earliest", "late": "last", "first": "first", "both": "ends"}


def _puts(draw):
    series = draw(st.sampled_from(["plain", *_keeps]))
    name = b"" if series == "plain" else draw(_names)
    member = draw(_names) if series == "plain" else name + b"%d" % draw(_times)
    keep = _keeps.get(series, "latest")
    return Put(
        series, "c", T + draw(_times), member, HOUR, draw(st.sampled_from([2, 3, 50])), draw(_groups), keep, name
    )


@st.composite
def _requests(draw):
    kind = draw(st.integers(0, 8))
    if kind <= 3:
        return _puts(draw)
    if kind == 4:
        series = draw(st.sampled_from(["plain", *_keeps]))
        return Range(series, "c", T + draw(_times), T + draw(_times), draw(_groups))
    if kind == 5:
        who = draw(st.sampled_from("hij"))
        order, text = draw(st.sampled_from([b"", b"a", b"a\0b"])), draw(st.sampled_from(["", "x", "y"]))
        key, rank = draw(st.sampled_from("kl")), draw(st.integers(-1, 3))
        return Claim(key, "c", rank, who, HOUR, draw(_groups), order, text)
    if kind == 6:
        return timer(draw(_times), draw(_names), source=draw(st.sampled_from(["", "audit"])))
    if kind == 7:
        return due(draw(_times), draw(st.integers(1, 3)), source=draw(st.sampled_from(["", "audit"])))
    return Done("c", draw(st.sampled_from(["", "audit"])), draw(_names))


_exchanges = st.lists(st.lists(_requests(), max_size=8), max_size=5)


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["redis", "cluster"])
def test_redis_answers_as_memory_does(request, kind):
    from leadsman_detector.state_redis import RedisState, connect

    url = request.getfixturevalue("redis_url" if kind == "redis" else "cluster_url")
    loop = asyncio.Runner()
    client = connect(url, cluster=kind == "cluster")
    numbers = itertools.count()

    @settings(max_examples=300 if kind == "redis" else 60, deadline=None, derandomize=True)
    @given(_exchanges)
    def check(exchanges):
        memory, real = MemoryState(), RedisState(client, f"h{next(numbers)}:")
        for requests in exchanges:
            assert loop.run(real.exchange(requests)) == memory.exchange_now(requests)
        assert real.evicted == memory.evicted

    try:
        check()
    finally:
        loop.run(client.aclose())
        loop.close()


@pytest.mark.integration
def test_what_the_cap_drops_is_counted(redis_url):
    from leadsman_detector.state_redis import RedisState, connect

    async def run():
        state = RedisState(connect(redis_url), "test:")
        await state.exchange([put(n, b"%d" % n, cap=3) for n in range(10)])
        await state.close()
        return state.evicted

    assert asyncio.run(run()) == 7


@pytest.mark.integration
def test_the_script_is_loaded_again_after_a_flush(redis_url):
    def flush(_n):
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()

    replies = on_redis(redis_url, [put(1, b"a")], [put(2, b"b")], [span(0, 9)], between=flush)
    assert replies == [[None], [None], [[b"a", b"b"]]]


@pytest.mark.integration
def test_a_restart_of_redis_is_waited_for(local, tmp_path):
    server = local("redis_server")
    processes = local("processes")
    port = processes.free_port()
    started = server.start(tmp_path, port=port, tie_to_parent=True)

    def restart(n):
        nonlocal started
        if n == 0:
            processes.stop(tmp_path, [started], grace_s=5)
            started = server.start(tmp_path, port=port, tie_to_parent=True)

    try:
        replies = on_redis(server.url(port), [put(1, b"a")], [put(2, b"b"), span(0, 9)], between=restart)
    finally:
        processes.stop(tmp_path, [started], grace_s=5)
    assert replies == [[None], [None, [b"a", b"b"]]]


@pytest.mark.integration
def test_a_redis_that_stays_away_is_an_error():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        url = f"redis://127.0.0.1:{held.getsockname()[1]}/0"
        with pytest.raises(redis.exceptions.ConnectionError):
            on_redis(url, [span(0, 9)])
