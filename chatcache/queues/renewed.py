"""Claims of a queue are renewed for as long as their handlers go on, by the thread that renews leases."""

from collections.abc import Callable
from time import monotonic

from chatcache._bridge import Colour, awaiting, running_loop
from chatcache.cache.leases.renewals import RENEWALS

__all__ = ["Renewed"]


class Renewed:
    """A claim that is renewed within ``with``, unless the loop of its task has stopped.

    Args:
        colour: that of the handler.
        owner: the id of the claim.
        every: seconds between two renewals.
        renew: has it renewed, without waiting for that.

    Attributes:
        owner: as above.
        loop: that of the task that handles it, or None for a thread.
        over: whether it is not to be renewed any more.
        renewal: when it is to be renewed, by the monotonic clock.
    """

    def __init__(self, colour: Colour, owner: str, every: float, renew: Callable[[], object]) -> None:
        self.owner = owner
        self.loop = running_loop() if colour is awaiting else None
        self.over = False
        self.renewal = monotonic() + every
        self._every = every
        self._renew = renew

    def __enter__(self) -> None:
        RENEWALS.add(self)

    def __exit__(self, *_: object) -> None:
        self.over = True  # that is all: it may be collected while somebody holds a lock

    def renew_if_due(self) -> float | None:
        """Have it renewed if it is time to; return when it is next, or None for never."""
        if self.over or (self.loop is not None and not self.loop.is_running()):
            return None
        now = monotonic()
        if self.renewal <= now:
            self.renewal = now + self._every
            self._renew()
        return self.renewal

    def drop(self) -> None:
        """Nothing: what is not renewed ends by itself."""
