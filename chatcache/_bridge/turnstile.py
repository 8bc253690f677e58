"""One queue in which threads and tasks wait for their turn."""

from collections import deque
from math import inf
from threading import RLock
from typing import Protocol
from weakref import WeakKeyDictionary

from chatcache.clock import monotonic

from .loops import Loop, Outcome, beside, current_loop, off_loop, running_loop

__all__ = ["Holder", "Turnstile", "WouldWaitForItself"]


class WouldWaitForItself(Exception):  # noqa: N818 - says what would happen
    """A blocking call, on the thread of a loop, would wait for a task of that loop."""


class Holder(Protocol):
    """Who passed a turnstile.

    Attributes:
        loop: its loop, or None for a thread.
        left: whether it is about to leave, or has left: set before it does, since a Ctrl-C may keep it from that.
    """

    loop: Loop | None
    left: bool

    def abandon(self) -> None:
        """Give up where the loop stopped in the middle, in whatever thread; the turnstile is left next."""
        ...


class _Watch:
    """What the tasks of one loop have in common that wait.

    Time passes only as long as the loop goes on: while it stands still no task of it can leave, and it is no fault of
    a holder that those who wait come too late to see it leave.

    Attributes:
        waiting: how many they are.
        time: for how many seconds they waited.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.time = 0.0
        self._looked = monotonic()
        self._holder: Holder | None = None
        self._since = 0.0

    def look(self, holder: Holder | None, most: float) -> None:
        """Note who is in, and that time has passed since the last look, at most so much."""
        now = monotonic()
        self.time += min(now - self._looked, most)
        self._looked = now
        if holder is not self._holder:
            self._holder, self._since = holder, self.time

    def is_late(self, ticket: "_Ticket") -> bool:
        """Return whether somebody waited for longer than it wanted to."""
        return self.is_slow(ticket) or self.time - ticket.began > ticket.most

    def is_slow(self, ticket: "_Ticket") -> bool:
        """Return whether somebody waited for longer than it wanted to for one and the same holder."""
        return self.time - max(ticket.began, self._since) > ticket.timeout


class _Ticket:
    """The place of somebody in the queue.

    Attributes:
        called: whether it is its turn, or, where it is gone, too late.
        gone: whether it waits no more.
        watch: for a task, that of its loop.
        began: when it began to wait, by that watch.
        timeout: for how many seconds it waits for one and the same holder.
        most: for how many seconds it waits in all.
    """

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self.called = Outcome()
        self.gone = False
        self.watch: _Watch | None = None
        self.began = self.timeout = self.most = 0.0


class Turnstile:
    """Lets one holder in at a time, first come first served, threads and tasks in one queue.

    A holder whose loop stopped, and so may never leave, is abandoned when somebody else wants to enter.

    Who waits for longer than a timeout for one and the same holder gives up, and nobody else begins to wait for that
    holder. The queue may take longer than that: it is no fault of a holder that many wait.
    """

    _LOOK = 0.05  # seconds between looks at whether the holder's loop still runs

    def __init__(self) -> None:
        self._lock = RLock()
        self._queue: deque[_Ticket] = deque()
        self._since = 0.0  # when the holder came in
        self._watches: WeakKeyDictionary[Loop, _Watch] = WeakKeyDictionary()
        self._slow: Holder | None = None  # whom somebody waited for in vain
        self.holder: Holder | None = None

    def enter(self, holder: Holder, timeout: float, most: float = inf) -> None:
        """Enter.

        Args:
            holder: who enters.
            timeout: how many seconds to wait at most for each one who is in before.
            most: how many seconds to wait at most in all.

        Raises:
            TimeoutError: it took longer.
            WouldWaitForItself: this thread's loop would have to go on first.
        """
        began = monotonic()
        try:
            self._free_of_stopped()
            ticket = self._queue_up(holder, running_loop())
            bell = None if ticket is None else ticket.called.bell()
            while ticket is not None and bell is not None and not ticket.called.rung(bell, self._LOOK):
                self._free_of_stopped()
                self._admit()
                self._give_up(ticket, began, timeout, most)
        except BaseException:  # a person's Ctrl-C, for example
            self._withdraw(holder)
            raise

    async def aenter(self, holder: Holder, timeout: float, most: float = inf) -> None:  # noqa: ASYNC109 - it cannot just be cancelled
        """Awaiting twin of `enter`."""
        await self._afree_of_stopped()
        while self.holder is not holder:  # once more where it was let in while its loop was stopped, and abandoned
            ticket = self._queue_up(holder, None)
            if ticket is not None:
                await self._admitted(ticket, timeout, most)

    def leave(self, holder: Holder) -> None:
        """Let the next one in. Nothing happens where the holder was abandoned before."""
        with self._lock:
            if self.holder is not holder:
                return
            self.holder = None
            self._admit()

    def _admit(self) -> None:
        """Let the next one in, unless somebody is; also where whoever left was interrupted before it told the next."""
        with self._lock:
            while self._queue:
                ticket = self._queue[0]
                if not (ticket.gone or ticket.called.done):
                    if self.holder is None or self.holder.left:
                        self.holder, self._since = ticket.holder, monotonic()
                    if self.holder is not ticket.holder:
                        return
                    ticket.called.end()
                self._queue.popleft()

    def _withdraw(self, holder: Holder) -> None:
        """Let somebody wait no more, nor be in."""
        with self._lock:
            for ticket in self._queue:
                ticket.gone = ticket.gone or ticket.holder is holder
        self.leave(holder)

    async def _admitted(self, ticket: _Ticket, timeout: float, most: float) -> None:  # noqa: ASYNC109
        loop = current_loop()
        with self._lock:
            watch = self._watches.get(loop)
            begins = watch is None
            watch = self._watches[loop] = watch or _Watch()
            watch.waiting += 1
            ticket.began, ticket.timeout, ticket.most, ticket.watch = watch.time, timeout, most, watch
        try:
            if begins:
                self._look(loop, watch)
            await ticket.called.wait()
        except BaseException:
            self._withdraw(ticket.holder)
            raise
        finally:
            watch.waiting -= 1
        if ticket.gone:
            raise TimeoutError

    def _look(self, loop: Loop, watch: _Watch) -> None:
        """Look again and again, for all the tasks of a loop that wait.

        Whether the holder's loop still runs, and whether it is too late for some of them.
        """
        with self._lock:
            if watch.waiting == 0:
                del self._watches[loop]
                return
        self._admit()
        if self._stopped() is not None:
            beside(self._afree_of_stopped())
        watch.look(self.holder, 2 * self._LOOK)
        with self._lock:
            late = [each for each in self._queue if each.watch is watch and not each.gone and watch.is_late(each)]
            for each in late:
                each.gone = True
                self._slow = self.holder if watch.is_slow(each) else self._slow
        for each in late:
            each.called.end()
        loop.call_later(self._LOOK, self._look, loop, watch)

    def _left(self, began: float, timeout: float) -> float:
        """Return for how many seconds to wait on, from a time on, unless somebody else comes in meanwhile."""
        return max(began, self._since) + timeout - monotonic()

    def _give_up(self, ticket: _Ticket, began: float, timeout: float, most: float) -> None:
        """Raise where it is too late for a ticket that was not served."""
        with self._lock:
            is_slow = self._left(began, timeout) <= 0
            if ticket.called.done or not (is_slow or began + most <= monotonic()):
                return
            ticket.gone = True
            self._slow = self.holder if is_slow else self._slow
        raise TimeoutError

    def _queue_up(self, holder: Holder, here: Loop | None) -> _Ticket | None:
        with self._lock:
            self._admit()
            if self.holder is None or self.holder.left:
                self.holder, self._since = holder, monotonic()
            if self.holder is holder:
                return None
            if self.holder is self._slow:
                raise TimeoutError
            self._slow = None
            ahead = (ticket.holder for ticket in self._queue if not ticket.gone)
            if here is not None and any(each.loop is here for each in (self.holder, *ahead)):
                raise WouldWaitForItself
            ticket = _Ticket(holder)
            self._queue.append(ticket)
            return ticket

    def _stopped(self) -> Holder | None:
        holder = self.holder
        return holder if holder is not None and holder.loop is not None and not holder.loop.is_running() else None

    def _free_of_stopped(self) -> None:
        holder = self._stopped()
        if holder is not None:
            holder.abandon()  # not under the lock: it may have to wait
            self.leave(holder)

    async def _afree_of_stopped(self) -> None:
        if self._stopped() is not None:
            await off_loop(self._free_of_stopped)
