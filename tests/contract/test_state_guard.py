"""What Redis' state says of itself: that it lost data, fell back, was restarted, or has not seen what comes before."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from leadsman_detector.state import Done, Put, Range, Timer
from leadsman_detector.state_redis import RedisState, Span, StateDoubtful, StateGap, connect

pytestmark = pytest.mark.integration

HOUR = 3_600_000
READ = Range("s", "c", 0, 99, "x/1")


def put(time_ms, member, ttl_ms=HOUR):
    return Put("s", "c", time_ms, member, ttl_ms, 100, "x/1")


class Server:
    """A Redis of the test's own, and workers of it: one event loop, a RedisState each."""

    def __init__(self, local, folder):
        self.server, self.processes, self.folder = local("redis_server"), local("processes"), folder
        self.port = self.processes.free_port()
        self.loop = asyncio.Runner()
        self.states = []
        self.start()

    def start(self):
        self.process = self.server.start(self.folder, port=self.port, tie_to_parent=True)
        self.client = redis.Redis(port=self.port)

    def restart(self):
        self.client.close()
        self.processes.stop(self.folder, [self.process], grace_s=5)
        self.start()

    def worker(self, **options):
        self.states.append(RedisState(connect(self.server.url(self.port)), "t:", **options))
        return self.states[-1]

    def __call__(self, coroutine):
        return self.loop.run(coroutine)

    def guarded(self, worker, requests=(), *spans):
        return self(worker.guarded(requests, [Span(*span) for span in spans]))

    def whole(self, worker, epoch=1, **offsets):
        """Do what a rebuild with nothing to rebuild does."""
        marked = self(worker.mark("m"))
        assert self(worker.finish(marked, epoch, {int(p[1:]): o for p, o in offsets.items()}))

    def copy(self):
        return {key: self.client.dump(key) for key in self.client.scan_iter()}

    def put_back(self, copy):
        self.client.flushall()
        for key, value in copy.items():
            self.client.restore(key, 0, value)

    def close(self):
        for state in self.states:
            self(state.close())
        self.loop.close()
        self.client.close()
        self.processes.stop(self.folder, [self.process], grace_s=5)


@pytest.fixture
def server(local, tmp_path):
    it = Server(local, tmp_path)
    yield it
    it.close()


@contextlib.contextmanager
def doubtful(*, lost):
    with pytest.raises(StateDoubtful) as caught:
        yield caught
    assert caught.value.lost is lost


def test_a_new_state_answers_nobody_until_it_is_declared_whole(server):
    one, two = server.worker(), server.worker()
    with doubtful(lost=True) as first:
        server.guarded(one, [put(1, b"a")], (0, 0, 10))
    with doubtful(lost=True) as second:
        server.guarded(two)
    assert first.value.doubt == second.value.doubt  # one doubt for all of them
    server.whole(one)
    assert server.guarded(two, [READ], (0, 0, 10)).replies == [[]]  # nothing was written in doubt


def test_a_flush_is_noticed_by_everyone_and_what_it_took_is_not_answered_from(server):
    one, two = server.worker(), server.worker()
    server.whole(one)
    server.guarded(one, [put(1, b"a")], (0, 0, 10))
    server.client.flushall()
    with doubtful(lost=True):
        server.guarded(two, [READ])
    with doubtful(lost=True):
        server.guarded(one, [put(2, b"b"), READ], (0, 10, 20))
    server.whole(two, 2, p0=10)
    assert server.guarded(one, [READ]).replies == [[]]


def test_a_restart_puts_what_is_there_in_doubt_until_it_is_checked(server):
    one = server.worker()
    server.whole(one)
    server.guarded(one, [put(1, b"a")], (0, 0, 10))
    server.restart()
    with doubtful(lost=False):
        server.guarded(one, [READ])
    marked = server(one.mark("other"))
    assert (marked[0].offsets, marked[0].begun) == ({0: 10}, {0: 0})
    server(one.rebuilt([put(2, b"b")], marked))
    assert server(one.finish(marked, 2, {0: 12}))
    assert server.guarded(one, [READ], (0, 12, 13)).replies == [[b"a", b"b"]]


def test_a_copy_that_is_put_back_is_noticed_by_who_wrote_since_and_told_to_the_others(server):
    one, two = server.worker(), server.worker()
    server.whole(one)
    server.guarded(two)
    copy = server.copy()
    server.guarded(one, [put(1, b"a")], (0, 0, 10))
    server.put_back(copy)
    with doubtful(lost=False):
        server.guarded(one, (), (0, 10, 20))
    with doubtful(lost=False):
        server.guarded(two, [READ])
    assert server(two.mark("x"))[0].offsets == {}


def test_a_copy_of_an_older_epoch_is_noticed(server):
    one = server.worker()
    server.whole(one, 1)
    for _ in range(5):
        server.guarded(one)
    copy = server.copy()
    server.whole(one, 2)
    server.guarded(one)
    server.put_back(copy)
    with doubtful(lost=False):
        server.guarded(one)


def test_records_that_do_not_follow_are_refused_and_nothing_is_written(server):
    one = server.worker()
    server.whole(one)
    server.guarded(one, [put(1, b"a")], (0, 0, 10), (1, 5, 6))
    with pytest.raises(StateGap) as gap:
        server.guarded(one, [put(2, b"b")], (1, 6, 9), (0, 11, 20))
    assert (gap.value.partition, gap.value.stored) == (0, 10)
    assert server.guarded(one, [READ], (1, 6, 7)).replies == [[b"a"]]
    # what is gone for good may be passed over; a partition never seen may begin anywhere
    assert server.guarded(one, [put(2, b"b"), READ], (0, 11, 20, True), (2, 77, 78)).replies[1] == [b"a", b"b"]
    with pytest.raises(StateGap):
        server.guarded(one, (), (2, 79, 80))


def test_a_zombie_takes_no_offset_back(server):
    one, zombie = server.worker(), server.worker()
    server.whole(one)
    server.guarded(one, (), (0, 0, 500))
    server.guarded(one, (), (0, 500, 600))
    assert server.guarded(zombie, [put(1, b"a"), READ], (0, 100, 200)).replies == [None, [b"a"]]
    assert server.guarded(one, [READ], (0, 600, 601)).replies == [[b"a"]]
    (mark,) = server(one.mark("x")).values()
    assert (mark.offsets, mark.begun) == ({0: 601}, {0: 600})


def test_what_changed_is_told_and_whether_it_may_have_been_told_already(server):
    one = server.worker()
    server.whole(one)
    assert server.guarded(one, [put(1, b"a"), READ], (0, 0, 10)).changed == {0}
    done = server.guarded(one, [put(1, b"a"), put(1, b"b")], (0, 10, 20))
    assert (done.changed, done.again) == ({1}, False)
    done = server.guarded(one, [put(1, b"a"), put(1, b"b")], (0, 10, 20))
    assert (done.changed, done.again) == (set(), True)


def test_a_rebuild_that_is_overtaken_by_another_loss_begins_again(server):
    one = server.worker()
    marked = server(one.mark("first"))
    server(one.rebuilt([put(1, b"a")], marked))
    server.client.flushall()
    with doubtful(lost=True):
        server(one.rebuilt([put(2, b"b")], marked))
    assert not server(one.finish(marked, 1, {}))
    again = server(one.mark("second"))
    assert not server(one.finish(marked, 1, {}))
    assert server(one.finish(again, 1, {}))
    assert server.guarded(one, [READ]).replies == [[]]


def test_one_worker_leads(server):
    one = server.worker()
    assert server(one.lock("rebuild", "a", 60_000))
    assert not server(one.lock("rebuild", "b", 60_000))
    assert server(one.lock("rebuild", "a", 1))
    server(asyncio.sleep(0.05))
    assert server(one.lock("rebuild", "b", 60_000))


def test_a_full_redis_takes_all_of_a_batch_or_nothing(server):
    one = server.worker()
    server.whole(one)
    server.guarded(one, [put(1, b"a")], (0, 0, 10))
    server.client.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        server.guarded(one, [put(2, b"b")], (0, 10, 20))
    server.client.config_set("maxmemory", "0")
    assert server(one.mark("x"))[0].offsets == {0: 10}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
def test_an_evicting_policy_is_refused(server, policy):
    one = server.worker()
    server.client.config_set("maxmemory-policy", policy)
    complaint = server(one.eviction())
    if policy == "noeviction":
        assert complaint == ""
    else:
        assert policy in complaint


def test_every_bucket_keeps_the_offsets(server):
    one = server.worker(buckets=4)
    server.whole(one)
    server.guarded(one, [put(1, b"a")], (0, 0, 10))
    assert [mark.offsets for mark in server(one.mark("x")).values()] == [{0: 10}] * 4


def test_how_far_sources_are_only_grows_and_says_since_when(server):
    one, two = server.worker(), server.worker()
    place, other = ("a:b%/c", "audit"), ("d", "cloudtrail")
    first = server(one.progress({place: 10, other: -5}))
    assert {k: v[0] for k, v in first.items()} == {place: 10, other: -5}
    server(asyncio.sleep(0.01))
    again = server(two.progress({place: 9, other: -4}))
    assert again[place] == first[place]
    assert again[other][0] == -4
    assert again[other][1] > first[other][1]


def test_where_timers_wait_is_known_until_they_are_done(server):
    one = server.worker(buckets=4)
    places = [("a:b%/c", "audit"), ("d", ""), ("e", "cloudtrail")]
    server(one.exchange([Timer(1, cluster, b"x", source) for cluster, source in places]))
    assert server(one.timed()) == sorted(places)
    server(one.exchange([Done("d", "", b"x"), Done("e", "cloudtrail", b"y")]))
    assert server(one.timed()) == [places[0], places[2]]


def test_the_board_tells_what_every_worker_said(server):
    one, two = server.worker(), server.worker()
    server(one.tell("rules", "a", "digest 1"))
    assert server(two.tell("rules", "b", "digest 2")) == {"a": "digest 1", "b": "digest 2"}
