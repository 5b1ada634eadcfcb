"""What an ingest service tells of itself each minute: that it is there, what fails, and what that means."""

import threading

import pytest

from leadsman_common import patience
from leadsman_common.kafka import DeliveryFailed
from leadsman_common.patience import MOST_TROUBLES, Patience, Trouble, Troubles
from leadsman_common.pulse import beat, why
from leadsman_common.sightings import ALIVE, TROUBLE, Sign, decode, encode


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (RuntimeError("An error occurred (AccessDeniedException) when calling GetRecords"), "credentials are refused"),
        (RuntimeError("An error occurred (ExpiredTokenException)"), "credentials are refused"),
        (RuntimeError("403 Permission 'pubsub.subscriptions.consume' denied"), "credentials are refused"),
        (RuntimeError("KafkaError{code=_AUTHENTICATION,val=-169}"), "credentials are refused"),
        (RuntimeError("404 Resource not found (resource=audit)"), "what is read is gone"),
        (RuntimeError("An error occurred (AWS.SimpleQueueService.NonExistentQueue)"), "what is read is gone"),
        (RuntimeError("An error occurred (ResourceNotFoundException)"), "what is read is gone"),
        (DeliveryFailed("3 records not acknowledged within 30 s"), "Kafka does not take what is read"),
        (TimeoutError("read timed out"), "upstream does not answer as it should"),
    ],
)
def test_what_an_error_means(error, meaning):
    assert why(error).startswith(meaning)
    assert str(error) in why(error)


def test_a_beat():
    signs = beat("ingest-kafka", ["raw.aws", "raw.k8s"], [Trouble("queue q", 7, RuntimeError("AccessDenied"))], 9)
    assert [(s.kind, s.about, s.place, s.at_ms) for s in signs] == [
        (ALIVE, "raw.aws", "ingest-kafka", 9),
        (TROUBLE, "raw.aws", "ingest-kafka, queue q", 7),
        (ALIVE, "raw.k8s", "ingest-kafka", 9),
        (TROUBLE, "raw.k8s", "ingest-kafka, queue q", 7),
    ]
    assert [decode(encode(sign)) for sign in signs] == signs
    assert all(isinstance(sign, Sign) for sign in signs)


def test_what_somebody_is_patient_with_is_told_until_it_works(monkeypatch):
    monkeypatch.setattr(patience, "TROUBLES", troubles := Troubles())
    stop = threading.Event()
    queue, unnamed = Patience(stop, 60, what="queue q"), Patience(stop, 60)
    unnamed.next_wait_s(RuntimeError("nobody asks"))
    queue.next_wait_s(RuntimeError("first"))
    queue.next_wait_s(RuntimeError("second"))
    assert [(one.what, str(one.error)) for one in troubles.now()] == [("queue q", "second")]
    queue.succeeded()
    assert troubles.now() == []


def test_names_that_are_made_up_fill_nothing():
    troubles = Troubles()
    for n in range(MOST_TROUBLES * 3):
        troubles.note(f"posts for {n}", RuntimeError("401"))
    assert len(troubles.now()) == MOST_TROUBLES
