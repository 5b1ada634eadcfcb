"""Backoff, the bound, and one delivery per id: with a clock that only moves when somebody waits."""

import threading

import pytest

from leadsman_notifier.deliver import Backoff, Delivery, Stopped
from leadsman_notifier.delivered import MemoryDelivered
from leadsman_notifier.sink import Refused, Unavailable


class Clock:
    def __init__(self):
        self.now = 0.0
        self.waits = []
        self.stop_after = None

    def wait(self, seconds):
        self.now += seconds
        self.waits.append(seconds)
        return self.stop_after is not None and len(self.waits) >= self.stop_after


class Script:
    """A sink that answers as it is told: None accepts, an exception is raised; the last answer stays."""

    min_level = "medium"

    def __init__(self, clock, *answers):
        self.clock = clock
        self.answers = list(answers)
        self.sent = []

    def send(self, alert):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.sent.append((self.clock.now, alert["id"]))
        if answer is not None:
            raise answer

    def close(self):
        pass


@pytest.fixture
def clock():
    return Clock()


def delivery(clock, sink, retry_s=100.0, stop=None):
    return Delivery(
        "script",
        sink,
        MemoryDelivered(),
        Backoff(retry_s=retry_s, first_s=1, max_s=30),
        stop or threading.Event(),
        clock=lambda: clock.now,
        wait=clock.wait,
        chance=lambda: 1.0,
    )


DOWN = Unavailable("HTTP 500")


@pytest.mark.parametrize(
    ("attempt", "chance", "expected"),
    [(0, 0.0, 0.5), (0, 1.0, 1.0), (1, 1.0, 2.0), (4, 0.0, 8.0), (5, 1.0, 30.0), (10_000, 1.0, 30.0)],
)
def test_waits_double_up_to_a_bound_with_jitter(attempt, chance, expected):
    assert Backoff(100, 1, 30).wait_s(attempt, chance) == expected


def test_once_per_id(clock, make_alert):
    sink = Script(clock, None)
    to = delivery(clock, sink)
    assert [to.deliver(make_alert()) for _ in range(3)] == ["delivered", "repeated", "repeated"]
    assert to.deliver(make_alert(id="other")) == "delivered"
    assert len(sink.sent) == 2


def test_once_per_revision_of_an_alert_that_grows(clock, make_alert):
    sink = Script(clock, None)
    to = delivery(clock, sink)
    assert [to.deliver(make_alert(revision=n)) for n in (0, 1, 1, 3, 1)] == [
        "delivered", "delivered", "repeated", "delivered", "repeated",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "result"),
    [
        ("informational", "below_level"),
        ("low", "below_level"),
        ("medium", "delivered"),
        ("critical", "delivered"),
        ("unheard-of", "delivered"),  # better one too many than an alert that nobody sees
    ],
)
def test_minimum_level(clock, make_alert, level, result):
    assert delivery(clock, Script(clock, None)).deliver(make_alert(level=level)) == result


def test_tried_again_until_taken(clock, make_alert):
    sink = Script(clock, DOWN, DOWN, None)
    to = delivery(clock, sink)
    assert to.deliver(make_alert()) == "delivered"
    assert [at for at, _ in sink.sent] == [0, 1, 3]
    assert not to.failing


def test_retry_after_is_honoured(clock, make_alert):
    sink = Script(clock, Unavailable("HTTP 429", 17.0), None)
    assert delivery(clock, sink).deliver(make_alert()) == "delivered"
    assert [at for at, _ in sink.sent] == [0, 17]


def test_retry_after_binds_the_next_alert_too(clock, make_alert):
    sink = Script(clock, Unavailable("HTTP 429", 500.0), None)
    to = delivery(clock, sink)
    for alert in ("a", "b"):
        with pytest.raises(Refused, match="HTTP 429"):
            to.deliver(make_alert(id=alert))
    assert len(sink.sent) == 1
    clock.now = 501
    assert to.deliver(make_alert(id="c")) == "delivered"


def test_given_up_after_the_bound_then_each_alert_gets_one_try(clock, make_alert):
    sink = Script(clock, DOWN)
    to = delivery(clock, sink)
    with pytest.raises(Refused, match=r"unavailable for \d+ s.*HTTP 500"):
        to.deliver(make_alert(id="a"))
    assert 60 < clock.now <= 100
    tried = len(sink.sent)
    for number in range(5):
        clock.now += 50
        with pytest.raises(Refused):
            to.deliver(make_alert(id=f"b{number}"))
    assert len(sink.sent) == tried + 5
    sink.answers = [None]
    assert to.deliver(make_alert(id="c")) == "delivered"
    sink.answers = [DOWN, None]
    assert to.deliver(make_alert(id="d")) == "delivered"  # the bound counts anew


def test_a_given_up_alert_may_be_delivered_when_it_comes_again(clock, make_alert):
    sink = Script(clock, Refused("HTTP 400"), None)
    to = delivery(clock, sink)
    with pytest.raises(Refused):
        to.deliver(make_alert())
    assert to.deliver(make_alert()) == "delivered"
    assert clock.waits == []


def test_told_to_stop_while_waiting(clock, make_alert):
    clock.stop_after = 2
    sink = Script(clock, DOWN)
    with pytest.raises(Stopped):
        delivery(clock, sink).deliver(make_alert())
    assert len(sink.sent) == 2


def test_nothing_is_begun_after_the_stop(clock, make_alert):
    stop = threading.Event()
    stop.set()
    sink = Script(clock, None)
    with pytest.raises(Stopped):
        delivery(clock, sink, stop=stop).deliver(make_alert())
    assert sink.sent == []


def test_memory_forgets_the_oldest():
    memory = MemoryDelivered(capacity=2)
    for alert in ("a", "b", "c"):
        memory.add("s", alert)
    assert [memory.has("s", alert) for alert in ("a", "b", "c")] == [False, True, True]
    assert not memory.has("t", "c")
