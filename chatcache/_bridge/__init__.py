"""One source for blocking and awaiting callers: the only part of the engine that knows asyncio and threading.

The logic of a layer is written once, as a coroutine that takes its colour, `blocking` or `awaiting`, and goes through
it wherever the layer below has both a method and its awaiting twin::

    async def _get(self, colour: Colour, key: str) -> Any:
        return await colour(self._storage.get, self._storage.aget, key)

    def get(self, key: str) -> Any:
        return drive(self._get(blocking, key))

    async def aget(self, key: str) -> Any:
        return await self._get(awaiting, key)

In blocking colour nothing in such a coroutine suspends, so `drive` runs it to its end in one step.
"""

from contextvars import ContextVar
from threading import Lock, RLock, get_ident

from .broadcasts import Broadcasts
from .colours import Colour, awaiting, blocking, drive, each, steps
from .flights import Flight, Flights, Landing, awaited_within
from .forbidden import forbidden_errors, learn_from, reads_apart
from .forks import anew_in_children
from .gate import Gate
from .logs import LOGGER
from .loops import (
    CANCELLATIONS,
    Loop,
    Outcome,
    PerLoop,
    beside,
    current_loop,
    finish_apart,
    off_loop,
    running_loop,
    running_task,
)
from .pauses import apause, pause
from .pings import stalled
from .renewals import RENEWALS, Held
from .shared import Shared
from .starting import check_threads, is_ending
from .threads import LoopThread, StepThread, Worker, born_daemon, call_even_if_forbidden, call_off_loop
from .turnstile import Holder, Turnstile, WouldWaitForItself

__all__ = [
    # colours
    "Colour",
    "awaiting",
    "blocking",
    "drive",
    "each",
    "steps",
    # calls and streams that are shared
    "Broadcasts",
    "Flight",
    "Flights",
    "Landing",
    "awaited_within",
    # exclusion
    "ContextVar",
    "Gate",
    "Lock",
    "RLock",
    "get_ident",
    "Holder",
    "Turnstile",
    "WouldWaitForItself",
    # the log
    "LOGGER",
    # tools that forbid blocking calls
    "forbidden_errors",
    "learn_from",
    "reads_apart",
    # forks
    "anew_in_children",
    # loops
    "CANCELLATIONS",
    "Loop",
    "Outcome",
    "PerLoop",
    "beside",
    "current_loop",
    "finish_apart",
    "off_loop",
    "running_loop",
    "running_task",
    "stalled",
    # pauses
    "apause",
    "pause",
    # what is shared, and what goes on beside the program
    "RENEWALS",
    "Held",
    "Shared",
    # threads
    "LoopThread",
    "StepThread",
    "Worker",
    "born_daemon",
    "call_even_if_forbidden",
    "call_off_loop",
    "check_threads",
    "is_ending",
]
