"""Whether the state can be trusted now, and what is done until it can be again.

A batch waits a moment for a state that is away or being put right; then it is judged without it, and comes again.
Whichever worker finds the state in doubt tries to rebuild it; a lock lets one of them do it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import structlog
from redis.exceptions import OutOfMemoryError, RedisError

from leadsman_common.metrics import STATE_DEGRADED, STATE_TROUBLES, failed
from leadsman_detector.state import StateRequest
from leadsman_detector.state_redis import Exchanged, RedisState, Span, StateDoubtful

CALL_S = 5.0  # what one exchange may take

_log = structlog.get_logger()


class StateUnavailable(Exception):
    """The state cannot be asked now; what needs it must come again."""


class EvictingRedis(RuntimeError):
    """Redis would drop keys of its own accord when its memory is full."""


class Guard:
    """One worker's view of the state. `rebuild` puts it right, or finds that another does; it may take long.

    `wait_s` is how long a batch waits for a state that fails it. All of it runs on one event loop, but `rebuild`, which
    gets a thread of its own.
    """

    def __init__(
        self,
        state: RedisState,
        rebuild: Callable[[], None],
        *,
        wait_s: float = 2.0,
        eviction_allowed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self._rebuild = rebuild
        self._wait_s = wait_s
        self._eviction_allowed = eviction_allowed
        self._clock = clock
        self._good = True
        self._troubled: str | None = ""  # the doubt or error that was told last; None: all is well
        self._thread: threading.Thread | None = None
        STATE_DEGRADED.set(0)

    @property
    def good(self) -> bool:
        """Whether the state answered last; else everything is judged without it."""
        return self._good

    async def exchange(self, requests: Sequence[StateRequest], spans: Sequence[Span] = ()) -> Exchanged:
        """An exchange with a state that is whole. Raises StateUnavailable after a wait, or StateGap at once."""
        until = self._clock() + self._wait_s
        while self._good:
            if (done := await self._try(requests, spans)) is not None:
                return done
            if self._clock() >= until:
                self._good = False
                STATE_DEGRADED.set(1)
                _log.error("events are judged without the state until it is whole, and come again then")
            else:
                await asyncio.sleep(0.05)
        raise StateUnavailable

    async def check(self, spans: Sequence[Span]) -> bool:
        """Ask the state whether it is whole, and tell it how far this worker is. Raises StateGap."""
        if await self._try((), spans) is None:
            return False
        if not self._good:
            self._good = True
            STATE_DEGRADED.set(0)
            _log.info("the state is whole again: what was judged without it is judged anew")
        return True

    async def _try(self, requests: Sequence[StateRequest], spans: Sequence[Span]) -> Exchanged | None:
        try:
            done = await asyncio.wait_for(self.state.guarded(requests, spans), CALL_S)
        except StateDoubtful as doubt:
            self._trouble("lost" if doubt.lost else "fell_back", doubt.doubt)
            self._start()
            return None
        except OutOfMemoryError as error:
            self._trouble("full", str(error))
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self._trouble("away", f"{type(error).__name__}: {error}")
            return None
        if self._troubled is not None:
            await self._check_eviction()
            self._troubled = None
        return done

    async def _check_eviction(self) -> None:
        """Look at the server once it answers, at the start and after every trouble: it may be another one."""
        try:
            complaint = await self.state.eviction()
        except RedisError:  # gone again: it is asked when it answers
            return
        if complaint and not self._eviction_allowed:
            raise EvictingRedis(complaint)

    def _trouble(self, kind: str, what: str) -> None:
        if self._troubled != what:
            self._troubled = what
            STATE_TROUBLES.labels(kind).inc()
            failed("redis")
            _log.warning("the state cannot be asked", kind=kind, reason=what)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._rebuild, name="state-rebuild", daemon=True)
            self._thread.start()
