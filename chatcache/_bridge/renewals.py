"""The thread that renews leases, and does what else is to be done beside the program."""

from collections import deque
from collections.abc import Callable
from math import inf
from secrets import token_hex
from threading import Lock
from typing import Protocol
from weakref import WeakValueDictionary

from chatcache.clock import monotonic

from .forks import anew_in_children
from .loops import Loop, running_loop
from .pings import stalled
from .starting import start_apart
from .threads import StepThread

__all__ = ["RENEWALS", "Held", "Renewals"]


class Held(Protocol):
    """A lease that this process holds.

    Attributes:
        owner: the id of the taking.
        loop: that of the task that leads, or None for a thread.
        over: whether it is not to be renewed any more.
        every: seconds between two renewals.
        renewal: when it is to be renewed, by the monotonic clock.
    """

    owner: str
    loop: Loop | None
    over: bool
    every: float
    renewal: float

    def renew_soon(self) -> None:
        """Have it renewed, without waiting for that."""
        ...

    def drop(self) -> None:
        """Release it without waiting for that."""
        ...


class Renewals:
    """Renews all the leases that this process holds, in a thread, which ends when there is nothing to be done."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[str, Held] = WeakValueDictionary()
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Hold none: those of its parent are not a child's."""
        for lease in self._held.values():
            lease.over = True
        self._lock = Lock()
        self._process = token_hex(4)
        self._held = WeakValueDictionary()
        self._gone: deque[Held] = deque()
        self._work: dict[Callable[[], None], float] = {}  # and when it is to be done
        self._thread: StepThread | None = None
        self._next = 0.0

    def new_owner(self) -> str:
        """Return an id for a taking, from which this process knows that it is its own."""
        return self._process + token_hex(6)

    def is_own(self, owner: str) -> bool:
        """Return whether an owner is of this process, and not of its parent or any other."""
        return owner.startswith(self._process)

    def add(self, lease: Held) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._held[lease.owner] = lease
            self._go_on(lease.renewal)

    def discard(self, lease: Held) -> None:
        """Renew a lease no more."""
        with self._lock:
            self._held.pop(lease.owner, None)

    def let_go(self, lease: Held) -> None:
        """Have a lease released by the thread. This takes no lock, as a finalizer may not."""
        self._gone.append(lease)
        thread = self._thread
        if thread is not None:
            thread.wake()
        else:  # it ended after the collector had cleared the weak reference to the lease
            start_apart(self._resume)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Have something done by the thread in so many seconds, once, however often it is asked for until then."""
        with self._lock:
            self._go_on(self._work.setdefault(work, monotonic() + seconds))

    def forget(self, work: Callable[[], None]) -> None:
        """Do not do what was to be done later."""
        with self._lock:
            if self._work.pop(work, None) is not None and self._thread is not None:
                self._thread.wake()

    def holds_any(self) -> bool:
        """Return whether this process holds a lease."""
        held = [ref() for ref in self._held.valuerefs()]  # a list made in one step: other threads add to it
        return any(lease is not None and not lease.over for lease in held)

    def blocks(self, owner: str) -> bool:
        """Return whether an owner is a task of the loop that runs in this thread, and waits for it to go on."""
        lease = self._held.get(owner)
        return lease is not None and lease.loop is not None and lease.loop is running_loop()

    def _resume(self) -> None:
        with self._lock:
            self._go_on(-inf)

    def _go_on(self, due: float) -> None:
        """Have the thread there at a time, if it can be. The lock is held."""
        if self._thread is None:
            thread = StepThread(self._step)
            if thread.start():
                self._thread = thread
        elif due < self._next:
            self._thread.wake()

    def _end(self) -> None:
        """End the thread, unless a lease is to be released. The lock is held."""
        thread, self._thread = self._thread, None  # from now on, whoever lets a lease go starts another one
        if self._gone:
            self._thread = thread
        elif thread is not None:
            thread.stop(0)

    def is_dead(self, owner: str) -> bool:
        """Return whether an owner is of this process, and cannot go on: nobody holds its lease, or its loop stalled."""
        if not self.is_own(owner):
            return False
        lease = self._held.get(owner)
        return lease is None or stalled(lease.loop)

    def _step(self) -> float:
        while self._gone:
            self._gone.popleft().drop()
        with self._lock:
            self._next = inf  # whatever comes from now on wakes the thread
            held = [*self._held.values()]
            work = [each for each, due in self._work.items() if due <= monotonic()]
            for each in work:
                del self._work[each]
        for each in work:
            each()
        renewed = [(lease, _renewed(lease)) for lease in held]
        with self._lock:
            for lease, renewal in renewed:
                if renewal is None:
                    self._held.pop(lease.owner, None)
            if not self._held and not self._work:
                self._end()
            times = [renewal for _, renewal in renewed if renewal is not None]
            self._next = min([*times, *self._work.values()], default=0.0)
        return max(0.0, self._next - monotonic())


def _renewed(lease: Held) -> float | None:
    """Have a lease renewed if it is time to; return when it is next, or None for never."""
    if lease.over or (lease.loop is not None and not lease.loop.is_running()):
        return None
    now = monotonic()
    if lease.renewal <= now:
        lease.renewal = now + lease.every
        lease.renew_soon()
    return lease.renewal


RENEWALS = Renewals()
