"""Where the SDK's streaming pull hands its messages over, and where it waits for them when it is shut down.

A scheduler of the SDK that runs nothing: it puts messages into one inbox that all subscriptions share, so that the
producing thread takes them in batches. The SDK asks it to shut down before it stops sending acknowledgements; it
answers once every message it handed over is settled, so none of them is delivered twice for no reason.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.subscriber.scheduler import Scheduler


class Taken(NamedTuple):
    """A message in hand, with its subscription's intake."""

    message: Message
    intake: Intake

    def ack(self) -> None:
        """It is in Kafka: Pub/Sub may forget it."""
        self.message.ack()
        self.intake.settled()

    def nack(self) -> None:
        """It could not be handled here: Pub/Sub delivers it again."""
        self.message.nack()
        self.intake.settled()


class Intake(Scheduler):  # type: ignore[misc]  # the SDK publishes no types
    """The scheduler of one streaming pull; not to be used for a second one."""

    def __init__(self, subscription: str, inbox: queue.SimpleQueue[Taken], drain_s: float) -> None:
        self.subscription = subscription
        self._inbox = inbox
        self._drain_s = drain_s
        self._requests: queue.Queue[Any] = queue.Queue()
        self._in_hand = 0
        self._changed = threading.Condition()

    @property
    def queue(self) -> queue.Queue[Any]:
        """The SDK's own queue of acknowledgements."""
        return self._requests

    def schedule(self, callback: Callable[..., Any], *args: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Take a message over. The SDK's flow control bounds how many are in hand, so the inbox needs no bound."""
        with self._changed:
            self._in_hand += 1
        self._inbox.put(Taken(args[0], self))

    def shutdown(self, await_msg_callbacks: bool = False) -> list[Message]:  # noqa: ARG002
        """Wait until all is settled, `drain_s` at most; what is not settled then comes again by its deadline."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_hand == 0, self._drain_s)
        return []

    def settled(self) -> None:
        """One message was acknowledged or refused."""
        with self._changed:
            self._in_hand -= 1
            self._changed.notify_all()
