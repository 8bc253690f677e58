"""Claims of a queue are renewed for as long as their handlers go on, by the thread that renews leases."""

from collections.abc import Callable

from chatcache._bridge import RENEWALS, Colour, awaiting, running_loop
from chatcache.clock import monotonic

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
        every: as above.
        renewal: when it is to be renewed, by the monotonic clock.
    """

    def __init__(self, colour: Colour, owner: str, every: float, renew: Callable[[], object]) -> None:
        self.owner = owner
        self.loop = running_loop() if colour is awaiting else None
        self.over = False
        self.every = every
        self.renewal = monotonic() + every
        self._renew = renew

    def __enter__(self) -> None:
        RENEWALS.add(self)

    def __exit__(self, *_: object) -> None:
        self.over = True  # that is all: it may be collected while somebody holds a lock

    def renew_soon(self) -> None:
        """Have it renewed, without waiting for that."""
        self._renew()

    def drop(self) -> None:
        """Nothing: what is not renewed ends by itself."""
