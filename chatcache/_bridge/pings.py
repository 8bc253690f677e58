"""Whether a loop goes on, as far as those can tell who wait for it on other threads."""

from threading import Lock
from weakref import WeakKeyDictionary

from chatcache.clock import monotonic
from chatcache.interrupts import suppress

from .loops import Loop, running_loop

__all__ = ["answers", "stalled"]

_EVERY = 0.05  # seconds between two questions to one loop
_PATIENCE = 1.0  # seconds for an answer


class _Ping:
    """A question to a loop, which it answers as soon as it goes on."""

    def __init__(self, loop: Loop) -> None:
        self.asked = monotonic()
        self.answered = False
        loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self.answered = True


_pings: WeakKeyDictionary[Loop, _Ping] = WeakKeyDictionary()  # the last one of each loop


def stalled(loop: Loop | None) -> bool:
    """Return whether a loop cannot go on: it stopped, or something that blocks keeps it from answering for a second.

    Whoever waits asks again and again: the second begins when somebody asks. None is a thread, which goes on.
    """
    if loop is None or loop is running_loop():
        return False
    if not loop.is_running():
        return True
    ping, now = _pings.get(loop), monotonic()
    if ping is not None and not ping.answered:
        return now - ping.asked >= _PATIENCE
    if ping is None or now - ping.asked >= _EVERY:
        with suppress(RuntimeError):  # it was closed just now
            _pings[loop] = _Ping(loop)
    return False


def answers(loop: Loop) -> bool:
    """Wait until a loop goes on; return False where it is stalled."""
    asked = Lock()
    asked.acquire()
    with suppress(RuntimeError):  # it was closed, and is stalled
        loop.call_soon_threadsafe(asked.release)
    while not stalled(loop):
        if asked.acquire(timeout=_EVERY):
            return True
    return False
